"""`pipework` in LANs: VLANs of Linux bridges, the host's own access, DHCP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from wefted.drivers import DRIVERS
from wefted.engine.operations import Connect
from wefted.lab.host import Host

from .acceptance import ping, wait_for
from .pipework import addresses, default_routes, done, lab_of_one, lan_port, link, pipework, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lab_of_one("pipelan") as h1:
        lan_port(h1, "eth1")
        yield h1


@pytest.mark.skipif("vlan" not in DRIVERS["bridge"].options, reason="the driver bridge has no option vlan")
def test_vlans_of_a_linux_bridge_are_apart(host: Host) -> None:
    """The original refuses this."""
    running(host, "v1", "v2", "v3")
    result = pipework(host, "brvlan v1 192.168.1.1/24 @10")
    if result.returncode:
        pytest.skip(result.stderr)
    done(host, "brvlan v2 192.168.1.2/24 @10")
    done(host, "brvlan v3 192.168.1.3/24 @20")
    assert ping(host, "v1", "192.168.1.2")
    assert not ping(host, "v1", "192.168.1.3", deadline=1)
    for name in ("v1", "v2", "v3"):
        done(host, f"--detach brvlan {name}")
    assert link(host, "brvlan") == {}


@pytest.mark.skipif("host_access" not in DRIVERS["macvlan"].options, reason="the driver macvlan has no option host_access")
def test_the_host_and_a_macvlan_reach_each_other(host: Host) -> None:
    running(host, "a1")
    host.run(["ip", "addr", "add", "10.0.0.9/24", "dev", "eth1"])
    done(host, "--host-access eth1 a1 10.0.0.5/24")
    assert ping(host, "a1", "10.0.0.1")
    assert host.run(["ping", "-c1", "-W2", "10.0.0.5"], check=False).returncode == 0
    assert ping(host, "a1", "10.0.0.9")
    done(host, "--detach eth1 a1")
    host.run(["ip", "addr", "del", "10.0.0.9/24", "dev", "eth1"])


@pytest.mark.skipif("dhcp" not in {field.name for field in fields(Connect)}, reason="the engine has no DHCP")
@pytest.mark.parametrize("client", ["dhcp", "udhcpc-f", "dhclient-f"])
def test_an_address_by_dhcp(host: Host, client: str) -> None:
    program = client.removesuffix("-f")
    if program != "dhcp" and host.run(["which", program], check=False).returncode:
        pytest.skip(f"no {program}")
    name = f"d-{program}"
    running(host, name)
    server = host.popen(
        [
            "ip", "netns", "exec", "eth1-lan", "dnsmasq", "--keep-in-foreground", "--port=0", "--interface=lan0",
            "--dhcp-range=10.0.0.100,10.0.0.199,255.255.255.0,2m", "--dhcp-option=3,10.0.0.1", "--leasefile-ro",
            "--pid-file=", "--conf-file=/dev/null", "--user=root", "--no-ping",
        ]
    )  # fmt: skip
    try:
        listening = lambda: ":67 " in host.run(["ip", "netns", "exec", "eth1-lan", "ss", "-uln"]).stdout  # noqa: E731
        wait_for(listening, 10, "the server")
        done(host, f"eth1 {name} {client}")
        assert [address.startswith("10.0.0.1") for address in addresses(host, name)] == [True]
        assert default_routes(host, name) == [("10.0.0.1", "eth1")]
        done(host, f"--detach eth1 {name}")
        assert link(host, "eth1", name) == {}
    finally:
        server.kill()
        server.wait()
