"""Files that a page shows: each is checked as far as this machine can, and says what its system would run."""

import configparser
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import yaml


_RUNS_IN_CI: Final = ("run", "script", "bash", "command")
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # folders of nginx


def commands_in(file: Path) -> list[str]:
    """Check a file; return the commands in it that are for cron, systemd or a CI system."""
    text = file.read_text("utf-8")
    if file.name == "crontab":
        return list(_crontab(text))
    match file.suffix:
        case ".service" | ".timer":
            return _unit(file)
        case ".yml" | ".yaml":
            return list(_pipeline(yaml.decode(text)))
        case ".kts":
            return re.findall(r'scriptContent = "(.+)"', text)
        case ".conf":
            _nginx(file)
        case ".toml":
            tomllib.loads(text)
        case ".sh":
            subprocess.run(["sh", "-n", file], check=True)
        case ".py":
            compile(text, file, "exec")
        case _:
            pass
    return []


def _crontab(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line or line.startswith("#") or re.match(r"\w+=", line):
            continue
        *when, command = line.split(None, 5)
        assert len(when) == 5, line
        assert all(re.fullmatch(r"[\d*/,-]+", each) for each in when), line
        yield command.replace(r"\%", "%")


def _unit(file: Path) -> list[str]:
    """Have systemd check a unit, where it is installed; return what the unit starts."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(file.read_text("utf-8"))
    if analyze := shutil.which("systemd-analyze"):
        checked = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False)
        about = [line for line in checked.stderr.splitlines() if file.name in line]
        assert not about, "\n".join(about)
    if not unit.has_option("Service", "ExecStart"):
        return []
    assert (Path(unit["Service"]["WorkingDirectory"]) / "recipes").is_dir()
    return [unit["Service"]["ExecStart"]]


def _pipeline(document: Any) -> Iterator[str]:
    """Yield what a CI system would run."""
    if isinstance(document, list):
        for each in document:
            yield from _pipeline(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            lines = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            if key in _RUNS_IN_CI:
                yield from (each for each in lines if isinstance(each, str) and "stagerun " in each)
            yield from _pipeline(value)


def _nginx(file: Path) -> None:
    """Have nginx check what belongs into its `http`, where it is installed; elsewhere only the braces are counted."""
    text = file.read_text("utf-8")
    assert text.count("{") == text.count("}") > 0
    if nginx := shutil.which("nginx"):
        whole = file.with_name("nginx.conf")
        own = "".join(f"{name}_temp_path {file.parent}/{name};\n" for name in _TEMPORARY)
        whole.write_text(f"pid {file.parent}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{own}{text}}}\n")
        checked = subprocess.run([nginx, "-t", "-q", "-c", whole], capture_output=True, text=True, check=False)
        assert not checked.returncode, checked.stderr
