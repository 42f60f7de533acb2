"""The three base modes of a container's network, bridge, host and none, as a person types them; with an agent and without."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wefted

pytestmark = pytest.mark.lab

MANY = 200


@pytest.fixture(scope="module", params=[False, True], ids=["agent", "alone"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with Lab.up(lab_name("modes"), 1, bare=request.param) as lab:
        yield lab.host("h1")


def interfaces(host: Host, name: str) -> dict[str, list[str]]:
    """Return the interfaces in a container with their flags."""
    found = json.loads(host.run(["ip", "-n", name, "-j", "link"]).stdout)
    return {link["ifname"]: link["flags"] for link in found}


def test_bridge_gives_an_interface_an_address_and_a_way_out(host: Host) -> None:
    wefted(host, "network", "create", "b", "--subnet", "10.75.0.0/24")
    assert wefted(host, "network", "inspect", "b")[0]["driver"] == "bridge", "it is what one gets without a word"
    (row,) = wefted(host, "network", "connect", "b", container(host, "b1"))
    (other,) = wefted(host, "network", "connect", "b", container(host, "b2"))
    assert ping(host, "b1", "10.75.0.1")
    assert ping(host, "b1", address_of(other))
    assert ping(host, "b1", str(host.address)), "what lies behind the gateway"
    assert row["ifname"] == "eth0"


def test_host_leaves_a_container_on_the_hosts_own_network(host: Host) -> None:
    wefted(host, "network", "create", "h", "--driver", "host")
    before = interfaces(host, "b1")
    (row,) = wefted(host, "network", "connect", "h", "netns:b1")
    assert (row["state"], row["addresses"]) == ("up", [])
    assert interfaces(host, "b1") == before
    refused = wefted(host, "network", "connect", "h", "netns:b1", "--publish", "80:80", check=False)
    assert refused.returncode == 2
    wefted(host, "network", "disconnect", "h", "netns:b1")
    wefted(host, "network", "rm", "h")


def test_none_leaves_a_container_its_loopback_alone(host: Host) -> None:
    wefted(host, "network", "create", "n", "--driver", "none")
    (row,) = wefted(host, "network", "connect", "n", container(host, "n1"))
    assert (row["state"], row["addresses"]) == ("up", [])
    assert set(interfaces(host, "n1")) == {"lo"}
    assert "UP" in interfaces(host, "n1")["lo"]
    assert ping(host, "n1", "127.0.0.1")
    assert not ping(host, "n1", "10.75.0.1", deadline=1)
    wefted(host, "network", "disconnect", "n", "netns:n1")
    wefted(host, "network", "rm", "n")
    assert wefted(host, "plan")["changes"] == []


def test_many_names_come_by_standard_input_in_one_call(host: Host) -> None:
    wefted(host, "network", "create", "many", "--subnet", "10.76.0.0/22")
    names = [f"many{number}" for number in range(MANY)]
    host.run(["ip", "-batch", "-"], input="\n".join(f"netns add {name}" for name in names))
    text = "".join(f"netns:{name}\n\n" for name in names)
    rows = json.loads(host.run(["wefted", "network", "connect", "many", "-", "--json"], input=text).stdout)
    assert [row["container"] for row in rows] == [f"netns:{name}" for name in names]
    assert len({address_of(row) for row in rows}) == MANY
    assert ping(host, names[0], address_of(rows[-1]))
    again = json.loads(host.run(["wefted", "network", "connect", "many", "-", "--json"], input=text).stdout)
    assert [row["addresses"] for row in again] == [row["addresses"] for row in rows]
    gone = json.loads(host.run(["wefted", "network", "disconnect", "many", "-", "--json"], input=text).stdout)
    assert len(gone["disconnected"]) == MANY
    assert set(interfaces(host, names[0])) == {"lo"}


def test_one_bad_name_among_many_changes_nothing(host: Host) -> None:
    text = "netns:b2\nnetns:never\n"
    refused = host.run(["wefted", "network", "connect", "many", "-"], input=text, check=False)
    assert refused.returncode == 2
    assert "never" in refused.stderr
    assert [row["network"] for row in wefted(host, "ps") if row["container"] == "netns:b2"] == ["b"]
