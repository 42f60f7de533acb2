"""A lab as text and as a Mermaid diagram. Pure: from a picture to lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .picture import ContainerBox, MachineBox, Picture, Plug


@dataclass(frozen=True, slots=True)
class _Branch:
    label: str
    branches: tuple[_Branch, ...] = ()


def text(picture: Picture) -> Iterator[str]:
    """Yield an outline: segments, the machines on each, their containers; then the networks and the cuts."""
    branches = [_segment(picture, name, about) for name, about in picture.segments]
    branches += [_Branch(f"network {name}  {about}") for name, about in picture.networks]
    branches += [_Branch(f"cut  {one} and {other} do not reach each other") for one, other in picture.cuts]
    yield f"lab {picture.lab}"
    yield from _outline(branches)


def _outline(branches: Sequence[_Branch], indent: str = "") -> Iterator[str]:
    for number, branch in enumerate(branches, 1):
        last = number == len(branches)
        yield f"{indent}{'└' if last else '├'}── {branch.label}"
        yield from _outline(branch.branches, indent + ("    " if last else "│   "))


def _segment(picture: Picture, segment: str, about: str) -> _Branch:
    plugs = [(machine, plug) for machine in picture.machines for plug in machine.plugs if plug.segment == segment]
    return _Branch(f"segment {segment}  {about}", tuple(_machine(machine, plug) for machine, plug in plugs))


def _machine(machine: MachineBox, plug: Plug) -> _Branch:
    """Return a machine as it hangs on one segment; its containers are shown on its first one only."""
    words = [machine.name, *_notes(machine), ", ".join(plug.addresses), *(["cable out"] if plug.cut else [])]
    containers = machine.containers if plug == machine.plugs[0] else ()
    return _Branch("  ".join(words), tuple(_Branch(container_text(c)) for c in containers))


def _notes(machine: MachineBox) -> list[str]:
    """Return what distinguishes a machine from a host that is up."""
    kind = {"host": "", "router": "router", "store": "cluster store"}[machine.kind]
    condition = {"up": "", "off": "powered off", "dead": "dead"}[machine.condition]
    return [f"({', '.join(filter(None, (kind, condition)))})"] if kind or condition else []


def container_text(container: ContainerBox) -> str:
    """Return a container with its addresses, as one line."""
    ends = [f"{network} {', '.join(addresses)}".strip() for network, addresses in container.endpoints]
    return f"{container.name}  {'; '.join(ends)}".rstrip()


def mermaid(picture: Picture) -> Iterator[str]:
    """Yield a Mermaid flowchart, which many Markdown viewers draw."""
    yield "flowchart TB"
    for number, (segment, about) in enumerate(picture.segments):
        yield f'  s{number}(["{segment}<br/>{about}"])'
    for number, machine in enumerate(picture.machines):
        yield from _mermaid_machine(picture, machine, number)
    for one, other in picture.cuts:
        names = [m.name for m in picture.machines]
        yield f"  m{names.index(one)} x-. cut .-x m{names.index(other)}"


def _mermaid_machine(picture: Picture, machine: MachineBox, number: int) -> Iterator[str]:
    lines = ["<br/>".join([machine.name, *_notes(machine)]), *map(container_text, machine.containers)]
    left, right = ("{{", "}}") if machine.kind == "router" else ("[(", ")]") if machine.kind == "store" else ("[", "]")
    yield f'  m{number}{left}"{"<br/>".join(lines)}"{right}'
    segments = [name for name, _ in picture.segments]
    for plug in machine.plugs:
        arrow = "-.-" if plug.cut else "---"
        yield f'  s{segments.index(plug.segment)} {arrow}|"{", ".join(plug.addresses)}"| m{number}'
    if machine.condition != "up":
        yield f"  style m{number} stroke-dasharray: 4 4"
