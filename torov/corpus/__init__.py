"""Real programs, and whether they behave by torov as they do natively (docs/corpus.md)."""

from torov.corpus.binaries import BINARIES, PROFILES, CorpusError, Entry, Offline, read_binaries
from torov.corpus.packages import cache_dir, fetch

__all__ = ["BINARIES", "PROFILES", "CorpusError", "Entry", "Offline", "cache_dir", "fetch", "read_binaries"]
