"""Whatever comes in on the plugin's socket: an answer in the protocol's own form, no defect, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wefted.agent import docker as agent_docker
from wefted.agent.docker import DockerService
from wefted.agent.http import LARGEST_BODY
from wefted.plugins import docker_ipam, docker_network, relay

from .docker_host import DockerHost, docker_hosts

PATHS = [
    *(f"/NetworkDriver.{name}" for name in docker_network.METHODS),
    *(f"/IpamDriver.{name}" for name in docker_ipam.METHODS),
]
KEYS = ("NetworkID", "EndpointID", "PoolID", "Pool", "SubPool", "Address", "Options", "V6", "Interface", "SandboxKey",
        "IPv4Data", "IPv6Data", "MacAddress", "Gateway", "AddressIPv6", "com.docker.network.generic",
        "com.docker.network.portmap", "Proto", "Port", "HostPort", "HostPortEnd", "HostIP", "backend", "network")  # fmt: skip
WORDS = st.sampled_from(["", "n1", "e1", "10.64.0.0/16", "10.64.0.5", "10.64.0.5/24", "fd00::/64", "fd00::1", "/run/x", "vxlan",
                         "0.0.0.0/0", "a/b", "\0", "é", "x" * 5000, "02:00:00:00:00:01", "true", "80"])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
BODIES = (
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8).map(json.dumps) | VALUES.map(json.dumps) | st.text(max_size=40)
)


class Hosts:
    """One host in a loop of its own, for hypothesis does not await."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        monkeypatch.setattr("wefted.engine.docker_networks.PATIENCE", 0.01)
        self.loop = asyncio.new_event_loop()
        self.host: DockerHost = self.run(docker_hosts(1))[0]
        self.path = directory / "docker.sock"
        self.service = DockerService(self.host.member.engine, str(directory / "plugin.sock"), self.path)
        self.serving = self.service.serving()
        self.run(self.serving.__aenter__())
        self.network = self.run(self.host.network("net1", {"backend": "vxlan"}))

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        self.run(self.serving.__aexit__(None, None, None))
        self.run(self.host.member.engine.close())
        self.loop.close()

    def raw(self, data: bytes, half: bool = False) -> bytes:
        """Send bytes as they are, with `half` close our side, and return all that comes until the other side closes."""

        async def talk() -> bytes:
            reader, writer = await asyncio.open_unix_connection(str(self.path))
            writer.write(data)
            if half:
                writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer

        return self.run(talk())


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with pytest.MonkeyPatch.context() as patch:
        made = Hosts(patch, tmp_path_factory.mktemp("docker"))
        yield made
        made.close()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), body=BODIES)
def test_any_body_gets_an_answer_in_the_protocols_form(hosts: Hosts, path: str, body: str) -> None:
    status, answer = hosts.run(hosts.host.raw(path, body.encode("utf-8", "surrogatepass")))
    assert status in (200, 400, 500)
    assert isinstance(answer, dict)
    field = "Error" if path.startswith("/IpamDriver") else "Err"
    assert (field in answer) == (status != 200)
    assert "defect" not in str(answer.get(field))


def test_after_all_of_that_nothing_is_left_and_containers_start(hosts: Hosts) -> None:
    known = hosts.run(hosts.host.run(hosts.network, "real"))
    hosts.run(hosts.host.stop(hosts.network, "real", known))
    assert [r for r in hosts.run(hosts.host.member.call("endpoint.list")) if r["state"] == "up"] == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 rubbish\r\n\r\n", 400),
        (b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /Plugin.Activate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (f"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: {LARGEST_BODY + 1}\r\n\r\n".encode(), 413),
        (b"GET /" + b"x" * 40000, 431),
    ],
)
def test_what_is_no_request_is_refused(hosts: Hosts, data: bytes, status: int) -> None:
    head, _, body = hosts.raw(data).partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert set(json.loads(body)) == {"Err"}


@pytest.mark.parametrize(
    ("path", "status", "field"), [("/IpamDriver.Dance", 404, "Error"), ("/NetworkDriver.Dance", 404, "Err")]
)
def test_unknown_methods(hosts: Hosts, path: str, status: int, field: str) -> None:
    assert hosts.run(hosts.host.raw(path, b""))[0] == status
    assert field in hosts.run(hosts.host.raw(path, b""))[1]
    assert hosts.run(hosts.host.raw(PATHS[0], b"", method="GET"))[0] == 405


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
def test_a_client_that_closes_its_side_still_gets_its_answer(hosts: Hosts, body: bytes) -> None:
    data = b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert json.loads(hosts.raw(data, half=True).partition(b"\r\n\r\n")[2])["Implements"]


def test_half_a_request_is_dropped(hosts: Hosts) -> None:
    assert hosts.raw(b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 10\r\n\r\n{", half=True) == b""
    assert hosts.raw(b"POST /Plug", half=True) == b""


def test_requests_follow_each_other_on_one_connection(hosts: Hosts) -> None:
    one = b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    assert hosts.raw(one * 3, half=True).count(b"Implements") == 3


def test_a_socket_that_somebody_took_over_is_left_to_him(tmp_path: Path) -> None:
    bound, _ = agent_docker._bound(tmp_path / "s")
    (tmp_path / "s").unlink()
    (tmp_path / "s").write_text("another")
    agent_docker._remove(tmp_path / "s", (tmp_path / "s").stat().st_ino + 1)
    assert (tmp_path / "s").exists()
    bound.close()


class TestRelay:
    @pytest.mark.parametrize("path", PATHS)
    def test_without_an_agent_every_method_is_answered_at_once(self, path: str) -> None:
        status, answer = relay.answer(path)
        assert (status == 200) == ("Err" not in answer and "Error" not in answer)
        if status != 200:
            assert answer == {"Error" if path.startswith("/IpamDriver") else "Err": relay.AWAY}

    def test_what_is_static_is_what_the_agent_says(self, hosts: Hosts) -> None:
        for path, told in relay.STATIC.items():
            asked = {"NetworkID": hosts.network, "EndpointID": "e"}
            assert hosts.run(hosts.host.raw(path, json.dumps(asked).encode())) == (200, told)

    @pytest.mark.parametrize(
        "data",
        [b"rubbish", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n"],
    )
    def test_what_is_no_message_is_broken(self, data: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(relay.Broken):
                relay.message(ours)

    def test_a_message_is_taken_in_any_pieces(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}POST /b HTTP/1.1\r\n\r\n")
            theirs.shutdown(socket.SHUT_WR)
            head, body, rest = relay.message(ours)
            assert (head.split()[1], body) == (b"/a", b"{}")
            head, body, rest = relay.message(ours, rest)
            assert (head.split()[1], body, rest) == (b"/b", b"", b"")
            assert relay.message(ours, rest) == (b"", b"", b"")
