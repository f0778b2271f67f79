"""One case per system: how the contract suite starts its far end, and what it may expect."""
