"""One folder per system: config, mapping, protocol; the driver has the only network loop."""
