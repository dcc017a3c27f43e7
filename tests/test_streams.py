"""Bytes made lines: whatever the chunks, the lines are those of a plain model."""

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stagerun import LiveOperation, Progress
from stagerun.events import LINE_LIMIT
from stagerun.programs.streams import Lines
from stagerun.states import RunState
from stagerun.text.masking import Masker
from tests.conftest import Bench
from tests.journals import select


# Line ends, parts of characters, and what only looks like a line end to Python.
_PIECES = [b"\n", b"\r", b"\r\n", b"", b"a", b"50%", "é".encode(), "\U0001f600".encode(), b"\xff", b"\xf0\x9f", b"\x80"]
_PIECES += [b"\x00", b"\x0b\x0c\x1c", "\u2028\u0085".encode(), b"\xed\xa0\x80", b"\\xff"]

some_bytes = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(_PIECES), max_size=40).map(b"".join))
cuts = st.lists(st.integers(0, 60), max_size=20)


def model(data: bytes) -> list[str]:
    """Decode the whole, split it at LF, and keep of each line what follows its last carriage return."""
    *lines, rest = data.decode("utf-8", "backslashreplace").split("\n")
    return [line.rstrip("\r").rpartition("\r")[2] for line in (*lines, *filter(None, [rest]))]


def in_chunks(data: bytes, places: Iterable[int]) -> list[bytes]:
    return [data[start:stop] for start, stop in pairwise([0, *sorted(places), len(data)]) if start < stop]


def lines_of(chunks: Sequence[bytes], masker: Masker | None = None, limit: int = LINE_LIMIT) -> list[str]:
    lines = Lines(masker or Masker(), limit)
    told = [line for chunk in chunks for line in lines.feed(chunk)]
    return told + lines.feed(b"", final=True)


@settings(max_examples=200)
@given(some_bytes, cuts)
@example(b"a\r\r\n", [])
@example(b"\xf0\x9f\x98\x80", [1, 2, 3])
@example(b"\xf0\x9f\x98", [1, 2])
@example(b"a\rb\r\nc\r", [2, 4, 5])
@example(b"a\r\nb", [2])
def test_whatever_the_chunks_the_lines_are_those_of_the_whole(data: bytes, places: list[int]) -> None:
    assert lines_of(in_chunks(data, places)) == model(data)


@given(some_bytes, cuts)
def test_a_line_is_told_with_the_chunk_that_ends_it(data: bytes, places: list[int]) -> None:
    lines, read = Lines(Masker()), b""
    told = list[str]()

    for chunk in in_chunks(data, places):
        read += chunk
        told += lines.feed(chunk)
        assert told == model(read[: read.rfind(b"\n") + 1])


def test_a_stream_without_bytes_has_no_line() -> None:
    assert lines_of([]) == []


@pytest.mark.parametrize("size", [1, 1000, 65_536, 10_000_000])
def test_of_a_very_long_line_the_beginning_is_kept_and_what_is_missing_is_counted(size: int) -> None:
    data = b"x" * 10_000_000
    chunks = in_chunks(data[: 300 * size], range(size, len(data[: 300 * size]), size))
    length = sum(map(len, chunks))
    kept = LINE_LIMIT

    cut = f" [... {length - kept:,} characters cut]" if length > kept else ""
    assert lines_of([*chunks, b"\n", b"next\n"]) == ["x" * min(length, kept) + cut, "next"]


def test_behind_a_very_long_line_a_carriage_return_begins_anew() -> None:
    assert lines_of([b"x" * 300_000, b"y\rdone", b"\n", b"next"]) == ["done", "next"]


def test_behind_a_very_long_line_a_carriage_return_begins_anew_also_at_the_end_of_a_chunk() -> None:
    assert lines_of([b"x" * 300_000 + b"\r", b"done\n"]) == ["done"]


SECRETS = ["hush-hush", "s3cr%t", "aaaa", "a'b c\"d", "longer-than-the-limit-" * 4]
_TOLD = st.sampled_from(
    [*SECRETS, *(each[: len(each) // 2] for each in SECRETS), "a", "text ", "é", "\n", "\r", "s3cr%25t"]
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(SECRETS), unique=True), st.lists(_TOLD, max_size=40).map("".join), st.data())
def test_a_line_is_masked_before_it_is_cut_whatever_the_chunks_and_the_limit(
    secrets: list[str], text: str, data: st.DataObject
) -> None:
    masker, whole = Masker(), text.encode()
    masker.learn(secrets)
    limit = data.draw(st.integers(1, 120))
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=20))

    told = [masker.mask(line) for line in lines_of(in_chunks(whole, places), masker, limit)]

    masked = [masker.mask(line) for line in model(whole)]
    kept = [line.rpartition(" [... ")[0] if line.endswith(" characters cut]") else line for line in told]
    assert kept == [line[:limit] for line in masked]
    assert [line != part for line, part in zip(told, kept, strict=True)] == [len(line) > limit for line in masked]


@pytest.mark.parametrize("size", [1000, 4096, 65_536, 131_072, 10_000_000])
def test_of_a_line_of_very_many_copies_of_a_secret_no_part_of_one_is_kept(size: int) -> None:
    masker, secret = Masker(), "".join(f"{number:05}-" for number in range(300))
    masker.learn([secret])
    data = secret.encode() * 1000

    told = lines_of(in_chunks(data, range(size, len(data), size)), masker)

    assert told == ["***" * 1000]


# The chunks come as one argument each; a pause lets each be read by itself, as far as the machine allows.
WRITER = """
import os, sys, time
for chunk in sys.argv[1:]:
    os.write(1, bytes.fromhex(chunk))
    time.sleep(0.002)
"""


@settings(max_examples=10)
@given(some_bytes, cuts)
@example(b"\xf0\x9f\x98\x80\n\xff\r\nno end", [1, 2, 3, 6])
@example(b"50%\r  \r", [])
def test_what_a_program_writes_stands_in_the_journal_as_the_model_has_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, places: list[int]
) -> None:
    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            p.sh([sys.executable, "-c", WRITER, *(chunk.hex() for chunk in in_chunks(data, places))])

    bench = Bench(tmp_path_factory.mktemp("run"))
    assert bench.run(Demo()).state is RunState.SUCCEEDED

    expected, rest = model(data), data.rpartition(b"\n")[2]
    if b"\r" in rest and not expected[-1].strip():
        expected.pop()  # a bar that has removed itself
    assert _from_stdout(bench.journal) == expected


def _from_stdout(journal: Path) -> list[str]:
    rows = select(journal, "SELECT data FROM events WHERE kind = 'log' ORDER BY seq")
    logs = [json.loads(str(data)) for (data,) in rows]
    return [line for each in logs if each["stream"] == "stdout" for line in each["text"].split("\n")]
