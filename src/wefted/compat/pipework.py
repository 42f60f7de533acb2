"""`pipework`: reads what was typed, asks the engine, and says what the original says.

`ask` is the door to the engine: an operation and its parameters in, its result out (None where it is not wanted and nothing
has failed); it raises `WeftedError`. What a call has
begun it undoes when it fails; a call that is repeated changes nothing.
"""

from __future__ import annotations

import os
import sys

from wefted.errors import InUse, KernelError, NotFound, UsageError, WeftedError

from . import hostlink, pipework_plan
from .pipework_address import CLIENTS
from .pipework_grammar import Attach, Detach, Inside, Mistake, Wait, parse
from .pipework_plan import BRIDGES, LABEL, Plan

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    class Ask(Protocol):
        """The door to the engine."""

        def __call__(self, operation: str, parameters: dict[str, Any], wanted: bool = True) -> Any:
            """Do one operation. Raises `WeftedError`."""


_EEXIST = "File exists"
"""What the kernel's EEXIST is called; the number does not travel through the agent."""


def main(words: Sequence[str], ask: Ask) -> int:
    """Do what the words say and print what there is to say; return the exit code."""
    code, out, error = outcome(words, ask)
    sys.stdout.write(out)
    sys.stderr.write(error)
    return code


def outcome(words: Sequence[str], ask: Ask) -> tuple[int, str, str]:
    """Do what the words say; return the exit code, and what goes to standard output and to standard error."""
    try:
        _do(parse(words, hostlink.exists), ask)
    except Mistake as mistake:
        text = f"{mistake.text}\n"
        return (mistake.code, text, "") if mistake.stdout else (mistake.code, "", text)
    except WeftedError as error:
        return error.exit_code, "", f"pipework: {error}\n"
    return 0, "", ""


def needs_this_process(words: Sequence[str]) -> bool:
    """Tell whether the words ask for what nobody else can do for the process: to wait where it is, to become a program."""
    try:
        return isinstance(parse(words, hostlink.exists), (Inside, Wait))
    except Mistake:
        return False


def _do(form: Attach | Detach | Inside | Wait, ask: Ask) -> None:
    if isinstance(form, Wait):
        _wait(form)
    elif isinstance(form, Inside):
        _inside(form)
    elif isinstance(form, Detach):
        _detach(form, ask)
    else:
        _attach(form, ask)


def _wait(form: Wait) -> None:
    from .waiting import wait

    if not wait(form.ifname, form.timeout):
        raise Mistake(f"{form.ifname} is not there after {form.timeout:g} s.")


def _inside(form: Inside) -> None:
    """Become the program, in the guest's namespace; so its exit code is ours."""
    from .inside import execute

    try:
        execute(pipework_plan.guest_of(form.guest), form.program)
    except (NotFound, UsageError) as error:
        raise _no_guest(form.guest, error) from None
    except FileNotFoundError:
        raise Mistake(f"{form.program[0]}: not found", 127) from None


def _attach(form: Attach, ask: Ask) -> None:
    plan = _plan(form)
    try:
        _connect(plan, ask)
    except NotFound as error:
        if repr(plan.network) not in error.message:
            raise _no_guest(form.guest, error) from None
        _attach_first(form, plan, ask)
    except WeftedError as error:
        raise _told(form, plan, error, ask) from None


def _connect(plan: Plan, ask: Ask) -> None:
    for row in ask("network.connect", dict(plan.connect), False) or ():
        if row["state"] == "failed":
            raise KernelError(f"{row['container']} is not attached: {row['error']}")


def _plan(form: Attach) -> Plan:
    form = _with_name(form)
    ovs = _installed("ovs-vsctl")
    link = hostlink.find(form.hostif)
    if ovs and link is not None and link.kind == "ethernet" and _is_ovs_bridge(form.hostif):
        link = hostlink.HostLink(name=link.name, kind="ovs", ours=link.ours, mtu=link.mtu)
    kind = pipework_plan.kind_of(form, link, ovs=ovs)
    client = form.address.partition(":")[0]
    if client in CLIENTS and client != "dhcp" and not _installed(client.removesuffix("-f")):
        raise Mistake(f"You asked for DHCP client {client.removesuffix('-f')}, but I can't find it.")
    sub = hostlink.find(f"{form.hostif}.{form.vlan}") if form.vlan else None
    return pipework_plan.plan(form, kind, link, sub)


def _with_name(form: Attach) -> Attach:
    """Put the name of the link in the place of `mac:` and its MAC."""
    return Attach(**{**vars(form), "hostif": _resolved(form.hostif)})


def _resolved(hostif: str) -> str:
    if not hostif.startswith("mac:") or hostlink.exists(hostif):
        return hostif
    name = hostlink.with_mac(hostif.removeprefix("mac:"))
    if not name:
        raise Mistake(f"No network interface has the MAC address {hostif.removeprefix('mac:')}.")
    return name


def _attach_first(form: Attach, plan: Plan, ask: Ask) -> None:
    """Make the implicit network, then attach; if that fails the network goes again."""
    try:
        ask("network.create", dict(plan.create))
    except InUse as error:
        if repr(plan.network) not in error.message:
            raise
    except NotFound as error:
        raise Mistake(_missing_driver(plan, error)) from None
    try:
        _connect(plan, ask)
    except WeftedError as error:
        told = _told(form, plan, error, ask)
        _forget(plan.network, ask)
        raise told from None


def _missing_driver(plan: Plan, error: WeftedError) -> str:
    if plan.kind == "ovs":
        return "Open vSwitch bridges are not supported: the driver for them is not installed."
    return error.message


def _forget(network: str, ask: Ask) -> None:
    """Remove an implicit network, unless somebody else has come to use it."""
    try:
        ask("network.remove", {"names": [network]})
    except (InUse, NotFound):
        return


def _told(form: Attach, plan: Plan, error: WeftedError, ask: Ask) -> Exception:
    """Return what the original would have said, or the error itself where it never came so far."""
    if isinstance(error, NotFound) or (type(error) is UsageError and "may be any of" in error.message):
        return _no_guest(form.guest, error)
    if isinstance(error, KernelError) and _EEXIST in error.message:
        return _exists(form, plan)
    link = _known_link(form, plan, ask) if isinstance(error, InUse) else ""
    if not link:
        return error
    if plan.kind in BRIDGES:
        return Mistake(f"Link {link} exists and is up", stdout=True)
    return _exists(form, plan)


def _exists(form: Attach, plan: Plan) -> Mistake:
    why = f"{form.guest} has an interface {plan.connect['ifname']} already; nothing was left behind."
    return Mistake(f"RTNETLINK answers: File exists\n{why}", 2)


def _known_link(form: Attach, plan: Plan, ask: Ask) -> str:
    """Return the host's end of the interface that the guest has already by our doing, or nothing."""
    from wefted.model.network import Endpoint

    for row in ask("endpoint.list", {}):
        if row["ifname"] == plan.connect["ifname"] and _is_guest(row["container"], form.guest):
            return Endpoint(**{key: row[key] for key in ("network", "container", "slot", "host_ifname")}).link
    return ""


def _detach(form: Detach, ask: Ask) -> None:
    hostif = _resolved(form.hostif)
    names = {row["name"] for row in ask("network.list", {}) if row["labels"].get(LABEL) == hostif}
    found = [row for row in ask("endpoint.list", {}) if row["network"] in names and _is_guest(row["container"], form.guest)]
    found = [row for row in found if row["ifname"] == (form.ifname or row["ifname"])]
    if form.ifname == "" and len(found) > 1:
        found = [row for row in found if row["ifname"] in ("eth1", "ib0")]
    if len(found) != 1:
        raise Mistake(f"{form.guest} has no interface {form.ifname or 'eth1'} by pipework on {form.hostif}.")
    row = found[0]
    ask("network.disconnect", {"network": row["network"], "containers": [row["container"]], "ifname": row["ifname"]})
    _forget(row["network"], ask)


def _is_guest(container: str, typed: str) -> bool:
    guest = pipework_plan.guest_of(typed)
    return container == guest or container.partition(":")[2] == guest


def _no_guest(typed: str, error: WeftedError) -> Mistake:
    if not isinstance(error, NotFound):
        return Mistake(f"Found more than one container matching {typed}.\n{error.hint}" if error.hint else error.message)
    docker = "unknown to Docker" if _installed("docker") else "Docker not installed"
    return Mistake(f"Container {typed} not found, and {docker}.")


def _installed(program: str) -> bool:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in folders if folder)


def _is_ovs_bridge(name: str) -> bool:
    from wefted.runtime.ovsbridge import bridges

    return name in bridges()
