"""The numbers that image files hold: the core (vmm/core/load.c) reads the same ones."""

from __future__ import annotations

from torov.rewrite.sites import KEEP, OUT, SYSCALL, Verdict


def test_numbers_in_image_files_never_change() -> None:
    numbers = {"CONFIRMED": 1, "CLEAN_GAP": 2, "EMBEDDED": 3, "AMBIGUOUS": 4, "DATA": 5}
    assert {verdict.name: int(verdict) for verdict in Verdict} == numbers
    assert KEEP == 6


def test_a_patch_is_as_long_as_what_it_replaces() -> None:
    assert (SYSCALL.hex(), OUT.hex()) == ("0f05", "e710")
