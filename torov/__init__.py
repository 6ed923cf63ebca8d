"""torov: run unmodified Linux executables as virtual machines."""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.api import Machine, Result, Stop, image_of, load_policy, run

__all__ = ["Machine", "Result", "Stop", "image_of", "load_policy", "run"]


def __getattr__(name: str) -> object:
    """Import the API at its first use: the command line needs none of it to start."""
    if name in __all__:
        from torov import api

        return getattr(api, name)
    raise AttributeError(f"module 'torov' has no attribute {name!r}")
