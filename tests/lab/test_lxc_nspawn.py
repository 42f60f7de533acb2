"""Real containers of LXC and systemd-nspawn: found by name, attached, followed over restarts and a boot, and nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.runtime.statefiles import RESCAN

from .acceptance import lab_name, wait_for, wefted
from .engines import need
from .skeletons import LxcContainer, Machine

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

KINDS = ("lxc", "nspawn", "nspawn, registered")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need("lxc", "nspawn")
    with Lab.up(lab_name("skel"), 1, engines=("lxc", "nspawn")) as made:
        wefted(made.host("h1"), "network", "create", "blue", "--subnet", "10.20.0.0/16", "--subnet", "fd20::/64")
        yield made


def made(lab: Lab, kind: str, name: str) -> LxcContainer | Machine:
    def run(words: Any) -> str:
        return str(lab.host("h1").run(list(words)).stdout)

    return LxcContainer(run, name) if kind == "lxc" else Machine(run, name, registered=kind.endswith("registered"))


@pytest.fixture(params=KINDS)
def web(lab: Lab, request: pytest.FixtureRequest) -> Iterator[LxcContainer | Machine]:
    """A container that runs; at the end it and its endpoints are gone."""
    if request.param == "nspawn, registered":
        need_bus()
    container = made(lab, request.param, f"web{KINDS.index(request.param)}")
    container.start()
    yield container
    for row in rows(lab.host("h1")):
        wefted(lab.host("h1"), "network", "disconnect", row["network"], row["container"])
    container.remove()


def need_bus() -> None:
    import shutil

    if shutil.which("dbus-daemon") is None:
        pytest.skip("systemd-machined needs a bus, and there is no dbus-daemon")


def rows(host: Host) -> list[dict[str, Any]]:
    return list(wefted(host, "ps"))


def inside(host: Host, container: LxcContainer | Machine, *words: str) -> Any:
    return host.run(["nsenter", "-n", "-t", str(container.leader()), *words], check=False)


def seen(host: Host, container: LxcContainer | Machine) -> list[str]:
    """Return MAC and addresses of eth0 as the container's kernel has them; nothing while it is not there."""
    done = inside(host, container, "ip", "-j", "address", "show", "dev", "eth0")
    if done.returncode:
        return []
    link = json.loads(done.stdout)[0]
    return [link["address"], *sorted(a["local"] for a in link["addr_info"] if a["scope"] == "global")]


def connected(host: Host, container: LxcContainer | Machine) -> list[str]:
    """Attach a container by its bare name; return what it sees."""
    row = wefted(host, "network", "connect", "blue", container.name)[0]
    assert row["container"] == f"{container.kind}:{container.name}"
    found = seen(host, container)
    assert found == [row["mac"], *sorted(a.partition("/")[0] for a in row["addresses"])]
    return found


def test_it_is_reached_and_reaches(lab: Lab, web: LxcContainer | Machine) -> None:
    h1 = lab.host("h1")
    _, *addresses = connected(h1, web)
    for address, gateway in zip(addresses, ("10.20.0.1", "fd20::1"), strict=True):
        wait_for(lambda a=address: h1.run(["ping", "-c1", "-W1", a], check=False).returncode == 0, 5, address)  # type: ignore[misc]
        wait_for(lambda g=gateway: inside(h1, web, "ping", "-c1", "-W1", g).returncode == 0, 5, gateway)  # type: ignore[misc]


def test_a_restart_keeps_address_and_mac(lab: Lab, web: LxcContainer | Machine) -> None:
    h1 = lab.host("h1")
    before = connected(h1, web)
    web.stop()
    wait_for(lambda: [row["state"] for row in rows(h1)] == ["down"], 5, "the endpoint is down")
    web.start()
    wait_for(lambda: seen(h1, web) == before, 10, "the same address and MAC")


def test_a_stop_leaves_nothing(lab: Lab, web: LxcContainer | Machine) -> None:
    h1 = lab.host("h1")
    connected(h1, web)
    web.stop()
    wait_for(lambda: [row["state"] for row in rows(h1)] == ["down"], 5, "the endpoint is down")
    shown = json.loads(h1.run(["ip", "-j", "link"]).stdout)
    assert [link["ifname"] for link in shown if link["ifname"].startswith("ve-")] == []
    wefted(h1, "network", "disconnect", "blue", f"{web.kind}:{web.name}")
    assert rows(h1) == []


def test_a_killed_monitor_is_a_stop(lab: Lab, web: LxcContainer | Machine) -> None:
    """Whoever kills what started it leaves its control groups (LXC) or its directories (nspawn) behind."""
    if getattr(web, "registered", False):
        pytest.skip(
            "systemd-machined keeps the registration until systemd tells that the unit is gone, and there is no systemd"
        )
    h1 = lab.host("h1")
    before = connected(h1, web)
    leader = str(web.leader())
    h1.run(["kill", "-9", h1.run(["ps", "-o", "ppid=", "-p", leader]).stdout.strip()])
    h1.run(["kill", "-9", leader], check=False)  # LXC's goes with its monitor, nspawn's runs on
    wait_for(lambda: [row["state"] for row in rows(h1)] == ["down"], 5, "the endpoint is down")
    web.start()
    # The directory of an nspawn that was killed is there already, so no event tells of the next one: the slow look does.
    wait_for(lambda: seen(h1, web) == before, 5 if web.kind == "lxc" else RESCAN + 5, "the same address and MAC")


def test_what_has_no_network_of_its_own_is_refused(lab: Lab, web: LxcContainer | Machine) -> None:
    web.stop()
    plain = made(lab, web.kind, f"{web.name}-host")
    plain.start(own_network=False)
    try:
        refused = wefted(lab.host("h1"), "network", "connect", "blue", f"{plain.kind}:{plain.name}", check=False)
        assert refused.returncode == 2
        assert "shares the host's network" in refused.stderr
    finally:
        plain.remove()


def test_a_boot_of_the_host(lab: Lab, web: LxcContainer | Machine) -> None:
    before = connected(lab.host("h1"), web)
    lab.poweroff("h1")
    lab.boot("h1")
    web.start()
    h1 = lab.host("h1")
    wait_for(lambda: seen(h1, web) == before, 10, "the same address and MAC")
    assert [row["container"] for row in rows(h1)] == [f"{web.kind}:{web.name}"]


def test_a_new_name_is_another_container(lab: Lab) -> None:
    """LXC has no identifier that outlives a name: what was connected under the old one waits until it is disconnected."""
    h1 = lab.host("h1")
    old, new = made(lab, "lxc", "old"), made(lab, "lxc", "new")
    old.start()
    try:
        before = connected(h1, old)
        old.stop()
        # As `lxc-copy -R` does, which wants rsync for it.
        h1.run(["mv", "/var/lib/lxc/old", "/var/lib/lxc/new"])
        h1.run(["sed", "-i", "s/old/new/", "/var/lib/lxc/new/config"])
        new.start()
        wefted(h1, "network", "disconnect", "blue", "lxc:old")
        wefted(h1, "network", "connect", "blue", "new", "--ip", before[1])
        assert [(row["container"], row["state"]) for row in rows(h1)] == [("lxc:new", "up")]
        wefted(h1, "network", "disconnect", "blue", "new")
    finally:
        new.remove()
