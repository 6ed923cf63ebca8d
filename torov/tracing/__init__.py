"""What a trace prints: how each argument of each call is shown (rows.py), the layouts of structures (structs.py), sets of
constants that only traces name (sets.py). tables.py makes C tables of them for the core's printer (vmm/core/show.c).
"""
