"""Published ports beside ufw and rules of the administrator's own, each the real one, on virtual hosts."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

H1, H2 = "192.168.50.1", "192.168.50.2"
SERVE = """
import socket
server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""
ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as s:
        print(s.recv(99).decode().removeprefix("::ffff:"))
except OSError as error:
    print("")
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("walls"), 2) as up:
        h1 = up.host("h1")
        wefted(h1, "network", "create", "net", "--subnet", "10.9.0.0/24")
        wefted(h1, "network", "connect", "net", container(h1, "web"), container(h1, "near"))
        wefted(h1, "publish", "web", "8080:80")
        server = h1.popen(["ip", "netns", "exec", "web", sys.executable, "-ISc", SERVE], stdout=-1, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield up


def ask(host: Host, name: str = "", port: int = 8080, seconds: float = 0.4) -> str:
    """Return the address as which the container saw us, by a port of the first host; "" when it does not answer."""
    inside = ["ip", "netns", "exec", name] if name else []
    return host.run([*inside, sys.executable, "-ISc", ASK, H1, str(port), str(seconds)]).stdout.strip()


def own_copy(host: Host, path: str) -> None:
    """Give the host a directory of settings of its own, for the machine's is only lent."""
    host.run(["sh", "-c", f"rm -f {path} && cp -a /run/machine{path} {path} && test ! -L {path}"])


def others(host: Host) -> tuple[bool, list[str]]:
    """Return whether the port is for other hosts at all, and which chains may keep them out."""
    (row,) = [row for row in wefted(host, "ps", "--ports") if row["host_port"] == 8080]
    return "others" in row["reachable_from"], row["filtered_by"]


def test_what_ufw_closes_stays_closed_until_it_is_told(lab: Lab) -> None:
    if not shutil.which("ufw"):
        pytest.skip("ufw is not installed")
    h1, h2 = lab.host("h1"), lab.host("h2")
    assert ask(h2) == H2
    assert others(h1) == (True, [])
    own_copy(h1, "/etc/ufw")
    h1.run(["ufw", "--force", "enable"])
    assert ask(h2) == "", "ufw denies what is routed"
    assert others(h1) == (True, ["ip filter FORWARD", "ip6 filter FORWARD"])
    assert "if ip filter FORWARD" in h1.run(["wefted", "ps", "--ports"]).stdout
    assert ask(h1), "the host itself is not routed"
    h1.run(["ufw", "route", "allow", "proto", "tcp", "from", H2, "to", "10.9.0.0/24", "port", "80"])
    wait_for(lambda: ask(h2) == H2, 5, "the rule lets it pass")
    assert wefted(h1, "plan") == {"changes": []}
    h1.run(["ufw", "--force", "disable"])
    assert others(h1) == (True, [])


def test_a_chain_that_ends_by_a_refusal_is_named(lab: Lab) -> None:
    h1 = lab.host("h1")
    h1.run(["nft", "add table inet strict; add chain inet strict f { type filter hook forward priority 20; policy accept; }"])
    h1.run(["nft", "add rule inet strict f ct state established,related accept; add rule inet strict f counter reject"])
    assert others(h1) == (True, ["inet strict f"])


def test_rules_of_the_administrator_see_published_ports(lab: Lab) -> None:
    """As documented in howto/firewall.md: a chain of one's own, before ours; nobody of ours touches it."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    table = f"""
    table inet mine {{
        chain published {{
            type filter hook forward priority filter - 5; policy accept;
            ct status dnat meta l4proto tcp ct original proto-dst 8080 ip saddr {H2} counter drop
        }}
    }}
    """
    h1.run(["nft", "-f", "-"], input=table)
    assert ask(h2) == ""
    assert ask(h1, "near"), "the rule is for the other host"
    wefted(h1, "publish", "web", "8081:80")
    assert ask(h2, port=8081) == H2
    assert wefted(h1, "plan") == {"changes": []}
    wefted(h1, "uninstall", "--plan")
    assert "counter packets" in h1.run(["nft", "list", "table", "inet", "mine"]).stdout


@pytest.mark.parametrize("switch", ["host", "port"])
def test_who_is_not_meant_is_kept_out_and_the_host_and_its_containers_are_not_asked(lab: Lab, switch: str) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    if switch == "host":
        wefted(h1, "down")
        wefted(h1, "up", "--publish-from", "none")
        assert wefted(h1, "publish", "web", "8081:80", "--from", f"{H2},2001:db8::/32")["state"] == "up"
    else:
        wefted(h1, "publish", "web", "8080:80", "--from", "198.51.100.0/24")
        wefted(h1, "publish", "web", "8081:80", "--from", H2)
    assert ask(h2) == ""
    assert ask(h2, port=8081) == H2
    for name in ("", "near", "web"):
        assert ask(h1, name), f"{name or 'the host'} may"
    rows = {row["host_port"]: row for row in wefted(h1, "ps", "--ports")}
    assert rows[8081]["sources"][0] == f"{H2}/32"
    assert ("others" in rows[8080]["reachable_from"]) == (switch == "port")
    refused = wefted(h1, "up", "--publish-from", "all", check=False)
    assert (refused.returncode != 0) == (switch == "host")
    assert wefted(h1, "plan") == {"changes": []}
