"""``torov exec --perf``: what samples of a guest come to. The core takes them (vmm/core/perf.c).

Only ``cli_perf.py`` runs while the guest does, in the process that started it.
"""
