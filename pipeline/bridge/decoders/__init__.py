"""Device payloads to samples: pure, total, told apart by shape. Forms: schemas/json."""

from pipeline.bridge.decoders.decode import MAX_READINGS, decode, device_of
from pipeline.bridge.decoders.fields import Bad, Decoded

__all__ = ["MAX_READINGS", "Bad", "Decoded", "decode", "device_of"]
