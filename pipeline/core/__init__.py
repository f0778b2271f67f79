"""Decisions as pure functions: time and jitter are arguments."""
