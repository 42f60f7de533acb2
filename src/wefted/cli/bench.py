"""`wefted bench`: measurements on virtual hosts of this machine, beside the other tools that are installed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from .command import Group, json_option, option
from .interrupt import end_as_by_ctrl_c
from .output import show, table

if TYPE_CHECKING:
    from wefted.bench.rows import Report

HEADS = ("WHAT", "MEDIAN MS", "P99 MS", "PER SECOND", "CPU MS", "COUNT")

check_option = option("--check", is_flag=True, help="Exit with 1 when a required figure is missed.")


@click.group(cls=Group)
def bench() -> None:
    """Measure: how fast containers are attached, how fast packets pass between hosts, how fast names are answered."""
    end_as_by_ctrl_c()


@bench.command(
    epilog="""
    wefted bench attach
    wefted bench attach --count 20 --endpoints 100
    wefted bench attach --json --check
    """
)
@option("--count", type=int, default=100, show_default=True, metavar="N", help="Attaches of each way.")
@option("--endpoints", type=int, default=1500, show_default=True, metavar="N", help="Attaches in one network, in a row.")
@check_option
@json_option
def attach(count: int, endpoints: int, check: bool, as_json: bool) -> None:
    """Attach namespaces: by the agent, by the command, by CNI plugins, by ip.

    From the call to the interface that is up and has its address and route. All take turns, on two virtual hosts of their own.
    """
    from wefted.bench.attach import attach as measure

    _report(measure(count, endpoints, _progress()), as_json, _attach_lines, check)


@bench.command(
    epilog="""
    wefted bench backends
    wefted bench backends --rounds 3 --seconds 0.3 --json
    """
)
@option("--rounds", type=int, default=5, show_default=True, metavar="N", help="Turns of each backend.")
@option("--seconds", type=float, default=0.5, show_default=True, metavar="S", help="How long one turn sends.")
@json_option
def backends(rounds: int, seconds: float, as_json: bool) -> None:
    """Send between containers on two virtual hosts, through each backend, with and without the help of the network card."""
    from wefted.bench.backends import backends as measure

    show(measure(rounds, seconds, _progress()).to_json(), as_json, _backend_lines)


@bench.command(
    epilog="""
    wefted bench dns
    wefted bench dns --rounds 3 --count 5000 --json
    """
)
@option("--rounds", type=int, default=7, show_default=True, metavar="N", help="Turns of each name server.")
@option("--count", type=int, default=20_000, show_default=True, metavar="N", help="Questions in one turn.")
@check_option
@json_option
def dns(rounds: int, count: int, check: bool, as_json: bool) -> None:
    """Ask our name server and dnsmasq for the same names, as fast as they answer: A, AAAA, PTR, names that do not exist."""
    from wefted.bench.dns import dns as measure

    _report(measure(rounds, count, _progress()), as_json, _dns_lines, check)


@bench.command(
    epilog="""
    wefted bench flannel
    wefted bench flannel --times 3 --peers 100 --json
    """
)
@option("--times", type=int, default=10, show_default=True, metavar="N", help="Samples of each.")
@option("--peers", type=int, default=1000, show_default=True, metavar="N", help="Other hosts in etcd.")
@check_option
@json_option
def flannel(times: int, peers: int, check: bool, as_json: bool) -> None:
    """Join networks of flannel's: to subnet.env, and to the kernel's routes among a thousand hosts in etcd."""
    from wefted.bench.flannel import flannel as measure

    _report(measure(times, peers, _progress()), as_json, _attach_lines, check)


@bench.command(epilog="wefted bench engines\nwefted bench engines --rounds 5 --json --check")
@option("--rounds", type=int, default=20, show_default=True, metavar="N", help="Containers of each way.")
@check_option
@json_option
def engines(rounds: int, check: bool, as_json: bool) -> None:
    """Run containers of Docker and podman on our networks and on their own; CNI plugins beside each other."""
    from wefted.bench.engines import engines as measure

    _report(measure(rounds, _progress()), as_json, _attach_lines, check)


@bench.command(epilog="wefted bench start\nwefted bench start --times 30 --json")
@option("--times", type=int, default=15, show_default=True, metavar="N", help="Runs of each command.")
@check_option
@json_option
def start(times: int, check: bool, as_json: bool) -> None:
    """Start commands that do next to nothing, ours and others, as whole processes."""
    from wefted.bench.start import start as measure

    _report(measure(times, _progress()), as_json, _attach_lines, check)


def _progress() -> Any:
    """Return what prints a step with the seconds since the start, on standard error."""
    start = time.monotonic()
    return lambda step: click.echo(f"[{time.monotonic() - start:5.1f} s] {step}", err=True)


def _report(report: Report, as_json: bool, lines: Callable[[Mapping[str, Any]], Iterator[str]], check: bool) -> None:
    """Print what was measured; with `check`, exit with 1 where it is not enough."""
    show(report.to_json(), as_json, lines)
    if check and not report.ok:
        click.get_current_context().exit(1)


def _attach_lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield from table(HEADS, map(_cells, report["rows"]))
    yield ""
    yield from _verdicts(report)
    yield from _skipped(report)


def _dns_lines(report: Mapping[str, Any]) -> Iterator[str]:
    heads = ("NAME SERVER", "QUERIES/S", "US FOR EACH", "ROUNDS", "LOST")
    yield from table(heads, map(_dns_cells, report["rows"]))
    yield ""
    yield from _verdicts(report)
    yield from _skipped(report)


def _dns_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["what"], str(row["queries_per_second"]), f"{1000 * row['median_ms']:.1f}", str(row["count"]), str(row["lost"]))


def _verdicts(report: Mapping[str, Any]) -> Iterator[str]:
    for check in report["checks"]:
        verdict = click.style("ok    ", fg="green") if check["ok"] else click.style("MISSED", fg="red")
        yield f"{verdict}  {check['name']}: {check['measured']:g} {check['unit']}, required {check['required']}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (f"{row['median_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['per_second']:.1f}")
    return (row["what"], *numbers, str(row.get("cpu_ms", "")), str(row["count"]))


def _backend_lines(report: Mapping[str, Any]) -> Iterator[str]:
    heads = ("BACKEND", "MODE", "TCP GBIT/S", "1000 PACKETS/S", "P50 US", "P99 US", "MTU")
    yield from table(heads, map(_backend_cells, report["rows"]))
    yield ""
    yield from _verdicts(report)
    yield from _skipped(report)


def _backend_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    times = (f"{row['p50_us']:.0f}", f"{1000 * row['p99_ms']:.0f}")
    return (row["backend"], row["mode"], f"{row['tcp_gbit']:.2f}", f"{row['kpps']:.0f}", *times, str(row["mtu"]))


def _skipped(report: Mapping[str, Any]) -> Iterator[str]:
    for item in report["skipped"]:
        yield f"skipped: {item['name']}: {item['reason']}"
