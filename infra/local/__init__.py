"""The local stack: real parts on one machine, with no container engine."""
