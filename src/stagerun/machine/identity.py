"""Who runs this, and in which process. It is read from the machine; nothing is decided here."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec import Struct

from stagerun.machine import ci


def person(environ: Mapping[str, str] = os.environ) -> str:
    """Return who runs this: in CI the actor that the CI names, else the user's login name."""
    if (actor := ci.actor(environ)) is not None:
        return actor
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if environ.get(variable):
            return environ[variable]
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"


class Process(Struct, frozen=True, kw_only=True):
    """What distinguishes a process from every other one, also after a reboot and across containers.

    Attributes:
        host: the host's name.
        boot_id: an id of this boot of the kernel, "" where there is none.
        pid_namespace: the namespace that `pid` is counted in, "" where there is none.
        pid: the process id.
        started: when the process started: clock ticks since boot on Linux, seconds since 1970 elsewhere.

    """

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: float

    def is_gone(self) -> bool | None:
        """Return True if this process has ended, False if it runs, None if that can't be known from here."""
        host, boot_id, pid_namespace = _machine()
        if self.boot_id != boot_id or (not boot_id and self.host != host):
            # The same host was rebooted, or this is another host.
            return True if self.host == host else None
        if self.pid_namespace != pid_namespace:
            return None
        return start_time(self.pid) != self.started


def current_process() -> Process:
    host, boot_id, pid_namespace = _machine()
    pid = os.getpid()
    return Process(host=host, boot_id=boot_id, pid_namespace=pid_namespace, pid=pid, started=start_time(pid) or 0.0)


@cache
def _machine() -> tuple[str, str, str]:
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pid_namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot_id = pid_namespace = ""
    return (
        os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", ""),
        boot_id,
        pid_namespace,
    )


def is_this_machine(host: str) -> bool:
    """Return True if all addresses of `host` are this machine's own."""
    import ipaddress
    import socket

    import psutil

    own = {each.address.partition("%")[0] for all_ in psutil.net_if_addrs().values() for each in all_}
    try:
        found = {str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(each in own or ipaddress.ip_address(each).is_loopback for each in found)


def start_time(pid: int) -> float | None:
    """Return when `pid` started, or None if there is no such process or it is a zombie."""
    if not Path("/proc/self/stat").exists():
        return _start_time_without_proc(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name may hold spaces and brackets; the fixed fields follow the last bracket (proc(5)).
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else float(fields[19])


def _start_time_without_proc(pid: int) -> float | None:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
