"""Wherever text is put together from parts, a secret among the parts is masked, whatever is written in it."""

import pytest

from tests.conftest import Done, Project
from tests.forms import shards


# Each part of a secret is unlike anything else that a run says, so that a shard of it is noticed.
SECRETS = {
    "apostrophe": "qz'Xv1'kW9'jH3",
    "both quotes": "qz\"Xv1'kW9\"'jH3",
    "blanks": "qz Xv1  kW9 jH3 ",
    "dollar": "qz$Xv1$(kW9)${jH3}`uY5`",
    "backslashes": r"qz\Xv1\\kW9\njH3",
    "letters beyond ASCII": "qzéXv1ΩkW9🔑jH3ü'",
    "lines": "qzXv1'a8Lq\nkW9jH3\"Rt2\nmB7nC4 $Dp6\n",
    "CRLF": "qzXv1'a8Lq\r\nkW9jH3\"Rt2\r\nmB7nC4 $Dp6\r\n",
    "tabs and escapes": "qz\tXv1\x1b[31mkW9'jH3",
    "percent": "qz%Xv1%41kW9+jH3/'",
    "braces": "{qz}Xv1{{kW9}}'{jH3!r}",
}

FEW = ("both quotes", "CRLF")  # the others go to `make soak`

# What a recipe may do with a text, a statement each. `t` is the secret.
PLACES = r"""
p.sh(["true", f"--password={t}"])
p.sh(["true", t, f"a {t}", f"{t}'{t}"])
p.sh(["true", self.token])
p.sh(["true", Path("/tmp", t)])
p.sh("true " + shlex.quote(t))
p.sh(shlex.join(["true", f"--password={t}"]))
p.sh(["/nonexistent/" + t])
p.sh(["false", t])
p.sh("false " + shlex.quote(t))
p.sh(["true"], cwd="/nonexistent/" + t)
p.sh([sys.executable, "-c", "import time; time.sleep(60)", t], timeout=0.1)
p.sh([sys.executable, "-c", "import sys; print(sys.argv[1]); sys.exit(3)", t])
p.sh([sys.executable, "-c", "import sys; print(ascii(sys.argv)); sys.exit(3)", t])
p.sh(["sh", "-xc", 'true "$1"', "sh", t])
p.sh(["env", f"TOKEN={t}", "false"], env={"TOKEN": self.token})
p.log(p.sh(["printf", "%s", t], capture=True))
p.log(repr(p.sh(["printf", "%s", t], capture=True)))
p.sh(["true", {"token": t}])
p.sh(["true", t.encode()])
p.sh({t: t})
subprocess.run(["false", t], check=True)
subprocess.run("false " + shlex.quote(t), shell=True, check=True)
raise ValueError(t)
raise KeyError(t)
raise RuntimeError(1, [t], {"token": t})
raise RuntimeError("with cause") from ValueError(repr(t))
raise noted(ValueError("with a note"), t, repr({"token": t}))
raise type(f"Error of {t}", (Exception,), {})(t)
raise SystemExit(f"leaving with {t}")
raise ExceptionGroup(t, [ValueError(t), KeyError(t)])
assert t == "", f"not empty: {t!r}"
compile(t, t.replace("\0", ""), "exec")
int(t)
float(t)
json.loads(t)
p.map(fail, [t])
p.map(fail, [{"token": [t]}, Path(t)])
p.map(fail, [t], processes=True)
p.map(say, [t], processes=True)
p.percent(t)
p.stage("x", timeout=t)
with p.stage(t): raise ValueError(t)
p.log("x", t)
p.status("x", t)
p.status(t)
p.status(f"\r{t}\n{t}", "warning")
p.chain_to(t)
p.chain_to([t])
p.checkpoint(t, str)
p.checkpoint("value", str, t)
p.checkpoint("list", list, (t, t))
p.checkpoint("retried", fail, t, attempts=1)
p.map(str, [t], key=t)
list(p.track([t], label=t, unit=t))
for _ in p.track([t], label=f"{t!r}", key=t): pass
list(p.track(t, total=t))
p.result([t])
p.result({t: t, "list": [t, {"deep": t}], "repr": repr(t), "shell": shlex.quote(t)})
p.log(f"{t} {t!r} {t!a} {t.encode()} {self.token}")
p.log([t, (t,), {t: {t}}])
p.log(Path(t))
p.log(pprint.pformat({"token": [t, t]}, width=1000))
p.log(shlex.join([t, t]))
p.log(json.dumps([json.dumps({"token": t})]))
p.log(types.SimpleNamespace(token=t))
print(t, [t], sep="|")
print(repr([repr(t)]))
logging.error("%s %r", t, t)
logging.error("not %d", t)
logging.getLogger(f"client {t}").error("x")
warnings.warn(f"of {t}")
self.__class__(token=self.token, count=t)
self.__class__(token=self.token, other=t)
self.__class__(token=self.token, **{t: 1})
"""

RECIPE = """
import json, logging, pprint, shlex, subprocess, sys, traceback, types, warnings
from pathlib import Path

def fail(item):
    raise ValueError(f"can't take {item!r}")

def say(item):
    text = item.replace("\\n", " ").replace("\\r", "") * 9000
    for start in range(0, len(text), 5):
        sys.stdout.write(text[start : start + 5])

def noted(error, *notes):
    for note in notes:
        error.add_note(note)
    return error

class Say(LiveOperation):
    stages = ["Load"]
    token: Secret
    end: str = ""
    count: int = 0

    def run(self, p: Progress) -> None:
        t, errors = self.token.reveal(), []
        with p.stage("Load"):
            for statement in Path("places").read_text().splitlines():
                try:
                    exec(statement, globals() | {"t": t, "p": p, "self": self})
                except BaseException as error:
                    p.log(f"error: {error}", "warning")
                    p.log(repr(error))
                    p.log(traceback.format_exc())
                    p.log(f"{type(error).__name__} by {statement}")
                    errors.append(error)
        with p.stage(f"of {t}"):
            list(p.track([1], label=t, unit=t))
        p.error(f"because of {t!r}")
        if self.end == "program":
            p.sh([sys.executable, "-c", "import sys; print(ascii(sys.argv), sys.argv[1]); sys.exit(3)", t])
        if self.end == "pool":
            p.map(fail, [f"{t} " * 9000], processes=True)
        if self.end == "raising":
            tens = [errors[n : n + 10] for n in range(0, len(errors), 10)]  # Python shows no more than 15 of a group
            raise BaseExceptionGroup(t, [BaseExceptionGroup(t, ten) for ten in tens])
"""


# How the run may end, and what then tells that it did.
ENDS = {
    "raising": "ExceptionGroup: ***",
    "told": "error: because of",
    "program": "ended with exit code 3",
    "pool": "in another process:",
}


@pytest.mark.parametrize(
    ("name", "end"),
    [
        *(pytest.param(name, "raising", marks=() if name in FEW else pytest.mark.soak) for name in SECRETS),
        ("CRLF", "pool"),
        *(pytest.param("CRLF", end, marks=pytest.mark.soak) for end in ("told", "program")),
        *(pytest.param("both quotes", end, marks=pytest.mark.soak) for end in ("told", "program", "pool")),
    ],
)
def test_a_secret_is_masked_wherever_text_is_put_together(project: Project, name: str, end: str) -> None:
    secret = SECRETS[name]
    project.recipe("demo", RECIPE)
    (project.root / "places").write_text(PLACES.strip())

    done = project.stagerun("run", "demo:Say", "--end", end, "--progress", "plain", environ={"STAGERUN_TOKEN": secret})

    told: dict[str, str | bytes] = {"run": _told(done)}
    told["disk"] = b"\n".join(each.read_bytes() for each in project.root.glob(".stagerun/*"))
    told |= {
        " ".join(command): _told(project.stagerun(*command))
        for command in (("status",), ("logs", "--json"), ("export", "--format", "junit"))
    }
    assert (done.code, ENDS[end] in done.out) == (1, True)
    assert {where: _shards(secret, text) for where, text in told.items()} == {where: [] for where in told}


def test_every_place_is_reached(project: Project) -> None:
    project.recipe("demo", RECIPE)
    (project.root / "places").write_text(PLACES.strip())

    done = project.stagerun("run", "demo:Say", "--end", "raising", environ={"STAGERUN_TOKEN": "qzXv1kW9jH3"})

    raised = dict(line.split(" by ", 1)[::-1] for line in done.out.splitlines() if " by " in line)
    assert [line for line in PLACES.strip().splitlines() if line.startswith("raise ") and line not in raised] == []
    assert {"NameError", "AttributeError", "ImportError"} & set(raised.values()) == set()
    assert done.out.count("***") > len(PLACES.splitlines())


def _told(done: Done) -> str:
    return f"{done.out}\n{done.err}"


def _shards(secret: str, text: str | bytes) -> list[str]:
    """Return what is left of a secret: its pieces, and what only a secret has between its marks."""
    return shards(secret, text) + [piece for piece in ("Xv1", "kW9", "jH3", "Rt2", "mB7nC4") if piece in str(text)]
