"""Fixtures of all tests."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Compiler


def pytest_configure() -> None:
    """Programs that tests start have the signals of a terminal, also where a shell without job control started us with &."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a running guest fail where KVM is absent, unless TOROV_NO_KVM=1 says that it is meant."""
    if os.environ.get("TOROV_NO_KVM") == "1":
        for item in items:
            if item.get_closest_marker("kvm"):
                item.add_marker(pytest.mark.skip(reason="needs /dev/kvm, and TOROV_NO_KVM=1 says that there is none"))


@pytest.fixture(scope="session")
def cc(pytestconfig: pytest.Config) -> Compiler:
    """The compiler of guests; what it made is kept in .pytest_cache for the next run."""
    cache = pytestconfig.cache
    assert cache is not None, "guests are kept in the cache of pytest: run without -p no:cacheprovider"
    return Compiler(Path(cache.mkdir("guests")))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port of 127.0.0.1 where somebody listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]
