"""Places on a Dask cluster: a task holds a worker's slot and starts the far process there.

The stream goes through the scheduler's own port, so only the address that the user gave has to be reachable. It has the
encryption and authentication of the cluster. Nothing about the work is in the task: no parameters, no source.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from stagerun.errors import PlaceError, UsageError
from stagerun.machine import identity
from stagerun.programs.request import how_it_ended
from stagerun.remote.line import Line
from stagerun.remote.places.place import Ended, Heard, Trust


PORT: Final = 8786
_PATIENCE: Final = 10.0  # seconds in which somebody has to come for a far process, and in which a scheduler answers
_GOODBYE: Final = 3.0  # seconds in which a cluster is left
_CHUNK: Final = 256 * 1024
_LOGGERS: Final = ("distributed", "tornado", "asyncio")


class Cluster:
    """A place on a Dask cluster.

    Args:
        name: what was asked for.
        address: of the scheduler, with its scheme; None for a cluster of this machine that lives as long as the run.
        files: the certificates, by Dask's names for them.
        resources: what a worker has to have.
        trusted: True if secrets may go there although the way is not encrypted.

    """

    def __init__(
        self,
        name: str,
        address: str | None,
        *,
        files: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        trusted: bool = False,
    ) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise PlaceError(f"{name} needs distributed, which is not installed", "pip install 'stagerun[dask]'")
        self.name = name
        self.shown = f"the Dask scheduler {address}" if address else "a Dask cluster of this machine"
        self._address = address
        self._files = dict(files or {})
        self._resources = dict(resources or {})
        self.trust: Trust = "any"
        if address is not None and not address.startswith("tls:") and not trusted:
            host = address.partition("://")[2].rpartition(":")[0].strip("[]")
            self.trust = "here" if identity.is_this_machine(host) else "none"

    def open(self, heard: Heard, ended: Ended, hidden: Collection[str]) -> "Joined":
        return Joined(self._connect, self._resources, heard, ended)

    def _connect(self) -> tuple[Any, Any]:
        """Return a client, and the cluster if it is ours to end, else None."""
        from distributed import Client, LocalCluster
        from distributed.security import Security

        if self._address is None:
            cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
            return Client(cluster, set_as_default=False), cluster
        tls = self._address.startswith("tls:")
        security = Security(require_encryption=True, **self._files) if tls else None
        return Client(self._address, security=security, timeout=_PATIENCE, set_as_default=False), None


class Joined:
    """A far process on a worker, or on its way to one."""

    def __init__(
        self,
        connect: Callable[[], tuple[Any, Any]],
        resources: Mapping[str, float],
        heard: Heard,
        ended: Ended,
    ) -> None:
        self._connect = connect
        self._resources = resources
        self._token = f"stagerun-{secrets.token_hex(16)}"
        self._client: Any = None
        self._cluster: Any = None
        self._future: Any = None
        self._worker: str | None = None
        self._why: str | None = None
        self._gone = False  # the scheduler
        self._told = SimpleQueue[str]()
        ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self.line = Line(os.dup(ours.fileno()), os.dup(ours.fileno()), heard=heard, ended=ended)
        ours.close()
        self.line.start()
        self._joining = threading.Thread(target=self._join, name="stagerun-dask", daemon=True)
        self._joining.start()

    def reason(self) -> str:
        return self._why or "the scheduler is gone"

    def news(self) -> str | None:
        return None if self._client is None else "no worker has taken it yet"

    def lines(self) -> list[str]:
        found = list[str]()
        with contextlib.suppress(Empty):
            while True:
                found.append(self._told.get_nowait())
        return found

    def close(self) -> None:
        self.line.close()
        self._hang_up()
        leaving = threading.Thread(target=self._leave, name="stagerun-dask-end", daemon=True)
        leaving.start()
        leaving.join(_GOODBYE)

    kill = close  # the worker ends what has lost its line

    def _leave(self) -> None:
        """Let the cluster forget this run. It forgets a client that is gone, so nothing depends on this."""
        self._joining.join()
        steps: list[Callable[[], object]] = []
        if self._future is not None and not self._gone:
            steps.append(lambda: self._future.cancel(force=True))
            steps.append(lambda: self._client.run_on_scheduler(_carried("close_way"), self._token))
        if self._client is not None:
            steps.append(lambda: self._client.close(timeout=1))
        if self._cluster is not None:
            steps.append(lambda: self._cluster.close(timeout=1))
        for step in steps:
            with contextlib.suppress(Exception):
                step()

    def _join(self) -> None:
        """Ask for a far process."""
        try:
            _listen_to_loggers(self._told.put)
            self._client, self._cluster = self._connect()
            self._client.subscribe_topic(self._token, self._has_a_worker)
            self._client.run_on_scheduler(_carried("open_way"), self._token)
            self._future = self._client.submit(
                _carried("hold"),
                self._token,
                _PATIENCE,
                key=self._token,
                pure=False,
                retries=0,
                resources=self._resources or None,
            )
            self._future.add_done_callback(self._task_has_ended)
        except Exception as error:
            self._give_up(_told_of(error))

    def _has_a_worker(self, event: tuple[float, str]) -> None:
        """Speak with the first worker that tells its address; another one has the task for a second time."""
        if self._worker is None:
            self._worker = event[1]
            asyncio.ensure_future(self._speak(self._worker))  # noqa: RUF006 - it ends with the line

    def _task_has_ended(self, future: Any) -> None:
        if self._worker is None and future.status == "error":
            self._give_up(_told_of(future.exception()))

    def _give_up(self, why: str) -> None:
        self._why = self._why or why
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)

    async def _speak(self, address: str) -> None:
        """Pass the stream on, both ways, until one side has ended."""
        from distributed.comm.core import connect

        try:
            arguments = self._client.security.get_connection_args("client")
            comm = await connect(self._client.scheduler.address, **arguments)
            await comm.write({"op": self._token, "address": address, "reply": False})
            ways = [asyncio.ensure_future(each) for each in (self._inward(comm), self._outward(comm))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            comm.abort()
        except OSError as error:
            self._why = self._why or _told_of(error)
        self._hang_up()

    async def _inward(self, comm: Any) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._why is None:
                match await comm.read():
                    case bytes() as data:
                        await loop.sock_sendall(self._theirs, data)
                    case {"code": int() | None as code, "said": str(said)}:
                        told = "did not end" if code is None else how_it_ended(code)
                        self._why = "\n".join([f"the far process {told}", *(f"  {line}" for line in said.splitlines())])
                    case {"why": str(why)}:
                        self._why = why
                    case _:
                        self._why = "the cluster sent what is no part of the stream"
        except OSError:
            self._gone = True

    async def _outward(self, comm: Any) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._theirs, _CHUNK):
                await comm.write(data)


def address(name: str, scheme: str, rest: str) -> str | None:
    """Return the address of a scheduler as Dask writes it, None for `dask://` alone; UsageError if it is none."""
    if scheme not in ("tcp", "tls"):
        raise UsageError(f"{name!r}: {scheme!r} is no scheme of a Dask scheduler", "one of tcp://, tls://")
    if not rest:
        return None
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, str(PORT)
    if not host or not port.isdigit():
        raise UsageError(f"{name!r}: {rest!r} is not an address", "write it as host:port")
    return f"{scheme}://{host}:{port}"


def _carried(name: str) -> Any:
    """Return a function that is pickled as its source is: as if it stood in the main program."""
    source = (Path(__file__).with_name("carried.py")).read_text("utf-8")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<stagerun>", "exec", dont_inherit=True), scope)  # noqa: S102 - our own file
    return scope[name]


class _Lines(logging.Handler):
    """Makes one line of each record."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._tell(f"{record.name}: {' '.join(record.getMessage().split())}")


def _listen_to_loggers(tell: Callable[[str], object]) -> None:
    """Silence Dask's loggers down to errors, each of which is told as one line."""
    import distributed  # noqa: F401 - it configures its loggers when it is imported

    known = [(name, each) for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)]
    for name, logger in known:
        if name.partition(".")[0] in _LOGGERS:
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.append(_Lines(tell))
        logger.propagate = False
        logger.setLevel(logging.ERROR)


def _told_of(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
