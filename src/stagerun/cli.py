"""The command line: the names of the commands, and the conversion of errors to messages and exit codes."""

import gc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

from stagerun import exit_codes
from stagerun.commands.help import help_option, version_option
from stagerun.commands.surroundings import Surroundings, surroundings_of
from stagerun.errors import StagerunError, UsageError
from stagerun.text.streams import SafeStream


# A command is imported when it is used; the help of the group needs only these lines.
_GROUPS: Final = {
    "Run": {
        "run": "Run an operation.",
        "resume": "Continue a run where it stopped.",
        "rerun": "Run an operation anew, with the parameters of a run.",
        "cancel": "Stop a run in another process.",
        "wait": "Wait until a run is over; exit with its exit code.",
    },
    "Look": {
        "status": "Show one run and its chain.",
        "watch": "Show a run live, from another process.",
        "logs": "Print the lines of a run.",
        "timeline": "Show when each stage of a run was active.",
        "history": "Show past runs, newest first.",
        "stats": "Show how long an operation takes, and how often it fails.",
    },
    "Share": {
        "serve": "Show runs in a browser, live.",
        "report": "Write a run as one HTML file.",
        "export": "Write runs for other tools.",
    },
    "Recipes": {
        "list": "List the operations of this project.",
        "show": "Show one operation: parameters, stages, usual durations.",
        "init": "Write a first recipe to start from.",
    },
    "Set up": {
        "config": "Show every setting, and where its value comes from.",
        "completion": "Print the script that completes commands in a shell.",
        "doctor": "Report problems with the machine, journal or recipes.",
        "prune": "Delete old runs.",
    },
}
_COMMANDS: Final = {name: about for group in _GROUPS.values() for name, about in group.items()}
_INTERNAL: Final = ("agent",)  # started by stagerun, not by people
_MISSING: Final = {  # what to give for an argument
    "ref": "name a run by its id, or as last, last~1, last~2",
    "target": "name an operation; see 'stagerun list'",
}


class _Commands(click.Group):
    """Loads `stagerun.commands.NAME` when NAME is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS and cmd_name not in _INTERNAL:
            return None
        from importlib import import_module

        command = import_module(f"stagerun.commands.{cmd_name}").command
        gc.freeze()
        gc.enable()
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in (*_COMMANDS, *_INTERNAL) and not args[0].startswith("-"):
            from stagerun.text import suggestions

            run = f"to run it: stagerun run {args[0]}" if ":" in args[0] else None
            hint = run or suggestions.hint(args[0], _COMMANDS, "commands")
            raise UsageError(f"there is no command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from stagerun.commands.types import candidates

        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*candidates(incomplete, _COMMANDS.items()), *options]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all commands on one screen of 24 lines."""
        side, width = (max(map(len, names)) for names in (_GROUPS, _COMMANDS))
        formatter.write("Usage: stagerun COMMAND [OPTIONS] [ARGUMENTS]\n\n")
        for group, commands in _GROUPS.items():
            for title, (name, about) in zip((group, *[""] * len(commands)), commands.items(), strict=False):
                line = f"{title:{side}}  {name:{width}}  {about}"
                if len(line) > formatter.width:  # to wrap text costs an import
                    begin = len(line) - len(about)
                    line = click.wrap_text(about, formatter.width, line[:begin], " " * begin)
                formatter.write(f"{line}\n")
        formatter.write("More: stagerun COMMAND --help, stagerun --version\n")


@click.group(cls=_Commands, context_settings={"help_option_names": []})
@version_option
@help_option
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run operations in stages; every run is journaled."""
    here = surroundings_of(ctx)
    _ = here.from_env_file  # before an option looks for its variable
    given = here.project.settings
    defaults = {name: given[name] for name in ("progress", "timestamps", "owner", "on") if name in given}
    ctx.default_map = dict.fromkeys(("run", "resume", "rerun", "watch", "logs"), defaults)


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; if a signal ended a run in this process, die of that signal."""
    here = Surroundings()
    _take_streams(here)
    try:
        with _errors_as_sentences(here) as outcome:
            result: Any = cli.main(args=list(arguments), prog_name="stagerun", standalone_mode=False, obj=here)
            outcome["code"] = result if isinstance(result, int) else exit_codes.SUCCEEDED
        code = outcome["code"]
    except KeyboardInterrupt:
        code = exit_codes.INTERRUPTED
    if isinstance(code, exit_codes.OwnCode):
        _die_of_signal(code)
    _abandon_threads(code)
    return code


def _take_streams(here: Surroundings) -> None:
    """Make safe, until the process ends, what anybody prints who is not stagerun: click, a recipe, Python itself."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            original = stream.original if isinstance(stream, SafeStream) else stream
            safe = SafeStream(original, here.safe, here.complete)
            setattr(sys, name, safe)
            setattr(sys, f"__{name}__", safe)  # Python goes back to it when it ends


def _abandon_threads(code: int) -> None:
    """Exit without waiting for items of a `p.map` that never end: Python would wait for their threads."""
    fanout = sys.modules.get("stagerun.authoring.fanout")
    if fanout is not None and any(each.name.startswith(fanout.THREADS) for each in threading.enumerate()):
        _flush()
        os._exit(code)


def _way_out(error: click.UsageError) -> str | None:
    if isinstance(error, click.MissingParameter) and error.param is not None and error.param.name in _MISSING:
        return _MISSING[error.param.name]
    return f"see '{error.ctx.command_path} --help'" if error.ctx else None


@contextmanager
def _errors_as_sentences(here: Surroundings) -> Iterator[dict[str, int]]:
    """Print every expected error with its hint on stderr, and turn it into an exit code."""
    outcome = {"code": exit_codes.SUCCEEDED}

    def say(message: str, hint: str | None = None, traceback: str | None = None) -> None:
        from stagerun.commands import printing

        printing.say(here, message, hint, traceback)

    try:
        yield outcome
    except StagerunError as error:
        say(error.message, error.hint, error.traceback)
        outcome["code"] = exit_codes.of_error(error)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        outcome["code"] = exit_codes.USAGE
    except click.UsageError as error:
        say(_sentence(error.format_message()), _way_out(error))
        outcome["code"] = exit_codes.USAGE
    except click.ClickException as error:
        say(error.format_message())
        outcome["code"] = error.exit_code
    except click.exceptions.Exit as leaving:
        outcome["code"] = leaving.exit_code
    except click.Abort:
        outcome["code"] = exit_codes.INTERRUPTED
    except OSError as error:
        # A reader that closes the pipe is not an error. Python must have nothing left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            say(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
            outcome["code"] = exit_codes.FAILED


def _sentence(message: str) -> str:
    message = " ".join(message.split())  # a list of choices has lines of its own
    return (message[:1].lower() + message[1:]).rstrip(".")


def _die_of_signal(code: int) -> None:
    """Die of the signal that `code` stands for: a shell or a CI system sees what happened."""
    name = next((name for name, each in exit_codes.OF_SIGNAL.items() if each == code), None)
    if name is None:
        return
    import signal

    number = signal.Signals[name]
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util._run_finalizers()  # noqa: SLF001 - the interpreter would do it at exit
    _flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
