"""What is carried to a Dask cluster as source text. Neither its scheduler nor its workers have to have stagerun.

Nobody imports this module. Its functions are pickled with those that they call; they import Dask where they run.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections import deque
from typing import Any


def open_way(token: str, dask_scheduler: Any = None) -> None:
    """On the scheduler: let the first who names the token and a worker's address speak with that worker."""
    from distributed.comm.core import connect

    async def pass_on(source: Any, target: Any) -> None:
        with contextlib.suppress(OSError):  # one of them is gone
            while True:
                await target.write(await source.read())

    async def relay(comm: Any, address: str) -> None:
        dask_scheduler.handlers.pop(token, None)
        worker = await connect(address, **dask_scheduler.connection_args)
        await worker.write({"op": token, "reply": False})
        ways = [asyncio.ensure_future(pass_on(worker, comm)), asyncio.ensure_future(pass_on(comm, worker))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        worker.abort()
        with contextlib.suppress(OSError):
            await comm.write({"why": f"the worker at {address} is gone"})
            await comm.close()

    dask_scheduler.handlers[token] = relay


def close_way(token: str, dask_scheduler: Any = None) -> None:
    """On the scheduler: forget the token."""
    dask_scheduler.handlers.pop(token, None)


async def hold(token: str, patience: float) -> None:
    """On a worker, as a task: start the far process, tell where it is, and hold the slot until it has ended."""
    from distributed import get_worker

    worker: Any = get_worker()
    came, over = asyncio.Queue[Any](), asyncio.Event()

    async def join(comm: Any) -> None:
        worker.handlers.pop(token, None)
        came.put_nowait(comm)
        await over.wait()

    agent = [sys.executable, "-m", "stagerun", "agent"]
    far = await asyncio.create_subprocess_exec(*agent, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)
    said = deque[str](maxlen=20)
    listening = asyncio.ensure_future(listen(far.stderr, said))
    worker.handlers[token] = join
    worker.log_event(token, worker.address)
    try:
        comm = await asyncio.wait_for(came.get(), patience)
        ways = await speak(far, comm)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(listening, 1)
        with contextlib.suppress(OSError):
            await comm.write({"code": far.returncode, "said": "\n".join(said)})
            await comm.close()
        await asyncio.wait(ways)
    except TimeoutError:
        pass  # nobody came: it is this task's second time
    finally:
        worker.handlers.pop(token, None)
        listening.cancel()
        with contextlib.suppress(OSError):
            os.killpg(far.pid, signal.SIGKILL)
        await far.wait()
        over.set()


async def speak(far: Any, comm: Any) -> list[Any]:
    """Pass the stream on until the far process or the other side has ended; return both ways, of which one goes on."""

    async def inward() -> None:
        with contextlib.suppress(OSError):
            while data := await far.stdout.read(262144):
                await comm.write(data)

    async def outward() -> None:
        with contextlib.suppress(OSError):
            while True:
                far.stdin.write(await comm.read())
                await far.stdin.drain()

    ways = [asyncio.ensure_future(inward()), asyncio.ensure_future(outward())]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    far.stdin.close()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(far.wait(), 5)
    return ways


async def listen(stream: Any, said: deque[str]) -> None:
    """Keep the last lines of what the far process says of itself."""
    with contextlib.suppress(ValueError):  # a line without an end
        async for line in stream:
            said.append(line.decode("utf-8", "backslashreplace").strip()[:1000])
