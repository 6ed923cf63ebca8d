"""torov: run unmodified Linux executables as virtual machines."""

__version__ = "0.1.0"
