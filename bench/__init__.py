"""Benchmarks: every figure against a floor or a native run of the same session (docs/benchmarks.md)."""
