"""DHCP clients that are programs of the host: how they are called, and what they say about a lease. Pure.

They only speak the protocol. Each is given a script of ours in place of its own, which hands on what it is told and changes
nothing: the address becomes a part of the endpoint like any other, and no resolv.conf of the host is touched. Each says the
same client identifier as our own client does, so that a change of the client does not change the address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from wefted.model.dhcp import DhcpLease

from . import message as m
from .lease import lease_of
from .message import Kind, Message, encode_routes

BOUND = frozenset({"bound", "renew", "BOUND", "RENEW", "REBIND", "REBOOT"})
LOST = frozenset({"deconfig", "nak", "leasefail", "EXPIRE", "FAIL", "NAK", "STOP", "RELEASE"})

_OWN_RUN = 'for d in /run/dhcpcd /var/lib/dhcpcd; do mkdir -p $d && mount -t tmpfs none $d || exit 1; done; exec "$@"'
"""dhcpcd keeps its state by interface name alone, and every container has an eth0: each run has folders of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a client is told: `script`, `config` and `leases` are paths of its own."""

    link: str
    hostname: str
    client_id: bytes
    script: str
    config: str
    leases: str
    options: Sequence[str] = ()


def script(report: str) -> str:
    """Return the program that a client runs for its news: it writes its environment to the file `report`, whole or not at all.

    udhcpc names the event in its first argument, the others in the variable `reason`.
    """
    return f'#!/bin/sh\nexport wefted_event="${{1:-$reason}}"\nenv -0 >"{report}.new" && mv "{report}.new" "{report}"\n'


def config(call: Call) -> str:
    """Return a dhclient.conf(5); the other clients need none."""
    codes = ", ".join(("subnet-mask", "rfc3442-classless-static-routes", "routers", "domain-name-servers", "domain-name"))
    lines = [
        "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;",
        f"send dhcp-client-identifier {call.client_id.hex(':')};",
        f"request {codes}, interface-mtu, dhcp-renewal-time, dhcp-rebinding-time;",
        "retry 5;",
    ]
    return "\n".join([*lines, *([f'send host-name "{call.hostname}";'] if call.hostname else []), ""])


def _udhcpc(call: Call) -> list[str]:
    name = ["-x", f"hostname:{call.hostname}"] if call.hostname else []
    words = ["-f", "-i", call.link, "-s", call.script, "-C", "-x", f"0x3d:{call.client_id.hex()}", *name]
    return ["udhcpc", *words, "-O", "mtu", "-O", "staticroutes", *call.options]


def _dhclient(call: Call) -> list[str]:
    files = ["-sf", call.script, "-cf", call.config, "-lf", call.leases, "-pf", f"{call.leases}.pid"]
    return ["dhclient", "-4", "-d", *files, *call.options, call.link]


def _dhcpcd(call: Call) -> list[str]:
    name = ["-h", call.hostname] if call.hostname else []
    words = [
        "-4",
        "-B",
        "-p",
        "-L",
        "--noconfigure",
        "--nodelay",
        "-f",
        "/dev/null",
        "-c",
        call.script,
        "-I",
        call.client_id.hex(":"),
    ]
    own = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _OWN_RUN, "sh"]
    asked = ("classless_static_routes", "routers", "domain_name_servers", "domain_name", "interface_mtu")
    wanted = [word for option in asked for word in ("-o", option)]
    return [*own, "dhcpcd", *words, *name, *wanted, *call.options, call.link]


_CALLS: Mapping[str, Callable[[Call], list[str]]] = {"udhcpc": _udhcpc, "dhclient": _dhclient, "dhcpcd": _dhcpcd}


def command(program: str, call: Call) -> list[str]:
    """Return the command line of a client that stays in the foreground."""
    return _CALLS[program](call)


def event(report: bytes) -> tuple[str, Mapping[str, str]]:
    """Return what happened, and the variables of the client."""
    pairs = (part.partition("=") for part in report.decode("utf-8", "replace").split("\0"))
    found = {key: value for key, equals, value in pairs if equals}
    return found.get("wefted_event", ""), found


def lease_in(said: Mapping[str, str]) -> DhcpLease | None:
    """Return the lease that the variables of any of the clients describe, None where they describe none."""
    options = {
        m.MASK: _mask(_first(said, "new_subnet_mask", "subnet")),
        m.ROUTER: _addresses(_first(said, "new_routers", "router")),
        m.DNS: _addresses(_first(said, "new_domain_name_servers", "dns")),
        m.DOMAIN: _first(said, "new_domain_name", "domain").encode("ascii", "replace"),
        m.MTU: _number(_first(said, "new_interface_mtu", "mtu"), 2),
        m.SERVER: _addresses(_first(said, "new_dhcp_server_identifier", "serverid")),
        m.LEASE_TIME: _number(_first(said, "new_dhcp_lease_time", "lease"), 4),
        m.RENEWAL: _number(_first(said, "new_dhcp_renewal_time"), 4),
        m.REBINDING: _number(_first(said, "new_dhcp_rebinding_time"), 4),
        m.CLASSLESS_ROUTES: _routes(said),
    }
    found = _addresses(_first(said, "new_ip_address", "ip"))[:4]
    address = IPv4Address(found) if found else m.NOBODY
    return lease_of(Message(kind=Kind.ACK, yiaddr=address, options={k: v for k, v in options.items() if v}))


def _first(said: Mapping[str, str], *names: str) -> str:
    return next((said[name] for name in names if said.get(name)), "")


def _addresses(text: str) -> bytes:
    return b"".join(address.packed for word in text.replace(",", " ").split() if (address := _address(word)) is not None)


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _mask(text: str) -> bytes:
    return _addresses(text)[:4]


def _number(text: str, size: int) -> bytes:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    return number.to_bytes(size, "big") if 0 < number < 1 << 8 * size else b""


def _routes(said: Mapping[str, str]) -> bytes:
    """Return option 121: dhclient shows its bytes, the others `10.0.0.0/8 10.1.1.1` one after the other."""
    raw = said.get("new_rfc3442_classless_static_routes", "").split()
    if raw:
        return bytes(int(word) for word in raw if word.isascii() and word.isdigit() and int(word) < 256)
    words = _first(said, "new_classless_static_routes", "staticroutes").split()
    found: dict[IPv4Network, IPv4Address] = {}
    for target, via in zip(words[::2], words[1::2], strict=False):
        hop = _address(via)
        try:
            network = IPv4Network(target)
        except ValueError:
            continue
        if hop is not None:
            found[network] = hop
    return encode_routes(found)
