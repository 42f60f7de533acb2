"""What the words for address, MAC and VLAN of `pipework` mean. Pure.

    ADDRESS   IP/LEN[,IP/LEN...][@GATEWAY[,GATEWAY...]]      0/0: none
              dhcp[:OPTIONS]  udhcpc[-f][:OPTIONS]  dhclient[-f][:OPTIONS]  dhcpcd[:OPTIONS]
    MAC       HH:HH:HH:HH:HH:HH, or U:TEXT for one that is made from the text
    VLAN      1 to 4094; on an IPoIB link the partition key, in hex

Mistakes have the words and exit codes of iproute2, to which the original passes what it was given.
"""

from __future__ import annotations

from .pipework_grammar import Mistake
from .record import record

try:
    import _socket as socket  # what `socket` is made of, without its enumerations
except ImportError:  # an interpreter that is not CPython
    import socket  # type: ignore[no-redef]

CLIENTS = ("dhcp", "udhcpc", "udhcpc-f", "dhcpcd", "dhclient", "dhclient-f")

_BYTES = {"4": socket.AF_INET, "6": socket.AF_INET6}
_WORDS = {"": "any valid", "4": "inet", "6": "inet6"}
_LONGEST = {"4": 32, "6": 128}


@record
class Static:
    """Addresses as IP/LEN and gateways as IP; no addresses for 0/0."""

    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


@record
class Dhcp:
    """A DHCP client by its program's name, `dhcp` for the built-in one; `stays` when its lease is to be renewed."""

    client: str
    stays: bool = False
    options: str = ""


def address(text: str, family: str = "") -> Static | Dhcp:
    """Return what the word says; `family` 4 or 6 allows addresses of one version only. Raises `Mistake`."""
    name, _, options = text.partition(":")
    if name in CLIENTS:
        return Dhcp(client=name.removesuffix("-f"), stays=name.endswith("-f"), options=options)
    if "/" not in text.partition("@")[0]:
        raise Mistake(f"The IP address should include a netmask.\nMaybe you meant {text}/24 ?")
    listed, _, behind = text.partition("@")
    addresses = [_interface(word, family) for word in listed.split(",")]
    gateways = [_gateway(word, family) for word in behind.partition("@")[0].split(",") if word]
    versions = ["6" if ":" in gateway else "4" for gateway in gateways]
    if len(set(versions)) < len(versions):
        raise Mistake("Only one gateway for IPv4 and one for IPv6 can be the default gateway.")
    return Static(addresses=tuple(word for word in addresses if word), gateways=tuple(gateways))


def mac(text: str) -> str:
    """Return a MAC with colons in lower case, or nothing for nothing. Raises `Mistake`."""
    kind, colon, unique = text.partition(":")
    if kind == "U" and colon:
        return _made_from(unique)
    octets = [_octet(part) for part in text.split(":")] if text else []
    if octets and (len(octets) != 6 or None in octets):
        raise Mistake(f'"{text}" is invalid lladdr.')
    if octets and (int(octets[0] or "0", 16) & 1 or not any(int(octet or "0", 16) for octet in octets)):
        raise Mistake("RTNETLINK answers: Cannot assign requested address", 2)
    return ":".join(octet or "" for octet in octets)


def vlan(text: str) -> int:
    """Return a VLAN, 0 for none. Raises `Mistake`."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:6]) > 65535:
        raise Mistake(f'Error: argument "{text}" is wrong: id is invalid', 255)
    if not 1 <= int(text) <= 4094:
        raise Mistake("Error: 8021q: Invalid VLAN id.", 2)
    return int(text)


def partition_key(text: str) -> str:
    """Return the key of an InfiniBand partition as 0x and four hex digits, or nothing for nothing. Raises `Mistake`."""
    if not text:
        return ""
    try:
        key = int(text, 16)
    except ValueError:
        key = -1
    if not 0 < key <= 0xFFFF:
        raise Mistake(f'Error: argument "0x{text}" is wrong: pkey is invalid', 255)
    return f"0x{key:04x}"


def _interface(word: str, family: str) -> str:
    """Return IP/LEN in full, or nothing for a prefix of length 0."""
    text, _, length = word.partition("/")
    version = _version(text, family)
    found = _full(text, version) if length.isascii() and length.isdigit() and len(length) <= 3 else ""
    if not found or int(length) > _LONGEST[version]:
        raise Mistake(f'Error: {_WORDS[family or "4"]} prefix is expected rather than "{word}".')
    return f"{found}/{int(length)}" if int(length) else ""


def _gateway(word: str, family: str) -> str:
    found = _full(word, _version(word, family))
    if not found:
        raise Mistake(f'Error: {_WORDS[family or "4"]} prefix is expected rather than "{word}/32".')
    return found


def _version(text: str, family: str) -> str:
    return family or ("6" if ":" in text else "4")


def _full(text: str, version: str) -> str:
    """Return an address in its usual form, or nothing. As with `ip`, an IPv4 address may lack its last octets."""
    if version == "4" and text.count(".") < 3 and text:
        text += ".0" * (3 - text.count("."))
    try:
        return socket.inet_ntop(_BYTES[version], socket.inet_pton(_BYTES[version], text))
    except (OSError, ValueError):
        return ""


def _octet(text: str) -> str | None:
    try:
        value = int(text, 16) if text.isalnum() and text.isascii() else -1
    except ValueError:
        return None
    return f"{value:02x}" if 0 <= value <= 0xFF else None


def _made_from(unique: str) -> str:
    """Return 02: and the first five octets of the MD5 of the text and a line feed, as `echo TEXT | md5sum` has it."""
    from hashlib import md5

    words = " ".join(unique.split())
    return "02:" + md5(f"{words}\n".encode(errors="surrogateescape"), usedforsecurity=False).digest()[:5].hex(":")
