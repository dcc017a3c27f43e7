"""Telling web services and commands how a run, or the chain that it is the last of, has ended.

Each is told in a thread of its own, and all together get LONGEST seconds. What takes longer is abandoned.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from stagerun import events
from stagerun.machine import notices
from stagerun.machine.notices import Notice
from stagerun.notify.teller import NotTold, Teller
from stagerun.reports import documents
from stagerun.text import json_text, sentences
from stagerun.text.masking import Masker
from stagerun.text.untrusted import neutralise_json
from stagerun.view import RunView


LONGEST: Final = 10.0  # seconds
_SPARE: Final = 0.5  # seconds to kill a command in


class Notifier(Teller):
    """Tells of the end of a run.

    Args:
        tell: whom to tell.
        environ: the environment that addresses and headers refer to.
        folder: where commands are started.
        masker: the secrets; it learns those in the environment.
        seconds: how long the telling may take.

    """

    def __init__(
        self,
        tell: Sequence[Notice],
        *,
        environ: Mapping[str, str],
        folder: Path,
        masker: Masker,
        seconds: float = LONGEST,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._seconds = seconds
        self._masker = masker
        self._ready = [(each, *_filled(each, environ, masker)) for each in tell]
        self._told: list[tuple[Notice, threading.Thread]] = []
        self._deadline = 0.0
        self._run = 0

    def update(self, entry: events.Entry, view: RunView) -> None:
        if not isinstance(entry.event, events.RunFinished) or view.chained_to is not None:
            return
        self._deadline, self._run = time.monotonic() + self._seconds, view.id
        for notice, filled, missing in self._ready:
            if view.state not in notice.on:
                continue
            if missing is not None:
                self._fail(notice, f"the environment variable {missing} is not set")
                continue
            thread = threading.Thread(
                target=self._tell, args=(notice, filled, view), name="stagerun-notify", daemon=True
            )
            thread.start()
            self._told.append((notice, thread))

    def close(self) -> None:
        for notice, thread in self._told:
            thread.join(max(0.0, self._deadline + _SPARE - time.monotonic()))
            if thread.is_alive():
                self._fail(notice, self._too_long)
        self._told.clear()

    @property
    def _too_long(self) -> str:
        return f"it took longer than {self._seconds:g}s"

    def _tell(self, notice: Notice, filled: Notice, view: RunView) -> None:
        try:
            if notice.command:
                from stagerun.notify import command

                command.run(
                    notice.command,
                    _document(view),
                    environ=self._environ(view),
                    folder=self._folder,
                    deadline=self._deadline,
                )
            else:
                from stagerun.notify import webhook

                body = _text(view) if notice.send == "text" else _document(view)
                webhook.post(filled.url, body, filled.headers, self._deadline)
        except TimeoutError:
            self._fail(notice, self._too_long)
        except NotTold as error:
            self._fail(notice, str(error))
        except Exception as error:
            self._fail(notice, f"{type(error).__name__}: {error}")

    def _fail(self, notice: Notice, why: str) -> None:
        self.failures.append(f"run {self._run} was not told to {notice.name}: {self._masker.mask(why)}")

    def _environ(self, view: RunView) -> dict[str, str]:
        """Return the environment of a command, without the secrets of the operation's parameters."""
        environ = {
            name: value
            for name, value in os.environ.items()
            if not (name.startswith("STAGERUN_") and self._masker.mask(value) != value)
        }
        return environ | {"STAGERUN_RUN_ID": str(view.id), "STAGERUN_RUN_STATE": view.state}


def _filled(notice: Notice, environ: Mapping[str, str], masker: Masker) -> tuple[Notice, str | None]:
    """Return the notice with the values of the variables that it names, and the name of one that is not set."""
    try:
        url = notices.filled(notice.url, environ)
        headers = {name: notices.filled(value, environ) for name, value in notice.headers.items()}
    except KeyError as missing:
        return notice, missing.args[0]
    masker.learn(notices.values(notice, environ))
    return replace(notice, url=url, headers=headers), None


def _document(view: RunView) -> bytes:
    return neutralise_json(json_text.dumps(documents.run(view, None))).encode()


def _text(view: RunView) -> bytes:
    """Return the message that chats take: `{"text": "orders:Import: run 42 failed after 2.0s: ValueError: boom"}`."""
    told = f"{view.plan.target}: {sentences.ending(view)}"
    if view.error is not None:
        told += f": {sentences.reason(view.error)}"
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # else <!channel> calls everybody
        told = told.replace(sign, escaped)
    return neutralise_json(json_text.dumps({"text": told})).encode()
