"""`pipework` against an engine that answers as it is told: what is asked, what is said, and what is undone."""

from __future__ import annotations

from typing import Any

import pytest

from wefted.compat import hostlink, pipework
from wefted.compat.hostlink import HostLink
from wefted.errors import InUse, KernelError, NotFound, Unreachable, UsageError

NETWORK = "pipework-br1"
UNKNOWN = NotFound(f"there is no network {NETWORK!r}", "see them: wefted network ls")
ROW = {"network": NETWORK, "container": "netns:c1", "ifname": "eth1", "slot": "", "host_ifname": "h0"}


class Engine:
    """Answers each call with the next of its answers for that operation; the last one stays."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, operation: str, parameters: dict[str, Any], wanted: bool = True) -> Any:
        self.asked.append((operation, parameters))
        answers = self.answers.get(operation, [[]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.asked]


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> dict[str, HostLink]:
    found = {"docker0": HostLink(name="docker0", kind="bridge", mtu=1500), "eth1": HostLink(name="eth1", kind="ethernet")}
    monkeypatch.setattr(hostlink, "find", lambda name, root="": found.get(name))
    monkeypatch.setattr(hostlink, "with_mac", lambda mac: "eth1" if mac == "02:00:00:00:00:01" else "")
    monkeypatch.setenv("PATH", "/nowhere")
    return found


def run(engine: Engine, line: str) -> int:
    return pipework.main(line.split(), engine)


def test_a_further_call_asks_once() -> None:
    engine = Engine()
    assert run(engine, "br1 c2 192.168.1.2/24") == 0
    assert engine.operations == ["network.connect"]
    assert engine.asked[0][1]["network"] == NETWORK


def test_the_first_call_makes_the_network() -> None:
    engine = Engine(network_connect=[UNKNOWN, []])
    assert run(engine, "br1 c1 192.168.1.1/24") == 0
    assert engine.operations == ["network.connect", "network.create", "network.connect"]
    assert engine.asked[1][1]["options"] == {"name": "br1"}


def test_two_first_calls_at_once_are_fine() -> None:
    engine = Engine(network_connect=[UNKNOWN, []], network_create=[InUse(f"network {NETWORK!r} exists already")])
    assert run(engine, "br1 c1 192.168.1.1/24") == 0


def test_a_first_call_that_fails_takes_the_network_away(capsys) -> None:
    engine = Engine(network_connect=[UNKNOWN, NotFound("there is no running container 'c1'")])
    assert run(engine, "br1 c1 192.168.1.1/24") == 1
    assert engine.asked[-1] == ("network.remove", {"names": [NETWORK]})
    assert capsys.readouterr().err == "Container c1 not found, and Docker not installed.\n"


def test_a_network_that_others_use_by_now_stays() -> None:
    engine = Engine(network_connect=[UNKNOWN, KernelError("no")], network_remove=[InUse("in use")])
    assert run(engine, "br1 c1 192.168.1.1/24") == 1


def test_an_unknown_guest(capsys, monkeypatch, tmp_path) -> None:
    docker = tmp_path / "docker"
    docker.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(Engine(network_connect=[NotFound("there is no running container 'c1'")]), "br1 c1 10.0.0.1/8") == 1
    assert capsys.readouterr().err == "Container c1 not found, and unknown to Docker.\n"


def test_a_guest_that_may_be_several(capsys) -> None:
    error = UsageError("container 'c1' may be any of netns:c1, docker:c1", "give the name with its kind, as in netns:c1")
    assert run(Engine(network_connect=[error]), "br1 c1 10.0.0.1/8") == 1
    assert capsys.readouterr().err.startswith("Found more than one container matching c1.\n")


def test_another_call_for_the_same_interface_on_a_bridge(capsys) -> None:
    engine = Engine(network_connect=[InUse("netns:c1 is in network already")], endpoint_list=[[ROW]])
    assert run(engine, "br1 c1 10.0.0.1/8") == 1
    assert capsys.readouterr().out == "Link h0 exists and is up\n"


def test_an_interface_of_somebody_else(capsys) -> None:
    engine = Engine(network_connect=[KernelError("cannot attach: File exists", errno=0)], endpoint_list=[[]])
    assert run(engine, "br1 c1 10.0.0.1/8") == 2
    assert capsys.readouterr().err.startswith("RTNETLINK answers: File exists\n")


def test_other_errors_keep_their_words_and_codes(capsys) -> None:
    assert run(Engine(network_connect=[Unreachable("the store is away", "wait")]), "br1 c1 10.0.0.1/8") == 3
    assert capsys.readouterr().err == "pipework: the store is away\n  wait\n"


def test_a_mistake_asks_nothing(capsys) -> None:
    engine = Engine()
    for line in ("br1 c1 10.0.0.1", "xyz c1 10.0.0.1/8", "eth1 c1 0/0 zz", "br1 c1 udhcpc", "mac:02:00:00:00:00:09 c1 0/0"):
        assert run(engine, line) == 1
    told = capsys.readouterr().err
    assert "You asked for DHCP client udhcpc, but I can't find it." in told
    assert "No network interface has the MAC address 02:00:00:00:00:09." in told
    assert engine.asked == []


def test_a_host_interface_by_its_mac() -> None:
    engine = Engine()
    assert run(engine, "mac:02:00:00:00:00:01 c1 0/0") == 0
    assert engine.asked[0][1]["network"] == "pipework-eth1_macvlan"


def test_open_vswitch_without_its_driver(capsys, monkeypatch) -> None:
    monkeypatch.setattr(pipework, "_installed", lambda program: program == "ovs-vsctl")
    engine = Engine(
        network_connect=[NotFound("there is no network 'pipework-ovs0_ovs'")],
        network_create=[NotFound("there is no driver 'ovs'")],
    )
    assert run(engine, "ovs0 c1 10.0.0.1/8") == 1
    assert capsys.readouterr().err == "Open vSwitch bridges are not supported: the driver for them is not installed.\n"


def test_detach() -> None:
    networks = [{"name": NETWORK, "labels": {"pipework": "br1"}}, {"name": "blue", "labels": {}}]
    rows = [ROW | {"ifname": "eth2"}, ROW, ROW | {"network": "blue"}, ROW | {"container": "netns:c2"}]
    engine = Engine(network_list=[networks], endpoint_list=[rows])
    assert run(engine, "--detach br1 -i eth2 c1") == 0
    asked = {"network": NETWORK, "containers": ["netns:c1"], "ifname": "eth2"}
    assert engine.asked[2:] == [("network.disconnect", asked), ("network.remove", {"names": [NETWORK]})]
    engine.asked.clear()
    assert run(engine, "--detach br1 netns:c1") == 0
    assert engine.asked[2][1]["ifname"] == "eth1"


def test_detach_of_what_is_not_attached(capsys) -> None:
    engine = Engine(network_list=[[]], endpoint_list=[[ROW]])
    assert run(engine, "--detach br1 c1") == 1
    assert capsys.readouterr().err == "c1 has no interface eth1 by pipework on br1.\n"


def test_waiting_with_a_limit(capsys) -> None:
    assert run(Engine(), "--wait -i none0 --timeout 0.05") == 1
    assert capsys.readouterr().err == "none0 is not there after 0.05 s.\n"
