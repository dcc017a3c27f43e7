"""Runs as traces of OpenTelemetry, with a collector of the tests' own."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stagerun import LiveOperation, Progress, Secret, events
from stagerun.notify.traces import Traces, context_of
from tests.conftest import START, Bench, Project
from tests.loopback import WebService


class Import(LiveOperation):
    stages = ["Load", "Save"]
    rows: int = 3
    token: Secret = Secret("hunter22")

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            CLOCK[0].move(2)
        with p.stage("Save"):
            CLOCK[0].move(1)
            with p.stage("upload"):
                raise ValueError(f"no room for {self.token.reveal()}")


class First(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Second())


class Second(LiveOperation):
    def run(self, p: Progress) -> None: ...


class Stepped(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        p.step("Load", int)
        with p.stage("Save"):
            raise ValueError("boom")


CLOCK: list[Any] = []


@pytest.fixture
def collector(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebService]:
    CLOCK[:] = [bench.clock]
    with WebService() as service:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", service.url)
        yield service


def _requests(collector: WebService) -> list[ExportTraceServiceRequest]:
    assert {each.path for each in collector.received} <= {"/v1/traces"}
    return [ExportTraceServiceRequest.FromString(each.body) for each in collector.received]


def _spans(collector: WebService) -> list[Span]:
    return [
        span
        for request in _requests(collector)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, object]:
    def value(each: KeyValue) -> object:
        return getattr(each.value, str(each.value.WhichOneof("value")))

    return {each.key: value(each) for each in attributes}


def _ids(work: str, run: int) -> tuple[bytes, bytes]:
    context = context_of(work, run)
    return context.trace_id.to_bytes(16), context.span_id.to_bytes(8)


def test_a_run_is_a_trace_and_its_stages_are_spans_with_their_times_and_the_error(
    bench: Bench, collector: WebService
) -> None:
    view = bench.run(Import(owner="alice"), Traces({}))

    spans = {span.name: span for span in _spans(collector)}
    run, load, save, upload = (spans[name] for name in ("demo:Import", "Load", "Save", "upload"))
    seconds = {
        name: ((span.start_time_unix_nano / 1e9) - START, (span.end_time_unix_nano / 1e9) - START)
        for name, span in spans.items()
    }
    assert seconds == {"demo:Import": (0, 3), "Load": (0, 2), "Save": (2, 3), "upload": (3, 3)}
    assert (run.trace_id, run.span_id) == _ids(view.plan.work, 1)
    assert [each.parent_span_id for each in (run, load, save, upload)] == [b"", run.span_id, run.span_id, save.span_id]
    assert {each.trace_id for each in spans.values()} == {run.trace_id}
    error = "ValueError: no room for ***"
    assert [(each.status.code, each.status.message) for each in (run, load, save, upload)] == [
        (2, error),
        (0, ""),
        (2, error),
        (2, error),
    ]
    assert [len(each.events) for each in (run, load, save, upload)] == [1, 0, 0, 1]
    (event,) = upload.events
    assert view.error is not None
    assert (event.name, _values(event.attributes)) == (
        "exception",
        {
            "exception.type": "ValueError",
            "exception.message": "no room for ***",
            "exception.stacktrace": view.error.traceback,
        },
    )
    assert _values(run.attributes) == {
        "stagerun.run.id": 1,
        "stagerun.target": "demo:Import",
        "stagerun.owner": "alice",
        "stagerun.attempt": 1,
        "stagerun.work": view.plan.work,
        "stagerun.param.rows": "3",
        "stagerun.param.token": "***",
        "stagerun.state": "failed",
        "stagerun.exit_code": 1,
    }
    assert _values(save.attributes) == {"stagerun.stage.index": 1, "stagerun.stage.state": "failed"}
    (request,) = _requests(collector)
    assert _values(request.resource_spans[0].resource.attributes)["service.name"] == "stagerun"


def test_a_stage_that_was_tried_again_shows_the_error_of_the_last_try_alone(
    bench: Bench, collector: WebService
) -> None:
    class Retries(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with suppress(ValueError), p.stage("Load"):
                raise ValueError("try 1")
            with p.stage("Load"):
                raise ValueError("try 2")

    bench.run(Retries(), Traces({}))

    first, second, _ = _spans(collector)
    assert [(each.status.code, each.status.message, len(each.events)) for each in (first, second)] == [
        (2, "", 0),
        (2, "ValueError: try 2", 1),
    ]


def test_a_stage_that_is_skipped_is_a_span_that_says_why(bench: Bench, collector: WebService) -> None:
    class Skips(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                p.skip("nothing new")

    bench.run(Skips(), Traces({}))

    stage, _ = _spans(collector)
    assert _values(stage.attributes) == {
        "stagerun.stage.index": 0,
        "stagerun.stage.state": "done",
        "stagerun.stage.skipped": "nothing new",
    }
    assert stage.status.code == 0


def test_a_link_of_a_chain_is_a_trace_of_its_own_that_links_to_the_one_before(
    bench: Bench, collector: WebService
) -> None:
    bench.run(First(), Traces({}))

    spans = {span.name: span for span in _spans(collector)}
    first, second = spans["demo:First"], spans["demo:Second"]
    assert first.trace_id != second.trace_id
    assert [list(each.links) for each in (first,)] == [[]]
    (link,) = second.links
    assert (link.trace_id, link.span_id) == (first.trace_id, first.span_id)
    assert _values(link.attributes) == {"stagerun.link": "chained_from"}


def test_a_resumed_run_links_to_the_trace_of_the_run_that_it_resumes(bench: Bench, collector: WebService) -> None:
    before = bench.run(Stepped())
    bench.interrupts = type(bench.interrupts)()
    records = bench.records()
    resumption = records.resumption(records.find("last"))
    records.close()

    bench.run(Stepped(), Traces({}), resumption=resumption)

    run = next(span for span in _spans(collector) if span.name == "demo:Stepped")
    (link,) = run.links
    assert (link.trace_id, link.span_id) == _ids(before.plan.work, 1)
    assert _values(link.attributes) == {"stagerun.link": "resumed_from"}
    assert (run.trace_id, run.span_id) == _ids(before.plan.work, 2)
    taken, exception = run.events
    assert (taken.name, _values(taken.attributes)) == (
        "stage taken over",
        {"stagerun.stage": "Load", "stagerun.run.id": 1},
    )
    assert exception.name == "exception"


def test_the_trace_of_a_ci_job_is_gone_on_with(bench: Bench, collector: WebService) -> None:
    job = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    bench.run(Second(), Traces({"TRACEPARENT": f"00-{job[0]}-{job[1]}-01"}))

    (run,) = _spans(collector)
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == job


def test_a_collector_that_refuses_is_a_failure_of_which_the_run_says_nothing(
    bench: Bench, collector: WebService
) -> None:
    collector.codes = [400]
    traces = Traces({})

    bench.run(Second(), traces)

    assert traces.failures == [f"1 span could not be sent to {collector.url}/v1/traces: HTTP 400 Bad Request"]
    assert [type(event) for event in bench.seen.events] == [events.RunCreated, events.RunStarted, events.RunFinished]


def test_a_collector_that_never_answers_is_given_up(bench: Bench, collector: WebService) -> None:
    collector.codes = [0]
    traces = Traces({}, seconds=0.2)

    bench.run(Second(), traces)

    assert traces.failures == [f"the traces could not be sent to {collector.url}/v1/traces in 0.2s"]


def test_a_collector_that_is_not_there_is_one_sentence_with_its_address_and_no_password(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:  # bound, but nobody listens
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://alice:sesame@127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        traces = Traces({}, seconds=90)

        bench.run(Second(), traces)

    assert traces.failures == [f"1 span could not be sent to http://127.0.0.1:{port}/v1/traces: Connection refused"]


RECIPE = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p):
        with p.stage("Load"):
            pass
"""


@pytest.fixture
def traced(project: Project) -> Project:
    project.recipe("orders", RECIPE)
    (project.root / "pyproject.toml").write_text("[tool.stagerun]\notel = true\n")
    return project


def test_the_setting_and_the_variables_of_opentelemetry_are_enough(traced: Project, collector: WebService) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "nightly"}

    done = traced.stagerun("run", "orders", environ=environ)

    assert (done.code, done.err) == (0, "")
    assert sorted(span.name for span in _spans(collector)) == ["Load", "orders:Import"]
    resource = _requests(collector)[0].resource_spans[0].resource
    assert _values(resource.attributes)["service.name"] == "nightly"


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"STAGERUN_OTEL": "0"}], ids=str
)
def test_a_variable_turns_traces_off(traced: Project, collector: WebService, off: dict[str, str]) -> None:
    done = traced.stagerun("run", "orders", environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **off})

    assert (done.code, done.err, collector.received) == (0, "", [])


def test_without_the_extra_the_run_goes_on_and_one_line_says_what_is_missing(traced: Project) -> None:
    (traced.root / "opentelemetry.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'opentelemetry'\", name='opentelemetry')\n"
    )

    done = traced.stagerun("run", "orders", environ={"PYTHONPATH": str(traced.root)})

    assert done.code == 0
    assert done.err == (
        "stagerun: there are no traces, because opentelemetry is missing: pip install 'stagerun[otel]'\n"
    )


def test_a_switch_that_is_no_word_for_yes_or_no_is_refused(traced: Project) -> None:
    done = traced.stagerun("run", "orders", environ={"STAGERUN_OTEL": "perhaps"})

    assert (done.code, done.err.splitlines()[0]) == (2, "stagerun: STAGERUN_OTEL can't be 'perhaps'")
    assert json.loads(traced.stagerun("history", "--json").out) == []
