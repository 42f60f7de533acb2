"""A lab as text, as Mermaid and as SVG."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from wefted.lab import graph
from wefted.lab.picture import ContainerBox, MachineBox, Picture, Plug
from wefted.lab.svg import Place, arrange, svg


def machine(name, segments, kind="host", condition="up", cut=False, containers=()):
    plugs = tuple(
        Plug(segment=segment, ifname=f"eth{n}", addresses=(address,), cut=cut) for n, (segment, address) in enumerate(segments)
    )
    return MachineBox(name=name, kind=kind, condition=condition, pid=1, plugs=plugs, containers=containers)


OFFICE = Picture(
    lab="office",
    segments=(("west", "10.1.0.0/24  mtu 1500"), ("east", "10.2.0.0/24  mtu 1500")),
    machines=(
        machine(
            "a1",
            [("west", "10.1.0.1/24")],
            containers=(ContainerBox(name="web", endpoints=(("blue", ("10.20.0.2/16",)),)), ContainerBox(name="<c&2>")),
        ),
        machine("a2", [("west", "10.1.0.2/24")], cut=True),
        machine("b1", [("east", "10.2.0.1/24")], condition="off"),
        machine("etcd", [("west", "10.1.0.254/24")], kind="store"),
        machine("r1", [("west", "10.1.0.253/24"), ("east", "10.2.0.254/24")], kind="router"),
    ),
    networks=(("blue", "bridge, vxlan, 10.20.0.0/16"),),
    cuts=(("a1", "b1"),),
)


def test_text():
    assert list(graph.text(OFFICE)) == [
        "lab office",
        "├── segment west  10.1.0.0/24  mtu 1500",
        "│   ├── a1  10.1.0.1/24",
        "│   │   ├── web  blue 10.20.0.2/16",
        "│   │   └── <c&2>",
        "│   ├── a2  10.1.0.2/24  cable out",
        "│   ├── etcd  (cluster store)  10.1.0.254/24",
        "│   └── r1  (router)  10.1.0.253/24",
        "├── segment east  10.2.0.0/24  mtu 1500",
        "│   ├── b1  (powered off)  10.2.0.1/24",
        "│   └── r1  (router)  10.2.0.254/24",
        "├── network blue  bridge, vxlan, 10.20.0.0/16",
        "└── cut  a1 and b1 do not reach each other",
    ]


def test_mermaid():
    lines = list(graph.mermaid(OFFICE))
    assert lines[0] == "flowchart TB"
    assert '  s0(["west<br/>10.1.0.0/24  mtu 1500"])' in lines
    assert '  s0 -.-|"10.1.0.2/24"| m1' in lines
    assert '  m4{{"r1<br/>(router)"}}' in lines
    assert "  m0 x-. cut .-x m2" in lines


def texts(drawing: str) -> list[str]:
    root = ElementTree.fromstring(drawing)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_svg_is_well_formed_and_shows_every_name_and_address():
    shown = texts(svg(OFFICE))
    for word in ("west", "east", "a1", "a2", "r1", "web", "<c&2>", "10.20.0.2/16", "etcd  cluster store", "b1  off"):
        assert word in shown
    for plug_text in ("10.1.0.1/24", "10.1.0.2/24", "10.2.0.1/24", "10.1.0.253/24", "10.2.0.254/24"):
        assert any(plug_text in text for text in shown)


def overlap(a: Place, b: Place) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.bottom and b.y < a.bottom


@pytest.mark.parametrize("hosts", [1, 3, 12])
def test_no_two_boxes_overlap_and_all_are_inside(hosts):
    many = tuple(machine(f"h{n}", [("west", f"10.1.0.{n}/24")]) for n in range(1, hosts + 1))
    layout = arrange(Picture(lab="x", segments=OFFICE.segments, machines=(*many, *OFFICE.machines)))
    boxes = list(layout.boxes.values())
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    hosts_on_bars = [b for name, b in layout.boxes.items() if name != "r1"]
    assert not [(bar, box) for bar in layout.bars.values() for box in hosts_on_bars if overlap(bar, box)]
    assert all(b.x + b.width <= layout.right and b.bottom <= layout.bottom for b in boxes)


def test_an_empty_segment_is_still_a_bar():
    layout = arrange(Picture(lab="x", segments=(("lan", "10.0.0.0/24"),), machines=()))
    assert layout.bars["lan"].width > 0
