"""Faust agents: load, decide, emit, store, acknowledge."""
