"""The command line of `pipework`: from its words to one frozen object for each form. Pure.

    pipework [--direct-phys|--host-access] HOSTIF [-i IF] [-l LOCAL] [-a 4|6] GUEST ADDRESS [MAC|U:TEXT][@VLAN]
    pipework route|rule|tc GUEST WORDS...
    pipework --wait [-i IF] [--timeout SECONDS]
    pipework --detach HOSTIF [-i IF] GUEST

The options have one order, as in the original, and HOSTIF may be `mac:` and the MAC of a link. What ADDRESS means is the
business of `pipework_address`, for in the original it is looked at later than HOSTIF. Words after the last one are ignored.
"""

from __future__ import annotations

from .record import record

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SYNTAX = """\
Syntax:
pipework <hostinterface> [-i containerinterface] [-l localinterfacename] [-a addressfamily] <guest> <ipaddr>/<subnet>[@default_gateway] [macaddr][@vlan]
pipework <hostinterface> [-i containerinterface] [-l localinterfacename] <guest> dhcp [macaddr][@vlan]
pipework mac:<hostinterface_macaddress> ...
pipework --direct-phys <hostinterface> ...
pipework route <guest> <route_command>
pipework rule <guest> <rule_command>
pipework tc <guest> <tc_command>
pipework --wait [-i containerinterface] [--timeout seconds]
pipework --host-access <hostinterface> ...
pipework --detach <hostinterface> [-i containerinterface] <guest>"""  # noqa: E501

TOOLS = {"route": ("ip", "route"), "rule": ("ip", "rule"), "tc": ("tc",)}
"""How a HOSTIF that is no link begins -> the program that is run in the guest."""

LONGEST_NAME = 15
"""Bytes in the name of an interface (IFNAMSIZ without the final zero)."""


class Mistake(Exception):
    """What the user is told, and the exit code; `told` says on which stream, as the original has it."""

    def __init__(self, text: str, code: int = 1, *, stdout: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.stdout = stdout


@record
class Attach:
    """Give a guest an interface. `mac` is what was typed: a MAC, `U:` and a text, or nothing."""

    hostif: str
    guest: str
    address: str
    ifname: str = ""
    """Empty: eth1, on an IPoIB link ib0."""
    local: str = ""
    family: str = ""
    mac: str = ""
    vlan: str = ""
    direct: bool = False
    host_access: bool = False


@record
class Detach:
    """Take an interface back."""

    hostif: str
    guest: str
    ifname: str = ""


@record
class Inside:
    """Run a program in the guest's network namespace."""

    program: tuple[str, ...]
    guest: str


@record
class Wait:
    """Wait, inside a container, for its interface; `timeout` in seconds, 0 for ever."""

    ifname: str = "eth1"
    timeout: float = 0.0


def parse(words: Sequence[str], exists: Callable[[str], bool]) -> Attach | Detach | Inside | Wait:
    """Return the form that was typed; `exists` tells whether the host has a link of a name. Raises `Mistake`."""
    rest = list(words)
    first = rest[0] if rest else ""
    if first == "--wait":
        return _wait(rest[1:])
    if first == "--detach":
        return _detach(rest[1:])
    flagged = first in ("--direct-phys", "--host-access")
    del rest[: int(flagged)]
    hostif = _word(rest)
    ifname, local, family = (_option(rest, flag) for flag in ("-i", "-l", "-a"))
    guest, address, last = _word(rest), rest[0] if rest else "", "".join(rest[1:2])
    if not address:
        raise _syntax()
    tool = next((tool for tool in TOOLS if hostif.startswith(tool)), "")
    if tool and not exists(hostif):
        return Inside(program=(*TOOLS[tool], *rest), guest=guest)
    mac, _, behind = last.partition("@")
    return Attach(
        hostif=hostif,
        guest=guest,
        address=address,
        ifname=_interface(ifname),
        local=_interface(local),
        family=_family(family),
        mac=mac,
        vlan=behind.partition("@")[0],
        direct=first == "--direct-phys",
        host_access=first == "--host-access",
    )


def _detach(rest: list[str]) -> Detach:
    hostif = _word(rest)
    ifname = _option(rest, "-i")
    guest = _word(rest)
    if not guest:
        raise _syntax()
    return Detach(hostif=hostif, guest=guest, ifname=_interface(ifname))


def _wait(rest: list[str]) -> Wait:
    ifname = _option(rest, "-i")
    seconds = _option(rest, "--timeout")
    try:
        timeout = float(seconds or 0)
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout < 1e9:
        raise Mistake(f"--timeout takes a number of seconds, not {seconds}")
    return Wait(ifname=_interface(ifname) or "eth1", timeout=timeout)


def _word(rest: list[str]) -> str:
    return rest.pop(0) if rest else ""


def _option(rest: list[str], flag: str) -> str:
    """Take a flag and its value from the front, if it stands there."""
    if rest[:1] != [flag]:
        return ""
    if len(rest) < 2 or not rest[1]:
        raise _syntax()
    value = rest[1]
    del rest[:2]
    return value


def _interface(name: str) -> str:
    """Return the name of an interface, by the rule of `ip link`, which the original leaves it to."""
    wrong = name in (".", "..") or len(name.encode("utf-8", "replace")) > LONGEST_NAME
    if wrong or any(char in "/:%" or char.isspace() or not char.isprintable() for char in name):
        raise Mistake(f'Error: argument "{name}" is wrong: "name" not a valid ifname', 255)
    return name


def _family(text: str) -> str:
    if text not in ("", "4", "6"):
        raise Mistake(f'Option "-{text}" is unknown, try "ip -help".', 255)
    return text


def _syntax() -> Mistake:
    return Mistake(SYNTAX, stdout=True)
