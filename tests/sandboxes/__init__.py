"""Far ends for systems that cannot be installed here: real HTTP servers with state, and knobs.

They are built from the wire facts, not from our connectors, and other people's official
clients work against them (tests/clients). Start any by hand:

    python -m tests.sandboxes salesforce sap        (says the addresses; ends with its input)
"""
