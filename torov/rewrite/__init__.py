"""From a program to a plan: which ``0F 05`` are syscalls, and the patched copy."""

REWRITER_VERSION = 1
"""Goes up when a verdict can change; cached images of another version are not used. Here, so that a start
with a warm cache reads it without importing the rewriter."""
