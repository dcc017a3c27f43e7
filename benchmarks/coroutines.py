"""What it costs to work on many items in an event loop, from 1,000 to 100,000, against asyncio alone."""

from pathlib import Path

from benchmarks.harness import Workload
from benchmarks.project import Project


SIZES = (1_000, 10_000, 100_000)
RECIPE = """
import asyncio
from stagerun import LiveOperation


async def fetch(number):
    await asyncio.sleep(0)
    return number


class Map(LiveOperation):
    count: int

    async def run(self, p):
        await p.map(fetch, range(self.count), workers=20)


class Keyed(LiveOperation):
    count: int

    async def run(self, p):
        await p.map(fetch, range(self.count), workers=20, key="pages")
"""
FETCH = """
import asyncio, sys


async def fetch(number):
    await asyncio.sleep(0)
    return number
"""
GATHER = f"""{FETCH}

async def run(count):
    await asyncio.gather(*(fetch(number) for number in range(count)))


asyncio.run(run(int(sys.argv[1])))
"""
BOUNDED = f"""{FETCH}

async def run(count):
    gate = asyncio.Semaphore(20)

    async def one(number):
        async with gate:
            return await fetch(number)

    await asyncio.gather(*(one(number) for number in range(count)))


asyncio.run(run(int(sys.argv[1])))
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "coroutines", RECIPE)
    contenders = []
    for size in SIZES:
        contenders += [
            project.script("asyncio.gather, 20 at a time", BOUNDED, size, size=size),
            project.script("asyncio.gather, all at once", GATHER, size, size=size),
            project.run("await p.map", "Map", "--count", size, size=size),
            project.run("await p.map, with a key", "Keyed", "--count", size, size=size),
        ]
    return [Workload("items in an event loop", "item", contenders, floor="asyncio.gather, 20 at a time", rounds=5)]
