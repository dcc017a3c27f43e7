"""The ports of the CI systems see what is live there, and only that; the corpus of hostile lines is what it claims."""

import pytest

from tests import hostile
from tests.ci_parsers import PARSERS, Command, controls, folds, github


# One command of each system, for what stands around it.
SAMPLES = {
    "github": "::error::forged",
    "azure": "##vso[task.debug]forged",
    "gitlab": "section_start:1:forged\r\x1b[0Kforged",
    "buildkite": "--- forged",
    "teamcity": "##teamcity[buildNumber 'forged']",
}


def _read(system: str, text: str) -> list[Command]:
    return PARSERS[system](text.encode())


def _read_by_all(text: str) -> dict[str, list[Command]]:
    return {system: found for system in PARSERS if (found := _read(system, text))}


def test_every_token_is_live_in_its_own_system() -> None:
    assert list(hostile.TOKENS) == list(PARSERS)
    assert [(system, token) for system in PARSERS for token in hostile.TOKENS[system] if not _read(system, token)] == []


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("::add-mask::e", [Command("add-mask", {}, "e")]),
        ("::Add-Mask::e", [Command("add-mask", {}, "e")]),
        ("::error file=a b.py,line=1::m", [Command("error", {"file": "a b.py", "line": "1"}, "m")]),
        (
            "::error   file=a,,endLine==2,col=,=title=t ::m",
            [Command("error", {"file": "a", "endLine": "2", "title": "t"}, "m")],
        ),
        ("::group::%25 %3A %2C %0D%0A %250A", [Command("group", {}, "% %3A %2C \r\n %0A")]),
        ("::error title=%3A%2C%0A%25%3D::m", [Command("error", {"title": ":,\n%%3D"}, "m")]),
        ("::stop-commands::token\nx\n::token::", [Command("stop-commands", {}, "token"), Command("token")]),
        ("::endgroup::", [Command("endgroup")]),
        ("text ##[group]title", [Command("group", {}, "title")]),
        ("##[ERROR file=a;line=1,2]%3B%5D%0A%25", [Command("error", {"file": "a", "line": "1,2"}, ";]\n%")]),
        ("##[start-action display=a%5Db;id=1]", [Command("start-action", {"display": "a]b", "id": "1"})]),
        ("##[group", [Command("group")]),
        ("##[no such]x", [Command("no", {}, "x")]),
        ("##[a]##[b]c", [Command("a", {}, "##[b]c"), Command("b", {}, "c")]),
        ("::error::##[group]x", [Command("error", {}, "##[group]x"), Command("group", {}, "x")]),
        ("::group::a%0A##[error]b", [Command("group", {}, "a\n##[error]b"), Command("error", {}, "b")]),
        ("[command]/bin/rm", [Command("[command]", {}, "/bin/rm")]),
    ],
)
def test_github_reads_both_syntaxes_and_unescapes_each_by_its_own_rules(text: str, commands: list[Command]) -> None:
    assert _read("github", text) == commands


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (
            "text ##vso[task.setvariable variable=a;isOutput=true]b",
            [Command("task.setvariable", {"variable": "a", "isOutput": "true"}, "b")],
        ),
        ("##VSO[Task.Complete result=Failed;]", [Command("task.complete", {"result": "Failed"})]),
        ("##vso[task.debug]%3B%5D%0D%0A%25%AZP250A", [Command("task.debug", {}, ";]\r\n%25%0A")]),
        (
            "##vso[task.logissue type=error;code=%5D%AZP25]m",
            [Command("task.logissue", {"type": "error", "code": "]%"}, "m")],
        ),
        ("##vso[.task..debug.]x", [Command("task.debug", {}, "x")]),
        ("##vso[no.such]x", [Command("no.such", {}, "x")]),
        ("about ##vso commands", [Command("##vso", {}, "##vso commands")]),
        ("##vso[task.debug", [Command("##vso", {}, "##vso[task.debug")]),
        ("##vso[a.b.c]x", [Command("##vso", {}, "##vso[a.b.c]x")]),
        (
            "a ##[group]t ##vso[task.debug]x",
            [Command("group", {}, "t ##vso[task.debug]x"), Command("task.debug", {}, "x")],
        ),
        ("a ##[EndGroup]", [Command("endgroup")]),
        ("##[error]%0A%5D", [Command("error", {}, "%0A%5D")]),
        ("::error::x", []),
    ],
)
def test_azure_reads_commands_anywhere_and_warns_of_what_only_looks_like_one(
    text: str, commands: list[Command]
) -> None:
    assert _read("azure", text) == commands


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (
            "section_start:17:A.b_c\r\x1b[0K\x1b[1mTitle\x1b[0m\r\nx",
            [Command("section_start", {"time": "17", "name": "a-b-c"}, "Title")],
        ),
        (
            "section_start:1:a[collapsed=true, b=c]\r\x1b[0Kü",
            [Command("section_start", {"time": "1", "name": "a", "collapsed": "true", "b": "c"}, "ü")],
        ),
        ("text\x1b[0Ksection_end:2:a\r\x1b[0Kmore", [Command("section_end", {"time": "2", "name": "a"}, "more")]),
        (
            "section_start:1:a\r\x1b[0KA section_start:2:b\r\x1b[0KB",
            [
                Command("section_start", {"time": "1", "name": "a"}, "A "),
                Command("section_start", {"time": "2", "name": "b"}, "B"),
            ],
        ),
        ("ssection_start:1:a\r\x1b[0K", [Command("section_start", {"time": "1", "name": "a"})]),
        ("hidden ü\rshown", [Command("clear", {}, "hidden ü")]),
        ("a\rb\rc", [Command("clear", {}, "a"), Command("clear", {}, "b")]),
        ("a\r\r\n", [Command("clear", {}, "a")]),
        ("Section_start:1:a\r\x1b[0K", [Command("clear", {}, "Section_start:1:a")]),
        ("section_start:1:a\r\x1b[K", [Command("clear", {}, "section_start:1:a")]),
        ("section_start:1:a[]\r\x1b[0K", [Command("clear", {}, "section_start:1:a[]")]),
        ("section_start:1:a b\r\x1b[0K", [Command("clear", {}, "section_start:1:a b")]),
        ("section_end:1:a\x1b[0m\r\x1b[0K", [Command("clear", {}, "section_end:1:a\x1b[0m")]),
        ("2026-01-31T12:00:00.123456Z INFO started", [Command("stamp", {}, "2026-01-31T12:00:00.123456Z INFO")]),
        ("????-??-??T??:????????????Z?????x", [Command("stamp", {}, "????-??-??T??:????????????Z?????")]),
        (
            "a\r\x1b[0m2026-01-31T12:00:00.123456Z 00O x",
            [Command("clear", {}, "a"), Command("stamp", {}, "2026-01-31T12:00:00.123456Z 00O ")],
        ),
        ("at 2026-01-31T12:00:00.123456Z 00O x", []),
        ("2026-01-31T12:00:00.123Z a line of ours", []),
    ],
)
def test_gitlab_reads_sections_anywhere_and_hides_what_a_return_or_a_stamp_covers(
    text: str, commands: list[Command]
) -> None:
    assert _read("gitlab", text) == commands


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (
            "--- a\n+++ b\n~~~ c\n^^^ +++\n",
            [Command("---", {}, "a"), Command("+++", {}, "b"), Command("~~~", {}, "c"), Command("^^^ +++")],
        ),
        ("---\ta\r\n+++ ", [Command("---", {}, "a"), Command("+++")]),
        ("^^^   +++ x", [Command("^^^ +++", {}, " x")]),
        ("\x1b[31m-\x1b[0m-\x1b[K- \x1b[1ma\x1b[0m", [Command("---", {}, "a")]),
        ("\x1b[38:5:1m--- a", [Command("---", {}, "a")]),
        ("text\r--- a", [Command("act", {}, "\r"), Command("---", {}, "a")]),
        ("xx- a\r--", [Command("act", {}, "\r")]),
        ("text\b\b\b\b--- a", [*[Command("act", {}, "\b")] * 4, Command("---", {}, "a")]),
        ("text\x1b[1G--- a", [Command("act", {}, "\x1b[1G"), Command("---", {}, "a")]),
        ("text\x1b8+++ a", [Command("act", {}, "\x1b8"), Command("+++", {}, "a")]),
        ("\x1b_bk;t=0\x07--- a", [Command("act", {}, "\x1b_bk;t=0\x07"), Command("---", {}, "a")]),
        ("\x1b]1339;url=x\x1b\\ a", [Command("act", {}, "\x1b]1339;url=x\x1b\\")]),
        ("\x1b]8;;x", [Command("act", {}, "\x1b]8;;x")]),
        (" --- a", []),
        ("| --- a", []),
        ("---", []),
        ("---- a", []),
        ("-- a", []),
    ],
)
def test_buildkite_reads_headers_at_the_start_of_a_line_however_text_came_there(
    text: str, commands: list[Command]
) -> None:
    assert _read("buildkite", text) == commands


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("text ##teamcity[buildNumber '1|'2']", [Command("buildNumber", {}, "1'2")]),
        (
            "##teamcity[blockOpened name='a' \t description = 'b c']",
            [Command("blockOpened", {"name": "a", "description": "b c"})],
        ),
        (
            "##teamcity[message text='|n|r||n|[|]|x|l|p|0x00e9|0xD83D|0xDE00|?']",
            [Command("message", {"text": "\n\r|n[]\x85\u2028\u2029é😀?"})],
        ),
        ("##teamcity[message tc:tags='a' text='b']", [Command("message", {"tc:tags": "a", "text": "b"})]),
        ("##teamcity[a]##teamcity[b 'c'] ##teamcity[d", [Command("a"), Command("b", {}, "c"), Command("d")]),
        ("##TeamCity[enableServiceMessages]", [Command("enableServiceMessages")]),
        # What follows is no more than a warning there.
        ("##teamcity[]", [Command("")]),
        ("##teamcity[a b='c", [Command("a")]),
        ("##teamcity[a b='c]d']", [Command("a")]),
    ],
)
def test_teamcity_reads_messages_anywhere_and_unescapes_their_values(text: str, commands: list[Command]) -> None:
    assert _read("teamcity", text) == commands


def test_lines_end_where_the_system_ends_them() -> None:
    ends = ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"]

    found = {end: _names("github", f"a{end}::b::") + _names("buildkite", f"a{end}--- b") for end in ends}

    assert [end for end in ends if found[end] == ["b", "---"]] == ["\n", "\r\n", "\r"]
    assert [end for end in ends if found[end]] == ["\n", "\r\n", "\r"]
    assert _read("azure", "##vso[task.a\rb]x") == [Command("##vso", {}, "##vso[task.a")]
    assert _read("teamcity", "##teamcity[a b='\rc']") == [Command("a")]


def test_a_prefix_keeps_a_command_from_acting_only_where_it_must_stand_first_and_the_prefix_is_text() -> None:
    quiet = {
        system: [prefix for prefix in hostile.PREFIXES if _names(system, prefix + sample) != _names(system, sample)]
        for system, sample in SAMPLES.items()
    }

    # The runner of GitHub itself stops at an SGR sequence too; the page that shows its log is closed.
    assert quiet == {
        "github": ["\x1b[0K", "\x1b[2K", "\x1b[1G", "\x1b7text\x1b8", "text\b\b\b\b", "text "],
        "azure": [],
        "gitlab": [],
        "buildkite": [
            *[" ", "    ", "\t", "\xa0", "\u2003", "\u3000", "\v", "\f", "\x85", "\u2028", "\u2029"],
            *["\x00", "\x1c", "\xad", "\u200b", "\u200d", "\u2060", "\ufe0f", "\ufeff", "text "],
        ],
        "teamcity": [],
    }


def _names(system: str, text: str) -> list[str]:
    """Return what is live in the text, without what only moves or clears."""
    return [command.name for command in _read(system, text) if command.name not in {"act", "clear"}]


@pytest.mark.parametrize("infix", [*hostile.INFIXES, "\u0640", "\u0488", "\U000e0101"])
def test_what_has_no_weight_in_a_comparison_by_culture_hides_nothing(infix: str) -> None:
    assert _read("github", f"::error:{infix}:x") == [Command("error", {}, "x")]
    assert _read("github", f"#{infix}#[group]x") == [Command("group", {}, "x")]
    assert _read("azure", f"##v{infix}so[task.debug]x") == [Command("task.debug", {}, "x")]


def test_the_bracket_of_a_colour_is_the_bracket_of_a_tag_to_a_comparison_that_skips_the_escape() -> None:
    assert _read("github", "##\x1b[1m]x") == [Command("1m", {}, "x")]
    assert _read("azure", "##vso\x1b[1m.a]x") == [Command("1m.a", {}, "x")]


@pytest.mark.parametrize("space", [" ", "\t", "\v", "\f", "\x85", "\xa0", "\u2003", "\u2028"])
def test_white_space_has_weight(space: str) -> None:
    assert _read_by_all(f"#{space}#[x] #{space}#vso[task.debug]x :{space}:error::x") == {}


@pytest.mark.parametrize("gutter", ["| ", "│ ", "▌", "é", "· ", "> ", "日"])
def test_what_has_weight_keeps_a_command_from_the_start_of_a_line(gutter: str) -> None:
    assert _read("github", f"{gutter}::error::x") == _read("github", f"{gutter}[command]x") == []
    assert _read("buildkite", f"{gutter}--- x") == _read("buildkite", f"{gutter}^^^ +++") == []
    assert _read("github", f"{gutter}##[error]x") == [Command("error", {}, "x")]


def test_a_value_keeps_its_weightless_characters() -> None:
    assert _read("github", "::notice::\u270f\ufe0f 👩\u200d💻 a\xadb") == [
        Command("notice", {}, "\u270f\ufe0f 👩\u200d💻 a\xadb")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "::",
        "::::",
        ":: ::",
        "::1",  # an address, with no second pair of colons
        "::1 is the loopback address",
        "ping6 fe80::1 2001:db8::1",
        "C++::std",
        "std::vector<int>::iterator",
        "test_app.py::test_x::param PASSED",
        "::error:x",
        "# heading",
        "## heading",
        "## [x]",
        "# #[x]",
        "- [x] task [group]",
        "#[error]x",
        r"##\[error]x",
        "**vso[task.complete]",
        "# #vso[task.complete]",
        "a section_start:1:a in words",
        "section_start:1:a\x1b[0K",
        "---",
        "+++",
        "~~~",
        "^^^",
        "~~~~ code",
        "-- [1/3] Load: done in 0.8s",
        "--force --- x",
        "=== [1/3] Load ===",
        "##team[a]",
        "# #teamcity[a]",
        "teamcity[blockOpened name='a']",
        "\x1b[31mred\x1b[0m text",
        "50%\r\n100%\r\n",
        "[bold]a[/bold]",
        "<img src=x onerror=1>",
        "``` ~~~",
    ],
)
def test_ordinary_text_is_no_command_anywhere(text: str) -> None:
    assert _read_by_all(text) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # The runner knows no such name and prints the line, unless `stop-commands` made it the one that starts again.
        ("::1 and ::2", {"github": [Command("1", {}, "2")]}),
        ("::std::vector", {"github": [Command("std", {}, "vector")]}),
        # The runner prints this too, and so does Azure's agent; what their pages make of it isn't known.
        (
            "##[x](https://example.org)",
            {each: [Command("x", {}, "(https://example.org)")] for each in ("github", "azure")},
        ),
        # Nobody but Buildkite minds a diff, a line below a heading, or our own end of a stage.
        (
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b",
            {"buildkite": [Command("---", {}, "a/x"), Command("+++", {}, "b/x")]},
        ),
        ("~~~ python", {"buildkite": [Command("~~~", {}, "python")]}),
        ("--- [1/3] Load: done in 0.8s", {"buildkite": [Command("---", {}, "[1/3] Load: done in 0.8s")]}),
        # A progress bar is redrawn: no command, but text that is gone or moved.
        ("50%\r100%", {"gitlab": [Command("clear", {}, "50%")], "buildkite": [Command("act", {}, "\r")]}),
    ],
)
def test_ordinary_text_that_is_reported(text: str, found: dict[str, list[Command]]) -> None:
    assert _read_by_all(text) == found


def test_folds_are_told_by_how_they_open_and_close_and_what_they_are_called() -> None:
    logs = {
        "github": "::group::a\n::error::b\n##[endgroup]",
        "azure": "##[group]a\n##[section]b\n##[endgroup]",
        "gitlab": "section_start:1:a_1\r\x1b[0KA\nb\nsection_end:2:a_1\r\x1b[0K",
        "buildkite": "--- a\nb\n^^^ +++\n~~~ c",
        "teamcity": "##teamcity[blockOpened name='a']\n##teamcity[buildNumber 'b']\n##teamcity[blockClosed name='a']",
    }

    assert {system: folds(_read(system, log)) for system, log in logs.items()} == {
        "github": [("open", "a"), ("close", "")],
        "azure": [("open", "a"), ("close", "")],
        "gitlab": [("open", "a-1"), ("close", "a-1")],
        "buildkite": [("open", "a"), ("open", "c")],
        "teamcity": [("open", "a"), ("close", "a")],
    }


def test_bytes_that_are_no_text_are_read_as_one_character_each_and_hide_nothing() -> None:
    log = b"\xff\n::error::\xff\n\xe2\x80\r--- \xff ##vso[task.debug]\xff ##teamcity[a '\xff']\xff\rx"

    assert {system: [command.name for command in parse(log)] for system, parse in PARSERS.items()} == {
        "github": ["error"],
        "azure": ["task.debug"],
        "gitlab": ["clear", "clear"],
        "buildkite": ["act", "---", "act"],
        "teamcity": ["a"],
    }


def test_every_character_that_acts_or_hides_is_a_control_and_no_other_is() -> None:
    ordinary = {"\t", "\n", *map(chr, range(0x20, 0x7F)), *map(chr, range(0xA0, 0x100))} - {"\xad"}
    suspects = [*hostile.CODE_POINTS, *hostile.SURROGATES, *"Ω保😀✓━"]

    found = [each for each in suspects if controls(f"<{each}>", colour=False) == [each]]

    assert found == [each for each in suspects if each not in ordinary | {*"Ω保😀✓━"}]
    assert found == [each for each in suspects if controls(f"<{each}>", colour=True) == [each]]


def test_a_whole_colour_sequence_is_no_control_where_colour_is_allowed() -> None:
    text = "\x1b[m\x1b[1;38:2::1:2:3mred\x1b[0m \x1b[?31m \x1b[2J \x1b[31\x9b31m"

    assert controls(text, colour=True) == ["\x1b", "\x1b", "\x1b", "\x9b"]
    assert controls(text, colour=False) == ["\x1b"] * 6 + ["\x9b"]


def test_the_hostile_lines_are_lines_that_can_be_written_and_none_is_twice() -> None:
    assert [line for line in hostile.LINES if "\n" in line or not line] == []
    assert len("\n".join(hostile.LINES).encode()) > len(hostile.LINES)
    assert len(set(hostile.LINES)) == len(hostile.LINES)


def test_the_hostile_lines_hold_every_token_prefix_escape_and_character() -> None:
    tokens = {token for each in hostile.TOKENS.values() for token in each}

    assert (tokens | {*hostile.ESCAPES, *hostile.MARKUP}) - {*hostile.LINES} == set()
    assert {f"{prefix}::error::forged" for prefix in hostile.PREFIXES} - {*hostile.LINES} == set()
    assert {*hostile.CODE_POINTS} - {*"".join(hostile.LINES)} == {"\n"}


@pytest.mark.parametrize("system", list(PARSERS))
def test_enough_of_the_hostile_lines_are_live_in_each_system(system: str) -> None:
    assert sum(bool(_read(system, line)) for line in hostile.LINES) > 100


def test_a_log_is_read_line_by_line_also_as_a_whole() -> None:
    # A return at the end of a line and the LF after it are one end.
    lines = [line for line in hostile.LINES if not line.endswith("\r")]

    assert github("\n".join(lines).encode()) == [command for line in lines for command in github(line.encode())]
