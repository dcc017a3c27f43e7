"""One frame of the live display: what it says of a run, and that it keeps within the window."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.text import Text

from stagerun import events
from stagerun.render import frame
from stagerun.render.live import Live
from stagerun.render.output import Output
from stagerun.states import RunState, StageState
from stagerun.view import RunView, begin, fold


WIDTHS = [20, 40, 80, 200]


def viewed(
    *happened: tuple[float, events.Event],
    stages: Sequence[str] = ("Load", "Process", "Save"),
    target: str = "orders:Import",
    expected: dict[str, float] | None = None,
    chained_from: int | None = None,
) -> RunView:
    """Return run 42, started at second 0, after what happened, each at its second."""
    plan = events.RunCreated(
        target=target,
        recipe="orders",
        operation="Import",
        stages=tuple(stages),
        owner="alice",
        expected=expected or {},
        chained_from=chained_from,
    )
    view = begin(events.Entry(42, 1, 0.0, plan))
    for seq, (time, event) in enumerate([(0.0, events.RunStarted()), *happened], start=2):
        view = fold(view, events.Entry(42, seq, time, event))
    return view


def entered(stage: str, index: int | None) -> events.StageEntered:
    return events.StageEntered(stage=stage, index=index)


def left(stage: str, index: int | None, seconds: float, state: StageState = StageState.DONE) -> events.StageLeft:
    return events.StageLeft(stage=stage, index=index, state=state, seconds=seconds)


LOADED = ((0.0, entered("Load", 0)), (0.4, left("Load", 0, 0.4)))
PROCESSING = (*LOADED, (0.4, entered("Process", 1)))


def text(lines: list[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def running(view: RunView, now: float, width: int, *, unicode: bool = True) -> list[str]:
    return text(frame.running(view, now, width, unicode=unicode))


def finished(view: RunView, width: int, *, unicode: bool = True) -> list[str]:
    return text(frame.finished(view, width, unicode=unicode))


HALF = (10.4, events.ProgressMoved(done=912, total=1824, percent=50.0, unit="file", seconds=10.0))


def bar(line: str) -> str:
    """Return the line with a bar of one sign: how long it is, is what the other facts leave."""
    return re.sub(r"[━╸─]+|=+-?\.*", "━", line)


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (20, [" run 42 · or… 10.4s", " ✓●○ [2/3] Process", " Process 10s left"]),
        (
            40,
            [
                " run 42 · orders:Import           10.4s",
                " ✓ Load 0.4s   ● Process 10.0s   ○ Save",
                " Process ━  50%  10s left",
            ],
        ),
        (
            80,
            [
                " run 42 · orders:Import" + "10.4s".rjust(56),
                " ✓ Load 0.4s   ● Process 10.0s   ○ Save",
                " Process ━  50%  912/1,824 files  10s left  91/s",
            ],
        ),
        (
            200,
            [
                " run 42 · orders:Import" + "10.4s".rjust(176),
                " ✓ Load 0.4s   ● Process 10.0s   ○ Save",
                " Process ━  50%  912/1,824 files  10s left  91/s",
            ],
        ),
    ],
)
def test_a_frame_has_the_run_its_stages_and_as_much_of_its_work_as_fits(width: int, lines: list[str]) -> None:
    view = viewed(*PROCESSING, HALF)

    assert [bar(line) for line in running(view, 10.4, width)] == lines


def test_a_frame_in_ascii_says_the_same() -> None:
    view = viewed(*PROCESSING, HALF)

    assert [bar(line) for line in running(view, 10.4, 80, unicode=False)] == [
        " run 42 - orders:Import" + "10.4s".rjust(56),
        " + Load 0.4s   * Process 10.0s   . Save",
        " Process ━  50%  912/1,824 files  10s left  91/s",
    ]


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("percent", [0.0, 10.0, 50.0, 90.0, 100.0])
def test_the_full_part_of_the_bar_is_the_percentage_and_differs_from_the_rest_without_colour(
    percent: float, unicode: bool
) -> None:
    view = viewed(*PROCESSING, (0.4, events.ProgressMoved(percent=percent)))

    drawn = running(view, 0.4, 80, unicode=unicode)[2].split()[1]

    rest = drawn.lstrip("━" if unicode else "=")
    assert len(drawn) == 40
    assert len(drawn) - len(rest) == 40 * percent / 100


LONG = "A stage with quite a long name that says everything"
WIDE = "データ処理の段階"
CROWDED = {
    "work": viewed(*PROCESSING, HALF),
    "long names": viewed(
        (0.0, entered(LONG, 0)), HALF, stages=[LONG, LONG[::-1]], target="orders:" + "Import" * 20, chained_from=41
    ),
    "wide names": viewed(
        (0.0, entered(WIDE, 0)), HALF, stages=[WIDE, "次の段階", "終わり"], target="orders:" + WIDE * 9
    ),
    "a long label": viewed(
        (0.0, entered("Load", 0)), (9.0, events.ProgressMoved(done=1, total=9, percent=11.0, label=LONG, seconds=9.0))
    ),
    "a long status": viewed(*PROCESSING, (1.0, events.StatusChanged(WIDE * 40))),
    "a status with tabs": viewed(*PROCESSING, (1.0, events.StatusChanged("a\tb" * 40))),
    "many stages": viewed((0.0, entered("Stage 0", 0)), stages=[f"Stage {number}" for number in range(100)]),
    "a total of millions": viewed(
        (0.0, entered("Load", 0)),
        (1.0, events.ProgressMoved(done=1, total=10**15, percent=0.0001, unit="very long unit", seconds=10**6)),
    ),
    "a block inside a stage": viewed(*PROCESSING, (1.0, entered(LONG, None)), HALF),
    "a year": viewed(*PROCESSING, (31_536_000.0, events.ProgressMoved(done=5, seconds=31_536_000.0))),
}


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", CROWDED.values(), ids=CROWDED.keys())
def test_no_line_of_a_running_frame_reaches_the_last_column(view: RunView, width: int, unicode: bool) -> None:
    lines = running(view, 31_536_000.0, width, unicode=unicode)

    assert lines
    assert [line for line in lines if cell_len(line.expandtabs(8)) >= width] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", CROWDED.values(), ids=CROWDED.keys())
def test_a_running_frame_has_at_most_four_lines(view: RunView, width: int) -> None:
    assert len(running(view, 31_536_000.0, width)) <= 4


@pytest.mark.parametrize("width", WIDTHS)
def test_the_time_stays_when_the_target_is_too_long(width: int) -> None:
    view = viewed(target="orders:" + "Import" * 50)

    header = running(view, 64.0, width)[0]

    assert header.startswith(" run 42 · o")
    assert header.endswith("… 1m 04s")
    assert cell_len(header) == width - 1


def test_a_long_stage_name_gives_way_to_the_percentage() -> None:
    view = viewed((0.0, entered(LONG, 0)), HALF, stages=[LONG])

    assert running(view, 10.4, 40)[-1].endswith("  50%  10s left")


def test_stages_that_do_not_fit_are_a_row_of_symbols_and_the_stage_in_hand() -> None:
    many = [f"Stage {number}" for number in range(10)]
    view = viewed(
        (0.0, entered("Stage 0", 0)),
        (1.0, left("Stage 0", 0, 1.0)),
        (1.0, entered("Stage 1", 1)),
        (2.0, left("Stage 1", 1, 1.0, StageState.FAILED)),
        (2.0, entered("Stage 2", 2)),
        stages=many,
    )

    assert running(view, 2.0, 40)[1] == " ✓✗●○○○○○○○ [3/10] Stage 2"


def test_when_even_the_symbols_do_not_fit_the_stage_in_hand_stands_alone() -> None:
    view = viewed((0.0, entered("Stage 0", 0)), stages=[f"Stage {number}" for number in range(100)])

    assert running(view, 2.0, 40)[1] == " [1/100] Stage 0"


def test_before_the_first_stage_of_too_many_their_number_is_shown() -> None:
    view = viewed(stages=[f"Stage {number}" for number in range(100)])

    assert running(view, 2.0, 40)[1] == " 100 stages"


def test_a_run_without_stages_is_a_header() -> None:
    assert running(viewed(stages=[]), 2.0, 40) == [" run 42 · orders:Import            2.0s"]


def test_progress_outside_any_stage_has_a_bar_without_a_name() -> None:
    view = viewed((1.0, events.ProgressMoved(percent=25.0, seconds=4.0)), stages=[])

    assert [bar(line) for line in running(view, 4.0, 40)] == [
        " run 42 · orders:Import            4.0s",
        " ━  25%  12s left",
    ]


@pytest.mark.parametrize(
    ("waited", "lines"),
    [
        (
            2.0,
            [" Process ━  50%  4/8 items  10s left  0.4/s", " Process ━  38%  epoch 2/4 · 2/4 items  50s left  0.5/s"],
        ),
        (
            20.0,
            [
                " Process ━  50%  4/8 items  24s left  0.2/s",
                " Process ━  38%  epoch 2/4 · 2/4 items  1m 11s left  0.1/s",
            ],
        ),
    ],
)
def test_work_that_stands_still_becomes_slower_once_its_next_item_is_late(
    tmp_path: Path, waited: float, lines: list[str]
) -> None:
    outer = events.Counted(done=1, total=4, percent=25.0, unit="epoch", seconds=30.0)
    flat = events.ProgressMoved(done=4, total=8, percent=50.0, seconds=10.0)
    nested = events.ProgressMoved(done=2, total=4, percent=50.0, seconds=4.0, depth=1, around=(outer,))

    drawn = list[str]()
    for event in (flat, nested):
        with (tmp_path / "screen").open("w") as stream:
            live = Live(Output(stream), colour=False)
            live.update(events.Entry(42, 5, 10.4, event), viewed(*PROCESSING, (10.4, event)))
            live.refresh(10.4 + waited)
        drawn.append(
            bar(re.sub(r"\x1b\[\S*[a-zA-Z]|\r", "", (tmp_path / "screen").read_text()).splitlines()[-1].rstrip())
        )

    assert drawn == lines


def test_work_of_unknown_length_has_a_count_and_a_rate_and_no_bar() -> None:
    view = viewed((0.0, entered("Load", 0)), (5.0, events.ProgressMoved(done=4_000, unit="row", seconds=5.0)))

    assert running(view, 5.0, 80)[2] == " Load 4,000 rows  800/s"


def test_a_loop_that_has_ended_has_no_time_left() -> None:
    view = viewed(*PROCESSING, (2.4, events.ProgressMoved(done=4, total=8, percent=50.0, seconds=2.0, ended=True)))

    assert bar(running(view, 2.4, 80)[2]) == " Process ━  50%  4/8 items  2.0/s"


def test_a_stage_without_progress_tells_the_time_that_it_usually_has_left() -> None:
    view = viewed(*PROCESSING, expected={"Process": 60.0})

    assert running(view, 20.4, 80)[2] == " about 40s left"


def test_a_stage_that_takes_longer_than_usual_promises_nothing() -> None:
    view = viewed(*PROCESSING, expected={"Process": 60.0})

    assert "left" not in "".join(running(view, 90.4, 80))


def test_nested_loops_have_one_bar_for_all_of_them_and_the_time_that_all_of_them_take() -> None:
    inner = events.ProgressMoved(
        done=15,
        total=60,
        percent=25.0,
        unit="batch",
        seconds=5.0,
        depth=1,
        around=(
            events.Counted(done=2, total=5, percent=40.0, unit="epoch", seconds=90.0),
            events.Counted(done=1, total=2, percent=50.0, label="fold", seconds=45.0),
        ),
    )
    view = viewed(*PROCESSING, (90.4, inner))

    assert [bar(running(view, 90.4, width)[2]) for width in (120, 80, 40)] == [
        " Process ━  52%  epoch 3/5 · fold 2/2 · 15/60 batches  1m 21s left  3.0/s",
        " Process ━  52%  epoch 3/5 · fold 2/2 · 15/60 batches  1m 21s left",
        " Process ━  52%  1m 21s left",
    ]
    assert view.percent == 52.5


def test_when_an_inner_loop_has_ended_the_last_turn_of_the_outer_one_is_not_over() -> None:
    outer = events.Counted(done=2, total=3, percent=66.7, unit="epoch", seconds=90.0)
    inner = events.ProgressMoved(done=60, total=60, percent=100.0, seconds=5.0, depth=1, ended=True, around=(outer,))

    assert bar(running(viewed(*PROCESSING, (90.4, inner)), 90.4, 80)[2]) == (
        " Process ━  99%  epoch 3/3 · 60/60 items  1s left  12/s"
    )


def test_a_loop_inside_one_of_unknown_length_promises_neither_a_share_nor_a_time() -> None:
    outer = events.Counted(done=2, unit="file", seconds=90.0)
    inner = events.ProgressMoved(done=15, total=60, percent=25.0, unit="row", seconds=5.0, depth=1, around=(outer,))

    assert running(viewed(*PROCESSING, (90.4, inner)), 90.4, 80)[2] == " Process file 3 · 15/60 rows  3.0/s"


def test_a_loop_that_has_just_begun_has_an_empty_bar() -> None:
    view = viewed(*PROCESSING, (0.4, events.ProgressMoved(done=0, total=60, percent=0.0, unit="row")))

    assert running(view, 0.4, 80)[2] == " Process " + "─" * 40 + "  0%  0/60 rows"


USUAL = {"Load": 0.4, "Process": 300.0, "Save": 300.0}


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (120, " run 42 · orders:Import" + "10.4s · about 9m 50s left".rjust(96)),
        (60, " run 42 · orders:Import" + "10.4s · about 9m 50s left".rjust(36)),
        (40, " run 42 · orders:Imp… about 9m 50s left"),
        (20, "… about 9m 50s left"),
    ],
)
def test_the_first_line_says_when_all_of_it_will_be_over_and_a_narrow_one_says_that_last(
    width: int, header: str
) -> None:
    assert running(viewed(*PROCESSING, expected=USUAL), 10.4, width)[0] == header


@pytest.mark.parametrize(
    ("happened", "now", "times"),
    [
        pytest.param(PROCESSING, 30.4, "30.4s · about 9m 30s left", id="as usual"),
        pytest.param(
            ((0.0, entered("Load", 0)), (600.0, left("Load", 0, 600.0)), (600.0, entered("Process", 1))),
            600.0,
            "10m 00s · about 15m left · usually 10m",
            id="the first stage took much longer",
        ),
        pytest.param(
            (*PROCESSING, (100.4, events.ProgressMoved(done=1, total=11, percent=100 / 11, seconds=100.0))),
            100.4,
            "1m 40s · about 22m left · usually 10m",
            id="its loop is slow",
        ),
        pytest.param(
            (*PROCESSING, (2.4, events.ProgressMoved(done=1, total=2, percent=50.0, seconds=2.0))),
            2.4,
            "2.4s · about 9m 58s left",
            id="a loop that can't be all of the stage",
        ),
        pytest.param(PROCESSING, 1000.4, "16m 40s · usually 10m", id="the stage takes much too long"),
        pytest.param(LOADED, 1.0, "1.0s", id="between two stages"),
    ],
)
def test_the_time_left_is_the_usual_one_corrected_by_the_pace_of_this_run(
    happened: tuple[tuple[float, events.Event], ...], now: float, times: str
) -> None:
    header = running(viewed(*happened, expected=USUAL), now, 80)[0]

    assert header.removeprefix(" run 42 · orders:Import").strip() == times


def test_without_the_usual_time_of_a_coming_stage_nobody_knows_when_all_of_it_is_over() -> None:
    view = viewed(*PROCESSING, HALF, expected={"Load": 0.4, "Process": 300.0})

    assert running(view, 10.4, 80)[0].endswith("  10.4s")


def test_the_status_is_the_last_line() -> None:
    view = viewed(*PROCESSING, HALF, (10.4, events.StatusChanged("parsing os.py")))

    assert running(view, 10.4, 80)[3] == " parsing os.py"


def test_the_time_of_a_stage_that_was_entered_again_adds_up() -> None:
    view = viewed(*LOADED, (1.0, entered("Load", 0)))

    assert running(view, 3.0, 80)[1] == " ● Load 2.4s   ○ Process   ○ Save"


def test_names_are_shown_as_they_are_and_never_as_markup_or_escapes() -> None:
    name = "[red]x[/red] :smile: \x1b[2J\u202e"
    view = viewed((0.0, entered(name, 0)), (1.0, events.StatusChanged(name)), stages=[name], target=name)

    safe = r"[red]x[/red] :smile: \x1b[2J\u202e"
    lines = running(view, 1.0, 80)
    assert lines[0] == f" run 42 · {safe}" + "1.0s".rjust(79 - 10 - len(safe))
    assert lines[1] == f" ● {safe} 1.0s"
    assert lines[-1] == f" {safe}"


def ended(
    state: RunState, seconds: float, *, error: events.Failure | None = None, signal: str | None = None
) -> tuple[float, events.Event]:
    return seconds, events.RunFinished(state=state, seconds=seconds, exit_code=0, error=error, signal=signal)


STAGES = ["Load", "Process"]
SUCCEEDED = viewed(
    *LOADED,
    (0.4, entered("Process", 1)),
    (20.5, left("Process", 1, 20.1)),
    (20.5, entered("Save", 2)),
    (20.6, left("Save", 2, 0.1)),
    (20.6, events.ResultSet(result={"count": 10_000, "name": "orders", "parts": [1, 2]})),
    ended(RunState.SUCCEEDED, 21.0),
)
ERROR = events.Failure(
    type="ValueError",
    message="boom",
    stage="Process",
    traceback='Traceback (most recent call last):\n  File "orders.py", line 7, in run\nValueError: boom',
)
FAILED = viewed(
    *PROCESSING, (1.6, left("Process", 1, 1.2, StageState.FAILED)), ended(RunState.FAILED, 2.0, error=ERROR)
)


@pytest.mark.parametrize("width", [80, 200])
def test_the_last_frame_of_a_success_has_its_stages_in_a_row_its_result_and_its_end(width: int) -> None:
    assert finished(SUCCEEDED, width) == [
        "run 42 · orders:Import · started by alice",
        "✓ Load 0.4s   ✓ Process 20.1s   ✓ Save 0.1s",
        "count=10000",
        "name=orders",
        "parts=[1,2]",
        "run 42 succeeded in 21.0s",
    ]


def test_a_success_that_took_much_longer_than_usual_says_so_in_its_last_line() -> None:
    assert [
        finished(viewed(*PROCESSING, ended(state, seconds), stages=STAGES, expected=expected), 80)[-1]
        for state, seconds, expected in [
            (RunState.SUCCEEDED, 600.0, {"Load": 60.0, "Process": 120.0}),
            (RunState.SUCCEEDED, 200.0, {"Load": 60.0, "Process": 120.0}),
            (RunState.SUCCEEDED, 8.0, {"Load": 0.1, "Process": 0.1}),
            (RunState.SUCCEEDED, 600.0, {"Load": 60.0}),
        ]
    ] == [
        "run 42 succeeded in 10m 00s, usually 3m 00s",
        "run 42 succeeded in 3m 20s",
        "run 42 succeeded in 8.0s",
        "run 42 succeeded in 10m 00s",
    ]


def test_the_last_frame_in_a_narrow_window_has_a_line_for_each_stage() -> None:
    assert finished(SUCCEEDED, 40)[:4] == [
        "run 42 · orders:Import · started by alice",
        "✓ Load 0.4s",
        "✓ Process 20.1s",
        "✓ Save 0.1s",
    ]


def test_the_last_frame_of_a_failure_has_the_traceback_and_how_to_go_on() -> None:
    assert finished(FAILED, 80) == [
        "run 42 · orders:Import · started by alice",
        "✓ Load 0.4s   ✗ Process 1.2s   ○ Save",
        "Traceback (most recent call last):",
        '  File "orders.py", line 7, in run',
        "ValueError: boom",
        "run 42 failed in [2/3] Process after 2.0s",
        "resume with: stagerun resume 42",
    ]


def test_the_last_frame_of_a_cancelled_run_names_the_signal() -> None:
    view = viewed(
        *PROCESSING,
        (1.6, left("Process", 1, 1.2, StageState.CANCELLED)),
        ended(RunState.CANCELLED, 2.0, signal="SIGTERM"),
    )

    assert finished(view, 80, unicode=False) == [
        "run 42 - orders:Import - started by alice",
        "+ Load 0.4s   - Process 1.2s   . Save",
        "run 42 cancelled by SIGTERM in [2/3] Process after 2.0s",
        "resume with: stagerun resume 42",
    ]


def test_the_last_frame_of_a_run_without_stages_has_no_row_of_them() -> None:
    assert finished(viewed(ended(RunState.SUCCEEDED, 2.0), stages=[]), 40) == [
        "run 42 · orders:Import · started by alice",
        "run 42 succeeded in 2.0s",
    ]


def test_the_last_frame_cuts_no_error_and_no_result() -> None:
    error = events.Failure(type="ValueError", message="boom " * 100)
    view = viewed((1.0, events.ResultSet(result={"text": "x" * 300})), ended(RunState.FAILED, 2.0, error=error))

    assert finished(view, 20)[4:6] == [("error: ValueError: " + "boom " * 100).rstrip(), "text=" + "x" * 300]


def test_many_stages_end_in_a_count_those_that_went_wrong_and_the_slowest() -> None:
    names = [f"Step {number}" for number in range(200)]
    happened: list[tuple[float, events.Event]] = []
    for number, name in enumerate(names[:198]):
        state = StageState.FAILED if number in (3, 70) else StageState.DONE
        seconds = {40: 64.0, 41: 12.5, 42: 8.0, 43: 7.0}.get(number, 0.1)
        skipped = "nothing new" if number == 5 else None
        event = events.StageLeft(stage=name, index=number, state=state, seconds=seconds, skipped=skipped)
        happened += [(0.0, entered(name, number)), (0.0, event)]
    view = viewed(*happened, (0.0, events.StageTakenOver(stage=names[198], index=198, run=7)), stages=names)
    view = fold(view, events.Entry(42, 999, 120.0, ended(RunState.SUCCEEDED, 120.0)[1]))

    assert finished(view, 80)[1:-2] == [
        "✓ 195 done   ✗ 2 failed   ✓ 1 skipped   ✓ 1 from run 7   ○ 1 never entered",
        "✗ Step 3 0.1s",
        "✗ Step 70 0.1s",
        "slowest: Step 40 1m 04s, Step 41 12.5s, Step 42 8.0s",
    ]


def test_of_many_stages_that_went_wrong_the_first_are_named() -> None:
    names = [f"Step {number}" for number in range(50)]
    happened = [
        each
        for number, name in enumerate(names)
        for each in ((0.0, entered(name, number)), (0.0, left(name, number, 0.1, StageState.FAILED)))
    ]

    assert finished(viewed(*happened, ended(RunState.SUCCEEDED, 5.0), stages=names), 80)[1:] == [
        "✗ 50 failed",
        *(f"✗ Step {number} 0.1s" for number in range(20)),
        "and 30 more",
        "run 42 succeeded in 5.0s",
    ]
