"""A lab as a drawing: segments as bars, hosts below their bar, routers in columns on the right. Pure: from a picture to SVG.

All measures are pixels. Text is set in a monospaced face, because its width must be known without a renderer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from .picture import MachineBox, Picture, Plug

CHARACTER = 7.25
"""Width of a character of 12 px text, rounded up: faces differ."""
LINE = 18
MARGIN = 24
GAP = 28
BAR = 30
CABLE = 56
CABLE_X = 20
"""Where a host's first cable comes down, from the left edge of its box."""
PAD = 12
INK, PAPER, FAINT, CUT = "#1f2933", "#ffffff", "#8895a7", "#c62828"
FILL = {"host": "#f3f6fa", "router": "#fdf3e1", "store": "#e9f5ec"}
EDGE = {"host": "#5b7083", "router": "#b7791f", "store": "#2f855a"}
COLOURS = ("#2b6cb0", "#b83280", "#2f855a", "#c05621", "#6b46c1", "#0f766e", "#9b2c2c", "#4a5568")
"""One for each network, in turn."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is."""

    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(slots=True)
class Layout:
    """Where everything is: bars by segment, boxes by machine."""

    bars: dict[str, Place] = field(default_factory=dict)
    boxes: dict[str, Place] = field(default_factory=dict)
    right: float = 0
    bottom: float = 0


def svg(picture: Picture) -> str:
    """Return the drawing as the text of an SVG file."""
    layout = arrange(picture)
    legend = list(_legend(picture, layout.bottom))
    height = layout.bottom + LINE * (len(picture.networks) + len(picture.cuts)) + MARGIN
    width = max(layout.right + MARGIN, MARGIN * 2 + max(map(_width, _legend_texts(picture)), default=0) + 16)
    body = [*_bars(picture, layout), *_cables(picture, layout), *_boxes(picture, layout), *_labels(picture, layout), *legend]
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    face = 'font-family="\'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="12"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {face} fill="{INK}">',
            f"<title>{escape(f'wefted lab {picture.lab}')}</title>",
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            *body,
            "</svg>\n",
        ]
    )


def arrange(picture: Picture) -> Layout:
    """Decide where everything goes: a band for each segment, from the top; then the routers' columns."""
    layout = Layout(bottom=MARGIN)
    for segment, about in picture.segments:
        _arrange_band(layout, picture, segment, about)
    column = max(bar.x + bar.width for bar in layout.bars.values()) + GAP
    for router in sorted((m for m in picture.machines if m.kind == "router"), key=lambda m: _span(layout, m)):
        column = _arrange_router(layout, router, column)
    for segment, bar in layout.bars.items():
        reach = [layout.boxes[m.name].x for m in picture.machines if m.kind == "router" and _plug(m, segment)]
        if reach:
            layout.bars[segment] = Place(bar.x, bar.y, max(reach) - bar.x, bar.height)
    layout.right = max(p.x + p.width for p in (*layout.bars.values(), *layout.boxes.values()))
    return layout


def _span(layout: Layout, router: MachineBox) -> float:
    """Return from how far apart a router's bars are: the shorter ones come first, so that few bars pass behind a router."""
    tops = [layout.bars[p.segment].y for p in router.plugs]
    return max(tops) - min(tops)


def _arrange_band(layout: Layout, picture: Picture, segment: str, about: str) -> None:
    top, x = layout.bottom, float(MARGIN)
    members = [m for m in picture.machines if m.kind != "router" and m.plugs[0].segment == segment]
    for machine in members:
        label = max(map(_width, _label(machine.plugs[0]))) + CABLE_X - GAP / 2
        width = max(150.0, label, *(_width(line) + 2 * PAD + 14 for line in _lines(machine)))
        height = LINE * len(_lines(machine)) + PAD
        layout.boxes[machine.name] = Place(x, top + BAR + CABLE, width, height)
        x += width + GAP
    width = max(x - GAP - MARGIN, _width(f"{segment}  {about}") + 2 * PAD)
    layout.bars[segment] = Place(MARGIN, top, width, BAR)
    deepest = max((layout.boxes[m.name].bottom for m in members), default=top + BAR)
    layout.bottom = deepest + GAP + 8


def _arrange_router(layout: Layout, router: MachineBox, column: float) -> float:
    """Put a router beside the bars that it joins, with room for its addresses on its left; return where the next goes."""
    bars = [layout.bars[p.segment] for p in router.plugs]
    room = max(_width(_address(p)) for p in router.plugs) + GAP
    top, bottom = min(b.y for b in bars) - 4, max(b.bottom for b in bars) + 4
    width = _width(router.name) + 2 * PAD
    layout.boxes[router.name] = Place(column + room, top, max(width, 64), bottom - top)
    return column + room + max(width, 64) + GAP


def _bars(picture: Picture, layout: Layout) -> Iterator[str]:
    for segment, about in picture.segments:
        bar = layout.bars[segment]
        yield _rect(bar, "#dfe7f1", "#aebccd", radius=BAR / 2)
        yield _text(bar.x + PAD + 4, bar.y + 20, segment, bold=True)
        yield _text(bar.x + PAD + 4 + _width(f"{segment}  "), bar.y + 20, about, colour="#52606d")


def _cables(picture: Picture, layout: Layout) -> Iterator[str]:
    for machine in picture.machines:
        if machine.kind == "router":
            continue
        box = layout.boxes[machine.name]
        for number, plug in enumerate(machine.plugs):
            bar = layout.bars[plug.segment]
            x = box.x + CABLE_X if number == 0 else box.x + box.width - 14 * number
            start, end = (bar.bottom, box.y) if bar.y < box.y else (bar.y, box.bottom)
            yield from _cable(x, start, end, cut=plug.cut, off=machine.condition != "up")


def _cable(x: float, start: float, end: float, *, cut: bool, off: bool) -> Iterator[str]:
    colour = CUT if cut else FAINT if off else INK
    dash = ' stroke-dasharray="4 4"' if cut or off else ""
    yield f'<line x1="{x:.1f}" y1="{start:.1f}" x2="{x:.1f}" y2="{end:.1f}" stroke="{colour}" stroke-width="2"{dash}/>'
    yield f'<circle cx="{x:.1f}" cy="{start:.1f}" r="4" fill="{colour}"/>'
    if cut:
        y = end + (12 if end < start else -12)
        yield f'<path d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12" stroke="{CUT}" stroke-width="2.5" fill="none"/>'


def _boxes(picture: Picture, layout: Layout) -> Iterator[str]:
    colours = _colours(picture)
    for machine in picture.machines:
        box = layout.boxes[machine.name]
        up = machine.condition == "up"
        yield _rect(box, FILL[machine.kind] if up else PAPER, EDGE[machine.kind] if up else FAINT, dashed=not up)
        if machine.kind == "router":
            yield _text(box.x + PAD, (box.y + box.bottom) / 2 + 4, machine.name, bold=True)
        else:
            yield from _contents(machine, box, colours)


def _contents(machine: MachineBox, box: Place, colours: Mapping[str, str]) -> Iterator[str]:
    for number, line in enumerate(_lines(machine)):
        y = box.y + PAD + 3 + LINE * number + 2
        if number == 0:
            yield _text(box.x + PAD, y, line, bold=True, colour=INK if machine.condition == "up" else FAINT)
        else:
            name = line.partition("  ")[0]
            colour = colours.get(_endpoints(machine)[number - 1][1], FAINT)
            yield f'<circle cx="{box.x + PAD + 4:.1f}" cy="{y - 4:.1f}" r="4" fill="{colour}"/>'
            yield _text(box.x + PAD + 14, y, name)
            yield _text(box.x + PAD + 14 + _width(name + "  "), y, line[len(name) :].strip(), colour="#52606d")


def _labels(picture: Picture, layout: Layout) -> Iterator[str]:
    """Write each interface's address beside its cable; a router's on its left, on the bar."""
    for machine in picture.machines:
        box = layout.boxes[machine.name]
        for number, plug in enumerate(machine.plugs):
            bar = layout.bars[plug.segment]
            if machine.kind == "router":
                yield f'<circle cx="{box.x:.1f}" cy="{bar.y + BAR / 2:.1f}" r="4" fill="{INK}"/>'
                yield _text(box.x - _width(_address(plug)) - 12, bar.y + 20, _address(plug))
            elif number == 0:
                for line, text in enumerate(_label(plug)):
                    y = bar.bottom + 24 + 16 * line
                    yield _text(box.x + CABLE_X + 9, y, text, colour=CUT if plug.cut else INK)
            else:
                yield _text(box.x + box.width - 14 * number + 9, (box.bottom + bar.y) / 2 + 4, _address(plug))


def _legend(picture: Picture, top: float) -> Iterator[str]:
    colours = _colours(picture)
    y = top + 8
    for name, about in picture.networks:
        yield f'<circle cx="{MARGIN + 4}" cy="{y - 4:.1f}" r="4" fill="{colours[name]}"/>'
        yield _text(MARGIN + 14, y, f"{name}  {about}")
        y += LINE
    for one, other in picture.cuts:
        yield _text(MARGIN, y, f"✕ {one} and {other} do not reach each other", colour=CUT)
        y += LINE


def _legend_texts(picture: Picture) -> list[str]:
    return [f"{name}  {about}" for name, about in picture.networks] + [f"{a} and {b}" + " " * 30 for a, b in picture.cuts]


def _lines(machine: MachineBox) -> list[str]:
    """Return the lines in a box: the name with what is special, then one for each endpoint of each container."""
    notes = {"store": ["cluster store"]}.get(machine.kind, []) + ([] if machine.condition == "up" else [machine.condition])
    first = f"{machine.name}  {', '.join(notes)}".rstrip()
    return [first, *(f"{name}  {', '.join(addresses)}".rstrip() for name, _, addresses in _endpoints(machine))]


def _endpoints(machine: MachineBox) -> Sequence[tuple[str, str, tuple[str, ...]]]:
    """Return container, network and addresses, in the order of the lines."""
    return [
        (container.name, network, addresses)
        for container in machine.containers
        for network, addresses in (container.endpoints or (("", ()),))
    ]


def _colours(picture: Picture) -> dict[str, str]:
    return {name: COLOURS[n % len(COLOURS)] for n, (name, _) in enumerate(picture.networks)}


def _plug(machine: MachineBox, segment: str) -> Plug | None:
    return next((p for p in machine.plugs if p.segment == segment), None)


def _address(plug: Plug) -> str:
    return ", ".join(plug.addresses)


def _label(plug: Plug) -> list[str]:
    """Return the lines beside a cable: the interface, then its addresses, one below the other."""
    first, *rest = plug.addresses
    return [f"{plug.ifname}  {first}", *(" " * len(f"{plug.ifname}  ") + address for address in rest)]


def _width(text: str) -> float:
    return len(text) * CHARACTER


def _rect(place: Place, fill: str, edge: str, *, radius: float = 6, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    where = f'x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}"'
    return f'<rect {where} rx="{radius:.0f}" fill="{fill}" stroke="{edge}" stroke-width="1.5"{dash}/>'


def _text(x: float, y: float, text: str, *, bold: bool = False, colour: str = INK) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill={quoteattr(colour)}{weight} xml:space="preserve">{escape(text)}</text>'
