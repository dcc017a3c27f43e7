"""What `stagerun prune` deletes, and what it never does."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from stagerun import events
from stagerun.journal.writing import Journal
from stagerun.machine.identity import current_process
from stagerun.states import RunState
from stagerun.view import RunView, fold
from tests.conftest import Done, Project
from tests.journals import change, writing
from tests.processes import GATE, everything, look, open_gate, read_until, rows, running


QUICK = (
    GATE
    + """
class Quick(LiveOperation):
    stages = ["Load"]

    def run(self, p):
        with p.stage("Load"):
            p.checkpoint("rows", lambda: [1])
            p.log("loaded")


class Broken(LiveOperation):
    def run(self, p):
        p.checkpoint("rows", lambda: [1])
        if not pathlib.Path("mended").exists():
            raise ValueError("boom")


class Slow(LiveOperation):
    def run(self, p):
        p.log("ready")
        gate("go")


class First(LiveOperation):
    stages = ["One"]

    def run(self, p):
        with p.stage("One"):
            pass
        p.chain_to(Broken())
"""
)

NOW = datetime.now(UTC).replace(microsecond=0)


def _record(
    project: Project,
    state: RunState,
    *,
    days_ago: float = 0,
    resumed_from: RunView | None = None,
    times: int = 1,
) -> RunView:
    """Record runs that ended in `state`; a pending one stays pending, a running one goes on in this process."""
    time = (NOW - timedelta(days=days_ago)).timestamp()
    process = current_process()
    plan = events.RunCreated(
        target="demo:Op",
        recipe="demo",
        operation="Op",
        stages=("Load",),
        owner="alice",
        host=process.host,
        boot_id=process.boot_id,
        pid_namespace=process.pid_namespace,
        pid=process.pid,
        process_started=process.started,
        resumed_from=resumed_from.id if resumed_from else None,
        root=resumed_from.root if resumed_from else None,
        attempt=resumed_from.plan.attempt + 1 if resumed_from else 1,
    )
    steps: list[events.Event] = []
    if state is not RunState.PENDING:
        steps += [events.RunStarted()]
    if state not in (RunState.PENDING, RunState.RUNNING):
        steps += [events.RunFinished(state=state, seconds=1.0, exit_code=0)]
    with writing(project.journal) as opened, opened.transaction():
        return [_write(opened.journal, time, plan, steps) for _ in range(times)][-1]


def _write(journal: Journal, time: float, plan: events.RunCreated, steps: list[events.Event]) -> RunView:
    view = journal.create(events.Entry(0, 1, time, plan))
    for seq, event in enumerate(steps, 2):
        entry = events.Entry(view.id, seq, time, event)
        old, view = view, fold(view, entry)
        journal.append([entry], view, old.state)
    return view


def _ids(project: Project) -> list[object]:
    return [run for (run,) in rows(project, "SELECT id FROM runs ORDER BY id")]


def test_without_delete_it_only_tells_what_it_would_do(project: Project) -> None:
    _record(project, RunState.SUCCEEDED, times=3)
    _record(project, RunState.FAILED)
    _record(project, RunState.SUCCEEDED)
    before = everything(project)

    assert project.stagerun("prune", "--keep", "0") == Done(0, "would delete 4 runs: 1-3, 5; to do it: --delete\n", "")
    assert everything(project) == before


def test_with_delete_a_run_goes_with_all_that_is_recorded_of_it(project: Project) -> None:
    project.recipe("demo", QUICK)
    for _ in range(2):
        project.stagerun("run", "demo:Quick", "--tag", "nightly")
    change(project.journal, "INSERT INTO cancel_requests VALUES (1, 0.0, 'bob'), (2, 0.0, 'bob')")
    before, column = everything(project), {"tags": 1}

    assert project.stagerun("prune", "--keep", "1", "--delete") == Done(0, "deleted 1 run\n", "")
    assert all(before.values())
    assert everything(project) == {
        table: [row for row in found if row[column.get(table, 0)] == 2] for table, found in before.items()
    }


def test_keep_counts_the_newest_runs_whatever_became_of_them(project: Project) -> None:
    for state in (RunState.SUCCEEDED, RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED):
        _record(project, state)

    project.stagerun("prune", "--keep", "2", "--delete")

    assert _ids(project) == [3, 4]


@pytest.mark.parametrize(
    ("before", "left"),
    [
        ("4d", [3]),
        ("2d", [3]),
        ("12h", []),
        ((NOW - timedelta(days=6)).date().isoformat(), [2, 3]),
        ((NOW - timedelta(days=2)).isoformat(), [3]),
        ("9w", [1, 2, 3]),
    ],
    ids=["4d", "2d", "12h", "date", "time", "9w"],
)
def test_before_spares_the_runs_that_began_later(project: Project, before: str, left: list[int]) -> None:
    for days_ago in (10, 4.5, 1):
        _record(project, RunState.SUCCEEDED, days_ago=days_ago)

    prune = project.stagerun("prune", "--before", before, "--delete")

    assert (prune.code, _ids(project)) == (0, left)


def test_a_moment_that_is_none_is_refused_by_the_name_of_its_option(project: Project) -> None:
    _record(project, RunState.SUCCEEDED)

    prune = project.stagerun("prune", "--before", "soon")

    assert (prune.code, prune.out) == (2, "")
    assert prune.err == "stagerun: --before can't be 'soon'\n  give 2026-01-31, 2026-01-31T10:00, 90m, 2h or 7d\n"


def test_what_can_be_resumed_stays_unless_its_state_is_named(project: Project) -> None:
    states = [
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.CANCELLED,
        RunState.TIMED_OUT,
        RunState.CRASHED,
        RunState.SUCCEEDED,
    ]
    for state in states:
        _record(project, state)

    project.stagerun("prune", "--keep", "0", "--delete")

    assert _ids(project) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ("succeeded", [2, 3, 4, 5]),
        ("failed", [1, 3, 4, 5]),
        ("cancelled", [1, 2, 4, 5]),
        ("timed_out", [1, 2, 3, 5]),
        ("crashed", [1, 2, 3, 4]),
        ("running", [1, 2, 3, 4, 5]),
    ],
)
def test_a_state_selects_the_runs_that_ended_in_it(project: Project, state: str, left: list[int]) -> None:
    for each in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT, RunState.CRASHED):
        _record(project, each)

    prune = project.stagerun("prune", "--state", state, "--delete")

    assert (prune.code, _ids(project)) == (0, left)


def test_an_unknown_state_is_refused_with_the_legal_ones(project: Project) -> None:
    _record(project, RunState.SUCCEEDED)

    prune = project.stagerun("prune", "--state", "done")

    states = "pending, running, succeeded, failed, cancelled, timed_out, crashed"
    assert (prune.code, prune.err) == (2, f"stagerun: there is no state 'done'\n  states: {states}\n")


def test_all_conditions_hold_together(project: Project) -> None:
    for state, days_ago in (
        (RunState.FAILED, 10),
        (RunState.SUCCEEDED, 10),
        (RunState.FAILED, 9),
        (RunState.FAILED, 1),
        (RunState.FAILED, 10),
    ):
        _record(project, state, days_ago=days_ago)

    project.stagerun("prune", "--state", "failed", "--before", "5d", "--keep", "1", "--delete")

    assert _ids(project) == [2, 4, 5]


def test_a_lineage_of_resumes_goes_as_a_whole_when_it_has_succeeded(project: Project) -> None:
    first = _record(project, RunState.FAILED)
    _record(project, RunState.SUCCEEDED)
    second = _record(project, RunState.CRASHED, resumed_from=first)
    _record(project, RunState.SUCCEEDED, resumed_from=second)
    _record(project, RunState.FAILED)

    prune = project.stagerun("prune", "--keep", "0", "--delete")

    assert (prune.out, _ids(project)) == ("deleted 4 runs\n", [5])


@pytest.mark.parametrize("end", [RunState.FAILED, RunState.RUNNING, RunState.PENDING])
def test_a_lineage_stays_as_a_whole_while_it_can_go_on(project: Project, end: RunState) -> None:
    first = _record(project, RunState.FAILED)
    _record(project, end, resumed_from=first)

    assert project.stagerun("prune", "--keep", "0", "--delete").code == 0
    assert _ids(project) == [1, 2]


def test_the_state_of_a_lineage_is_that_of_its_last_run(project: Project) -> None:
    first = _record(project, RunState.FAILED)
    _record(project, RunState.SUCCEEDED, resumed_from=first)
    other = _record(project, RunState.CRASHED)
    _record(project, RunState.FAILED, resumed_from=other)

    project.stagerun("prune", "--state", "failed", "--delete")

    assert _ids(project) == [1, 2]


def test_a_lineage_stays_when_one_of_its_runs_is_kept_or_too_young(project: Project) -> None:
    old = _record(project, RunState.FAILED, days_ago=10)
    middle = _record(project, RunState.SUCCEEDED, days_ago=10)
    _record(project, RunState.SUCCEEDED, days_ago=1, resumed_from=old)

    project.stagerun("prune", "--before", "5d", "--delete")
    by_age = _ids(project)
    project.stagerun("prune", "--keep", "1", "--delete")

    assert by_age == [1, 3]
    assert middle.id not in _ids(project)
    assert _ids(project) == [1, 3]


def test_what_was_resumed_can_still_be_read_after_a_prune(project: Project) -> None:
    project.recipe("demo", QUICK)
    project.stagerun("run", "demo:Quick")
    project.stagerun("run", "demo:Broken")
    project.stagerun("prune", "--keep", "0", "--delete")
    open_gate(project, "mended")

    resume = project.stagerun("resume")

    assert resume.code == 0
    assert "  reused:      checkpoint rows\n" in resume.out
    assert [look(project, run).state for run in (2, 3)] == [RunState.FAILED, RunState.SUCCEEDED]


def test_runs_that_are_going_on_never_go(project: Project) -> None:
    project.recipe("demo", QUICK)

    with running(project, "run", "demo:Slow") as run:
        read_until(run, "ready")
        answers = [
            project.stagerun("prune", *conditions, "--delete").out
            for conditions in (["--keep", "0"], ["--state", "running"], ["--state", "pending"], ["--before", "0s"])
        ]
        open_gate(project, "go")
        code = run.wait(60)

    assert (answers, code) == (["deleted 0 runs\n"] * 4, 0)
    assert look(project, 1).state is RunState.SUCCEEDED


def test_a_crash_that_nobody_has_recorded_yet_can_be_pruned(project: Project) -> None:
    project.recipe("demo", QUICK)
    with running(project, "run", "demo:Slow") as run:
        read_until(run, "ready")
        run.kill()
        run.wait()

    history = project.stagerun("history", "--state", "crashed")
    prune = project.stagerun("prune", "--state", "crashed", "--delete")

    assert history.out.splitlines()[1].split()[2] == "crashed"
    assert (prune.out, _ids(project)) == ("deleted 1 run\n", [])


def test_vacuum_shrinks_the_file(project: Project) -> None:
    run = _record(project, RunState.SUCCEEDED)
    with closing(sqlite3.connect(project.journal)) as connection, connection:
        line = '{"line": "' + "x" * 1000 + '"}'
        lines = [(run.id, seq, 0.0, "log", line) for seq in range(100, 2100)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", lines)
    before = project.journal.stat().st_size

    project.stagerun("prune", "--keep", "0", "--delete")
    deleted = project.journal.stat().st_size
    prune = project.stagerun("prune", "--vacuum")

    after = project.journal.stat().st_size
    assert (prune.code, prune.err) == (0, "")
    assert prune.out.splitlines()[-1] == f"the journal has {after:,} bytes now"
    assert before == deleted
    assert after < before / 10
    assert project.stagerun("doctor").code == 0


def test_vacuum_alone_deletes_nothing(project: Project) -> None:
    _record(project, RunState.SUCCEEDED)
    before = everything(project)

    assert project.stagerun("prune", "--vacuum", "--delete").code == 0
    assert everything(project) == before


def test_an_id_is_not_given_again_after_its_run_was_deleted(project: Project) -> None:
    project.recipe("demo", QUICK)
    for _ in range(2):
        project.stagerun("run", "demo:Quick")
    project.stagerun("prune", "--keep", "0", "--delete", "--vacuum")
    nothing_left = _ids(project) == []

    project.stagerun("run", "demo:Quick")

    assert nothing_left
    assert _ids(project) == [3]


def test_a_chain_whose_first_link_was_pruned_is_shown_from_the_next_one_and_can_be_resumed(project: Project) -> None:
    project.recipe("demo", QUICK)
    project.stagerun("run", "demo:First")
    project.stagerun("prune", "--state", "succeeded", "--delete")

    status = project.stagerun("status")
    answers = {ref: project.stagerun("status", ref) for ref in ("1", "2", "last~1")}
    waited, watched = project.stagerun("wait", "2"), project.stagerun("watch", "2")
    left = _ids(project)
    open_gate(project, "mended")
    resume = project.stagerun("resume", "--progress", "quiet")

    assert left == [2]
    assert (status.code, status.err) == (0, "")
    lines = status.out.splitlines()
    assert lines[0].startswith("run 2  demo:Broken  failed after ")
    assert lines[0].endswith("  chained from run 1")
    assert lines[1:] == ["  ValueError: boom", "resume with: stagerun resume 2"]
    assert {ref: answer.code for ref, answer in answers.items()} == {"1": 2, "2": 0, "last~1": 2}
    assert answers["1"].err == f"stagerun: there is no run 1 in {project.journal}\n  the newest is 2\n"
    assert (waited.code, watched.code, watched.err) == (1, 1, "")
    assert (resume.code, resume.err) == (0, "")
    assert look(project, 3).state is RunState.SUCCEEDED


def test_a_chain_whose_last_link_was_pruned_is_shown_and_waited_for_up_to_it_and_leaves_nothing_to_resume(
    project: Project,
) -> None:
    project.recipe("demo", QUICK)
    project.stagerun("run", "demo:First")
    project.stagerun("prune", "--state", "failed", "--delete")

    told = [project.stagerun(command, "1") for command in ("status", "watch", "wait")]
    resume = project.stagerun("resume", "1")

    assert _ids(project) == [1]
    assert [(each.code, each.err) for each in told] == [(0, "")] * 3
    message = "nothing to resume: run 1 succeeded; to run part of it again: --from STAGE\n"
    assert resume == Done(0, message, "")


def test_without_a_condition_it_asks_for_one(project: Project) -> None:
    _record(project, RunState.SUCCEEDED)

    prune = project.stagerun("prune", "--delete")

    message = "stagerun: say which runs: --keep, --before or --state\n  see 'stagerun prune --help'\n"
    assert (prune.code, prune.out, prune.err) == (2, "", message)
    assert _ids(project) == [1]


def test_without_a_journal_there_is_nothing_to_prune_and_none_is_made(project: Project) -> None:
    prune = project.stagerun("prune", "--keep", "0")

    message = f"stagerun: there are no runs yet: {project.journal} does not exist\n  start one: stagerun run TARGET\n"
    assert (prune.code, prune.out, prune.err) == (2, "", message)
    assert not project.journal.parent.exists()


def test_when_nothing_fits_it_says_so(project: Project) -> None:
    _record(project, RunState.FAILED)

    assert project.stagerun("prune", "--keep", "0") == Done(0, "no run to delete\n", "")


def test_many_runs_go_in_several_transactions_and_none_is_left_behind(project: Project) -> None:
    _record(project, RunState.SUCCEEDED, times=205)
    _record(project, RunState.FAILED)

    prune = project.stagerun("prune", "--keep", "0", "--delete")

    assert (prune.out, _ids(project)) == ("deleted 205 runs\n", [206])
    assert {row[0] for row in everything(project)["events"]} == {206}
