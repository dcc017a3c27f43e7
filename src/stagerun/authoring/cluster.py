"""A `p.map` over the executor of a Dask client: its workers need stagerun, but not the recipe.

Dask would hand the function over by name; a worker that can't import it loses its connection, and so does the next one.
So the recipe's modules go along, as to any other machine, and what is called there is known by its source text.
"""

import contextlib
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Final, TypeVar

from stagerun.authoring import pool_process, sources
from stagerun.authoring.capture import Capture
from stagerun.authoring.pool_process import Answer, Said
from stagerun.authoring.workers import Workers
from stagerun.errors import RecipeError
from stagerun.events import Level


_T = TypeVar("_T")

_AHEAD: Final = 2  # items in flight for each thread of a worker

# Pickled by value, because it stands in no module: what has no stagerun can unpickle it, too.
_CARRIED: Final = """
def keep(sent):
    return sent

def call(sent, item):
    try:
        from stagerun.authoring import cluster
    except ImportError as error:
        return str(error)
    return cluster.perform(sent, item)
"""


class Cluster(Workers[_T]):
    """The workers of a Dask cluster, by the executor of a client."""

    def __init__(self, fn: Callable[[_T], Any], executor: Executor, count: int | None) -> None:
        client: Any = executor._client  # type: ignore[attr-defined] # noqa: SLF001 - it has no public name
        super().__init__(fn, executor, count or _AHEAD * max(1, sum(client.nthreads().values())))
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(_CARRIED, scope)  # noqa: S102 - our own text
        self._call = scope["call"]
        try:
            sent = pickle.dumps((sources.around(fn), pickle.dumps(fn)))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RecipeError(
                f"p.map: {fn!r} can't be sent to another machine: {error}", "use a function at the top of the recipe"
            ) from None
        # As a task: what its worker loses with its life is made again.
        self._sent = client.submit(scope["keep"], sent, pure=False)

    def submit(self, item: _T, *, last_try: bool) -> "Future[Any]":
        return self._executor.submit(self._call, self._sent, pickle.dumps(item), pure=False)

    def answer(self, future: "Future[Any]") -> Answer:
        answer = super().answer(future)
        match answer.result:
            case bytes() as told:
                return Answer(*pickle.loads(told))  # noqa: S301 - from the recipe's own cluster
            case str() as missing:
                hint = "install stagerun in the environment of the workers"
                return Answer([], RecipeError(f"p.map: a worker of the cluster can't work: {missing}", hint))
            case _:
                return answer


def perform(sent: bytes, item: bytes) -> bytes:
    """On a worker: call the function with an item; return the pickle of an Answer."""
    said: Said = []
    with _captured(said):
        try:
            fn, value = _function(sent), pickle.loads(item)  # noqa: S301 - from the recipe that uses this cluster
            answer = Answer(said, result=fn(value))
        except BaseException as error:
            answer = Answer(said, pool_process.portable(error))
    try:
        return pickle.dumps(tuple(answer))
    except Exception as error:
        return pickle.dumps(tuple(Answer(said, pool_process.portable(error))))


_LOCK: Final = threading.Lock()
_FUNCTIONS: Final[dict[bytes, Callable[[Any], Any]]] = {}


def _function(sent: bytes) -> Callable[[Any], Any]:
    """Return the function that was sent; its modules are installed once in a process."""
    with _LOCK:
        if sent not in _FUNCTIONS:
            modules, fn = pickle.loads(sent)  # noqa: S301 - from the recipe that uses this cluster
            for each in modules:
                sys.modules.pop(each.name, None)  # of another version of the recipe
            if modules:
                sources.install(modules, sources.cache())
            _FUNCTIONS[sent] = pickle.loads(fn)  # noqa: S301 - as above
        return _FUNCTIONS[sent]


class _Output:
    """What the items of a process print, each in a thread of its own."""

    def __init__(self) -> None:
        self._of_thread: dict[int, Said] = {}
        self._capture: Capture | None = None
        self._lock = threading.Lock()

    def begin(self, said: Said) -> None:
        with self._lock:
            self._of_thread[threading.get_ident()] = said
            if self._capture is None:
                self._capture = Capture(self._write, masker=None)
                self._capture.__enter__()

    def end(self) -> None:
        with self._lock:
            if len(self._of_thread) == 1 and self._capture is not None:
                self._capture.__exit__(None, None, None)
                self._capture = None
            del self._of_thread[threading.get_ident()]

    def _write(self, text: str, level: Level, stream: str | None) -> None:
        said = self._of_thread.get(threading.get_ident())
        if said is not None:
            said.append((text, level, stream))
        elif sys.__stderr__ is not None:
            sys.__stderr__.write(f"{text}\n")  # of a thread that works on no item


_OUTPUT: Final = _Output()


@contextlib.contextmanager
def _captured(said: Said) -> Iterator[None]:
    _OUTPUT.begin(said)
    try:
        yield
    finally:
        _OUTPUT.end()
