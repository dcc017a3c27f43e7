"""`python -m benchmarks.watchers FOLDER COUNT`: serve a project and watch its next run with so many sockets.

It prints what the server took and how long lines were under way, once the run is over.
"""

import asyncio
import json
import re
import statistics
import sys
import time
from pathlib import Path

import psutil
from websockets.asyncio.client import ClientConnection, connect


async def main(folder: Path, count: int) -> None:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stagerun", "serve", "--port", "0"), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    found = re.search(r"http://([\d.:]+)/", (await server.stdout.readline()).decode())
    assert found is not None
    try:
        print("ready", flush=True)
        run = await _next_run(folder)
        process = psutil.Process(server.pid)
        before, begun = sum(process.cpu_times()[:2]), time.monotonic()
        delays = await asyncio.gather(*(_watch(found[1], folder, run) for _ in range(count)))
        took, seconds = sum(process.cpu_times()[:2]) - before, time.monotonic() - begun
        told = {"sockets": count, "seconds": round(seconds, 2), "server_cpu": round(took / seconds, 3)}
        told |= {"server_mb": round(process.memory_info().rss / 1e6, 1)}
        all_ = sorted(delay for each in delays for delay in each)
        if all_:
            median, slow = statistics.median(all_), all_[len(all_) * 99 // 100]
            told |= {"median_ms": round(1000 * median), "p99_ms": round(1000 * slow)}
        print(json.dumps(told), flush=True)
    finally:
        server.kill()
        await server.wait()


async def _next_run(folder: Path) -> int:
    """Return the id of the run whose file the benchmark writes."""
    file = folder / "run-id"
    while not file.exists() or not file.read_text().strip():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.005)
    return int(file.read_text())


async def _watch(place: str, folder: Path, run: int) -> list[float]:
    """Follow a run to its end; return how long lines with the time in them were under way."""
    token = (folder / ".stagerun" / "web-token").read_text().strip()
    headers = {"Origin": f"http://{place}", "Authorization": f"Bearer {token}"}
    address = f"ws://{place}/runs/{run}/live?after=0"
    async with connect(address, additional_headers=headers, compression=None, max_size=None, open_timeout=60) as socket:
        return await _delays(socket)


async def _delays(socket: ClientConnection) -> list[float]:
    delays = list[float]()
    async for message in socket:
        now = time.time()
        delays += [now - float(moment) for moment in re.findall(r"at (\d+\.\d+) ", str(message))]
    return delays


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
