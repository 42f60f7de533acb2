"""`wefted demo`: what it can do, shown on this machine in half a minute."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from .command import Command, json_option, option
from .interrupt import end_as_by_ctrl_c
from .output import table

HEADS = ("NETWORK", "CONTAINERS", "PATH OF A PACKET", "MTU", "PING MS", "HTTP", "PUBLISHED", "GBIT/S", "STATUS")
LEGEND = "ve, br, vx: the veths, bridges and VXLAN devices that wefted made; ⇒ is the cable between the two hosts"


@click.command(cls=Command, epilog="wefted demo\nwefted demo --keep\nwefted demo --json")
@option("--keep", is_flag=True, help="Leave the two hosts up, with a network in them, to look around.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """Show every kind of network between four containers on two virtual hosts, with what was measured.

    Needs root. This machine's own network is not touched; everything is removed at the end.
    """
    import json

    end_as_by_ctrl_c()
    shown = _run(keep)
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(shown)))
    if not shown["ok"]:
        click.get_current_context().exit(1)


def _run(keep: bool) -> dict[str, Any]:
    from wefted.lab.demo import Demo, topology
    from wefted.lab.lab import Lab

    start = time.monotonic()

    def say(step: str) -> None:
        click.echo(f"[{time.monotonic() - start:5.1f} s] {step}", err=True)

    say("two virtual hosts with an agent each, one etcd")
    lab = Lab.up(f"demo-{os.getpid()}", topology())
    stays = False
    try:
        demo = Demo(lab, say)
        results = [result.to_json() for result in demo.run()]
        if keep:
            demo.keep()
            stays = True
    finally:
        if not stays:
            _remove(lab, say)
    return {
        "ok": all(result["status"] != "failed" for result in results),
        "seconds": round(time.monotonic() - start, 1),
        "networks": results,
        "topology": demo.drawing,
        "lab": lab.name if stays else None,
    }


def _remove(lab: Any, say: Any) -> None:
    """Take everything away; a second Ctrl-C cannot stop that half-way."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    say("take everything down")
    lab.down()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _lines(shown: Mapping[str, Any]) -> Iterator[str]:
    yield from shown["topology"]
    yield ""
    yield from table(HEADS, map(_cells, shown["networks"]))
    yield ""
    yield LEGEND
    for result in shown["networks"]:
        for problem in result["problems"]:
            yield click.style(f"{result['network']}: {problem}", fg="red")
        if result["status"] == "skipped":
            yield f"{result['network']}: skipped: {result['reason']}"
    yield f"done in {shown['seconds']:.1f} s"
    if shown["lab"]:
        yield from _invitation(shown["lab"])


def _cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    from wefted.lab.path import shortened

    addresses = " ".join(result["addresses"].get(name, "") for name in result["shown"])
    return (
        result["network"],
        addresses,
        shortened(result["path"], result["wire"]),
        str(result["mtu"] or ""),
        _number(result["ping_ms"]),
        _count(result["http"]),
        _count(result["published"]),
        _number(result["tcp_gbit"]),
        result["status"],
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _count(value: Mapping[str, int]) -> str:
    return f"{value['ok']}/{value['tried']}" if value["tried"] else "-"


def _invitation(lab: str) -> Iterator[str]:
    yield f"The lab {lab} stays up. Look around:"
    yield f"  wefted lab graph --name {lab}"
    yield f"  wefted lab exec --name {lab} h1 -- wefted ps"
    yield f"  wefted lab exec --name {lab} h1 -- ip netns exec c1 ip address"
    yield f"and take it down: wefted lab down --name {lab}"
