"""The instructions that an exception must not come from, although a signal handler often runs there.

A loop ends each round with a backward jump, and there Python runs the handlers of signals. In some loops the compiler
leaves the jump out of the `try` around it: on Python 3.13 in any loop that ends with an `if`, before that at least in
`while True: pass`. An exception that a handler raises there skips `finally` and `except`. A tight loop has no other
place for a handler, so coming back a little later does not help. A trace function does: Python calls it before the next
instruction, which is in the `try`.
"""

import opcode
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final


_JUMPS: Final = {number for name, number in opcode.opmap.items() if "JUMP_BACKWARD" in name}


class _Trace:
    """A trace function that calls `act` once, before the next instruction of `frame`."""

    def __init__(self, frame: FrameType, act: Callable[[], object]) -> None:
        self._frame = frame
        self._act = act

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame is self._frame:
            sys.settrace(None)
            frame.f_trace, frame.f_trace_opcodes = None, False
            self._act()


def wait(frame: FrameType | None, act: Callable[[], object]) -> bool:
    """If `frame`, which a handler has interrupted, is at a backward jump, call `act` before its next instruction.

    Return False if nothing will be called: at any other instruction, and where a debugger or a coverage tool traces.
    """
    if frame is None or frame.f_code.co_code[frame.f_lasti] not in _JUMPS:
        return False
    present = sys.gettrace()
    if present is None:
        frame.f_trace, frame.f_trace_opcodes = trace, _ = _Trace(frame, act), True
        sys.settrace(trace)
    return present is None or isinstance(present, _Trace)
