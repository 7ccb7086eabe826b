"""percept: image transformation with perceptual losses."""

__version__ = "0.1.0"
