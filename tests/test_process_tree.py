"""Ending a tree of processes whose kernel takes its time."""

import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from stagerun.programs.process_tree import ProcessTree
from tests.conftest import HandClock


class Kernel:
    """A kernel on which a process lives on for some seconds after SIGKILL, by a clock that each wait moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, *, forbids: bool = False) -> None:
        self.clock = HandClock()
        self.ends = float("inf")

        def send_signal(process: psutil.Process, number: int) -> None:
            if forbids:
                raise psutil.AccessDenied(process.pid)
            self.ends = min(self.ends, self.clock.now + seconds)

        def is_running(process: psutil.Process) -> bool:
            return self.clock.now < self.ends

        monkeypatch.setattr(psutil.Process, "send_signal", send_signal)
        monkeypatch.setattr(psutil.Process, "is_running", is_running)
        monkeypatch.setattr(time, "monotonic", lambda: self.clock.now)
        monkeypatch.setattr(time, "sleep", self.clock.sleep)


@pytest.fixture
def program() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as program:
        yield program
        program.kill()


def _end(program: "subprocess.Popen[bytes]") -> None:
    tree = ProcessTree("UNUSED", "mark")
    tree.add(program.pid)
    tree.end(time.sleep, orphans=False, hurried=lambda: True)


def test_the_end_of_a_process_is_waited_for_when_the_machine_is_slow(
    program: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, seconds=7)

    _end(program)

    assert kernel.clock.now >= kernel.ends


def test_a_process_that_the_kernel_can_not_end_is_given_up(
    program: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, seconds=3600)

    _end(program)

    assert kernel.clock.now < 20


def test_a_process_that_may_not_be_killed_is_not_waited_for(
    program: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, seconds=3600, forbids=True)

    _end(program)

    assert kernel.clock.now == 0
