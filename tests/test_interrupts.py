"""Signals: where they break in, where they have to wait, and what they never change."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import FrameType

import psutil
import pytest

from stagerun import LiveOperation, OperationCancelled, Progress, events
from stagerun.errors import TimeLimitExceeded
from stagerun.machine.interrupts import Interrupts
from stagerun.view import RunView
from tests.conftest import Bench, Project, Seen


SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"]


def send(name: str) -> None:
    signal.raise_signal(signal.Signals[name])


def _previous(number: int, frame: FrameType | None) -> None:
    raise AssertionError("the signal reached the handler that was there before")


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    """Installed over handlers of our own, because a background shell may ignore SIGINT."""
    before = {name: signal.signal(signal.Signals[name], _previous) for name in SIGNALS}
    interrupts = Interrupts()
    interrupts.install()
    yield interrupts
    interrupts.restore()
    for name, handler in before.items():
        signal.signal(signal.Signals[name], handler)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_breaks_in_where_it_arrives(interrupts: Interrupts, name: str) -> None:
    with pytest.raises(OperationCancelled) as caught:
        send(name)

    assert (caught.value.signal, str(caught.value)) == (name, f"cancelled by {name}")
    assert (interrupts.stopping, interrupts.signal) == (True, name)


def test_a_cancel_is_not_an_exception_that_a_recipe_would_catch() -> None:
    assert not issubclass(OperationCancelled, Exception)
    assert (OperationCancelled().signal, str(OperationCancelled())) == (None, "cancelled")


def test_within_a_guard_a_signal_waits_until_the_outermost_is_left(interrupts: Interrupts) -> None:
    done = []

    with pytest.raises(OperationCancelled):
        with interrupts:
            with interrupts:
                send("SIGTERM")
                done.append("inner")
            done.append("outer")
        done.append("after")

    assert done == ["inner", "outer"]


def test_a_signal_that_waited_is_raised_once(interrupts: Interrupts) -> None:
    with pytest.raises(OperationCancelled), interrupts:
        send("SIGTERM")

    with interrupts:
        pass
    assert interrupts.stopping


def test_an_error_within_a_guard_goes_first_and_the_signal_is_raised_at_the_next_one(interrupts: Interrupts) -> None:
    with pytest.raises(ValueError, match=r"^boom$"), interrupts:
        send("SIGTERM")
        raise ValueError("boom")

    with pytest.raises(OperationCancelled), interrupts:
        pass


def test_an_exposed_part_of_a_guard_lets_a_signal_in_and_the_guard_holds_again_after_it(
    interrupts: Interrupts,
) -> None:
    done = []

    with pytest.raises(OperationCancelled) as caught, interrupts:
        with pytest.raises(OperationCancelled):
            interrupts.expose()
            send("SIGTERM")
            done.append("never")
        interrupts.cover()
        send("SIGHUP")
        done.append("guarded again")

    assert (done, caught.value.signal) == (["guarded again"], "SIGHUP")


def test_a_signal_that_waited_is_raised_before_the_exposed_part_begins(interrupts: Interrupts) -> None:
    done = []

    with interrupts:
        send("SIGTERM")
        with pytest.raises(OperationCancelled):
            interrupts.expose()
            done.append("never")
        interrupts.cover()

    assert done == []


def test_a_check_raises_again_after_a_recipe_has_swallowed_the_cancel(interrupts: Interrupts) -> None:
    raised = 0
    for _ in range(3):
        try:
            interrupts.check()
            send("SIGTERM")
        except BaseException:
            raised += 1

    assert raised == 3


def test_a_check_is_quiet_without_a_request(interrupts: Interrupts) -> None:
    interrupts.check()

    assert (interrupts.stopping, interrupts.signal) == (False, None)


def test_a_check_is_quiet_while_the_cancel_is_being_cleaned_up(interrupts: Interrupts) -> None:
    done = []

    with pytest.raises(OperationCancelled):
        try:
            send("SIGTERM")
        finally:
            interrupts.check()
            try:
                int("while cleaning up")
            except ValueError:
                interrupts.check()
            done.append("cleaned up")

    assert done == ["cleaned up"]
    with pytest.raises(OperationCancelled):
        interrupts.check()


def test_a_second_signal_breaks_into_the_cleaning_up(interrupts: Interrupts) -> None:
    done = []

    with pytest.raises(OperationCancelled) as caught:
        try:
            send("SIGINT")
        finally:
            send("SIGTERM")
            done.append("never")

    assert (caught.value.signal, done) == ("SIGTERM", [])


def test_a_request_without_a_signal_is_met_at_the_next_check(interrupts: Interrupts) -> None:
    interrupts.restore()
    interrupts.request()
    with pytest.raises(OperationCancelled) as caught:
        interrupts.check()

    assert caught.value.signal == "SIGTERM"


def in_a_thread(act: Callable[[], object]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_a_request_of_another_thread_reaches_a_thread_whose_handlers_others_have_replaced(
    interrupts: Interrupts,
) -> None:
    for name in SIGNALS:
        signal.signal(signal.Signals[name], _previous)

    with pytest.raises(OperationCancelled) as caught:
        in_a_thread(lambda: interrupts.request("SIGTERM"))

    assert (caught.value.signal, interrupts.stopping) == ("SIGTERM", True)
    assert interrupts.replaced() == dict.fromkeys(SIGNALS, _previous)


def test_a_request_whose_signal_came_just_before_a_sleep_breaks_it_at_the_next_look(
    interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_to_thread, sent = signal.pthread_kill, list[int]()

    def too_early(thread: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            send_to_thread(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", too_early)

    def ask_and_look() -> None:
        interrupts.request("SIGTERM")
        interrupts.look()

    other = threading.Thread(target=ask_and_look)
    with pytest.raises(OperationCancelled), interrupts:
        interrupts.expose()
        other.start()
        threading.Event().wait(60)
        pytest.fail("the sleep was not broken")

    assert sent == [signal.SIGURG, signal.SIGURG]


def test_a_request_of_another_thread_waits_for_the_end_of_a_guard(interrupts: Interrupts) -> None:
    done = []

    with pytest.raises(OperationCancelled):
        with interrupts:
            in_a_thread(interrupts.request)
            done.append("inside")
        done.append("after")

    assert done == ["inside"]


def test_a_request_of_another_thread_is_met_at_the_next_check_if_no_handler_is_left(interrupts: Interrupts) -> None:
    interrupts.restore()

    in_a_thread(lambda: interrupts.request("SIGTERM"))

    with pytest.raises(OperationCancelled):
        interrupts.check()


def test_a_request_after_a_signal_raises_nothing_more(interrupts: Interrupts) -> None:
    done = []

    with pytest.raises(OperationCancelled):
        try:
            send("SIGTERM")
        finally:
            in_a_thread(interrupts.request)
            with interrupts:
                done.append("guarded")
            done.append("cleaned up")

    assert (done, interrupts.hurried) == (["guarded", "cleaned up"], False)


def test_a_signal_after_a_request_is_the_second_one(interrupts: Interrupts) -> None:
    with pytest.raises(OperationCancelled) as caught:
        try:
            in_a_thread(interrupts.request)
        finally:
            send("SIGINT")

    assert (caught.value.signal, interrupts.hurried) == ("SIGINT", True)


def test_a_check_of_another_thread_leaves_the_exception_of_the_main_thread_due(interrupts: Interrupts) -> None:
    raised = []

    def check() -> None:
        try:
            interrupts.check()
        except OperationCancelled:
            raised.append("in the thread")

    with pytest.raises(OperationCancelled):
        with interrupts:
            send("SIGTERM")
            in_a_thread(check)
        raised.append("never")

    assert raised == ["in the thread"]


def test_a_stop_that_a_thread_was_the_first_to_meet_does_not_break_into_the_cleaning_up(interrupts: Interrupts) -> None:
    met: list[BaseException] = []
    done = []

    def check() -> None:
        try:
            interrupts.check()
        except OperationCancelled as error:
            met.append(error)

    with pytest.raises(OperationCancelled):
        try:
            with interrupts:
                in_a_thread(interrupts.request)
                in_a_thread(check)
                raise met[0]
        finally:
            with interrupts:
                pass
            done.append("cleaned up")

    assert done == ["cleaned up"]


def test_another_thread_that_looks_finds_a_limit_that_ran_out(interrupts: Interrupts) -> None:
    with (
        pytest.raises(TimeLimitExceeded, match=r"^the run took longer than 1e-09s$"),
        interrupts.limit(1e-9, "the run"),
    ):
        in_a_thread(interrupts.look)

    assert (interrupts.stopping, interrupts.expired) == (True, "the run took longer than 1e-09s")


def test_a_check_finds_a_limit_that_ran_out(interrupts: Interrupts) -> None:
    interrupts.restore()

    with pytest.raises(TimeLimitExceeded), interrupts.limit(1e-9, "the run"):
        interrupts.check()


def test_a_limit_that_was_left_in_time_stops_nobody(interrupts: Interrupts) -> None:
    with interrupts.limit(1e-9, "the run"):
        pass

    assert (interrupts.look(), interrupts.expired) == (False, None)


def test_a_request_after_the_end_changes_nothing(interrupts: Interrupts) -> None:
    with interrupts.limit(1e-9, "the run"):
        interrupts.close(0)

        in_a_thread(interrupts.request)

        assert (interrupts.look(), interrupts.stopping, interrupts.signal) == (False, False, None)


def test_a_signal_after_the_end_changes_nothing(interrupts: Interrupts) -> None:
    interrupts.close(0)

    for name in ("SIGINT", "SIGTERM"):
        send(name)

    assert (interrupts.stopping, interrupts.signal) == (False, None)


def test_the_guard_of_another_thread_holds_nothing_back(interrupts: Interrupts) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with interrupts:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        with pytest.raises(OperationCancelled):
            send("SIGTERM")
    finally:
        leave.set()
        thread.join()


def test_a_guard_that_another_thread_leaves_raises_nothing_there(interrupts: Interrupts) -> None:
    raised: list[BaseException] = []

    def hold() -> None:
        try:
            with interrupts:
                pass
        except BaseException as error:
            raised.append(error)

    with pytest.raises(OperationCancelled), interrupts:
        send("SIGTERM")
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join()

    assert raised == []


def test_a_thread_that_the_stop_has_ended_is_not_reported_and_any_other_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> None:
        raise error

    reported: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda ended: reported.append(repr(ended.exc_value)))
    interrupts = Interrupts()
    interrupts.install()
    for error in (OperationCancelled("SIGTERM"), ValueError("broken")):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
    interrupts.restore()

    assert reported == ["ValueError('broken')"]


def test_the_handlers_that_were_there_come_back(interrupts: Interrupts) -> None:
    during = [signal.getsignal(signal.Signals[name]) for name in SIGNALS]

    interrupts.restore()

    assert during == [interrupts._handle] * 3
    assert [signal.getsignal(signal.Signals[name]) for name in SIGNALS] == [_previous] * 3


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_that_the_parent_ignores_stays_ignored(interrupts: Interrupts, name: str) -> None:
    interrupts.restore()
    signal.signal(signal.Signals[name], signal.SIG_IGN)

    interrupts.install()
    send(name)

    assert (interrupts.stopping, signal.getsignal(signal.Signals[name])) == (False, signal.SIG_IGN)
    for other in set(SIGNALS) - {name}:
        with pytest.raises(OperationCancelled):
            send(other)
    interrupts.restore()
    assert signal.getsignal(signal.Signals[name]) is signal.SIG_IGN


def test_another_thread_can_not_take_the_signals_over_and_says_nothing_of_it() -> None:
    raised: list[BaseException] = []
    before = [signal.getsignal(signal.Signals[name]) for name in SIGNALS]

    def install() -> None:
        try:
            Interrupts().install()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()

    assert (raised, [signal.getsignal(signal.Signals[name]) for name in SIGNALS]) == ([], before)


def _python(body: str) -> tuple[int, str]:
    """Run `body` in a process with the signals taken over; return its status and what it printed."""
    program = f"""
import signal
from stagerun import OperationCancelled
from stagerun.machine.interrupts import Interrupts

for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, signal.SIG_DFL)
interrupts = Interrupts()
interrupts.install()
{body}
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("name", "code"), [("SIGINT", -2), ("SIGTERM", -15), ("SIGHUP", -1)])
def test_the_third_signal_ends_the_process_at_once(name: str, code: int) -> None:
    body = f"""
for _ in range(2):
    try:
        signal.raise_signal(signal.SIGINT)
    except OperationCancelled as error:
        print(error, flush=True)
try:
    signal.raise_signal(signal.{name})
finally:
    print("never", flush=True)
"""
    assert _python(body) == (code, "cancelled by SIGINT\ncancelled by SIGINT\n")


def test_the_third_signal_also_ends_a_process_that_holds_a_guard() -> None:
    body = """
with interrupts:
    for n in range(3):
        print(n, flush=True)
        signal.raise_signal(signal.SIGTERM)
    print("never", flush=True)
"""
    assert _python(body) == (-15, "0\n1\n2\n")


@pytest.mark.parametrize(("exit_code", "status"), [(0, 0), (7, 7), (130, -2)])
def test_the_third_signal_after_the_end_ends_the_process_as_the_run_has_ended(exit_code: int, status: int) -> None:
    body = f"""
try:
    signal.raise_signal(signal.SIGHUP)
except OperationCancelled:
    pass
interrupts.close({exit_code})
for n in range(3):
    print(n, flush=True)
    signal.raise_signal(signal.SIGTERM)
print("never", flush=True)
"""
    assert _python(body) == (status, "0\n1\n2\n")


def test_a_signal_breaks_a_sleep() -> None:
    body = """
import os, threading, time
timer = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGTERM))
try:
    timer.start()
    time.sleep(60)
    print("slept")
except OperationCancelled as error:
    print(error)
timer.join()
"""
    assert _python(body) == (0, "cancelled by SIGTERM\n")


# Loops without a call: Python runs the handlers of signals only where their rounds end.
TIGHT_LOOPS = {
    "forever": "while True: pass",
    "forever with a condition at the end": "while True:\n            if ready == 1: ready = 2",
    "while": "while ready < 10**15: ready += 1",
    "while with a condition at the end": "while True:\n            ready += 1\n            if ready == 5: continue",
    "for": "for n in range(10**12): pass",
    "for with a condition at the end": "for n in range(10**12):\n            if n == 1000: ready = 2",
    "tracked with a condition at the end": "for n in tracked():\n            if n == 1000: ready = 2",
    "in a with": "with cleaner():\n            for n in range(10**12):\n                if n == 1000: ready = 2",
}


# There is no bytecode between the two calls, so a handler can run before the first and after the second.
JUST_BEFORE = """
import ctypes, operator, os, signal, time
from functools import partial

class Op(LiveOperation):
    def run(self, p: Progress):
        kill = ctypes.CDLL(None).kill
        try:
            list(map(operator.call, [partial(kill, os.getpid(), signal.{name}), partial(time.sleep, 600)]))
        finally:
            p.log("cleaned up")
"""


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_that_comes_just_before_a_sleep_breaks_it(project: Project, name: str) -> None:
    project.recipe("jobs", JUST_BEFORE.format(name=name))

    done = project.stagerun("run", "jobs")

    assert (done.code, done.err) == (-signal.Signals[name], "")
    assert done.out.splitlines()[1] == "cleaned up"
    assert done.out.splitlines()[2].startswith(f"run 1 cancelled by {name} after ")


def test_whoever_is_told_of_signals_by_python_stays_so_and_nothing_is_left_open() -> None:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    before = psutil.Process().num_fds()

    for others in (-1, ends[0].fileno()):
        signal.set_wakeup_fd(others)
        interrupts = Interrupts()
        interrupts.install()
        interrupts.restore()
        assert signal.set_wakeup_fd(-1) == others

    assert psutil.Process().num_fds() == before
    for end in ends:
        end.close()


@pytest.mark.parametrize("loop", TIGHT_LOOPS.values(), ids=TIGHT_LOOPS)
def test_clean_up_runs_wherever_a_signal_meets_a_loop(loop: str) -> None:
    body = f"""
import itertools, sys, threading, time
from contextlib import contextmanager

done, main = 0, threading.get_ident()

@contextmanager
def cleaner():
    yield

def tracked():
    yield from itertools.count()

def work():
    global done
    ready = 0
    try:
        {loop}
    finally:
        done += 1

def inside():
    frame = sys._current_frames()[main]
    while frame is not None and frame.f_code is not work.__code__:
        frame = frame.f_back
    loop = work.__code__.co_firstlineno + 4
    return frame is not None and (frame.f_lineno or loop) >= loop  # the end of a round may have no line

def soon():
    while not inside():
        time.sleep(0.001)
    signal.pthread_kill(main, signal.SIGTERM)

for number in range(8):
    interrupts._count = 0
    thread = threading.Thread(target=soon)
    thread.start()
    try:
        work()
    except OperationCancelled:
        pass
    thread.join()
print(done)
"""
    assert _python(body) == (0, "8\n")


# --- in a run


class At(Seen):
    """A display that a signal interrupts at a certain event."""

    def __init__(self, kind: type[events.Event]) -> None:
        super().__init__()
        self.kind = kind

    def update(self, entry: events.Entry, view: RunView) -> None:
        super().update(entry, view)
        if type(entry.event) is self.kind:
            send("SIGTERM")


class Work(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("working")


def _bench(bench: Bench, interrupts: Interrupts) -> Bench:
    bench.interrupts = interrupts
    return bench


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        (events.RunCreated, "pending"),
        (events.RunStarted, "pending"),
        (events.StageEntered, "cancelled"),
        (events.Log, "cancelled"),
        (events.StageLeft, "done"),
    ],
)
def test_a_signal_during_a_change_cancels_the_run_after_that_change(
    bench: Bench, interrupts: Interrupts, kind: type[events.Event], stage: str
) -> None:
    view = _bench(bench, interrupts).run(Work(), At(kind))

    assert (view.state, view.signal, view.stage_states) == ("cancelled", "SIGTERM", {"Load": stage})
    assert bench.records().find("1").stage_states == {"Load": stage}


def test_a_signal_that_arrives_when_the_end_is_recorded_changes_nothing(bench: Bench, interrupts: Interrupts) -> None:
    view = _bench(bench, interrupts).run(Work(), At(events.RunFinished))

    assert (view.state, bench.records().find("1").state) == ("succeeded", "succeeded")


def test_a_recipe_that_swallows_the_cancel_meets_it_at_its_next_call(bench: Bench, interrupts: Interrupts) -> None:
    done = []

    class Stubborn(LiveOperation):
        def run(self, p: Progress) -> None:
            try:
                send("SIGINT")
            except BaseException:
                done.append("swallowed")
            p.log("more")
            done.append("never")

    view = _bench(bench, interrupts).run(Stubborn())

    assert (done, view.state, view.signal, view.exit_code) == (["swallowed"], "cancelled", "SIGINT", 130)


def test_a_run_that_swallows_the_cancel_and_returns_is_cancelled_all_the_same(
    bench: Bench, interrupts: Interrupts
) -> None:
    class Stubborn(LiveOperation):
        def run(self, p: Progress) -> None:
            try:
                send("SIGHUP")
            except BaseException as error:
                assert type(error) is OperationCancelled

    view = _bench(bench, interrupts).run(Stubborn())

    assert (view.state, view.signal, view.exit_code) == ("cancelled", "SIGHUP", 129)


Enter = Callable[[Progress, list[str]], None]


def _with_a_stage(name: str) -> Enter:
    def enter(p: Progress, done: list[str]) -> None:
        with p.stage(name):
            done.append("entered")

    return enter


def _by_a_step(p: Progress, done: list[str]) -> None:
    p.step("Clean up", done.append, "entered")


ENTRIES: dict[str, Enter] = {
    "a stage": _with_a_stage("Clean up"),
    "a stage that is not declared": _with_a_stage("Tidy"),
    "a step": _by_a_step,
}
REFUSED = "stage {!r} is not entered, because the run is being stopped: clean up without a stage"


@pytest.mark.parametrize("reason", ["SIGTERM", "a limit"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_stage_is_entered_in_the_clean_up_after_a_stop(
    bench: Bench, interrupts: Interrupts, entry: str, reason: str
) -> None:
    done: list[str] = []
    caught: list[BaseException] = []

    class Tidy(LiveOperation):
        stages = ["Load", "Clean up"]

        def run(self, p: Progress) -> None:
            try:
                with p.stage("Load", timeout=1e-9 if reason == "a limit" else None):
                    if reason == "SIGTERM":
                        send(reason)
                    interrupts.check()
            except BaseException as stopped:
                caught.append(stopped)
                p.log("cleaning up")
                try:
                    ENTRIES[entry](p, done)
                except BaseException as refused:
                    caught.append(refused)
                    raise

    view = _bench(bench, interrupts).run(Tidy())

    assert (done, caught[0] is caught[1]) == ([], True)
    assert [each.text for each in bench.seen.events if isinstance(each, events.Log)] == [
        "cleaning up",
        REFUSED.format("Tidy" if "declared" in entry else "Clean up"),
    ]
    ended = ("cancelled", "cancelled") if reason == "SIGTERM" else ("timed_out", "failed")
    assert (view.state, view.stage_states) == (ended[0], {"Load": ended[1], "Clean up": "pending"})


def test_everything_but_a_stage_works_in_the_clean_up_after_a_stop(bench: Bench, interrupts: Interrupts) -> None:
    done: list[object] = []

    class Tidy(LiveOperation):
        def run(self, p: Progress) -> None:
            try:
                send("SIGTERM")
            finally:
                p.log("log")
                p.status("status")
                p.percent(50)
                for number in p.track([1, 2], key="loop"):
                    done.append(number)  # noqa: PERF402 - only a for statement can be resumed
                done.append(p.checkpoint("value", int, 3))
                done.extend(p.map(abs, [-4, -5], key="map"))
                done.append(p.sh("echo 6", capture=True).stdout)
                p.result(count=7)
                p.chain_to(Work())
                done.append("all")

    view = _bench(bench, interrupts).run(Tidy())

    assert done == [1, 2, 3, 4, 5, "6\n", "all"]
    assert (view.state, view.result_context, view.chained_to) == ("cancelled", {"count": 7}, None)
    assert [run.plan.target for run in bench.records().history(limit=9)] == ["demo:Tidy"]


def test_an_item_that_ends_at_the_moment_of_a_stop_is_not_lost(bench: Bench, interrupts: Interrupts) -> None:
    done: list[int] = []

    def stop_after_a_wait(frame: FrameType, event: str, function: object) -> None:
        name, owner = getattr(function, "__name__", None), getattr(function, "__self__", None)
        if event == "c_return" and name == "get" and isinstance(owner, SimpleQueue) and done:
            sys.setprofile(None)
            send("SIGTERM")

    class Pages(LiveOperation):
        def run(self, p: Progress) -> None:
            if not done:
                sys.setprofile(stop_after_a_wait)
            p.map(done.append, range(3), workers=1, key="pages")

    stopped = _bench(bench, interrupts).run(Pages())
    resumed = bench.resume(Pages())

    assert (stopped.state, resumed.state, sorted(done)) == ("cancelled", "succeeded", [0, 1, 2])
