"""OpenTelemetry: a run is a trace, its stages are spans, chains and resumes are links. Needs `stagerun[otel]`.

The spans go to where the variables of OpenTelemetry say (OTEL_EXPORTER_OTLP_ENDPOINT and its like), from a thread of
our own: that of the SDK starts anew in every fork of a recipe. What the exporter logs about its troubles is kept out of
the log of the run. The SDK's global provider is the recipe's, and stays untouched.

The ids of a run's trace and span come from what the journal knows of it, so a later run can link to them.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from queue import Empty, Full, Queue
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stagerun import __version__, events
from stagerun.notify.teller import Teller, words
from stagerun.states import RunState, StageState
from stagerun.text import json_text, wording
from stagerun.view import RunView


LONGEST: Final = 5.0  # seconds that the last spans have
_BATCH: Final = 512
_MOST_WAITING: Final = 10_000
_PAUSE: Final = 1.0  # seconds in which spans are gathered
_NO_ANSWER: Final = "there was no answer in time"
_LOGGERS: Final = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "urllib3.connectionpool")


def context_of(work: str, run: int) -> SpanContext:
    """Return the ids of a run's span: the first 16 and the next 8 bytes of the SHA-256 of `WORK/RUN`."""
    digest = hashlib.sha256(f"{work}/{run}".encode()).digest()
    trace_id, span_id = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Traces(Teller):
    """Makes a trace of each run.

    Args:
        environ: the environment, which names the service and the span around the run.
        seconds: how long the sending may take after the end.

    """

    def __init__(self, environ: Mapping[str, str], *, seconds: float = LONGEST) -> None:
        super().__init__()
        self._seconds = seconds
        self._ids = _Ids()
        self._sender = _Sender()
        provider = TracerProvider(id_generator=self._ids, resource=_resource(environ), shutdown_on_exit=False)
        provider.add_span_processor(self._sender)
        self._tracer = provider.get_tracer("stagerun", __version__)
        carrier = {name.lower(): environ[name] for name in ("TRACEPARENT", "TRACESTATE") if name in environ}
        self._outside = TraceContextTextMapPropagator().extract(carrier, Context())
        self._before: SpanContext | None = None
        self._run: trace.Span | None = None
        self._open: list[tuple[str, trace.Span]] = []
        self._broken: list[tuple[str, trace.Span, int]] = []

    def update(self, entry: events.Entry, view: RunView) -> None:
        moment = round(entry.time * 1e9)
        match entry.event:
            case events.RunCreated() as plan:
                self._begin(plan, entry.run, moment)
            case events.StageEntered() as event:
                self._end_broken(None)
                self._enter(event, moment)
            case events.StageLeft() as event:
                self._leave(event, moment)
            case events.StageTakenOver() as event if self._run is not None:
                self._run.add_event(
                    "stage taken over", {"stagerun.stage": event.stage, "stagerun.run.id": event.run}, moment
                )
            case events.RunFinished() as event:
                self._finish(event, moment)
            case _:
                pass

    def close(self) -> None:
        for span in (*(span for _, span, _ in self._broken), *(span for _, span in reversed(self._open))):
            span.end()
        if self._run is not None:
            self._run.end()  # its end could not be recorded
        self._run, self._open, self._broken = None, [], []
        self.failures += self._sender.close(self._seconds)

    def _begin(self, plan: events.RunCreated, run: int, moment: int) -> None:
        links = []
        if plan.resumed_from is not None and plan.work:
            links.append(Link(context_of(plan.work, plan.resumed_from), {"stagerun.link": "resumed_from"}))
        elif plan.chained_from is not None and self._before is not None:
            links.append(Link(self._before, {"stagerun.link": "chained_from"}))
        self._ids.next = context_of(plan.work, run) if plan.work else None
        self._run = self._tracer.start_span(
            plan.target, self._outside, attributes=dict(_about(plan, run)), links=links, start_time=moment
        )
        self._before = self._run.get_span_context()

    def _enter(self, event: events.StageEntered, moment: int) -> None:
        around = self._open[-1][1] if self._open else self._run
        about = {} if event.index is None else {"stagerun.stage.index": event.index}
        span = self._tracer.start_span(
            event.stage,
            trace.set_span_in_context(around, Context()) if around else None,
            attributes=about,
            start_time=moment,
        )
        self._open.append((event.stage, span))

    def _leave(self, event: events.StageLeft, moment: int) -> None:
        if not self._open:
            return
        name, span = self._open.pop()
        span.set_attribute("stagerun.stage.state", event.state)
        if event.skipped is not None:
            span.set_attribute("stagerun.stage.skipped", event.skipped)
        if event.state is StageState.DONE:
            span.end(moment)
        else:
            self._broken.append((name, span, moment))  # why is known at the end of the run

    def _finish(self, event: events.RunFinished, moment: int) -> None:
        error, run = event.error, self._run
        self._end_broken(error)
        if run is None:
            return
        run.set_attributes({"stagerun.state": event.state, "stagerun.exit_code": event.exit_code})
        if event.signal is not None:
            run.set_attribute("stagerun.signal", event.signal)
        if event.state in (RunState.FAILED, RunState.TIMED_OUT, RunState.CRASHED):
            run.set_status(StatusCode.ERROR, wording.error_line(error) if error else None)
        if error is not None:
            _note(run, error, moment)
        run.end(moment)
        self._run = None

    def _end_broken(self, error: events.Failure | None) -> None:
        """End the spans of the stages that were broken off; `error` went through them if it began in one of them."""
        through = error is not None and any(name == error.stage for name, _, _ in self._broken)
        for name, span, moment in self._broken:
            span.set_status(StatusCode.ERROR, wording.error_line(error) if error and through else None)
            if error is not None and error.stage == name:
                _note(span, error, moment)
            span.end(moment)
        self._broken.clear()


def _note(span: trace.Span, error: events.Failure, moment: int) -> None:
    about = {
        "exception.type": error.type,
        "exception.message": error.message,
        "exception.stacktrace": error.traceback or "",
    }
    span.add_event("exception", {name: text for name, text in about.items() if text}, moment)


def _about(plan: events.RunCreated, run: int) -> Iterator[tuple[str, str | int]]:
    yield "stagerun.run.id", run
    yield "stagerun.target", plan.target
    yield "stagerun.owner", plan.owner
    yield "stagerun.attempt", plan.attempt
    yield "stagerun.work", plan.work
    for name, value in plan.params.items():
        yield f"stagerun.param.{name}", value if isinstance(value, str) else json_text.dumps(value)


def _resource(environ: Mapping[str, str]) -> Resource:
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {"service.name": "stagerun"})


class _Ids(IdGenerator):
    """Gives the next span that is started the ids of a run, if `next` holds them, and all others random ones."""

    def __init__(self) -> None:
        self.next: SpanContext | None = None
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        return self.next.trace_id if self.next else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        given, self.next = self.next, None
        return given.span_id if given else self._random.generate_span_id()


class _Sender(SpanProcessor):
    """Sends spans that have ended, from a thread of its own; those that nobody takes for too long are dropped."""

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()
        self._waiting: Queue[ReadableSpan] = Queue(_MOST_WAITING)
        self._closing = threading.Event()
        self._lost = 0
        self._why = ""
        self._thread = threading.Thread(target=self._send, name="stagerun-traces", daemon=True)
        self._thread.start()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._is_not_ours)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None: ...

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            try:
                self._waiting.put_nowait(span)
            except Full:
                self._lost += 1

    def close(self, seconds: float) -> list[str]:
        """Send what is left within so many seconds; return what went wrong."""
        if self._closing.is_set():
            return []
        self._closing.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            why = f": {self._why}" if self._why else ""
            return [f"the traces could not be sent to {self._address} in {seconds:g}s{why}"]
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._is_not_ours)
        lost = wording.count(self._lost, "span")
        return [f"{lost} could not be sent to {self._address}: {self._why}"] if self._lost else []

    def _send(self) -> None:
        while not self._closing.is_set() or not self._waiting.empty():
            self._closing.wait(_PAUSE)
            batch = list[ReadableSpan]()
            while len(batch) < _BATCH:
                try:
                    batch.append(self._waiting.get_nowait())
                except Empty:
                    break
            if batch:
                self._export(batch)

    def _export(self, batch: list[ReadableSpan]) -> None:
        try:
            sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:
            sent, self._why = False, _words(error)
        if not sent:
            self._lost += len(batch)

    def _is_not_ours(self, record: logging.LogRecord) -> bool:
        """Return False for what our thread logs, and keep it as the reason."""
        if record.thread != self._thread.ident:
            return True
        if record.levelno >= logging.WARNING:
            self._why = _reason(record) or self._why or _NO_ANSWER
        return False

    @property
    def _address(self) -> str:
        """Where the spans go, without a password."""
        endpoint = str(getattr(self._exporter, "_endpoint", "the collector"))
        return re.sub(r"//[^/@]*@", "//", endpoint)


def _reason(record: logging.LogRecord) -> str | None:
    """Return why the exporter could not send, None if the record does not say it."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    error = next((each for each in arguments if isinstance(each, BaseException)), None)
    if error is not None:
        return _words(error)
    message = record.getMessage()
    if refused := re.search(r"code: (\d+), reason: (.*)", message):
        return f"HTTP {refused[1]} {refused[2]}"
    return None if "timeout" in message else message


def _words(error: BaseException) -> str:
    """Return what is at the bottom of an error: the libraries between wrap it several times."""
    seen = list[BaseException]()
    inner: object = error
    while isinstance(inner, BaseException) and inner not in seen:
        seen.append(inner)
        wrapped = getattr(inner, "reason", None) or next(iter(inner.args), None)
        inner = wrapped if isinstance(wrapped, BaseException) else inner.__cause__ or inner.__context__
    return words(seen[-1])
