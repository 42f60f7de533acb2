"""Published ports obey firewalld, the real one: open where it would let in to a program of the host, closed elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, ping, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

H1, H2 = "192.168.50.1", "192.168.50.2"
SIX1, SIX2 = "fd50::1", "fd50::2"
SERVE = """
import socket, threading
def answer(kind):
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", 80))
    if kind == socket.SOCK_DGRAM:
        print("ready", flush=True)
        while True:
            _, peer = server.recvfrom(99)
            server.sendto(peer[0].encode(), peer)
    server.listen()
    while True:
        connection, peer = server.accept()
        connection.sendall(peer[0].encode())
        connection.close()
threading.Thread(target=answer, args=[socket.SOCK_STREAM], daemon=True).start()
answer(socket.SOCK_DGRAM)
"""
ASK = """
import socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[3]]
try:
    with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, kind) as s:
        s.settimeout(0.4)
        s.connect((sys.argv[1], int(sys.argv[2])))
        s.send(b"x")
        print(s.recv(99).decode().removeprefix("::ffff:"))
except OSError as error:
    print("")
"""
KNOCK = """
import socket, sys
while True:
    try:
        with socket.create_connection((sys.argv[1], 8080), timeout=0.05) as s:
            print(s.recv(99).decode(), flush=True)
    except OSError:
        pass
"""
WAYS = [(H1, "tcp"), (H1, "udp"), (SIX1, "tcp"), (SIX1, "udp")]


@pytest.fixture(scope="module")
def walled() -> Iterator[Lab]:
    """Two hosts; the first has firewalld, and a container whose ports are published."""
    if not shutil.which("firewalld") or not shutil.which("dbus-daemon"):
        pytest.skip("firewalld or dbus-daemon is not installed")
    with Lab.up(lab_name("fwd"), 2) as up:
        h1, h2 = up.host("h1"), up.host("h2")
        for host, address in ((h1, SIX1), (h2, SIX2)):
            host.run(["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
        wefted(h1, "network", "create", "net", "--subnet", "10.9.0.0/24", "--subnet", "fd09::/64")
        wefted(h1, "network", "connect", "net", container(h1, "web"), container(h1, "near"))
        wefted(h1, "publish", "web", "8080:80", "8080:80/udp", "8081:80", "8082:80")
        server = h1.popen(["ip", "netns", "exec", "web", sys.executable, "-ISc", SERVE], stdout=-1, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        h1.run(["sh", "-c", "mkdir -p /run/dbus && exec dbus-daemon --system --fork"])
        yield up


@pytest.fixture
def lab(walled: Lab) -> Iterator[Lab]:
    """Firewalld runs, with the settings that it is delivered with; afterwards it does not."""
    with firewalld(walled.host("h1")):
        yield walled


@contextmanager
def firewalld(host: Host, prepare: str = "true") -> Iterator[None]:
    host.run(["sh", "-c", f"rm -rf /etc/firewalld && cp -a /run/machine/etc/firewalld /etc/firewalld && {prepare}"])
    daemon = host.popen(["firewalld", "--nofork", "--nopid"], stdout=-3, stderr=-3)
    wait_for(lambda: host.run(["firewall-cmd", "--state"], check=False).returncode == 0, 30, "firewalld runs")
    command(host, "--zone=public", "--change-interface=eth0")
    yield
    daemon.terminate()
    daemon.wait(20)


def command(host: Host, *words: str) -> None:
    host.run(["firewall-cmd", "-q", *words])


def ask(host: Host, port: int = 8080, address: str = H1, protocol: str = "tcp", name: str = "") -> str:
    """Return the address as which the container saw us, by a port of the first host; "" when it does not answer."""
    inside = ["ip", "netns", "exec", name] if name else []
    return host.run([*inside, sys.executable, "-ISc", ASK, address, str(port), protocol]).stdout.strip()


def opens(host: Host, port: int = 8080, address: str = H1, protocol: str = "tcp") -> None:
    wait_for(lambda: ask(host, port, address, protocol) != "", 5, f"{port}/{protocol} of {address} is open")


def closes(host: Host, port: int = 8080, address: str = H1, protocol: str = "tcp") -> None:
    wait_for(lambda: ask(host, port, address, protocol) == "", 5, f"{port}/{protocol} of {address} is closed")


def row(host: Host, port: int = 8080) -> dict[str, object]:
    return next(row for row in wefted(host, "ps", "--ports") if row["host_port"] == port)


@pytest.mark.parametrize(("address", "protocol"), WAYS)
def test_closed_by_default_and_opened_and_closed_by_its_command(lab: Lab, address: str, protocol: str) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2, 8080, address, protocol)
    other = "udp" if protocol == "tcp" else "tcp"
    command(h1, f"--add-port=8080/{protocol}")
    opens(h2, 8080, address, protocol)
    assert ask(h2, 8080, address, other) == "", "another protocol is another port"
    assert ask(h2, 8081, address) == "", "nothing else is open"
    command(h1, f"--remove-port=8080/{protocol}")
    closes(h2, 8080, address, protocol)
    assert wefted(h1, "plan") == {"changes": []}


def test_the_host_and_its_containers_are_not_asked(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2)
    for name in ("", "near", "web"):
        assert ask(h1, name=name), f"{name or 'the host'} may"


def test_a_zone_by_its_sources(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2)
    command(h1, "--zone=trusted", f"--add-source={H2}")
    command(h1, "--zone=internal", f"--add-source={SIX2}")
    command(h1, "--zone=internal", "--add-port=8081/tcp")
    opens(h2)
    opens(h2, 8081, SIX1)
    assert ask(h2, 8080, SIX1) == ""
    command(h1, "--zone=trusted", f"--remove-source={H2}")
    closes(h2)
    command(h1, "--zone=internal", f"--remove-source={SIX2}")
    closes(h2, 8081, SIX1)


def test_a_zone_by_its_interface_and_its_target(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2)
    command(h1, "--zone=trusted", "--change-interface=eth0")
    for address, protocol in WAYS:
        opens(h2, 8080, address, protocol)
    command(h1, "--zone=drop", "--change-interface=eth0")
    for address, protocol in WAYS:
        closes(h2, 8080, address, protocol)


@pytest.mark.parametrize(
    "rule",
    [
        f'rule family="ipv4" source address="{H2}" port port="8080" protocol="tcp" accept',
        f'rule family="ipv4" source address="{H2}/24" destination address="{H1}" port port="8080" protocol="tcp" accept',
        'rule port port="8080" protocol="tcp" log prefix="seen" limit value="9/m" accept limit value="600/m"',
        'rule family="ipv4" source not address="192.0.2.0/24" port port="8000-8080" protocol="tcp" audit accept',
        'rule priority="-9" source-port port="1-65535" protocol="tcp" accept',
    ],
)
def test_rich_rules(lab: Lab, rule: str) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2)
    command(h1, f"--add-rich-rule={rule}")
    opens(h2)
    assert ask(h2, 8080, H1, "udp") == ""
    assert row(h1)["unfollowed"] == []
    command(h1, f"--remove-rich-rule={rule}")
    closes(h2)


def test_a_rich_rule_that_refuses_comes_before_what_is_open(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    command(h1, "--add-port=8080/tcp")
    opens(h2)
    command(h1, f'--add-rich-rule=rule family="ipv4" source address="{H2}" port port="8080" protocol="tcp" reject')
    closes(h2)
    assert ask(h2, 8080, SIX1) == SIX2


def test_a_service_and_a_reload(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    command(h1, "--permanent", "--new-service=mine")
    command(h1, "--permanent", "--service=mine", "--add-port=8080/tcp", "--add-port=8080/udp")
    command(h1, "--permanent", "--add-service=mine")
    assert ask(h2) == "", "what is permanent only does not hold yet"
    command(h1, "--reload")
    for address, protocol in WAYS:
        opens(h2, 8080, address, protocol)
    command(h1, "--permanent", "--remove-service=mine")
    command(h1, "--reload")
    for address, protocol in WAYS:
        closes(h2, 8080, address, protocol)


def test_while_it_reloads_and_while_it_panics_nothing_is_open(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2)
    knocking = h2.popen([sys.executable, "-ISc", KNOCK, H1], stdout=-1, text=True)
    for words in (["--reload"], ["--reload"], ["--panic-on"], ["--panic-off"]):
        command(h1, *words)
        wait_for(lambda: wefted(h1, "plan") == {"changes": []}, 5, "it is followed")
    knocking.terminate()
    assert knocking.communicate()[0] == ""


def test_what_the_kernel_does_not_take_twice_lets_nobody_in(lab: Lab) -> None:
    """Chains as deep as they may be: with the one of ours before them, the copy would be too deep."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    command(h1, "--add-port=8080/tcp")
    opens(h2)
    chains = "".join(f"add chain inet firewalld deep{number}\n" for number in range(12))
    jumps = "".join(f"add rule inet firewalld deep{number} jump deep{number + 1}\n" for number in range(11))
    rules = "add rule inet firewalld deep11 tcp dport 1 drop\ninsert rule inet firewalld filter_IN_public_pre jump deep0\n"
    h1.run(["nft", "-f", "-"], input=chains + jumps + rules)
    closes(h2)
    wait_for(lambda: row(h1)["unfollowed"] == ["all of it, for nft refuses the copy"], 5, "it is said")
    assert wefted(h1, "plan") == {"changes": []}, "and it is not tried again and again"
    assert ask(h1), "everything else goes on"
    command(h1, "--reload")
    command(h1, "--add-port=8080/tcp")
    opens(h2)
    assert row(h1)["unfollowed"] == []


def test_an_ipset_that_changes(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    for name, family in (("four", "inet"), ("six", "inet6")):
        command(h1, "--permanent", f"--new-ipset={name}", "--type=hash:net", f"--option=family={family}")
        command(h1, "--permanent", "--zone=trusted", f"--add-source=ipset:{name}")
    command(h1, "--reload")
    closes(h2)
    command(h1, "--ipset=four", "--add-entry=192.168.50.0/25")
    opens(h2)
    assert ask(h2, 8080, SIX1) == ""
    command(h1, "--ipset=six", f"--add-entry={SIX2}")
    opens(h2, 8080, SIX1)
    command(h1, "--ipset=four", "--remove-entry=192.168.50.0/25")
    closes(h2)


def test_a_policy_for_what_comes_to_the_host(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    command(h1, "--permanent", "--new-policy=in")
    for words in (["--add-ingress-zone=ANY"], ["--add-egress-zone=HOST"], ["--add-port=8080/tcp"]):
        command(h1, "--permanent", "--policy=in", *words)
    command(h1, "--reload")
    opens(h2)
    assert ask(h2, 8081) == ""


def test_from_narrows_what_it_opens(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    wefted(h1, "publish", "web", "8090:80", "--from", H2)
    wefted(h1, "publish", "web", "8091:80", "--from", "198.51.100.0/24")
    try:
        assert ask(h2, 8090) == "", "both must agree"
        command(h1, "--add-port=8090-8091/tcp")
        opens(h2, 8090)
        assert ask(h2, 8091) == ""
    finally:
        wefted(h1, "unpublish", "web", "8090:80", "8091:80")


def test_it_is_said_who_decides(lab: Lab) -> None:
    h1 = lab.host("h1")
    wait_for(lambda: row(h1)["filtered_by"] == ["inet firewalld filter_INPUT"], 5, "it is named")
    assert "(if inet firewalld filter_INPUT lets them)" in h1.run(["wefted", "ps", "--ports"]).stdout
    found = wefted(h1, "doctor")["findings"]
    assert any(f["level"] == "ok" and "firewalld opens them" in f["finding"] for f in found)


def test_a_rule_that_cannot_be_followed_opens_nothing_and_is_named(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    closes(h2)
    h1.run(["nft", "add", "rule", "inet", "firewalld", "filter_IN_public_allow", "tcp dport 8080 meta skuid 0 accept"])
    h1.run(["nft", "add", "rule", "inet", "firewalld", "filter_IN_public_allow", "tcp dport 8081 accept"])
    opens(h2, 8081)
    assert ask(h2) == ""
    (rule,) = row(h1)["unfollowed"]  # type: ignore[misc]
    assert rule.startswith("filter_IN_public_allow handle ")
    assert "rules not followed: 1, see wefted doctor" in h1.run(["wefted", "ps", "--ports"]).stdout
    found = wefted(h1, "doctor", check=False).stdout
    assert f"firewalld's rule {rule} cannot be followed" in found


def test_without_it_the_ports_are_open_as_before(walled: Lab) -> None:
    h1, h2 = walled.host("h1"), walled.host("h2")
    for address, protocol in WAYS:
        opens(h2, 8080, address, protocol)
    assert row(h1)["filtered_by"] == []
    assert wefted(h1, "plan") == {"changes": []}


def test_what_containers_send_is_forwarded_by_the_zone_of_their_bridge(lab: Lab) -> None:
    """As the page on firewalls says: this is firewalld's own business."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    assert ping(h1, "near", H2), "the bridge is in the default zone, as the uplink is"
    command(h1, "--zone=dmz", "--change-interface=eth0")
    links = json.loads(h1.run(["ip", "-j", "address", "show", "to", "10.9.0.1"]).stdout)
    (bridge,) = [link["ifname"] for link in links if link]
    wait_for(lambda: not ping(h1, "near", H2, deadline=1), 5, "between two zones nothing is forwarded")
    command(h1, "--zone=trusted", f"--add-interface={bridge}")
    wait_for(lambda: ping(h1, "near", H2, deadline=1), 5, "the zone of the bridge lets it out")
    closes(h2)


def test_with_iptables_behind_it_it_is_said_that_it_is_not_obeyed(walled: Lab) -> None:
    h1 = walled.host("h1")
    with firewalld(h1, "sed -i s/^FirewallBackend=.*/FirewallBackend=iptables/ /etc/firewalld/firewalld.conf"):
        found = [f for f in wefted(h1, "doctor")["findings"] if "do not obey firewalld" in f["finding"]]
        assert [f["level"] for f in found] == ["warning"]
        assert found[0]["command"] == "wefted up --publish-from none"
    assert "do not obey" not in wefted(h1, "doctor", check=False).stdout
