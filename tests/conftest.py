"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Compiler


@pytest.fixture(scope="session")
def cc(pytestconfig: pytest.Config) -> Compiler:
    """The compiler of guests; what it made is kept in .pytest_cache for the next run."""
    cache = pytestconfig.cache
    assert cache is not None, "guests are kept in the cache of pytest: run without -p no:cacheprovider"
    return Compiler(Path(cache.mkdir("guests")))
