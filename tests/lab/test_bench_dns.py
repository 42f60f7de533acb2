"""`wefted bench dns` asks both name servers and believes no answer that it has not looked at. No test here asserts a speed."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading

import pytest

from wefted.bench import queries
from wefted.bench.queries import mixed, one
from wefted.errors import WeftedError
from wefted.lab import state

pytestmark = pytest.mark.lab

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")


def test_both_servers_are_asked() -> None:
    done = subprocess.run(
        [*WEFTED, "bench", "dns", "--rounds", "1", "--count", "800", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = {row["name"]: row for row in report["rows"]}
    skipped = {item["name"] for item in report["skipped"]}
    assert set(rows) == {"wefted", "wefted-new", "dnsmasq"} - skipped
    for row in rows.values():
        assert row["verified"] == 800
        assert row["queries_per_second"] > 0
        assert row["lost"] >= 0
    assert len(report["checks"]) == (not skipped)


def test_what_cannot_be_measured_is_refused() -> None:
    done = subprocess.run([*WEFTED, "bench", "dns", "--count", "1"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--count" in done.stderr


def test_the_questions_are_a_mix() -> None:
    found = mixed(["c1.blue.weft.internal"], [["10.20.0.2", "fd20::2"]], "weft.internal")
    assert [(q.code, q.records) for q in found] == [(0, 1), (0, 1), (0, 1), (3, 0)]
    assert found[2].wire.endswith(b"\x012\x010\x0220\x0210\x07in-addr\x04arpa\x00\x00\x0c\x00\x01")
    assert one("c1.weft.internal", False).code == 3


@pytest.mark.parametrize("code", [0, 3])
def test_a_wrong_answer_ends_it(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The server here says the code and no record, to every question."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    connect = socket.socket.connect

    def redirected(sock: socket.socket, _: tuple[str, int]) -> None:
        connect(sock, server.getsockname())

    class Client(socket.socket):
        connect = redirected

    monkeypatch.setattr(queries.socket, "socket", Client)

    def serve() -> None:
        while True:
            wire, source = server.recvfrom(512)
            if source[1] == 0 or wire == b"end":
                return
            server.sendto(wire[:2] + bytes((0x84, 0x80 | code, 0, 1, 0, 0)) + bytes(4) + wire[12:], source)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        if code == 3:
            assert queries.ask("127.0.0.1", [one("x.weft.internal", False)], 40)[1] == 0
        else:
            with pytest.raises(WeftedError, match="a wrong answer"):
                queries.ask("127.0.0.1", [one("x.weft.internal", True)], 40)
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closer:
            closer.sendto(b"end", server.getsockname())
        thread.join(10)
        server.close()


def test_one_that_is_told_to_end_leaves_nothing() -> None:
    child = subprocess.Popen([*WEFTED, "bench", "dns"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    try:
        assert "round 1" in next(line for line in child.stderr if "round" in line)
        assert f"bench-{child.pid}" in state.names()
        child.send_signal(signal.SIGTERM)
        _, rest = child.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
    assert (child.returncode, "Traceback" in rest) == (130, False)
    assert f"bench-{child.pid}" not in state.names()
