"""A chain as JUnit XML, which every CI system reads: a suite for each run, a test case for each stage.

The format is that of the schema in testmoapp/junitxml and of what GitLab, Jenkins and Azure document.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from stagerun.states import RunState, StageState
from stagerun.text import sentences, wording
from stagerun.text.untrusted import disarm_xml, neutralise_xml
from stagerun.view import RunView, StageView


_ENDED_BADLY: Final = frozenset({RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT, RunState.CRASHED})


def report(views: Sequence[RunView], now: float) -> str:
    """Return the document; running stages and runs last until `now`."""
    suites = [_suite(view, now) for view in views]
    root = _element("testsuites", name=views[0].plan.target, **_sums(suites))
    root.extend(suites)
    ET.indent(root)
    return disarm_xml('<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n")


def _suite(view: RunView, now: float) -> ET.Element:
    cases = [*(_case(view, stage, now) for stage in view.stages), *_case_outside(view)]
    begun = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(view.started_on or view.created_on))
    suite = _element(
        "testsuite",
        name=view.plan.target,
        id=str(view.id),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{view.elapsed(now):.3f}",
        timestamp=begun,
        hostname=view.process.host,
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", str(view.id)), ("owner", view.owner), ("state", view.state)):
        properties.append(_element("property", name=name, value=value))
    suite.extend(cases)
    return suite


def _case(view: RunView, stage: StageView, now: float) -> ET.Element:
    case = _element("testcase", classname=view.plan.target, name=stage.name, time=f"{stage.elapsed(now):.3f}")
    match stage.state:
        case StageState.PENDING:
            left_out = stage.name in view.not_entered
            case.append(_element("skipped", message="never entered" if left_out else "not reached"))
        case StageState.ACTIVE:
            case.append(_element("skipped", message="going on"))
        case StageState.CANCELLED | StageState.FAILED:
            caught = _element("failure", message=str(stage.state), type=str(stage.state))
            case.append(_ended(view) if stage.name == sentences.ended_in(view) else caught)
        case StageState.DONE if stage.from_run is not None:
            ET.SubElement(case, "system-out").text = f"from run {stage.from_run}"
        case StageState.DONE if stage.skipped is not None:
            case.append(_element("skipped", message=stage.skipped))
        case StageState.DONE:
            pass
    return case


def _case_outside(view: RunView) -> Iterator[ET.Element]:
    """Yield a test case for a failure outside the declared stages: it must not be lost."""
    place = sentences.ended_in(view)
    if view.state in _ENDED_BADLY and (place is None or view.position(place) is None):
        case = _element("testcase", classname=view.plan.target, name=place or "outside any stage", time="0.000")
        case.append(_ended(view))
        yield case


def _ended(view: RunView) -> ET.Element:
    """Return how the run ended: a `failure` if it failed or timed out, else an `error`."""
    kind = "failure" if view.state in (RunState.FAILED, RunState.TIMED_OUT) else "error"
    signal = f" by {view.signal}" if view.signal else ""
    message = wording.error_line(view.error) if view.error else wording.state_word(view.state) + signal
    type_ = (view.error.type if view.error else "") or view.state
    told = _element(kind, message=message.partition("\n")[0], type=type_)
    if view.error:
        told.text = neutralise_xml("\n".join(sentences.error(view)).removeprefix("error: "))
    return told


def _sums(suites: Sequence[ET.Element]) -> dict[str, str]:
    counted = {
        name: str(sum(int(each.get(name, "0")) for each in suites))
        for name in ("tests", "failures", "errors", "skipped")
    }
    return counted | {"time": f"{sum(float(each.get('time', '0')) for each in suites):.3f}"}


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: neutralise_xml(value) for name, value in attributes.items()})
