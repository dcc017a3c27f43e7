"""The web page in the tests' own process: the application with its guard, asked as a browser would."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from starlette.testclient import TestClient

from stagerun.web import app
from stagerun.web.guard import Access
from stagerun.web.site import Site
from tests.conftest import Project


TOKEN: Final = "t" * 43
PORT: Final = 8421
HERE: Final = f"http://127.0.0.1:{PORT}"
SOCKETS: Final = f"ws://127.0.0.1:{PORT}"
ACCESS: Final = Access(token=TOKEN, port=PORT)


def site_of(root: Path) -> Site:
    return Site(root, root / "recipes", root / ".stagerun" / "journal.db")


@contextmanager
def client_of(root: Path, access: Access = ACCESS) -> Iterator[TestClient]:
    """Yield a client without a cookie."""
    with TestClient(app.create(site_of(root), access), base_url=HERE, follow_redirects=False) as client:
        yield client


@contextmanager
def browser_of(project: Project) -> Iterator[TestClient]:
    """Yield a client that behaves as a browser that has entered: cookie, origin, and it wants pages."""
    with client_of(project.root) as client:
        client.cookies.set(ACCESS.cookie, TOKEN)
        client.headers.update({"origin": HERE, "sec-fetch-site": "same-origin", "accept": "text/html"})
        yield client
