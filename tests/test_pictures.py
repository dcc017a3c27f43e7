"""The pictures of the past: when each stage was active, and how an operation has done so far."""

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.journal.families import family
from stagerun.reports import stats, timeline
from stagerun.states import RunState
from stagerun.text.paint import Paint
from stagerun.view import begin, fold
from tests.conftest import START, Bench, Project


class Etl(LiveOperation):
    stages = ["Extract", "Transform the rows", "Load", "Never"]
    broken: bool = False

    def run(self, p: Progress) -> None:
        p.step("Extract", self._work, 4)
        for _ in range(2):
            with p.stage("Transform the rows"):
                self._work(1)
        with p.stage("warm up"):
            self._work(1)
        with p.stage("Load"):
            self._work(2)
            assert not self.broken, "no"
        p.chain_to(Report(owner=self.owner))

    def _work(self, seconds: float) -> None:
        CLOCKS[0].move(seconds)


class Report(LiveOperation):
    stages = ["Write"]

    def run(self, p: Progress) -> None:
        with p.stage("Write"):
            CLOCKS[0].move(3)


CLOCKS: Final[list[Any]] = [None]
KINDS: Final = tuple(event.kind for event in (events.StageEntered, events.StageLeft))


def _tracks(bench: Bench) -> list[timeline.Track]:
    records = bench.records()
    runs = family(records, records.find("1"))
    tracks = [timeline.track(view, records.entries(view.id, kinds=KINDS), START + bench.clock.now) for view in runs]
    records.close()
    return tracks


def _drawn(bench: Bench, width: int, *, unicode: bool = True) -> list[str]:
    paint = Paint(colour=False, unicode=unicode)
    return list(timeline.lines(_tracks(bench), now=START + bench.clock.now, width=width, paint=paint))


@pytest.fixture
def worked(bench: Bench) -> Bench:
    """A chain whose first link failed and was resumed an hour later."""
    CLOCKS[0] = bench.clock
    bench.run(Etl(broken=True))
    bench.clock.move(3600)
    bench.resume(Etl())
    return bench


def test_a_timeline_shows_the_chain_and_all_attempts_on_an_axis_of_working_time(worked: Bench) -> None:
    assert _drawn(worked, 80) == [
        "run 1  demo:Etl  failed  9.0s",
        "  ✓ Extract              4.0s  ━━━━━━━━━━━━",
        "  ✓ Transform the rows   2.0s              ━━━━━",
        "  ✗ Load                 2.0s                      ━━━━━━",
        "  ○ Never",
        "    warm up              1.0s                   ━━━",
        "  (1h 00m later)",
        "run 2  demo:Etl  succeeded  5.0s  attempt 2",
        "  ✓ Extract             run 1",
        "  ✓ Transform the rows   2.0s                            ━━━━━━",
        "  ✓ Load                 2.0s                                     ━━━━━",
        "  ○ Never",
        "    warm up              1.0s                                  ━━━",
        "run 3  demo:Report  succeeded  3.0s",
        "  ✓ Write                3.0s                                          ━━━━━━━━━",
        "                               0.0s            5.7s            11.3s       17.0s",
    ]


def test_a_narrow_timeline_cuts_names_and_has_signs_without_unicode(worked: Bench) -> None:
    assert _drawn(worked, 40, unicode=False)[:3] == [
        "run 1  demo:Etl  failed  9.0s",
        "  + Extract    4.0s  ====",
        "  + Trans...   2.0s      ===",
    ]
    assert max(len(line) for line in _drawn(worked, 40) if line.startswith("  ")) == 40


def test_an_active_stage_lasts_until_now(bench: Bench) -> None:
    shown = list[list[str]]()

    class Slow(LiveOperation):
        stages = ["Wait", "After"]

        def run(self, p: Progress) -> None:
            with p.stage("Wait"):
                bench.clock.move(5)
                shown.append(_drawn(bench, 40))

    bench.run(Slow())

    assert shown == [
        [
            "run 1  demo:Slow  running  5.0s",
            "  ● Wait   5.0s  ━━━━━━━━━━━━━━━━━━━━━━━",
            "  ○ After",
            "                 0.0s               5.0s",
        ]
    ]


def test_a_block_that_a_crash_left_open_ends_with_the_run() -> None:
    plan = events.RunCreated(target="etl:Etl", recipe="etl", operation="Etl", stages=("Load",), owner="alice")
    happened: list[tuple[float, events.Event]] = [
        (0.0, events.RunStarted()),
        (1.0, events.StageEntered(stage="Load", index=0)),
        (2.0, events.StageEntered(stage="warm up", index=None)),
        (4.0, events.RunFinished(state=RunState.CRASHED, seconds=4.0, exit_code=1)),
    ]
    entries = [events.Entry(1, seq, time, event) for seq, (time, event) in enumerate(happened, start=2)]
    view = reduce(fold, entries, begin(events.Entry(1, 1, 0.0, plan)))
    drawn = timeline.lines(
        [timeline.track(view, entries, now=9000.0)], now=9000.0, width=40, paint=Paint(colour=False, unicode=True)
    )

    assert list(drawn) == [
        "run 1  etl:Etl  crashed  4.0s",
        "  ✗ Load     3.0s       ━━━━━━━━━━━━━━━━",
        "    warm up  2.0s            ━━━━━━━━━━━",
        "                   0.0s             4.0s",
    ]


def test_a_timeline_is_the_same_for_every_run_of_the_family_and_told_as_json(worked: Bench) -> None:
    records = worked.records()
    families = [[view.id for view in family(records, records.find(ref))] for ref in ("1", "2", "3")]
    records.close()

    first, second, third = (timeline.document(each) for each in _tracks(worked))

    assert families == [[1, 2, 3]] * 3
    assert [(each["run"], each["resumed_from"], each["chained_from"]) for each in (first, second, third)] == [
        (1, None, None),
        (2, 1, None),
        (3, None, 2),
    ]
    assert first["stages"][1] == {
        "stage": "Transform the rows",
        "declared": True,
        "state": "done",
        "from_run": None,
        "skipped": None,
        "visits": [
            {"entered_on": f"2027-01-15T08:00:0{second}.000Z", "seconds": 1.0, "state": "done"} for second in (4, 5)
        ],
    }
    assert second["stages"][0] == first["stages"][0] | {"from_run": 1, "visits": []}


class Job(LiveOperation):
    stages = ["Load", "Save"]
    seconds: float = 1.0
    broken: bool = False

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            CLOCKS[0].move(self.seconds)
        with p.stage("Save"):
            CLOCKS[0].move(1)
            assert not self.broken, "no"


def _stats(bench: Bench) -> stats.Stats:
    records = bench.records()
    views = records.history(limit=1000, operation="Job")
    records.close()
    return stats.stats(views)


def _told(bench: Bench, width: int, *, unicode: bool = True) -> list[str]:
    paint = Paint(colour=False, unicode=unicode)
    return list(stats.lines(_stats(bench), START + bench.clock.now, paint, width=width))


@pytest.fixture
def jobs(bench: Bench) -> Bench:
    CLOCKS[0] = bench.clock
    for seconds in (1, 2, 1, 3, 1, 8):
        bench.run(Job(seconds=seconds))
    bench.run(Job(broken=True))
    return bench


def test_stats_tell_rate_durations_slowest_run_and_trend(jobs: Bench) -> None:
    assert _told(jobs, 80) == [
        "demo:Job  7 runs, the first 24 s ago",
        "  6 succeeded, 1 failed (86% succeeded)",
        "             usually  90 %  slowest  last",
        "  whole run     2.5s  6.5s     9.0s  9.0s  ▁▂▁▃▁█",
        "  Load          1.5s  5.5s     8.0s  8.0s  ▁▂▁▃▁█",
        "  Save          1.0s  1.0s     1.0s  1.0s  ▁▁▁▁▁▁",
        "  slowest: run 6, 9.0s",
        "  trend: the newest runs are 100% slower than those before",
    ]
    assert _told(jobs, 40, unicode=False)[2:4] == ["             usually  last", "  whole run     2.5s  9.0s  _._-_#"]


def test_a_resume_counts_for_the_stages_that_it_worked_on_alone(jobs: Bench) -> None:
    jobs.resume(Job(seconds=100))

    found = _stats(jobs)

    assert found.whole is not None
    assert (found.success_rate, found.whole.runs) == (7 / 8, (1, 2, 3, 4, 5, 6))
    assert found.stages["Load"].runs == (1, 2, 3, 4, 5, 6, 8)


def test_the_trend_compares_the_newest_ten_with_the_ten_before() -> None:
    def change(*seconds: float) -> float | None:
        return stats.Durations(seconds=seconds, runs=tuple(range(len(seconds)))).change

    assert change(1.0, 2.0, 3.0, 4.0, 5.0) is None
    assert change(*[9.0] * 30, *[2.0] * 10, *[1.0] * 10) == -0.5
    assert change(*[2.0] * 3, *[3.0] * 3) == 0.5


def test_differences_that_the_durations_do_not_show_are_no_shape_no_trend_and_no_slowest_run(bench: Bench) -> None:
    CLOCKS[0] = bench.clock
    for milliseconds in (1, 3, 2, 40, 30, 45):
        bench.run(Job(seconds=milliseconds / 1000))

    assert _told(bench, 80)[3:] == [
        "  whole run     1.0s  1.0s     1.0s  1.0s  ▁▁▁▁▁▁",
        "  Load          0.0s  0.0s     0.0s  0.0s  ▁▁▁▁▁▁",
        "  Save          1.0s  1.0s     1.0s  1.0s  ▁▁▁▁▁▁",
        "  trend: steady",
    ]


def test_stats_of_what_never_succeeded_tell_the_states_alone(bench: Bench) -> None:
    CLOCKS[0] = bench.clock
    bench.run(Job(broken=True))

    assert _told(bench, 80) == ["demo:Job  1 run, the first just now", "  1 failed (0% succeeded)"]
    assert stats.document(_stats(bench)) | {"since": ""} == {
        "target": "demo:Job",
        "runs": 1,
        "since": "",
        "states": {"failed": 1},
        "success_rate": 0.0,
        "seconds": None,
        "stages": {},
    }


SHOP: Final = (
    "class Good(LiveOperation):\n    stages = ['One']\n    def run(self, p):\n        with p.stage('One'): pass\n"
)


def test_the_commands_draw_on_the_width_there_is_and_print_the_documented_keys(project: Project) -> None:
    project.recipe("shop", SHOP)
    project.stagerun("run", "shop")

    narrow, wide = (project.stagerun("timeline", environ={"COLUMNS": columns}).out for columns in ("40", "120"))
    (track,) = json.loads(project.stagerun("timeline", "--json").out)
    told = json.loads(project.stagerun("stats", "shop", "--json").out)
    unknown = project.stagerun("stats", "shp")

    assert max(map(len, narrow.splitlines())) <= 40 < max(map(len, wide.splitlines())) <= 120
    page = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
    sections = {
        part.partition("\n")[0]: re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) for part in page.split("\n## ")
    }
    assert sections["timeline"] == [*track, *track["stages"][0]]
    assert sections["stats"] == [*told, *told["seconds"]]
    assert (unknown.code, unknown.err) == (2, "stagerun: there is no operation 'shp'\n  did you mean 'shop'?\n")
