"""The messages of one run, and the sockets that get them.

A channel belongs to the thread that reads the journal, an audience to the event loop; what goes from one to the other
is never changed afterwards. A socket keeps no queue, only the number of the last message that it has sent.
"""

import asyncio
import copy
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from stagerun import events
from stagerun.journal import rows
from stagerun.journal.pages import count_of, is_log, lines_of
from stagerun.outline import Fold, LogLine, Outline
from stagerun.reports.html import rendering
from stagerun.reports.html.model import Links, Page, in_folds
from stagerun.states import TERMINAL, StageState
from stagerun.text import json_text
from stagerun.view import RunView, begin, fold
from stagerun.web import run_pages
from stagerun.web.run_pages import Reader


RING: Final = 20  # messages that a slow socket may be behind
NEWEST: Final = 100  # lines that a message holds at most, and that a socket gets when it is further behind
CROWD: Final = 50  # sockets above which messages are shorter
CROWDED: Final = 40
_RATE, _BURST = 10.0, 4.0  # messages a second


class Moment(Struct, frozen=True, kw_only=True):
    """A channel as it is after a message: all that a socket needs that comes now or is too far behind.

    Attributes:
        regions: the regions.
        heads: of each of the newest folds the messages that add it, replace its head, and count its lines.
        lines: the newest lines: seq, number, fold, markup.
        page: the page, with the newest lines.
        closing: the messages that end a socket; empty while the run goes on.

    """

    regions: str
    heads: tuple[tuple[str, str, str], ...]
    lines: tuple[tuple[int, int, int, str], ...]
    page: Page | None
    closing: tuple[str, ...] = ()


class Audience:
    """The sockets of one channel; it belongs to the event loop.

    Attributes:
        moment: the channel as it is, None before its first message.
        number: of the newest message.
        sockets: how many there are.

    """

    def __init__(self) -> None:
        self.moment: Moment | None = None
        self.number = 0
        self.sockets = 0
        self._ring: deque[tuple[int, str]] = deque(maxlen=RING)
        self._changed = asyncio.Event()
        self._whole: tuple[int, str] = (-1, "")

    def publish(self, message: str, moment: Moment) -> None:
        """Take a message from the thread and wake the sockets."""
        self.moment = moment
        self.number += 1
        self._ring.append((self.number, message))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @property
    def changed(self) -> asyncio.Event:
        """The event of the next message."""
        return self._changed

    def after(self, number: int) -> str | None:
        """Return all messages after `number`, or None if a socket is too far behind for that."""
        if number < self.number and (not self._ring or self._ring[0][0] > number + 1):
            return None
        return "\n".join(message for each, message in self._ring if each > number)

    def snapshot(self, seq: int | None) -> str:
        """Return all as it is: for a page that knows the log up to event `seq`, or None for one that knows nothing."""
        moment = self.moment
        assert moment is not None
        if seq is None and moment.page is not None:
            if self._whole[0] != self.number:
                self._whole = (self.number, moment.regions + rendering.log(moment.page))
            return self._whole[1]
        told = [each for head in moment.heads for each in head]
        told += _blocks([line for line in moment.lines if line[0] > (seq or 0)])
        return "\n".join([moment.regions, *told])


class Channel:
    """One run, followed from its beginning; it belongs to the thread."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.view: RunView | None = None
        self.sockets = 0
        self._outline = Outline()
        self._links = Links()
        self._fact_on = 0.0
        self._regions: dict[str, str] = {}
        self._heads: dict[int, tuple[str, str, str]] = {}
        self._waiting: deque[tuple[Any, int, int]] = deque()  # rows, with the number of the first line and the count
        self._newest: deque[tuple[int, int, int, str, LogLine]] = deque(maxlen=NEWEST)
        self._changed_folds: dict[int, Fold] = {}
        self._said = ""
        self._newest_fold = 0
        self._progress_on = 0.0
        self._closing: tuple[str, ...] = ()
        self._gone = False
        self._news = False
        self._tokens, self._filled = _BURST, time.monotonic()

    @property
    def is_over(self) -> bool:
        return bool(self._closing)

    def read(self, reader: Reader) -> None:
        """Take in what is new."""
        if self._closing or self._gone:
            return
        before = self._outline.seq
        with reader.pages.sound(self.run):
            for row in reader.pages.news(self.run, before):
                self._take(row)
        view = self.view
        if view is None or (view.state not in TERMINAL and reader.records.get(self.run) is None):
            self._gone = self._news = True
            return
        if view.state not in TERMINAL and self._outline.seq == before:
            recorded = reader.records.get(self.run)
            if recorded is not None and recorded.state in TERMINAL and recorded.end is not None:
                # Its process is gone; nobody may have written that down yet.
                self.view, self._news = recorded, True
                self._told_again([each for each in self._outline.folds if each.state is StageState.ACTIVE])
        if self._news:
            self._links = run_pages.links(reader, self.view or view)

    def give_up(self) -> None:
        """Stop following a run that can't be read."""
        self._gone = self._news = True

    def message(self, reader: Reader, now: float, *, force: bool = False) -> tuple[str, Moment] | None:
        """Return what is to be told now, or None; messages are spaced so that a lone event is told at once."""
        self._tokens, self._filled = min(_BURST, self._tokens + (now - self._filled) * _RATE), now
        if not (force or (self._news and self._tokens >= 1)):
            return None
        self._tokens -= 1
        self._news = False
        if self._gone or self.view is None:
            self._closing = (json_text.dumps({"liveop_over": {"run": self.run, "state": "deleted"}}),)
            return "", Moment(regions="", heads=(), lines=(), page=None, closing=self._closing)
        page = self._page()
        told = [*self._changed_regions(page), *self._told_folds(page), *self._told_lines()]
        if self.view.state in TERMINAL:
            self._closing = self._ending(reader, self.view)
        return "\n".join(told), self._moment(page)

    def _take(self, row: Any) -> None:
        self._news = True
        if is_log(row):
            count = count_of(row["data"])
            target = self._outline.add_lines(row["seq"], row["time"], count)
            self._waiting.append((row, self._outline.lines - count + 1, count))
            while self._outline.lines - sum(self._waiting[0][1:]) + 1 >= NEWEST:
                self._waiting.popleft()
            self._changed_folds[target.number] = target
            return
        entry = rows.to_entry(self.run, row)
        if entry is None:
            return  # only a newer stagerun knows it
        event, view = entry.event, self.view
        self.view = begin(entry) if isinstance(event, events.RunCreated) or view is None else fold(view, entry)
        if (changed := self._outline.add(entry)) is not None:
            self._told_again([changed])
        if isinstance(event, events.Fact):
            self._fact_on = entry.time
        self._progress_on = entry.time

    def _told_again(self, folds: Iterable[Fold]) -> None:
        for each in folds:
            self._changed_folds[each.number] = each
            self._heads.pop(each.number, None)

    def _page(self) -> Page:
        assert self.view is not None
        # Clocks tick in the browser: a region that shows the time of the last fact stays the same until the next.
        view, links = self.view, self._links
        return Page(
            view=view, outline=self._outline, lines=(), now=self._fact_on, progress_on=self._progress_on, links=links
        )

    def _changed_regions(self, page: Page) -> list[str]:
        regions = rendering.regions(page)
        told = [markup for name, markup in regions.items() if self._regions.get(name) != markup]
        self._regions = regions
        if (spoken := rendering.said(page)) != self._said:
            told.append(spoken)
            self._said = spoken
        return told

    def _told_folds(self, page: Page) -> list[str]:
        told = list[str]()
        for number, each in self._changed_folds.items():
            count = rendering.fold_count(each)
            if number in self._heads:
                self._heads[number] = (*self._heads[number][:2], count)
                told.append(count)
                continue
            new, head, _ = self._heads[number] = rendering.new_fold(each, page), rendering.fold_head(each, page), count
            told.append(new if number > self._newest_fold else head)
            self._newest_fold = max(self._newest_fold, number)
        while len(self._heads) > NEWEST:
            del self._heads[min(self._heads)]
        self._changed_folds.clear()
        return told

    def _told_lines(self) -> list[str]:
        most = CROWDED if self.sockets > CROWD else NEWEST
        lines = [line for row, first, _ in self._waiting for line in lines_of(row, first)][-most:]
        self._waiting.clear()
        told = list[tuple[int, int, int, str]]()
        for part, own in in_folds(self._outline, lines):
            told += [(line.seq, line.number, part.number, rendering.log_line(line)) for line in own]
        self._newest.extend((*each, line) for each, line in zip(told, lines, strict=True))
        return _blocks(told)

    def _ending(self, reader: Reader, view: RunView) -> tuple[str, ...]:
        over = json_text.dumps({"liveop_over": {"run": self.run, "state": view.state}})
        following = reader.records.get(view.chained_to)
        if following is None:
            return (over,)
        outline = Outline()
        reader.pages.extend(following.id, outline)
        page = run_pages.page(reader, following, outline, time.time())
        moved = {"from": self.run, "to": following.id, "after": max(outline.seq, self._outline.seq)}
        container = rendering.container(page, f"outerHTML:#op-{self.run}")
        return container, json_text.dumps({"liveop_chain": moved})

    def _moment(self, page: Page) -> Moment:
        lines = [each[4] for each in self._newest]
        current = Page(view=page.view, outline=_copied(self._outline), lines=lines, now=page.now, links=page.links)
        return Moment(
            regions="\n".join([*self._regions.values(), self._said]),
            heads=tuple(self._heads.values()),
            lines=tuple(each[:4] for each in self._newest),
            page=current,
            closing=self._closing,
        )


def _blocks(told: Sequence[tuple[int, int, int, str]]) -> list[str]:
    """Return a message for the rendered lines of each fold."""
    blocks, start = list[str](), 0
    for place in range(1, len(told) + 1):
        if place == len(told) or told[place][2] != told[start][2]:
            part = told[start:place]
            blocks.append(rendering.block(part[0][2], part[0][1], part[-1][1], [line[3] for line in part]))
            start = place
    return blocks


def _copied(outline: Outline) -> Outline:
    """Return an outline that does not change any more."""
    copied = copy.copy(outline)
    copied.folds = [copy.copy(fold) for fold in outline.folds]
    return copied
