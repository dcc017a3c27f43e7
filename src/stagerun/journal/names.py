"""The names of `--once`: under each one run succeeds, with its chain and its resumes, which bear the name, too."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from stagerun.errors import DoneBefore, HeldError, NameHeld, UsageError
from stagerun.journal import rules
from stagerun.states import TERMINAL, RunState
from stagerun.text import json_text


if TYPE_CHECKING:
    from stagerun.journal.rules import OperationKey
    from stagerun.journal.store import Store

_FIRST: Final = (
    f"SELECT id, target, chained_from, ({rules.SAME_OPERATION}) AS same FROM runs WHERE once = ? ORDER BY id LIMIT 1"  # noqa: S608 - a constant
)
_NEWEST: Final = "SELECT id, state, chained_to FROM runs WHERE once = ? ORDER BY id DESC LIMIT 1"


def refuse_taken(store: "Store", operation: "OperationKey", name: str, crashed: Collection[int] = ()) -> None:
    """Refuse a run of `operation` whose name is taken; the newest run of the name decides.

    `crashed` are runs that have crashed without a record of it. Raises DoneBefore if the name has succeeded, NameHeld
    if its run is not over, HeldError if that did not succeed, UsageError if it belongs to another operation.
    """
    key = json_text.encodable(name)
    for row in store.rows(_FIRST, (*operation, key)):
        if not row["same"] and row["chained_from"] is not None:
            raise HeldError(
                f"run {row['id']} of {row['target']} has the name {name!r}, "
                "and the run before it in its chain was pruned",
                "nobody knows whose name it was: choose another",
            )
        if not row["same"]:
            raise UsageError(f"the name {name!r} belongs to run {row['id']} of {row['target']}", "choose another")
    for row in store.rows(_NEWEST, (key,)):
        run, pruned = row["id"], row["chained_to"]  # that would be newer
        state = RunState.CRASHED if run in crashed else row["state"]
        if state == RunState.SUCCEEDED and pruned is not None:
            raise HeldError(
                f"run {run} has the name {name!r}, and run {pruned}, which it chained to, was pruned",
                "nobody knows how that ended: choose another name",
            )
        if state == RunState.SUCCEEDED:
            raise DoneBefore(f"nothing to run: run {run} has succeeded under the name {name!r}")
        if state not in TERMINAL:
            raise NameHeld(run, name)
        raise HeldError(f"run {run} has the name {name!r} and did not succeed", f"go on with it: stagerun resume {run}")
