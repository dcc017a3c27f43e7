"""Text that is not ours: nothing in it may act, and nothing of it may be lost."""

import json

import pytest

from stagerun import events
from stagerun.text.untrusted import neutralise, neutralise_json


INVISIBLE = [
    *range(0x200B, 0x2010),  # zero width and direction marks
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),  # bidirectional embedding and override
    *range(0x2060, 0x2065),
    *range(0x2066, 0x206A),  # bidirectional isolates
    0xFEFF,
    *range(0xE0000, 0xE0080),  # tag characters
]
SURROGATES = [0xD800, 0xDBFF, 0xDC00, 0xDC80, 0xDFFF]
HARMLESS_BYTES = {0x09, *range(0x20, 0x7F), *range(0xA0, 0x100)} - {0xAD}
ACTIVE = [*(code for code in range(0x100) if code not in HARMLESS_BYTES), *INVISIBLE, *SURROGATES]
HARMLESS = [*sorted(HARMLESS_BYTES), 0x3A9, 0x4FDD, 0x1F600, 0x2713, 0x2501]


def _repr(text: str) -> str:
    return repr(text)[1:-1]


@pytest.mark.parametrize("keep_colour", [False, True])
def test_a_character_that_acts_or_hides_stands_as_its_python_escape(keep_colour: bool) -> None:
    shown = {code: neutralise(f"<{chr(code)}>", keep_colour=keep_colour) for code in ACTIVE}
    beside_other_text = {code: neutralise(f"é<{chr(code)}>", keep_colour=keep_colour) for code in ACTIVE}

    assert shown == {code: f"<{_repr(chr(code))}>" for code in ACTIVE}
    assert beside_other_text == {code: f"é<{_repr(chr(code))}>" for code in ACTIVE}
    assert [text for text in shown.values() if not (text.isascii() and text.isprintable())] == []


@pytest.mark.parametrize("keep_colour", [False, True])
def test_every_other_character_stays(keep_colour: bool) -> None:
    shown = {code: neutralise(f"<{chr(code)}>\t", keep_colour=keep_colour) for code in HARMLESS}

    assert shown == {code: f"<{chr(code)}>\t" for code in HARMLESS}


def test_json_means_the_same_after_it_was_made_safe() -> None:
    documents = [{chr(code): [chr(code), f"\\{chr(code)}", f'"{chr(code)}']} for code in (*ACTIVE, *HARMLESS)]

    assert [json.loads(neutralise_json(events.dumps(each))) for each in documents] == documents


def test_json_holds_no_character_that_acts_or_hides() -> None:
    safe = {code: neutralise_json(events.dumps([chr(code), "é"])) for code in ACTIVE}

    assert [code for code, text in safe.items() if chr(code) in text] == []


def test_json_stays_in_printable_ascii_and_means_the_same() -> None:
    texts = {code: neutralise_json(json.dumps(chr(code), ensure_ascii=False)) for code in [*HARMLESS, 0x1F600]}

    assert {code: json.loads(text) for code, text in texts.items()} == {code: chr(code) for code in texts}
    assert [text for text in texts.values() if not (text.isascii() and text.isprintable())] == []


COLOURS = ["\x1b[m", "\x1b[0m", "\x1b[31m", "\x1b[1;38;5;208m", "\x1b[38:2::1:2:3m"]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_stays_where_colour_is_kept_and_is_closed_at_the_end(colour: str) -> None:
    assert neutralise(f"a{colour}b", keep_colour=True) == f"a{colour}b\x1b[0m"


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_is_text_where_colour_is_not_kept(colour: str) -> None:
    assert neutralise(f"a{colour}b") == f"a\\x1b{colour[1:]}b"


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b]52;c;aGk=\x07",  # clipboard
        "\x1b]0;title\x07",
        "\x1b]8;;http://example.org\x1b\\text\x1b]8;;\x1b\\",
        "\x1b]1337;File=:\x07",
        "\x1b[2J",
        "\x1b[10;10H",
        "\x1b[1A",
        "\x1b[?1049h",
        "\x1b[?2004l",
        "\x1b[6n",
        "\x1b[21t",
        "\x1b[c",
        "\x1bP$qm\x1b\\",
        "\x1b^private\x1b\\",
        "\x1b_bk;t=1\x07",
        "\x1bc",
        "\x1b[31",
        "\x1b[ 31m",
        "\x1b[?31m",
        "\x1b[31\x1bm",
        "\x9b31m",
        "\x9d0;title\x9c",
        "\x90q\x9c",
        "50%\r100%",
        "a\x08b",
        "line\nline",
    ],
    ids=repr,
)
def test_no_sequence_but_a_colour_passes_and_none_swallows_what_follows(sequence: str) -> None:
    safe = neutralise(f"before{sequence}after", keep_colour=True)

    assert safe == f"before{_repr(sequence)}after".replace("\\\\", "\\")
    assert safe.isprintable()


def test_a_colour_amid_other_sequences_stays_alone() -> None:
    assert neutralise("\x1b[2J\x1b[31mred\x1b[H", keep_colour=True) == "\\x1b[2J\x1b[31mred\\x1b[H\x1b[0m"


def test_a_million_escapes_are_done_in_one_pass() -> None:
    assert neutralise("\x1b" * 1_000_000) == "\\x1b" * 1_000_000
