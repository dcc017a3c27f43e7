"""What open pages are told: one thread reads the journal for all of them, and renders each message once."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from stagerun.errors import RunDamaged, StagerunError
from stagerun.web import run_pages
from stagerun.web.channels import Audience, Channel, Moment
from stagerun.web.run_pages import Reader


_POLL: Final = 0.01  # seconds between two looks at the file while somebody looks at a page
_LOOK: Final = 1.0  # seconds after which a run is looked at in any case: a process that died writes nothing
_KEPT: Final = 8  # runs that nobody looks at any more, kept for a page that is loaded anew


class Feed:
    """The thread that reads for all sockets. `watch` and `leave` are called in the event loop.

    Args:
        journal: the journal's file.
        overview: makes the message of the start page, from the journal.

    """

    def __init__(self, journal: Path, overview: Callable[[Reader], str]) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._channels: dict[int, Channel] = {}
        self._audiences: dict[int, Audience] = {}
        self._wanted = threading.Event()
        self._closed = False
        self._fresh: set[int] = set()
        self._overview = _Overview(overview)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="stagerun-feed", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._wanted.set()
        self._thread.join(5)

    def watch(self, run: int) -> Audience:
        """Return the audience of a run, 0 for the start page, with one more socket in it."""
        with self._lock:
            audience = self._audiences.setdefault(run, Audience())
            audience.sockets += 1
            self._fresh.add(run)
        self._wanted.set()
        return audience

    def leave(self, run: int) -> None:
        with self._lock:
            audience = self._audiences[run]
            audience.sockets -= 1
            if not audience.sockets:
                del self._audiences[run]

    def _work(self) -> None:
        while not self._closed:
            self._wanted.wait()
            self._wanted.clear()
            try:
                with run_pages.reading(self._journal) as reader:
                    self._follow(reader)
            except StagerunError:
                pass  # there is no journal yet, or it can't be read for the moment
            except Exception:
                logging.getLogger("stagerun.web").exception("the live page failed")
            if self._audiences and not self._closed:
                time.sleep(_LOOK / 4)
                self._wanted.set()

    def _follow(self, reader: Reader) -> None:
        """Read until nobody looks any more, or the file is another one."""
        seen, looked, place = -1, 0.0, _file_id(self._journal)
        while not self._closed:
            with self._lock:
                fresh, self._fresh = self._fresh, set()
                watched = dict(self._audiences)
            if not watched:
                return
            now, version = time.monotonic(), reader.records.version()
            news = version != seen or now - looked >= _LOOK
            if news:
                seen, looked = version, now
                if _file_id(self._journal) != place:
                    self._channels.clear()
                    return
            for run, audience in watched.items():
                told = self._told(reader, run, audience, now, news=news, fresh=run in fresh)
                if told is not None:
                    self._publish(run, *told)
            time.sleep(_POLL)

    def _told(
        self, reader: Reader, run: int, audience: Audience, now: float, *, news: bool, fresh: bool
    ) -> tuple[str, Moment] | None:
        """Return what the audience of a run, or 0 for the start page, is told now."""
        first = fresh and audience.moment is None
        if not run:
            return self._overview.message(reader, now, news=news, force=first)
        channel = self._channels.pop(run, None) or Channel(run)
        self._channels[run] = channel  # the newest last
        while len(self._channels) > _KEPT + len(self._audiences):
            del self._channels[next(iter(self._channels))]
        channel.sockets = audience.sockets
        if news or fresh:
            try:
                channel.read(reader)
            except RunDamaged:
                channel.give_up()
        return channel.message(reader, now, force=first)

    def _publish(self, run: int, message: str, moment: Moment) -> None:
        def publish() -> None:
            if (audience := self._audiences.get(run)) is not None:
                audience.publish(message, moment)

        with suppress(RuntimeError):  # the loop is closed
            assert self._loop is not None
            self._loop.call_soon_threadsafe(publish)


class _Overview:
    """The messages of the start page: at most one each half second, and only if it changed."""

    def __init__(self, make: Callable[[Reader], str]) -> None:
        self._make = make
        self._told = ""
        self._next = 0.0
        self._news = True

    def message(self, reader: Reader, now: float, *, news: bool, force: bool) -> tuple[str, Moment] | None:
        self._news = self._news or news
        if not force and (not self._news or now < self._next):
            return None
        self._news, self._next = False, now + 0.5
        made = self._make(reader)
        if made == self._told and not force:
            return None
        self._told = made
        return made, Moment(regions=made, heads=(), lines=(), page=None)


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
