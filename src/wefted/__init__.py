"""wefted gives every container, however it was started, an address and a name on every host."""

__version__ = "0.1.0"
