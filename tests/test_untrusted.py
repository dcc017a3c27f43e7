"""Text that is not ours: nothing in it may act, and nothing of it may be lost."""

import json
import unicodedata

import pytest

from stagerun.text import json_text
from stagerun.text.untrusted import neutralise, neutralise_json


# What Python's tables call a format character, without those that stand for something that is seen.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
FORMATS = {code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"} - SEEN
# The others that Unicode calls ignorable by default: fillers, selectors, and places that are kept free for more.
IGNORABLE = {
    *(0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2065, 0x3164, 0xFFA0),
    *(*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)),
}
INVISIBLE = [0x2028, 0x2029, *sorted(FORMATS | IGNORABLE)]
SURROGATES = [0xD800, 0xDBFF, 0xDC00, 0xDC80, 0xDFFF]
HARMLESS_BYTES = {0x09, *range(0x20, 0x7F), *range(0xA0, 0x100)} - {0xAD}
ACTIVE = [*(code for code in range(0x100) if code not in HARMLESS_BYTES | {0xAD}), *INVISIBLE, *SURROGATES]
HARMLESS = [
    *sorted(HARMLESS_BYTES),
    *sorted(SEEN),
    0x301,
    0x3A9,
    0x4FDD,
    0x1F600,
    0x1F3FD,
    0x2713,
    0x2501,
    0xFFFC,
    0xFFFD,
]


def _repr(text: str) -> str:
    return ascii(text)[1:-1]


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


EMOJI = [
    "\u2764\ufe0f",  # a heart in colour
    "\u2764\ufe0e",  # and one in black
    "\u00a9\ufe0f",
    "#\ufe0f\u20e3",  # a key
    "7\ufe0f\u20e3",
    "\U0001f44d\U0001f3fd",  # with the colour of a skin
    "\U0001f1e9\U0001f1ea",  # the flag of Germany
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # and that of Scotland
    "\U0001f3f3\ufe0f\u200d\U0001f308",  # a rainbow flag
    "\U0001f3f4\u200d\u2620\ufe0f",  # and that of pirates
    "\U0001f469\U0001f3fd\u200d\U0001f52c",  # a scientist
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",  # a family
    "\U0001f9d1\U0001f3fb\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f9d1\U0001f3ff",  # a kiss
    "\U0001f441\ufe0f\u200d\U0001f5e8\ufe0f",
]


@pytest.mark.parametrize("keep_colour", [False, True])
def test_an_emoji_of_several_characters_stays_whole_wherever_it_stands(keep_colour: bool) -> None:
    texts = [*EMOJI, *(f"a{each}b" for each in EMOJI), "".join(EMOJI)]

    assert [neutralise(text, keep_colour=keep_colour) for text in texts] == texts


def test_what_is_inside_an_emoji_is_escaped_everywhere_else() -> None:
    assert {
        text: neutralise(text)
        for text in (
            "a\ufe0f",
            "7\ufe0f",
            "7\ufe0e\u20e3",
            "\u2764\ufe0f\ufe0f",
            "\u2764\ufe00",
            "\u2764\U000e0100",
            "\u2764\ufe0f\x1b[0m",
            "\U0001f469\u200d",
            "\U0001f469\u200da",
            "a\u200d\U0001f52c",
            "a\ufe0f\u200d\U0001f52c",
            "\U0001f469\u200d\u200d\U0001f52c",
            "\U0001f3fd\ufe0f",
            "a\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
            "\U0001f3f4\U000e0067\U000e0062\U000e007f",
            "\U0001f3f4\U000e0068\U000e0069\U000e007f",
        )
    } == {
        "a\ufe0f": "a\\ufe0f",
        "7\ufe0f": "7\\ufe0f",
        "7\ufe0e\u20e3": "7\\ufe0e\u20e3",
        "\u2764\ufe0f\ufe0f": "\u2764\ufe0f\\ufe0f",
        "\u2764\ufe00": "\u2764\\ufe00",
        "\u2764\U000e0100": "\u2764\\U000e0100",
        "\u2764\ufe0f\x1b[0m": "\u2764\ufe0f\\x1b[0m",
        "\U0001f469\u200d": "\U0001f469\\u200d",
        "\U0001f469\u200da": "\U0001f469\\u200da",
        "a\u200d\U0001f52c": "a\\u200d\U0001f52c",
        "a\ufe0f\u200d\U0001f52c": "a\\ufe0f\\u200d\U0001f52c",
        "\U0001f469\u200d\u200d\U0001f52c": "\U0001f469\\u200d\\u200d\U0001f52c",
        "\U0001f3fd\ufe0f": "\U0001f3fd\\ufe0f",
        "a\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f": (
            "a\\U000e0067\\U000e0062\\U000e0073\\U000e0063\\U000e0074\\U000e007f"
        ),
        "\U0001f3f4\U000e0067\U000e0062\U000e007f": "\U0001f3f4\\U000e0067\\U000e0062\\U000e007f",
        "\U0001f3f4\U000e0068\U000e0069\U000e007f": "\U0001f3f4\\U000e0068\\U000e0069\\U000e007f",
    }


def test_json_means_the_same_after_it_was_made_safe() -> None:
    documents = [{chr(code): [chr(code), f"\\{chr(code)}", f'"{chr(code)}']} for code in (*ACTIVE, *HARMLESS)]

    assert [json.loads(neutralise_json(json_text.dumps(each))) for each in documents] == documents


def test_json_holds_no_character_that_acts_or_hides() -> None:
    safe = {code: neutralise_json(json_text.dumps([chr(code), "é"])) for code in ACTIVE}

    assert [code for code, text in safe.items() if chr(code) in text] == []


def test_json_stays_in_printable_ascii_and_means_the_same() -> None:
    texts = {code: neutralise_json(json.dumps(chr(code), ensure_ascii=False)) for code in [*HARMLESS, 0x1F600]}

    assert {code: json.loads(text) for code, text in texts.items()} == {code: chr(code) for code in texts}
    assert [text for text in texts.values() if not (text.isascii() and text.isprintable())] == []


COLOURS = ["\x1b[m", "\x1b[0m", "\x1b[31m", "\x1b[1;38;5;208m", "\x1b[38:2::1:2:3m"]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_stays_where_colour_is_kept_and_is_closed_at_the_end(colour: str) -> None:
    closed = f"a{colour}b" if colour == "\x1b[0m" else f"a{colour}b\x1b[0m"

    assert neutralise(f"a{colour}b", keep_colour=True) == closed
    assert neutralise(closed, keep_colour=True) == closed


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
