"""Crash suite: real detect workers, faults at seeded random points, and a checker of all topics."""
