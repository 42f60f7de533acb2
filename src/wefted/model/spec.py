"""The grammar of what people type, wherever they type it: command line, API, YAML file, plugins.

    container   [KIND:]NAME                 netns:c1  pid:4242  path:/proc/4242/ns/net  docker:web1  web1
                KIND:KEY=VALUE              docker:app=web  the container with this label, where the engine has labels
    network     NAME                        1 to 63 of A-Z a-z 0-9 _ . - and no sign first
    interface   NAME                        1 to 15 characters, the kernel's limit, no slash, colon or space
    alias       LABEL[.LABEL...]            a DNS name (RFC 1123)
    MAC         HH:HH:HH:HH:HH:HH           unicast, not zero
    port        [IP:]HOST[-HOST]:PORT[-PORT][/tcp|udp|sctp]     IPv6 in brackets, as in [fd77::1]:53:53/udp
    subnet      ADDRESS/LENGTH              strict: no host bits
    sources     PREFIX[,PREFIX...]          who may use a published port; `all`, or `none`
    address     ADDRESS                     unicast
    interface address   ADDRESS/LENGTH      where no subnet says how long the prefix is
    route       DEST[@VIA]                  192.168.0.0/16@10.9.0.1; `default` is 0.0.0.0/0 or ::/0
    pair        KEY=VALUE                   the value may be empty and may hold further equals signs
    MTU         68 to 65535                 bytes
    duration    [N d][N h][N m][N s][N ms]  1h30m  500ms; a bare number is seconds

Each function returns what its text means or raises `UsageError`, whose message quotes the text and says what is wrong, and
whose hint gives an example.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_interface, ip_network
from typing import NoReturn, TypeVar

from wefted.errors import UsageError

from .nearest import nearest
from .network import PortMapping, StaticRoute
from .node import ANYWHERE
from .objects import IPAddress, IPInterface, IPNetwork

KINDS = ("netns", "pid", "path", "docker", "podman", "containerd", "lxc", "nspawn", "cni", "oci")
PROTOCOLS = ("tcp", "udp", "sctp")
MOST_PORTS = 16384
"""Ports in one range: each is an element of the firewall's map."""

A = TypeVar("A")

_LONGEST_SHOWN = 100
_DURATION = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container as it was typed: `kind` is empty for a bare name, which is looked for in all runtimes."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.kind else self.name


def container(text: str) -> ContainerSpec:
    """Return the kind of runtime and the name."""
    kind, colon, name = text.partition(":")
    if not colon:
        kind, name = "", text
    elif kind not in KINDS:
        close = nearest(kind, KINDS)
        hint = f"did you mean {close}:{name}?" if close else f"kinds: {', '.join(KINDS)}"
        raise UsageError(f"container {_quote(text)}: there is no kind of container {_quote(kind)}", hint)
    _NAMES.get(kind, _container_name)(text, name)
    return ContainerSpec(kind, name)


def _container_name(text: str, name: str) -> None:
    def wrong(why: str) -> NoReturn:
        _wrong("container", text, why, "web1, docker:web1, netns:c1, pid:4242, path:/proc/4242/ns/net")

    if name.startswith("/"):
        wrong("a namespace's file needs its kind, path:")
    _plain_name(name, 128, "_.-@+", wrong)


def _labelled(text: str, name: str) -> None:
    """A name, or a label: the value is anything that can be seen, for engines allow that."""
    key, equals, value = name.partition("=")
    if not equals:
        _container_name(text, name)
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}", key, re.ASCII) or not value.isprintable() or len(value) > 256:
        _wrong("container", text, "a label is KEY=VALUE", "docker:app=web")


def _pid(text: str, name: str) -> None:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", name, re.ASCII) or int(name) > 1 << 22:
        _wrong("container", text, "a PID is a number from 1 to 4194304", "pid:4242")


def _path(text: str, name: str) -> None:
    if not name.startswith("/"):
        _wrong("container", text, "the path must be absolute", "path:/proc/4242/ns/net")
    if not name.isprintable() or len(name.encode()) > 4095:
        _wrong("container", text, "the path has control characters or is longer than 4095 bytes", "path:/proc/4242/ns/net")
    if name.endswith("/") or {".", "..", ""} & set(name[1:].split("/")):
        _wrong("container", text, "the path must not have . or .. or empty parts", "path:/proc/4242/ns/net")


_NAMES: dict[str, Callable[[str, str], None]] = {
    "pid": _pid,
    "path": _path,
    "docker": _labelled,
    "podman": _labelled,
    "containerd": _labelled,
}


def network_name(text: str) -> str:
    """Return a network's name: it appears in commands, files and firewalls, so nothing in it may mean anything to them."""
    _plain_name(text, 63, "_.-", lambda why: _wrong("network name", text, why, "web, db-1, site.prod"))
    return text


def _plain_name(name: str, longest: int, signs: str, wrong: Callable[[str], NoReturn]) -> None:
    if not name:
        wrong("it is empty")
    for char in name:
        if not (char.isascii() and (char.isalnum() or char in signs)):
            wrong(f"it must not have {_character(char)}; letters, digits and {' '.join(signs)} may be used")
    if not name[0].isalnum():
        wrong(f"it must begin with a letter or a digit, not with {_character(name[0])}")
    if len(name) > longest:
        wrong(f"it has {len(name)} characters, at most {longest} are possible")


def interface_name(text: str) -> str:
    """Return an interface's name, by the kernel's own rule (dev_valid_name in net/core/dev.c)."""
    example = "eth0, web1"
    if not text or text in (".", ".."):
        _wrong("interface name", text, "it is empty" if not text else "the kernel reserves it", example)
    for char in text:
        if char in "/:" or char.isspace() or not char.isprintable():
            _wrong("interface name", text, f"it must not have {_character(char)}", example)
    if "%" in text:
        _wrong("interface name", text, "the kernel would put a number in place of '%'", example)
    if len(text.encode("utf-8", "replace")) > 15:
        _wrong("interface name", text, f"it has {len(text.encode())} bytes, at most 15 are possible", example)
    return text


def alias(text: str) -> str:
    """Return a DNS name in lower case (RFC 1123: letters, digits and inner hyphens in labels of at most 63)."""
    example = "db, api.web"
    if len(text) > 253:
        _wrong("alias", text, f"it has {len(text)} characters, at most 253 are possible", example)
    for label in text.split("."):
        if not label:
            _wrong("alias", text, "it has an empty label", example)
        bad = next((c for c in label if not (c.isascii() and (c.isalnum() or c == "-"))), "")
        if bad:
            _wrong("alias", text, f"it must not have {_character(bad)}", example)
        if len(label) > 63 or label[0] == "-" or label[-1] == "-":
            _wrong("alias", text, "a label has 1 to 63 characters and no hyphen at its ends", example)
    return text.lower()


def mac(text: str) -> str:
    """Return a MAC in lower case with colons."""
    example = "02:42:0a:09:00:05"
    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", text, re.ASCII):
        _wrong("MAC", text, "it must have six pairs of hex digits", example)
    octets = bytes.fromhex(re.sub("[:-]", "", text))
    if octets[0] & 1:
        _wrong("MAC", text, "it is a multicast address (its first octet is odd)", example)
    if not any(octets):
        _wrong("MAC", text, "it is zero", example)
    return octets.hex(":")


def address(text: str) -> IPAddress:
    """Return a unicast address."""
    example = "10.9.0.5, fd77::5"
    try:
        found = _parsed(text, ip_address)
    except ValueError:
        why = "leave the prefix length out" if "/" in text else "it is not an IP address"
        _wrong("address", text, why, example)
    if found.is_multicast or found.is_unspecified or found.is_loopback or text == "255.255.255.255":
        _wrong("address", text, "it is no unicast address of a network", example)
    return found


def interface_address(text: str) -> IPInterface:
    """Return a unicast address with the length of its prefix, as on a network that has no subnets."""
    example = "192.168.1.1/24, fd77::5/64"
    ip, slash, length = text.partition("/")
    found = address(ip)
    if not slash:
        _wrong("address", text, "its prefix length is missing, and the network has no subnet that would tell it", example)
    if not re.fullmatch(r"[0-9]{1,3}", length, re.ASCII) or int(length) > found.max_prefixlen:
        _wrong("address", text, f"after the slash stands a prefix length from 0 to {found.max_prefixlen}", example)
    return ip_interface((found, int(length)))


def address_in(text: str, prefix: IPNetwork) -> IPAddress:
    """Return a unicast address that lies in `prefix`."""
    found = address(text)
    if found not in prefix:
        _wrong("address", text, f"it lies outside {prefix}", str(prefix.network_address + min(5, prefix.num_addresses - 1)))
    return found


def subnet(text: str) -> IPNetwork:
    """Return a network's prefix; host bits are an error, for which of two meanings they had cannot be known."""
    found = _network("subnet", text, "10.9.0.0/16, fd77:9::/64", need_length=True)
    if found.is_multicast or found.is_loopback or found.prefixlen == 0 or (found.version == 6 and found.is_link_local):
        _wrong("subnet", text, "such addresses cannot be given to containers", "10.9.0.0/16, fd77:9::/64")
    return found


def sources(text: str) -> tuple[IPNetwork, ...]:
    """Return the prefixes in order, none inside another one: whom a published port is for."""
    if text in ("all", "none"):
        return ANYWHERE if text == "all" else ()
    example = "192.0.2.0/24, 192.0.2.7,fd77::/16, all, none"
    found = [_network("source", part.strip(), example, need_length=False) for part in text.split(",")]
    return merged(found)


def merged(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the same addresses in as few prefixes as possible, IPv4 first."""
    four = [p for p in prefixes if isinstance(p, IPv4Network)]
    six = [p for p in prefixes if isinstance(p, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def _network(what: str, text: str, example: str, *, need_length: bool) -> IPNetwork:
    if need_length and "/" not in text:
        _wrong(what, text, "its prefix length is missing", example)
    if "/" in text and not re.fullmatch(r"[0-9]{1,3}", text.partition("/")[2], re.ASCII):
        _wrong(what, text, "after the slash stands a prefix length", example)
    try:
        meant = _parsed(text, ip_interface).network
    except ValueError:
        _wrong(what, text, "it is not an IP network", example)
    try:
        return _parsed(text, ip_network)
    except ValueError:
        _wrong(what, text, f"it has host bits set; the network is {meant}", str(meant))


def _parsed(text: str, parse: Callable[[str], A]) -> A:
    if "%" in text:
        raise ValueError("a scope has no meaning here")
    return parse(text)


def route(text: str) -> StaticRoute:
    """Return a route; without VIA it goes through the network's gateway."""
    example = "192.168.0.0/16@10.9.0.1, default@10.9.0.1"
    target, at, gateway = text.partition("@")
    via = None
    if at:
        try:
            via = address(gateway)
        except UsageError as error:
            _wrong("route", text, error.message, example)
    if target == "default":
        target = "::/0" if via is not None and via.version == 6 else "0.0.0.0/0"
    destination = _network("route", target, example, need_length=False)
    if destination.is_multicast:
        _wrong("route", text, "its destination is multicast", example)
    if via is not None and via.version != destination.version:
        _wrong("route", text, f"IPv{destination.version} cannot go through an IPv{via.version} address", example)
    return StaticRoute(destination=destination, via=via)


_PORT = re.compile(
    r"(?:(?P<ip>[0-9.]+|\[[^\]]*\]):)?(?P<host>[0-9]+)(?:-(?P<host_end>[0-9]+))?"
    r":(?P<port>[0-9]+)(?:-(?P<port_end>[0-9]+))?(?:/(?P<protocol>[a-zA-Z0-9]+))?",
    re.ASCII,
)


def host_address(text: str) -> IPAddress | None:
    """Return an address of a host that ports are published on, its loopback included; None stands for all of them."""

    def wrong(why: str) -> NoReturn:
        _wrong("host address", text, why, "127.0.0.1, 192.168.1.7, fd77::1")

    return _host_ip(f"[{text}]" if ":" in text else text, wrong)


def ports(text: str, host_ip: IPAddress | None = None) -> tuple[PortMapping, ...]:
    """Return one mapping for each port of the range; `host_ip` is for a text that names no address."""
    example = "8080:80, 127.0.0.1:5353:53/udp, [fd77::1]:8000-8009:9000-9009/tcp"

    def wrong(why: str) -> NoReturn:
        _wrong("port", text, why, example)

    match = _PORT.fullmatch(text)
    if match is None:
        wrong("it must be [IP:]HOST[-HOST]:PORT[-PORT][/PROTOCOL]")
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in PROTOCOLS:
        wrong(f"the protocol is one of {', '.join(PROTOCOLS)}")
    outside, inside = _range(match["host"], match["host_end"], wrong), _range(match["port"], match["port_end"], wrong)
    if len(outside) != len(inside):
        wrong(f"the host's range has {len(outside)} ports and the container's {len(inside)}")
    if len(outside) > MOST_PORTS:
        wrong(f"the range has {len(outside)} ports, at most {MOST_PORTS} are possible")
    ip = _host_ip(match["ip"], wrong) if match["ip"] else host_ip
    pairs = zip(outside, inside, strict=True)
    return tuple(PortMapping(host_port=host, port=port, protocol=protocol, host_ip=ip) for host, port in pairs)


def _range(first: str, last: str | None, wrong: Callable[[str], NoReturn]) -> range:
    low, high = (int(number[:9]) for number in (first, last or first))
    if not (1 <= low <= 65535 and 1 <= high <= 65535):
        wrong("a port is a number from 1 to 65535")
    if low > high:
        wrong(f"the range {low}-{high} runs backwards")
    return range(low, high + 1)


def _host_ip(text: str | None, wrong: Callable[[str], NoReturn]) -> IPAddress | None:
    if text is None:
        return None
    try:
        found = _parsed(text.strip("[]"), ip_address)
    except ValueError:
        wrong(f"{_quote(text)} is not an IP address")
    if found.is_multicast or (found.version == 6) != text.startswith("["):
        wrong(f"{_quote(text)} is not an address of this host" if found.is_multicast else "IPv6 addresses stand in brackets")
    return None if found.is_unspecified else found


def pair(text: str) -> tuple[str, str]:
    """Return the key and the value of an option or label."""
    example = "vni=42, com.example.team=web"
    key, equals, value = text.partition("=")
    if not equals:
        _wrong("pair", text, "it has no equals sign, so no value", example)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}", key, re.ASCII):
        _wrong("pair", text, "its key must be 1 to 128 letters, digits, and after the first _ . / -", example)
    if len(value) > 4096 or not all(char.isprintable() for char in value):
        _wrong("pair", text, "its value must not have control characters or more than 4096 characters", example)
    return key, value


def pairs(texts: list[str] | tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return several pairs, sorted by key; a key given twice is an error."""
    found: dict[str, str] = {}
    for key, value in map(pair, texts):
        if key in found:
            _wrong("pair", f"{key}={value}", f"{key} is given twice", "each key once")
        found[key] = value
    return tuple(sorted(found.items()))


def mtu(text: str) -> int:
    """Return an MTU in bytes. IPv6 needs 1280 (RFC 8200, section 5), which is checked where the subnets are known."""
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or not 68 <= int(text) <= 65535:
        _wrong("MTU", text, "it is a number of bytes from 68 to 65535", "1450")
    return int(text)


def duration(text: str) -> float:
    """Return seconds."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        return float(text)
    if not re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|d|h|m|s))+", text, re.ASCII):
        _wrong("duration", text, "it is a number with d, h, m, s or ms behind it", "90, 30s, 1h30m, 500ms")
    return sum(float(number) * _DURATION[unit] for number, _, unit in re.findall(r"([0-9]+(\.[0-9]+)?)(ms|d|h|m|s)", text))


def _wrong(what: str, text: str, why: str, example: str) -> NoReturn:
    raise UsageError(f"{what} {_quote(text)}: {why}", f"as in {example}")


def _character(char: str) -> str:
    names = {" ": "a space", "\t": "a tab", "\n": "a line break", "\0": "a NUL", "'": "a quote", '"': "a double quote"}
    return names.get(char, repr(char) if char.isprintable() else f"the character U+{ord(char):04X}")


def _quote(text: str) -> str:
    short = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return ascii(short) if any("\ud800" <= char <= "\udfff" for char in short) else repr(short)
