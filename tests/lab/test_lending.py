"""A network card that is lent to a container comes home with all that it had, whenever the program is killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wefted.kernel.fault import VARIABLE
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.model.link import MovedLink
from wefted.model.objects import HOST, Change, Netns
from wefted.testing.kernel_samples import FOREIGN
from wefted.testing.snapshot import difference

from .acceptance import agent_held, container, lab_name, ping, wait_for, wefted
from .conftest import DEADLINE, LabHost, wait_until

pytestmark = pytest.mark.lab

LOOK = """
import json
from wefted.testing.snapshot import READERS
print(json.dumps({name: READERS[name]() for name in ("links", "addresses", "routes", "routes6", "rules", "sysctls")}))
"""
PROGRAM = """
import pickle, sys
from wefted.kernel.linux import LinuxKernel
outcomes = LinuxKernel(runtime_dir=sys.argv[2], home=sys.argv[1]).apply(pickle.load(sys.stdin.buffer))
sys.exit("\\n".join(o.error for o in outcomes if o.error) or 0)
"""
MOST = 60

Run = Callable[..., Any]


def furnish(run: Run, card: str) -> None:
    """Give a card everything that people give to one."""
    for line in (
        f"link set {card} down",
        f"link set {card} mtu 1400 address 06:00:00:00:77:01",
        f"link set {card} up",
        f"link set {card} alias the_left_one",
        f"address add 192.0.2.10/24 brd + dev {card}",
        f"address add 192.0.2.11/24 brd + dev {card} label {card}:more",
        f"address add 198.51.100.1 peer 198.51.100.2/32 dev {card}",
        f"address add 203.0.113.9/24 dev {card} valid_lft 5000 preferred_lft 4000",
        f"-6 address add 2001:db8:7::10/64 dev {card} nodad",
        f"-6 address add 2001:db8:7::11/128 dev {card} noprefixroute nodad",
        f"route add 10.99.0.0/16 via 192.0.2.1 dev {card} metric 50",
        f"route add 10.98.0.0/16 dev {card} src 192.0.2.11 table 77",
        f"route add 10.97.0.0/16 via 172.31.0.1 dev {card} onlink mtu 1300",
        f"-6 route add 2001:db8:99::/48 via 2001:db8:7::1 dev {card}",
        f"-6 route add 2001:db8:98::/48 dev {card} metric 5",
    ):
        run("ip", *line.split())
    for setting in (f"ipv4/conf/{card}/rp_filter=2", f"ipv6/conf/{card}/accept_ra=0", f"ipv4/neigh/{card}/ucast_solicit=7"):
        run("sysctl", "-qw", f"net/{setting}")


def look(run: Run) -> Any:
    """Return what the network of a host looks like.

    Two words depend on what was before: the queue of a link that was never up, and the state of the other end of a link that is
    down, which is in the same namespace here.
    """
    text = run(sys.executable, "-c", LOOK)
    return json.loads(text.replace('"qdisc": "noop"', '"qdisc": "noqueue"').replace("LOWERLAYERDOWN", "DOWN"))


def settled(run: Run) -> bool:
    """Tell whether duplicate address detection is over."""
    return "tentative" not in run("ip", "address")


@pytest.fixture
def card(host: LabHost) -> LabHost:
    """A host whose card is furnished; its settings are the ones that a new link gets."""
    furnish(host.run, FOREIGN)
    wait_until(lambda: settled(host.run), "addresses to be usable")
    return host


def moved(ns: Netns) -> MovedLink:
    return MovedLink(ns=ns, name="eth0", origin=FOREIGN, mtu=1300)


def go(host: LabHost, change: Change) -> None:
    (outcome,) = host.new_kernel().apply([change])
    assert outcome.error == ""


def is_as(host: LabHost, before: Any, when: str = "at home") -> None:
    """See that a host comes to look as before: the kernel checks its own IPv6 addresses for a second or two."""
    end = time.monotonic() + DEADLINE
    while found := difference(before, look(host.run)):
        assert time.monotonic() < end, f"{when}: {found}"


def goes_home(host: LabHost, before: Any) -> None:
    is_as(host, before)
    assert not list((host.runtime_dir / "lent").iterdir())


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_it_has_everything_again(card: LabHost, up: bool) -> None:
    if not up:
        card.run("ip", "link", "set", FOREIGN, "down")
    before = look(card.run)
    ns = card.sandbox()
    go(card, Change(None, moved(ns)))
    for line in ("link set eth0 address 06:00:00:00:77:09 mtu 1200 alias mine", "address add 10.1.1.1/24 dev eth0"):
        card.run("ip", *line.split(), ns=ns)
    card.run("ip", "link", "set", "eth0", "alias", f"wefted moved from {FOREIGN}", ns=ns)
    go(card, Change(moved(ns), None))
    goes_home(card, before)


def test_it_has_everything_again_when_the_kernel_gave_it_back(card: LabHost) -> None:
    before = look(card.run)
    ns = card.sandbox()
    go(card, Change(None, moved(ns)))
    card.strand(ns, "eth0")
    stray = card.kernel.read(HOST).objects["link", HOST, "eth0"]
    go(card, Change(stray, None))
    goes_home(card, before)


def test_what_has_run_out_meanwhile_does_not_come_back(card: LabHost) -> None:
    ns = card.sandbox()
    go(card, Change(None, moved(ns)))
    memory = card.runtime_dir / "lent" / FOREIGN
    had = json.loads(memory.read_text())
    memory.write_text(json.dumps({**had, "at": had["at"] - 4500}))
    go(card, Change(moved(ns), None))
    found = json.loads(card.run("ip", "-j", "address", "show", "dev", FOREIGN))[0]["addr_info"]
    mortal = next(a for a in found if a["local"] == "203.0.113.9")
    assert mortal["preferred_life_time"] == 0
    assert 400 < mortal["valid_life_time"] <= 500


def test_without_the_file_it_has_its_name_and_state(card: LabHost) -> None:
    ns = card.sandbox()
    go(card, Change(None, moved(ns)))
    (card.runtime_dir / "lent" / FOREIGN).unlink()
    go(card, Change(moved(ns), None))
    home = next(link for link in card.links() if link["ifname"] == FOREIGN)
    assert ("UP" in home["flags"], home["mtu"], home["group"]) == (True, 1400, "default")


def killed(host: LabHost, change: Change, position: int) -> bool:
    """Make a change in a process that dies after so many steps of it; return whether it died."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, host.netns, str(host.runtime_dir)],
        env={**os.environ, VARIABLE: str(position)},
        input=pickle.dumps([change]),
        capture_output=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def strays(host: LabHost, *namespaces: Netns) -> list[MovedLink]:
    kernel = host.new_kernel()
    return [o for ns in (HOST, *namespaces) for o in kernel.read(ns).objects.values() if isinstance(o, MovedLink)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("verb", ["lend", "return"])
def test_nothing_is_lost_wherever_it_is_killed(card: LabHost, verb: str) -> None:
    before = look(card.run)
    ns = card.sandbox()
    position = 0
    died = True
    while died:
        position += 1
        assert position < MOST
        if verb == "return":
            go(card, Change(None, moved(ns)))
        change = Change(None, moved(ns)) if verb == "lend" else Change(moved(ns), None)
        died = killed(card, change, position)
        if verb == "lend" and position % 2:
            for stray in strays(card, ns):
                go(card, Change(stray, None if (stray.ns, stray.name) != (ns, "eth0") else moved(ns)))
            go(card, Change(None, moved(ns)))
        for stray in strays(card, ns):
            go(card, Change(stray, None))
        is_as(card, before, f"killed after step {position}")
    assert position > (4 if verb == "lend" else 12)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("lend"), 1) as up:
        yield up


@pytest.fixture
def nic(lab: Lab) -> Iterator[Host]:
    """A host with a second card `eth7`, whose cable ends in a namespace that plays the LAN."""
    host = lab.host("h1")
    run(host, "ip", "netns", "add", "lan")
    run(host, *"ip link add eth7 type veth peer name eth7 netns lan".split())
    run(host, *"ip -n lan link set eth7 up".split())
    run(host, *"ip -n lan address add 192.0.2.1/24 dev eth7".split())
    run(host, *"ip -n lan address add 2001:db8:7::1/64 dev eth7 nodad".split())
    run(host, *"ip link set eth7 up".split())
    furnish(lambda *words: run(host, *words), "eth7")
    wait_for(lambda: settled(lambda *words: run(host, *words)), 5, "addresses to be usable")
    options = ("--subnet", "192.0.2.0/24", "--ip-range", "192.0.2.128/25", "-o", "device=eth7")
    wefted(host, "network", "create", "nic", "--driver", "phys", *options)
    yield host
    wefted(host, "network", "rm", "nic")
    run(host, *"ip link del eth7".split())
    run(host, *"ip netns del lan".split())


def run(host: Host, *words: str) -> str:
    return host.run(list(words)).stdout


def seen(host: Host) -> Any:
    found = look(lambda *words: run(host, *words))
    found.pop("sysctls")
    return found


def test_a_container_has_the_card_and_the_host_has_it_again(nic: Host) -> None:
    before = seen(nic)
    wefted(nic, "network", "connect", "nic", container(nic, "p1"), "--ifname", "lan0")
    assert ping(nic, "p1", "192.0.2.1")
    assert wefted(nic, "plan") == {"changes": []}
    wefted(nic, "network", "disconnect", "nic", "netns:p1")
    wait_for(lambda: difference(before, seen(nic)) == [], 5, "everything as before")
    assert wefted(nic, "plan") == {"changes": []}


def test_the_agent_brings_it_home_when_the_kernel_has_given_it_back(nic: Host) -> None:
    """A virtual card would die with the container: what the kernel does with a hardware card is done by hand."""
    before = seen(nic)
    wefted(nic, "network", "connect", "nic", container(nic, "p2"))
    with agent_held(nic):  # between the two it would give the card to the container again, with which it would die
        run(nic, *"ip -n p2 link set eth0 netns 1 name back0".split())
        run(nic, "ip", "netns", "del", "p2")
    wait_for(lambda: difference(before, seen(nic)) == [], 10, "the card at home")
    wefted(nic, "network", "disconnect", "nic", "netns:p2")
    assert wefted(nic, "plan") == {"changes": []}


def test_links_that_the_host_needs_are_refused(nic: Host) -> None:
    before = seen(nic)
    container(nic, "p3")
    wefted(nic, "network", "create", "home", "--driver", "phys", "--subnet", "10.89.0.0/24", "-o", "device=eth0")
    wefted(nic, "network", "create", "typo", "--driver", "phys", "--subnet", "10.90.0.0/24", "-o", "device=eht7")
    for name, message in (("home", "would be cut off without it"), ("typo", "no link 'eht7', did you mean 'eth7'")):
        refused = wefted(nic, "network", "connect", name, "netns:p3", check=False)
        assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
        wefted(nic, "network", "rm", name)
    assert difference(before, seen(nic)) == []
