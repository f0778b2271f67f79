"""The contract suite: what every connector must do, asserted at the far end.

It runs over the registry (connectors/registry.py). A connector without a case, or whose case
leaves a code or a trait out without a reason, fails.
"""
