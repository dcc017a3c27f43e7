"""The plain text is an interface: these are its golden outputs."""

from pathlib import Path

from stagerun import LiveOperation, Progress, events
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.view import begin, fold
from tests.conftest import Bench


def test_a_successful_run_prints_each_stage_its_progress_and_its_result(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load", "Process", "Save"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                bench.clock.move(0.8)
                p.log("read 10,000 rows")
            with p.stage("Process"):
                for row in p.track(range(10_000), unit="row"):
                    if row == 4_000:
                        bench.clock.move(8)
                        p._session.loops.sample()
                bench.clock.move(12.1)
            with p.stage("Save"):
                bench.clock.move(0.1)
            p.result({"count": 10_000})

    bench.run(Import(owner="alice"))

    assert bench.text == (
        "run 1 · demo:Import · started by alice\n"
        "=== [1/3] Load ===\n"
        "read 10,000 rows\n"
        "--- [1/3] Load: done in 0.8s\n"
        "=== [2/3] Process ===\n"
        "Process: 40% (4,000/10,000 rows), about 12s left\n"
        "Process: 100% (10,000/10,000 rows) in 8.0s\n"
        "--- [2/3] Process: done in 20.1s\n"
        "=== [3/3] Save ===\n"
        "--- [3/3] Save: done in 0.1s\n"
        "count=10000\n"
        "run 1 succeeded in 21.0s\n"
    )


def test_a_failure_prints_the_frames_of_the_recipe_and_how_to_go_on(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load", "Process", "Save"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                bench.clock.move(0.8)
            with p.stage("Process"):
                bench.clock.move(1.2)
                raise ValueError("boom")

    view = bench.run(Import(owner="alice"))

    assert view.error is not None
    assert bench.text == (
        "run 1 · demo:Import · started by alice\n"
        "=== [1/3] Load ===\n"
        "--- [1/3] Load: done in 0.8s\n"
        "=== [2/3] Process ===\n"
        "--- [2/3] Process: failed after 1.2s\n"
        "Traceback (most recent call last):\n"
        f'  File "{__file__}", line {view.error.line}, in run\n'
        '    raise ValueError("boom")\n'
        "ValueError: boom\n"
        "run 1 failed in [2/3] Process after 2.0s\n"
        "resume with: stagerun resume 1\n"
    )


def test_a_cancel_names_the_signal_and_the_stage(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                bench.clock.move(1)
                bench.interrupts.request("SIGINT")
                p.check_cancelled()

    bench.run(Import(owner="alice"))

    assert bench.text == (
        "run 1 · demo:Import · started by alice\n"
        "=== [1/2] Load ===\n"
        "--- [1/2] Load: cancelled after 1.0s\n"
        "run 1 cancelled by SIGINT in [1/2] Load after 1.0s\n"
        "resume with: stagerun resume 1\n"
    )


def test_an_untracked_stage_has_a_header_without_a_number(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with p.stage("Warm up"):
                bench.clock.move(2)

    bench.run(Import(owner="alice"))

    assert bench.text == (
        "run 1 · demo:Import · started by alice\n=== Warm up ===\n--- Warm up: done in 2.0s\nrun 1 succeeded in 2.0s\n"
        "never entered: [1/1] Load\n"
    )


class StepA(LiveOperation):
    def run(self, p: Progress) -> None:
        p.log("Step A done")
        step_b = StepB.objects.create(owner=self.owner)
        p.chain_to(step_b)


class StepB(LiveOperation):
    stages = ["Only"]

    def run(self, p: Progress) -> None:
        with p.stage("Only"):
            p.log("Step B done")


def test_a_chain_goes_on_in_the_same_text(bench: Bench) -> None:
    bench.run(StepA(owner="alice"))

    assert bench.text == (
        "run 1 · demo:StepA · started by alice\n"
        "Step A done\n"
        "run 1 succeeded in 0.0s\n"
        "run 2 · tests.test_plain:StepB · chained from run 1\n"
        "=== [1/1] Only ===\n"
        "Step B done\n"
        "--- [1/1] Only: done in 0.0s\n"
        "run 2 succeeded in 0.0s\n"
    ).replace("tests.test_plain", "demo")


def _lines_of(bench: Bench) -> list[str]:
    return bench.text.split("\n")[2:-2]


def test_a_quick_loop_prints_one_line(bench: Bench) -> None:
    class Quick(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for _ in p.track(range(20_000), unit="row"):
                    bench.clock.move(0.000_005)
                    p._session.loops.sample()

    bench.run(Quick(owner="alice"))

    assert _lines_of(bench) == ["Go: 100% (20,000/20,000 rows) in 0.1s", "--- [1/1] Go: done in 0.1s"]


def test_a_slow_loop_prints_at_ten_percent_and_a_second_or_after_ten_seconds(bench: Bench) -> None:
    class Slow(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for row in p.track(range(100), unit="row"):
                    bench.clock.move(0.5 if row < 40 else 3.0)
                    p._session.loops.sample()

    bench.run(Slow(owner="alice"))

    shown = [line.split()[1] for line in _lines_of(bench)[:-1]]
    assert shown == ["10%", "20%", "30%", *(f"{percent}%" for percent in range(40, 97, 4)), "100%"]


def test_a_loop_of_unknown_length_prints_a_count_and_a_rate(bench: Bench) -> None:
    class Stream(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for _ in p.track(iter(lambda: bench.clock.now < 20, False), label="pages", unit="page"):
                    bench.clock.move(2)
                    p._session.loops.sample()

    bench.run(Stream(owner="alice"))

    assert _lines_of(bench) == [
        "Go, pages: 4 pages, 0.4/s",
        "Go, pages: 9 pages, 0.5/s",
        "Go, pages: 10 pages in 20.0s",
        "--- [1/1] Go: done in 20.0s",
    ]


def test_a_loop_inside_a_loop_prints_no_line_for_each_of_its_turns(bench: Bench) -> None:
    class Nested(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for _ in p.track(range(40), unit="file"):
                    for _ in p.track(range(3), unit="row"):
                        bench.clock.move(0.001)

    bench.run(Nested(owner="alice"))

    assert _lines_of(bench) == ["Go: 100% (40/40 files) in 0.1s", "--- [1/1] Go: done in 0.1s"]


def test_the_lines_of_nested_loops_say_how_far_all_of_them_are_together(bench: Bench) -> None:
    class Nested(LiveOperation):
        stages = ["Train"]

        def run(self, p: Progress) -> None:
            with p.stage("Train"):
                for _ in p.track(range(2), unit="epoch"):
                    for _ in p.track(range(4), unit="batch"):
                        bench.clock.move(5)
                        p._session.loops.sample()

    bench.run(Nested(owner="alice"))

    assert _lines_of(bench) == [
        "Train: 12% (epoch 1/2, 1/4 batches), about 1m 10s left",
        "Train: 25% (epoch 1/2, 2/4 batches), about 45s left",
        "Train: 38% (epoch 1/2, 3/4 batches), about 33s left",
        "Train: 50% (epoch 2/2, 0/4 batches), about 25s left",
        "Train: 62% (epoch 2/2, 1/4 batches), about 18s left",
        "Train: 75% (epoch 2/2, 2/4 batches), about 12s left",
        "Train: 88% (epoch 2/2, 3/4 batches), about 6s left",
        "Train: 100% (2/2 epochs) in 40.0s",
        "--- [1/1] Train: done in 40.0s",
    ]


def test_the_last_percentage_of_a_stage_is_printed_when_it_ends(bench: Bench) -> None:
    class Percent(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for n in range(101):
                    p.percent(n)

    bench.run(Percent(owner="alice"))

    assert _lines_of(bench) == ["Go: 100%", "--- [1/1] Go: done in 0.0s"]


def test_of_many_statuses_the_first_is_printed_then_the_newest_every_ten_seconds_and_at_the_end(bench: Bench) -> None:
    class Busy(LiveOperation):
        stages = ["Go", "On"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for n in range(100):
                    p.status(f"file {n}")
                    bench.clock.move(0.25)
            with p.stage("On"):
                p.status("uploading")

    bench.run(Busy(owner="alice"))

    assert _lines_of(bench) == [
        *("Go: file 0", "Go: file 39", "Go: file 79", "Go: file 99"),
        *("--- [1/2] Go: done in 25.0s", "=== [2/2] On ===", "On: uploading", "--- [2/2] On: done in 0.0s"),
    ]


def test_a_status_is_over_with_the_loop_that_it_was_set_in(bench: Bench) -> None:
    class Busy(LiveOperation):
        stages = ["Go", "On"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for n in p.track(range(3), unit="file"):
                    p.status(f"file {n}")
            with p.stage("On"):
                p.status("cleaning")
                for _ in p.track(range(3), unit="file"):
                    pass

    view = bench.run(Busy(owner="alice"))

    assert _lines_of(bench) == [
        *("Go: file 0", "Go: 100% (3/3 files) in 0.0s", "--- [1/2] Go: done in 0.0s"),
        *("=== [2/2] On ===", "On: cleaning", "On: 100% (3/3 files) in 0.0s", "--- [2/2] On: done in 0.0s"),
    ]
    left_go = next(view for view in bench.seen.views if view.stages[0].state == "done")
    assert (left_go.status, view.status and view.status.text) == (None, "cleaning")


def test_levels_from_warning_on_are_named(bench: Bench) -> None:
    class Levels(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                for level in ("debug", "info", "warning", "error", "critical"):
                    p.log("text", level=level)

    bench.run(Levels(owner="alice"))

    assert _lines_of(bench)[:-1] == ["text", "text", "warning: text", "error: text", "critical: text"]


def test_timestamps_stand_before_every_line(bench: Bench) -> None:
    file = bench.folder / "timestamps.txt"
    with file.open("w") as stream:
        bench.run(StepB(owner="alice"), Plain(Output(stream), timestamps=True))

    assert [line[:25] for line in file.read_text().splitlines()] == ["2027-01-15T08:00:00.000Z "] * 5


def test_no_line_holds_a_control_byte_or_ends_in_a_blank(bench: Bench) -> None:
    class Hostile(LiveOperation):
        stages = ["a\x1b[31m\x9b"]

        def run(self, p: Progress) -> None:
            with p.stage("a\x1b[31m\x9b"):
                for code in [*range(0x100), 0x202E, 0x2066, 0x200B, 0x2028, 0xFEFF, 0xE0041, 0xDC80]:
                    p.log(f"<{chr(code)}>  ")
            p.result({"\x1b]0;x\x07": "\x1b[2J"})
            raise ValueError("\x1b[31m\r\u202e")

    bench.run(Hostile(owner="al\x1b[5mice"))

    allowed = {"\n", "\t"}
    bad = {character for character in bench.text if not character.isprintable() and character not in allowed}
    assert bad == {"\xa0"}
    assert [line for line in bench.text.split("\n") if line != line.rstrip(" ")] == []


def test_what_a_run_waited_for_is_not_told_once_it_has_started(tmp_path: Path) -> None:
    plan = events.RunCreated(target="demo:Import", recipe="demo", operation="Import", stages=("Load",), owner="alice")
    waits = [events.StatusChanged("waiting for run 1 and 1 more"), events.StatusChanged("waiting for run 2")]
    happened: list[events.Event] = [
        *waits,
        events.RunStarted(),
        events.StageEntered(stage="Load", index=0),
        events.Log("read 3 rows"),
    ]
    view = begin(events.Entry(3, 1, 0.0, plan))

    with (tmp_path / "plain.txt").open("w") as stream:
        display = Plain(Output(stream))
        display.update(events.Entry(3, 1, 0.0, plan), view)
        for seq, event in enumerate(happened, start=2):
            entry = events.Entry(3, seq, 60.0, event)
            view = fold(view, entry)
            display.update(entry, view)
        display.refresh(120.0)

    assert (tmp_path / "plain.txt").read_text().splitlines()[1:] == [
        "waiting for run 1 and 1 more",
        "=== [1/1] Load ===",
        "read 3 rows",
    ]
