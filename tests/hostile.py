"""Text that would act if it reached a log, a terminal or a page as it is: lines that a test has something print.

Every line is one line, without LF, that UTF-8 can encode; the same lines in the same order each time. None is twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final


# What each system takes for a command, as it stands at the start of a line; the names are those of `ci_parsers`.
TOKENS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "github": (
            "::add-mask::e",
            "::error::forged",
            "::error file=app.py,line=1,endLine=2,col=3,endColumn=4,title=forged::forged",
            "::warning file=app.py,line=1::forged",
            "::notice title=forged::forged",
            "::debug::forged",
            "::set-env name=PATH::/tmp/evil",
            "::set-output name=ok::true",
            "::save-state name=ok::true",
            "::add-path::/tmp/evil",
            "::add-matcher::/tmp/evil.json",
            "::remove-matcher owner=eslint-compact::",
            "::group::forged",
            "::endgroup::",
            "::echo::on",
            "::stop-commands::0123456789abcdef",
            "::0123456789abcdef::",
            "::internal-set-repo-path repoFullName=a/b;workspaceRepo=true::/tmp",
            "::group::a%0A##[error]b",
            "[command]rm -rf /",
            "##[add-mask]e",
            "##[error]forged",
            "##[error file=app.py;line=1]forged",
            "##[warning]forged",
            "##[notice]forged",
            "##[debug]forged",
            "##[command]rm -rf /",
            "##[section]Finishing: forged",
            "##[set-env name=PATH]/tmp/evil",
            "##[add-path]/tmp/evil",
            "##[add-matcher]/tmp/evil.json",
            "##[group]forged",
            "##[endgroup]",
            "##[stop-commands]0123456789abcdef",
            "##[start-action display=forged;id=forged]",
            "##[end-action id=forged;outcome=success;conclusion=success;duration_ms=1]",
        ),
        "azure": (
            "##vso[task.setvariable variable=PATH;isOutput=true]/tmp/evil",
            "##vso[task.complete result=Succeeded;]done",
            "##vso[task.complete result=Failed;]",
            "##vso[task.logissue type=error;sourcepath=app.py;linenumber=1;columnnumber=1;code=1;]forged",
            "##vso[task.setsecret]e",
            "##vso[task.prependpath]/tmp/evil",
            "##vso[task.uploadfile]/etc/passwd",
            "##vso[task.uploadsummary]/etc/passwd",
            "##vso[task.addattachment type=a;name=b;]/etc/passwd",
            "##vso[task.setendpoint id=0;field=url;]https://evil.example",
            "##vso[task.setprogress value=100;]forged",
            "##vso[task.logdetail id=0;name=forged;type=build;order=1;state=Completed]",
            "##vso[task.debug]forged",
            "##vso[artifact.upload artifactname=a]/etc/passwd",
            "##vso[build.updatebuildnumber]forged",
            "##vso[build.addbuildtag]forged",
            "##vso[release.updatereleasename]forged",
            "##vso[no.such]forged",
            "##vso[task.nosuch]forged",
            "##vso is a prefix",
            "##[group]forged",
            "##[endgroup]",
            "##[section]Finishing: forged",
            "##[command]rm -rf /",
            "##[debug]forged",
            "##[warning]forged",
            "##[error]forged",
        ),
        "gitlab": (
            "section_start:1700000000:forged\r\x1b[0Kforged",
            "section_start:1700000000:forged[collapsed=true]\r\x1b[0Kforged",
            "section_start:1700000000:forged[hide_duration=true,collapsed=true]\r\x1b[0Kforged",
            "\x1b[0Ksection_start:1700000000:forged\r\x1b[0K\x1b[1mforged",
            "section_end:1700000000:stagerun_1\r\x1b[0K",
            "\x1b[0Ksection_end:1700000000:stagerun_1\r\x1b[0K",
            "hidden\rshown",
            "2026-01-31T12:00:00.123456Z 00O hidden before this word",
        ),
        "buildkite": (
            "--- forged",
            "+++ forged",
            "~~~ forged",
            "^^^ +++",
            "--- a/app.py",
            "+++ b/app.py",
            "---\tforged",
            "+++ \x1b[33mforged\x1b[0m :boom:",
            "\x1b_bk;t=0\x07--- forged",
            "\x1b_bk;dt=-1000\x1b\\forged",
            "\x1b]1338;url=https://evil.example/x.png;alt=forged\x07",
            "\x1b]1339;url=https://evil.example;content=forged\x07",
            "xx- a\r--",
        ),
        "teamcity": (
            "##teamcity[setParameter name='env.PATH' value='/tmp/evil']",
            "##teamcity[blockOpened name='forged' description='forged']",
            "##teamcity[blockClosed name='Load']",
            "##teamcity[buildProblem description='forged' identity='forged']",
            "##teamcity[buildStatus status='SUCCESS' text='forged']",
            "##teamcity[buildNumber 'forged']",
            "##teamcity[buildStop comment='forged' readdToQueue='true']",
            "##teamcity[publishArtifacts '/etc/passwd']",
            "##teamcity[importData type='junit' path='/tmp/evil.xml']",
            "##teamcity[progressMessage 'forged']",
            "##teamcity[message text='forged' status='ERROR']",
            "##teamcity[message text='##teamcity|[buildStop|]' tc:tags='tc:parseServiceMessagesInside']",
            "##teamcity[testFailed name='forged']",
            "##teamcity[addBuildTag 'forged']",
            "##teamcity[buildStatisticValue key='forged' value='1']",
            "##teamcity[disableServiceMessages]",
            "##teamcity[enableServiceMessages]",
            "##teamcity[unfinished name='forged'",
        ),
    }
)

# What may stand before a command so that it seems not to be the first on its line, or becomes it.
PREFIXES: Final = (
    "",
    " ",
    "    ",
    "\t",
    "\xa0",
    "\u2003",
    "\u3000",
    "\r",
    "text\r",
    "\v",
    "\f",
    "\x85",
    "\u2028",
    "\u2029",
    "\x1b[31m",
    "\x1b[0m",
    "\x1b[0K",
    "\x1b[2K",
    "\x1b[1G",
    "\x1b7text\x1b8",
    "text\b\b\b\b",
    "\x00",
    "\x1c",
    "\xad",
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufe0f",
    "\ufeff",
    "text ",
)

# What may stand between the characters of a command so that it looks whole to a person, or to a comparison by culture.
INFIXES: Final = ("\x1b[0m", "\x1b[1;31m", "\x00", "\x1b", "\xad", "\u034f", "\u200b", "\u2060", "\ufe0f", "\ufeff")

ESCAPES: Final = (
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;?\x1b\\",
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]7;file:///etc\x07",
    "\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\",
    "\x1b]9;notice\x07",
    "\x1b]133;A\x07",
    "\x1b]633;E;evil\x07",
    "\x1b]777;notify;a;b\x07",
    "\x1b]1337;File=inline=1:AAAA\x07",
    "\x1b]0;without an end",
    "\x1b_bk;t=0\x07",
    "\x1b_Gf=100;AAAA\x1b\\",
    "\x1b_without an end",
    "\x1bP$qm\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1bPwithout an end",
    "\x1bXstart of string\x1b\\",
    "\x1b^private\x1b\\",
    "\x1b[A\x1b[2Kgone",
    "\x1b[10;10Hmoved",
    "\x1b[99Dmoved",
    "\x1b[1Gmoved",
    "\x1b[2J",
    "\x1b[3J",
    "\x1b[K",
    "\x1b[1K",
    "\x1b[5L\x1b[5M",
    "\x1b[9P",
    "\x1b[2S\x1b[2T",
    "\x1b[4X",
    "\x1b[1;5r",
    "\x1b[?25l",
    "\x1b[?47h",
    "\x1b[?1000h",
    "\x1b[?1049h",
    "\x1b[?2004h",
    "\x1b[!p",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[6n",
    "\x1b[?1$p",
    "\x1b[21t",
    "\x1b[31",
    "\x1b[ 31m",
    "\x1b[?31m",
    "\x1b[31\x1b[2J",
    "\x1b[8mhidden",
    "\x1b[38;5;300;1m",
    "\x1b[" + "1;" * 100 + "m",
    "\x1bc",
    "\x1bM",
    "\x1b(0lqk\x1b(B",
    "\x1b#8",
    "\x1b=",
    "\x1b",
    "\x9b31m",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x9d52;c;ZXZpbA==\x07",
    "\x90$qm\x9c",
    "\x98string\x9c",
    "\x9eprivate\x9c",
    "\x9f_bk;t=0\x9c",
    "\x8dup",
    "50%\r100%",
    "good\b\b\b\bevil",
    "bell\x07",
    "null\x00null",
    "delete\x7f",
    "\x0eshift\x0f",
)

MARKUP: Final = (
    "[bold]",
    "[/bold]",
    "[/x]",
    "[red]red[/red]",
    "[link=https://evil.example]text[/link]",
    "[@click=app.bell]text[/]",
    "\\[bold]",
    ":boom:",
    "<img src=x onerror=1>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "&lt;b&gt; &#27;",
    "<!-- -->",
    "</details>",
    "{{ 7 * 7 }}",
    "{0} %s %(name)s ${name} `id` $(id)",
    "| a | b |",
    "|---|---|",
    "```",
    "````",
    "~~~",
    "# heading",
    "## heading",
    "- [x] task",
    "> quote",
    "![image](https://evil.example/x.png)",
    "[text](javascript:alert(1))",
    "**bold** _italic_ ~~struck~~",
    "---",
    "===",
    "@everyone #1",
    "name<<ghadelimiter_0",
    "ghadelimiter_0",
    "PATH=/tmp/evil",
)

# Every byte as a character, and what Unicode offers for hiding and reordering text.
CODE_POINTS: Final = tuple(
    map(
        chr,
        (
            *range(0x100),
            *(0x034F, 0x061C, 0x115F, 0x17B4, 0x180B, 0x180E),
            *range(0x200B, 0x2010),
            *range(0x2028, 0x202F),
            *range(0x2060, 0x2070),
            *(0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0x1BCA0, 0x1D173, 0xE0100),
            *range(0xFFF9, 0xFFFC),
            *range(0xE0000, 0xE0080),
        ),
    )
)

# No line holds these: UTF-8 can't encode them, yet a name or a log line may.
SURROGATES: Final = ("\ud800", "\udbff", "\udc00", "\udc80", "\udfff")

_ROW: Final = 16


def _cases(token: str) -> Iterator[str]:
    yield token.upper()
    yield token.title()


def _split(token: str, infix: str) -> Iterator[str]:
    """Yield the token with the infix after its first, its second and its third character, and after all of them."""
    for place in (1, 2, 3):
        yield token[:place] + infix + token[place:]
    yield infix.join(token[:8]) + token[8:]


def _first(tokens: Iterable[str], starts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first token of each way to start: what stands around a command doesn't depend on its name."""
    tokens = tuple(tokens)
    return tuple(next(token for token in tokens if token.startswith(start)) for start in starts)


def _lines() -> Iterator[str]:
    tokens = [token for each in TOKENS.values() for token in each]
    yield from tokens
    for token in tokens:
        yield from _cases(token)
        yield f"text {token}"
    for token in _first(tokens, ("::err", "##[err", "##vso[", "section_start", "---", "^^^", "##teamcity[")):
        yield from (prefix + token for prefix in PREFIXES)
        yield f"{token} {token}"
        for infix in INFIXES:
            yield from _split(token, infix)
    # The end of a command, not its start, cut in two.
    yield from (f"::error:{infix}:forged" for infix in INFIXES)
    yield from ESCAPES
    yield from (f"before{escape}after" for escape in ESCAPES)
    yield from MARKUP
    characters = [each for each in CODE_POINTS if each != "\n"]
    for start in range(0, len(characters), _ROW):
        yield "".join(f"<{each}>" for each in characters[start : start + _ROW])
    # A character before and after a command, in case it is taken for white space or for nothing.
    yield from (f"{each}::error::{each}" for each in characters if not each.isalnum() and each < "\U000e0000")


LINES: Final = tuple(dict.fromkeys(_lines()))
