"""How five CI systems read a job's log, as pure functions on its bytes: what could act there is reported, in order.

A port follows the source that its docstring names. Where that leaves a doubt, or the part that reads the log is closed
(the pages of GitHub, Azure and Buildkite, the server of TeamCity), a port tolerates more than the system, never less:
all names count, not only known ones, in any case, also with colours or weightless characters inside.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True)
class Command:
    """One command as its system understands it, with unescaped values; a name that knows no case is in lower case."""

    name: str
    properties: dict[str, str] = field(default_factory=dict)
    data: str = ""

    @property
    def fold(self) -> Literal["open", "close", ""]:
        return "open" if self.name in _OPENING else "close" if self.name in _CLOSING else ""

    @property
    def title(self) -> str:
        """What a fold is called by its system."""
        return self.properties.get("name", self.data)


_OPENING: Final = frozenset(
    {"group", "section_start", "---", "+++", "~~~"}
    | {"blockOpened", "compilationStarted", "progressStart", "testSuiteStarted"}
)
_CLOSING: Final = frozenset(
    {"endgroup", "section_end"} | {"blockClosed", "compilationFinished", "progressFinish", "testSuiteFinished"}
)

_Found = list[tuple[int, Command]]
_Escapes = tuple[tuple[str, str], ...]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_SGR: Final = re.compile(r"\x1b\[[0-9;:]*m")

# Azure's word for a command that is none.
_KEYWORD: Final = "##vso"

# What weighs nothing in ICU's root collation is in these categories, or one of these letters.
_WEIGHTLESS: Final = frozenset({"Cc", "Cf", "Cn", "Mc", "Me", "Mn"})
_WEIGHTLESS_TOO: Final = frozenset("\u0640\u07fa\u180a\u1cd3\ufe73")


def _each_line(log: bytes, parse: Callable[[str], list[Command]]) -> list[Command]:
    """Read each line bare, without what a comparison by culture skips, and without colours; the fullest reading counts.

    In .NET, `IndexOf` and `StartsWith` with a string compare by culture, where ICU gives some characters no weight.
    """
    found: list[Command] = []
    for line in _LINE_END.split(log.decode("utf-8", "replace")):
        readings = dict.fromkeys((line, _weighty(line), _weighty(_SGR.sub("", line))))
        found += max(map(parse, readings), key=_fullness)
    return found


def _fullness(commands: Iterable[Command]) -> tuple[int, int]:
    names = [command.name for command in commands]
    return sum(name != _KEYWORD for name in names), len(names)


def _weighty(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        each
        for each in line
        if each in "\t\v\f\x85" or (unicodedata.category(each) not in _WEIGHTLESS and each not in _WEIGHTLESS_TOO)
    )


def _in_order(found: _Found) -> list[Command]:
    return [command for _, command in sorted(found, key=lambda each: each[0])]


# GitHub Actions and Azure Pipelines

_GITHUB_DATA: Final = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_GITHUB_PROPERTY: Final = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_GITHUB_TAG: Final = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%"))
_AZURE: Final = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%"))

# The look-ahead takes nothing, so that a second one on the line is found too.
_TAG: Final = re.compile(r"##\[(?=([^\]]*)(?:\](.*))?)", re.DOTALL)
_VSO: Final = re.compile(r"##vso(?:\[(?=([^\]]*)\](.*)))?", re.DOTALL | re.IGNORECASE)


def github(log: bytes) -> list[Command]:
    """Return what the runner of GitHub Actions, or the page that shows its log, takes for a command.

    Lines end at LF, CRLF and a lone CR: `StreamReader.ReadLine` in actions/runner, src/Runner.Sdk/ProcessInvoker.cs.
    `::name a=b,c=d::data` stands first after .NET's `TrimStart`, `##[name a=b;c=d]data` stands anywhere: `TryParseV2`
    and `TryParse` in src/Runner.Common/ActionCommand.cs. The runner knows the names that are registered and the stop
    token of the moment, and reads one command a line: src/Runner.Worker/ActionCommandManager.cs; here every name and
    every `##[` counts, because the rest of the line stays in the log that the page reads. `[command]` first on a line
    is a prefix of the page: `parseLogLineCommand` in go-gitea/gitea, web_src/js/render/log.ts.
    """
    return _each_line(log, _github_line)


def azure(log: bytes) -> list[Command]:
    """Return what the agent of Azure Pipelines, or the page that shows its log, takes for a command.

    Lines end as on GitHub: src/Agent.Sdk/ProcessInvoker.cs in microsoft/azure-pipelines-agent. `##vso[area.event
    a=b;c=d]data` stands anywhere: `TryParse` in src/Microsoft.VisualStudio.Services.Agent/Command.cs, values unescaped
    by src/Agent.Sdk/CommandStringConvertor.cs. A bare `##vso` that is no command becomes a warning of the build:
    `TryProcessCommand` in src/Agent.Worker/WorkerCommandManager.cs. `##[group]` and its like are counted anywhere in
    any case by src/Microsoft.VisualStudio.Services.Agent/Logging.cs, and shown by the page.
    """
    return _each_line(log, _azure_line)


def _github_line(line: str) -> list[Command]:
    # str.lstrip takes all that TrimStart takes, and U+001C to U+001F.
    text = line.lstrip()
    found = _tags(line, _GITHUB_TAG)
    if text.startswith("[command]"):
        found.append((-1, Command("[command]", {}, text.removeprefix("[command]"))))
    if text.startswith("::") and (end := text.find("::", 2)) >= 0:
        name, _, properties = text[2:end].partition(" ")
        if name:
            pairs = _pairs(properties.strip(), ",", _GITHUB_PROPERTY)
            found.append((-1, Command(name.lower(), pairs, _unescape(text[end + 2 :], _GITHUB_DATA))))
    return _in_order(found)


def _azure_line(line: str) -> list[Command]:
    found = _tags(line, ())
    for match in _VSO.finditer(line):
        name, _, properties = (match[1] or "").partition(" ")
        area_and_event = [part for part in name.lower().split(".") if part]
        if len(area_and_event) == 2:
            command = Command(".".join(area_and_event), _pairs(properties, ";", _AZURE), _unescape(match[2], _AZURE))
        else:
            command = Command(_KEYWORD, {}, line[match.start() :])
        found.append((match.start(), command))
    return _in_order(found)


def _tags(line: str, escapes: _Escapes) -> _Found:
    found: _Found = []
    for match in _TAG.finditer(line):
        name, _, properties = match[1].partition(" ")
        command = Command(name.lower(), _pairs(properties, ";", escapes), _unescape(match[2] or "", escapes))
        found.append((match.start(), command))
    return found


def _pairs(text: str, separator: str, escapes: _Escapes) -> dict[str, str]:
    """Split as .NET does when told to remove empty entries: a run of `=` is one, a key without a value is none."""
    pairs: dict[str, str] = {}
    for each in text.split(separator):
        key, _, value = each.lstrip("=").partition("=")
        if value := value.lstrip("="):
            pairs[key] = _unescape(value, escapes)
    return pairs


def _unescape(text: str, escapes: _Escapes) -> str:
    for escaped, plain in escapes:
        text = text.replace(escaped, plain)
    return text


# GitLab

_SECTION: Final = (
    r"section_(?P<action>start|end):(?P<time>\d+):(?P<name>[a-zA-Z0-9_.-]+)"
    r"(?:\[(?P<options>\w+=\w+(?:, ?\w+=\w+)*)\])?\r\x1b\[0K"
)
_SECTION_OR_CLEAR: Final = re.compile(rf"{_SECTION}|\r(?!\n)", re.ASCII)
_GITLAB_ESCAPE: Final = re.compile(r"\x1b(?:[@-_].*?(?:[@-~]|$))?")
_STAMP: Final = re.compile(r"(?<![^\r])(?:\x1b\[[0-?]*[ -/]*[@-~])*(.{4}-..-..T..:.{12}Z.{5})")


def gitlab(log: bytes) -> list[Command]:
    """Return the sections that GitLab opens and closes, and what it makes invisible: `clear` and `stamp`.

    Read in lib/gitlab/ci/ansi2json/converter.rb, lib/gitlab/ci/ansi2json/v2/converter.rb and lib/gitlab/regex.rb of
    gitlabhq/gitlabhq, the public mirror of gitlab-org/gitlab. A section marker stands anywhere in a line and ends the
    line before it. A CR that no LF follows clears the line so far. Where the runner stamps lines (FF_TIMESTAMPS), what
    looks like a second stamp at the start of a line is taken for one: 32 bytes, of which 5 are looked at. SGR gives
    style, every other escape is dropped with what it holds. A `section_end` that ends nothing only vanishes there.
    """
    found: list[Command] = []
    # A character for each byte, because GitLab counts bytes; the LF stays, because it tells which CR is alone.
    for line in re.split(r"(?<=\n)", log.decode("latin-1")):
        in_line: _Found = [(match.start(1), Command("stamp", {}, _utf_8(match[1]))) for match in _STAMP.finditer(line)]
        start = 0
        matches = list(_SECTION_OR_CLEAR.finditer(line))
        ends = [*(each.start() for each in matches), len(line)][1:]
        for match, end in zip(matches, ends, strict=True):
            if match["action"]:
                command = Command(f"section_{match['action']}", _section(match), _plain(line[match.end() : end]))
            else:
                command = Command("clear", {}, _utf_8(line[start : match.start()]))
            in_line.append((match.start(), command))
            start = match.end()
        found += _in_order(in_line)
    return found


def _section(match: re.Match[str]) -> dict[str, str]:
    options = dict(option.strip().split("=") for option in (match["options"] or "").split(",") if option)
    return {"time": match["time"], "name": re.sub(r"[^a-z0-9]", "-", match["name"].lower()), **options}


def _plain(text: str) -> str:
    return _utf_8(_GITLAB_ESCAPE.sub("", text).rstrip("\r\n"))


def _utf_8(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")


# Buildkite

_BUILDKITE_COLOUR: Final = re.compile(r"\x1b\[[;:\d]*[mK]")
_HEADER: Final = re.compile(r"(---|\+\+\+|~~~)\s(.*)", re.DOTALL)
_EXPANSION: Final = re.compile(r"\^\^\^\s+\+\+\+(.*)", re.DOTALL)
_ACT: Final = re.compile(
    r"\x1b[\]_PX^](?:[^\x07\x1b]|\x1b(?!\\))*(?:\x07|\x1b\\|$)"  # strings: links, images, time stamps
    r"|\x1b\[[0-?]*[ -/]*[@-~]?|\x1b[()].?|\x1b.?"  # moves, character sets, and what is cut off
    r"|\r|\x08",
    re.DOTALL,
)


def buildkite(log: bytes) -> list[Command]:
    """Return the groups that Buildkite opens, and each `act` that moves its cursor or makes a link, an image, a time.

    A header is `---`, `+++` or `~~~` and white space first on the line after colours and `ESC [ K` are removed, and
    `^^^ +++` opens the group before: agent/header_times_streamer.go of buildkite/agent, up to its version 3, which
    says that the page follows the same rule. The page shows the screen that parser.go of buildkite/terminal-to-html
    draws, where CR, BS and the moves put text at the start of a line; so the text after each act counts as a start.
    """
    found: list[Command] = []
    for line in log.decode("utf-8", "replace").split("\n"):
        text = _BUILDKITE_COLOUR.sub("", line.rstrip("\r"))
        acts = [match[0] for match in _ACT.finditer(text)]
        for number, piece in enumerate(_ACT.split(text)):
            found += [Command("act", {}, acts[number - 1])] if number else []
            if match := _HEADER.match(piece):
                found.append(Command(match[1], {}, match[2]))
            elif match := _EXPANSION.match(piece):
                found.append(Command("^^^ +++", {}, match[1]))
    return found


# TeamCity

_MESSAGE: Final = re.compile(r"##teamcity\[(?=(.*?)(?:(?<!\|)\]|$))", re.DOTALL | re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"([^\s=']+)\s*=\s*'((?:\|.|[^'|])*)'", re.DOTALL)
_BAR: Final = re.compile(r"\|(0x[0-9a-fA-F]{4}|.)", re.DOTALL)
_BARRED: Final = {each: each for each in "|'[]"} | {"n": "\n", "r": "\r", "x": "\x85", "l": "\u2028", "p": "\u2029"}


def teamcity(log: bytes) -> list[Command]:
    """Return the service messages of TeamCity: `##teamcity[name a='b']`, or `##teamcity[name 'data']`, anywhere.

    JetBrains' own ServiceMessage.java (package jetbrains.buildServer.messages.serviceMessages) finds every one in mixed
    text and ends it at the first `]` that has no `|` before it. Escapes: ServiceMessageReplacements.cs of
    JetBrains/TeamCity.ServiceMessages and topics/service-messages.md of JetBrains/teamcity-documentation. One that
    doesn't end or doesn't parse becomes a warning there, and counts here; so does one in another case.
    """
    return _each_line(log, _teamcity_line)


def _teamcity_line(line: str) -> list[Command]:
    found: list[Command] = []
    for match in _MESSAGE.finditer(line):
        name, rest = [*match[1].split(None, 1), "", ""][:2]
        if rest.startswith("'"):
            found.append(Command(name, {}, _unbar(rest.strip().removeprefix("'").removesuffix("'"))))
        else:
            found.append(Command(name, {key: _unbar(value) for key, value in _ATTRIBUTE.findall(rest)}))
    return found


def _unbar(text: str) -> str:
    plain = _BAR.sub(lambda bar: chr(int(bar[1], 16)) if len(bar[1]) > 1 else _BARRED.get(bar[1], "?"), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# What tests ask

PARSERS: Final[Mapping[str, Callable[[bytes], list[Command]]]] = MappingProxyType(
    {"github": github, "azure": azure, "gitlab": gitlab, "buildkite": buildkite, "teamcity": teamcity}
)

_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def controls(text: str, *, colour: bool) -> list[str]:
    """Return every character of `text` that may not stand in a log; with `colour`, whole SGR sequences may."""
    return _CONTROL.findall(_SGR.sub("", text) if colour else text)


def folds(commands: Iterable[Command]) -> list[tuple[str, str]]:
    """Return how the folds open and close: ("open", title) and ("close", title)."""
    return [(command.fold, command.title) for command in commands if command.fold]
