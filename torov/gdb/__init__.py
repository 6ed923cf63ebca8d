"""The gdb server: a process of its own beside the guest's, outside of the jail and its filters.

packet.py    frames of the remote protocol (gdb's manual, appendix E)
registers.py the register file as gdb numbers it
link.py      the core's messages (torov/vmm/core/debug.h)
guests.py    the processes of a guest: who stands, who runs, what happened
session.py   what each packet does; stops.py, transfers.py, files.py, tls.py: parts of it; modules.py: what a program has loaded
server.py    sockets and the loop
start.py     where it listens, and its process;  attach.py: to a guest that runs
"""
