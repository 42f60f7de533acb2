"""`wefted flannel docker`: Docker's default bridge in this host's subnet, with a plan first and nothing restarted unasked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wefted.errors import InUse, NotFound, UsageError
from wefted.kernel import dockerbridge
from wefted.kernel.dockerbridge import DockerBridge
from wefted.model import flannel_docker
from wefted.model.flannel_docker import Subnet
from wefted.runtime import dockerd


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what was found."""

    subnet: Subnet
    version: tuple[int, ...]
    text: str
    """Of daemon.json afterwards."""
    changes: tuple[str, ...]
    stale: DockerBridge | None
    """docker0, where it has another address than it should have."""
    running: tuple[str, ...]
    """The command line of dockerd, empty where none runs."""


def hand_over(name: str, row: Mapping[str, Any] | None, *, plan: bool, restart: bool) -> dict[str, Any]:
    """Do it, or only say it; return what was found and done. Raises `UsageError`, `NotFound`, `InUse`, `Unreachable`."""
    made = _plan(name, row)
    done = {"configured": False, "docker0_removed": False, "restarted": False}
    if not plan:
        done = _perform(made, restart)
    stale = made.stale is not None and not done["docker0_removed"] and not done["restarted"]
    return {
        "name": name,
        "file": str(dockerd.CONFIGURATION),
        "changes": list(made.changes),
        "docker0": _docker0(made),
        "docker": ".".join(map(str, made.version)),
        "warning": flannel_docker.routed_traffic(made.version),
        "restart_needed": bool(made.running) and (bool(made.changes) or stale) and not done["restarted"],
        "instead": flannel_docker.network_create(made.subnet, name, made.version),
        "planned": plan,
        **done,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result for people."""
    would = "would be set" if found["planned"] else "set"
    for change in found["changes"]:
        yield f"{found['file']}: {change} {would}"
    if not found["changes"]:
        yield f"{found['file']} says all of it already"
    if found["docker0"]:
        yield found["docker0"] + (" (removed)" if found["docker0_removed"] else "")
    if found["warning"]:
        yield f"warning: {found['warning']}"
    if found["restarted"]:
        yield "dockerd was restarted"
    elif found["restart_needed"]:
        yield "dockerd must be restarted: systemctl restart docker, or wefted flannel docker --restart"
    yield f"or, with docker0 as it is: {found['instead']}"


def _plan(name: str, row: Mapping[str, Any] | None) -> Plan:
    if row is None:
        raise NotFound(f"flannel network {name!r} is not joined", "join it: wefted flannel join, or see: wefted flannel ls")
    subnet = flannel_docker.parse(_environment(row), row["file"])
    version, running = dockerd.version(), dockerd.command_line()
    flags = flannel_docker.given_as_flags(running)
    if flags:
        raise UsageError(
            f"dockerd is started with {' '.join(flags)}, and refuses to have that in daemon.json as well",
            f"{_options_file(row['file'])} has what its unit needs; or take these words out there",
        )
    wanted = flannel_docker.settings(subnet, version)
    text, changes = flannel_docker.merged(dockerd.configuration(), wanted, str(dockerd.CONFIGURATION))
    return Plan(subnet, version, text, changes, _stale(subnet), running)


def _perform(plan: Plan, restart: bool) -> dict[str, bool]:
    if not plan.running and plan.stale is not None and plan.stale.ports:
        ports = ", ".join(plan.stale.ports)
        raise InUse(f"docker0 has another address and ports: {ports}", "stop what is in it, then try again")
    if plan.changes:
        dockerd.configure(plan.text)
    removed = restarted = False
    if restart and plan.running and (plan.changes or plan.stale):
        dockerd.stop()
        removed = _remove(plan)
        dockerd.start(plan.running)
        restarted = True
    elif not plan.running:
        removed = _remove(plan)
    return {"configured": bool(plan.changes), "docker0_removed": removed, "restarted": restarted}


def _remove(plan: Plan) -> bool:
    """Remove a docker0 with another address, now that no daemon uses it; one with ports gets its address from dockerd."""
    found = dockerbridge.look()
    if plan.stale is None or found is None or found.ports:
        return False
    dockerbridge.delete()
    return True


def _stale(subnet: Subnet) -> DockerBridge | None:
    found = dockerbridge.look()
    wrong = found is not None and subnet.bip is not None and {a for a in found.addresses if a.version == 4} != {subnet.bip}
    return found if wrong else None


def _docker0(plan: Plan) -> str:
    if plan.stale is None:
        return ""
    shown = ", ".join(str(a) for a in plan.stale.addresses if a.version == 4) or "no address"
    inside = f", with {len(plan.stale.ports)} containers in it" if plan.stale.ports else ""
    return f"docker0 has {shown}{inside}; it gets {plan.subnet.bip}"


def _environment(row: Mapping[str, Any]) -> dict[str, str]:
    try:
        text = Path(row["file"]).read_text()
    except OSError:
        raise NotFound(f"there is no {row['file']} yet: {row['error'] or 'no subnet'}", "see: wefted flannel ls") from None
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _options_file(file: str) -> Path:
    from wefted.agent.flannel import options_path

    return options_path(Path(file))
