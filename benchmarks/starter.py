"""Started as `python -I -S starter.py DESCRIPTOR COMMAND...`: runs the command, writes what it took to the descriptor.

Linux starts the peak of a new process at what the one that starts it has in memory, so this one imports next to
nothing.
"""

import os
import sys
import time


descriptor, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(descriptor, False)
begun = time.perf_counter()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - begun
code = os.waitstatus_to_exitcode(status)
os.write(descriptor, f"{code} {wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}".encode())
