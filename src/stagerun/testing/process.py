"""What a run of a test gets of the process, as a command would have it to itself, and what is put back after it."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def of_its_own(folder: Path) -> Iterator[None]:
    """Work in `folder`; at the end put back the current folder, the environment and the root logger."""
    _refuse_event_loop()
    environ = dict(os.environ)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers.copy()
    # With no handlers but pytest's nobody has configured logging, and a run's log holds INFO then.
    if handlers and level == logging.WARNING and all(map(_is_of_pytest, handlers)):
        root.setLevel(logging.INFO)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        if environ != dict(os.environ):
            os.environ.clear()
            os.environ.update(environ)


def _is_of_pytest(handler: logging.Handler) -> bool:
    return type(handler).__module__.startswith("_pytest.")


def _refuse_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "a run can't be inside an event loop; in an async test: await asyncio.to_thread(stagerun.run, operation)"
    )
