"""`stagerun serve`, the command: what it says, where it listens, and that pages that vanish don't trouble it."""

import re
import socket
import stat
import struct
from contextlib import closing

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.browser import served
from tests.conftest import Project
from tests.processes import GATE, open_gate, rows, running, until


FLOOD = (
    GATE
    + """
class Flood(LiveOperation):
    stages = ["Pour"]

    def run(self, p: Progress) -> None:
        with p.stage("Pour"):
            while not pathlib.Path("end").exists():
                p.log("drop " * 50)
                time.sleep(0.001)
"""
)


def test_a_log_learns_the_address_and_the_file_of_the_token_but_not_the_token(project: Project) -> None:
    with served(project) as server:
        assert server.process is not None
        assert server.process.stdout is not None
        told = [server.process.stdout.readline() for _ in range(2)]
        file = project.root / ".stagerun" / "web-token"

        assert told == [f"the token is in {file}\n", "Ctrl-C ends it\n"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert server.stop() == ""


def test_a_terminal_gets_the_address_with_the_token(project: Project) -> None:
    with project.terminal("serve", "--port", "0", columns=200) as terminal:
        terminal.wait_for("Ctrl-C ends it")
        text = "\n".join(terminal.lines)
        terminal.send(b"\x03")
        assert terminal.wait() == 0

    token = (project.root / ".stagerun" / "web-token").read_text().strip()
    assert re.search(rf"stagerun serves project on http://127\.0\.0\.1:\d+/\?token={token}", text)


def test_a_port_that_is_taken_is_said_with_what_to_do(project: Project) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        done = project.stagerun("serve", "--port", port)

    assert done.code == 2
    assert f"can't listen on 127.0.0.1 port {port}: Address already in use" in done.err
    assert "choose another with --port" in done.err


def test_the_token_stays_over_a_restart_until_another_is_asked_for(project: Project) -> None:
    with served(project) as server:
        first = server.token
        server.stop()
        server.start()
        assert server.token == first
    (project.root / ".stagerun" / "web-token").unlink()
    with served(project) as server:
        assert server.token != first


def test_pages_that_vanish_in_the_middle_of_a_message_or_say_too_much_leave_no_trace(project: Project) -> None:
    project.recipe("shop", FLOOD)
    with served(project) as server, running(project, "run", "shop", "--progress", "quiet"):
        until(lambda: project.journal.exists() and rows(project, "SELECT 1 FROM runs"))
        headers = {"Origin": server.address, "Authorization": f"Bearer {server.token}"}
        address = server.address.replace("http", "ws") + "/runs/1/live"
        for _ in range(10):
            with connect(address, additional_headers=headers, compression=None) as page:
                page.recv()
                page.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                page.socket.shutdown(socket.SHUT_RDWR)
        with connect(address, additional_headers=headers, compression=None) as page:
            for _ in range(5):
                page.recv()
            page.send("x" * (16 * 1024 + 1))
            with pytest.raises(ConnectionClosed) as closed:
                while page.recv():
                    pass
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        open_gate(project, "end")
        assert server.stop() == ""


@pytest.mark.parametrize("host", ["0.0.0.0"])
def test_a_server_that_others_can_reach_warns(project: Project, host: str) -> None:
    with project.start("serve", "--port", "0", "--host", host, fresh=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        _, err = process.communicate(timeout=60)

    assert "other machines can reach 0.0.0.0 port" in err
    assert "ssh -L" in err
