"""Started as `python -I -S starter.py DESCRIPTOR COMMAND...`: runs the command, and writes its cost to the descriptor.

On Linux the peak memory of a new process starts at that of its parent, so this one imports next to nothing.
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
