"""The fieldline command."""
