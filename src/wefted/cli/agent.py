"""`wefted up`, `down`, `status`: the agent of this host."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from wefted.errors import Unreachable, UsageError

from .call import agent_pid, ask_agent, perform
from .command import Command, json_option, option
from .output import duration, show

if TYPE_CHECKING:
    from wefted.config import Config


ENDING = 2.0
"""Seconds that an agent which was killed may still hold its socket without an answer."""


@click.command(
    cls=Command,
    epilog="""
    wefted up
    wefted up --store etcd://10.0.0.1:2379,10.0.0.2:2379 --advertise 10.0.0.7
    wefted up --publish-from none
    wefted up --foreground
    """,
)
@option("--store", envvar="WEFTED_STORE", metavar="URL", help="The cluster's store [default: this host alone].")
@option("--advertise", envvar="WEFTED_ADVERTISE", metavar="IP", help="The address that other hosts reach this one at.")
@option("--name", envvar="WEFTED_NAME", metavar="NAME", help="This host's name in the cluster [default: the host's].")
@option(
    "--publish-from",
    envvar="WEFTED_PUBLISH_FROM",
    metavar="CIDR,...",
    help="Whom published ports are for outside the host; all, none [default: all].",
)
@option("--foreground", is_flag=True, help="Run here until a signal comes, as under systemd.")
@option("--timeout", type=float, default=20.0, show_default=True, metavar="S", help="Seconds to wait for its first answer.")
@json_option
@click.pass_obj
def up(config: Config, /, foreground: bool, timeout: float, as_json: bool, **flags: str | None) -> None:
    """Start the agent, as a systemd unit where one is installed, else in the background.

    The settings are kept with the host's state, for the next start and for commands without an agent.
    """
    given = {key: value for key, value in flags.items() if value}
    if foreground:
        _serve(config, given)
        return
    status = _running(config)
    if status is None:
        show(_start(config, given, timeout), as_json, lambda status: [f"the agent is up: {_place(status)}"])
        return
    _refuse_other(given, status)
    show(status, as_json, lambda status: [f"the agent is up already: {_place(status)}"])


@click.command(cls=Command, epilog="wefted down")
@option("--timeout", type=float, default=20.0, show_default=True, metavar="S", help="Seconds to wait for its end.")
@json_option
@click.pass_obj
def down(config: Config, timeout: float, as_json: bool) -> None:
    """Stop the agent; the containers keep their network."""
    from .process import stop

    pid = agent_pid(config)
    if pid is not None:
        stop(pid, timeout)
    told = "no agent was running" if pid is None else f"the agent (process {pid}) is stopped; the containers keep their network"
    show({"agent": {"running": False, "pid": None}, "stopped": pid}, as_json, lambda _: [told])


@click.command(cls=Command, epilog="wefted status\nwefted status --json")
@json_option
@click.pass_obj
def status(config: Config, as_json: bool) -> None:
    """Tell how the agent, this host, its store and its kernel are."""
    show(perform(config, "status"), as_json, _screen)


def _serve(config: Config, given: Mapping[str, str]) -> None:
    from wefted.agent.main import serve
    from wefted.compat.doors import ANSWERS
    from wefted.config import load

    serve(load({"state_dir": config.state_dir, "runtime_dir": config.runtime_dir, **given}), doors=ANSWERS)


def _running(config: Config) -> Any:
    """Return the status of the agent, None where there is none; one that is just ending has ended when this returns."""
    pid = agent_pid(config)
    if pid is None:
        return None
    try:
        return ask_agent(config, "status")
    except Unreachable:
        end = time.monotonic() + ENDING
        while agent_pid(config) == pid:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        return _running(config)


def _start(config: Config, given: Mapping[str, str], timeout: float) -> Any:
    from .process import start

    return start(config, given, timeout)


def _refuse_other(given: Mapping[str, str], status: Mapping[str, Any]) -> None:
    """Raise `UsageError` where the running agent has other settings than those that were typed."""
    node, store = status["node"], status["store"]
    running = {
        "store": {store["url"]},
        "name": {node["name"]},
        "advertise": {address.partition("/")[0] for address in node["underlay"]},
        "publish_from": {_prefixes(node["publish_from"])},
    }
    for key, text in given.items():
        value = _shown(key, text)
        if value not in running[key]:
            now = ", ".join(sorted(running[key])) or "none"
            word = key.replace("_", "-")
            raise UsageError(f"the agent runs already, and its {word} is {now}, not {value}", "stop it first: wefted down")


def _shown(key: str, value: str) -> str:
    """Return a setting as `status` shows it: a store without its password, and prefixes in order."""
    if key == "publish_from":
        from wefted.model.spec import sources

        return _prefixes(map(str, sources(value)))
    if key != "store":
        return value
    from wefted.store.url import parse_store_url

    return str(parse_store_url(value))


def _prefixes(words: Iterable[str]) -> str:
    return ",".join(words) or "none"


def _place(status: Mapping[str, Any]) -> str:
    node, store = status["node"], status["store"]
    addresses = ", ".join(address.partition("/")[0] for address in node["underlay"]) or "no underlay"
    return f"{node['name']} ({addresses}), store {store['url'] or store['kind']}"


def _screen(status: Mapping[str, Any]) -> Iterator[str]:
    agent, store, missing = status["agent"], status["store"], status["kernel"]["missing"]
    yield f"wefted {status['version']} on {_node(status['node'])}"
    yield "agent      " + (f"process {agent['pid']}, up {duration(agent['uptime'])}" if agent["running"] else "not running")
    yield f"store      {store['url']}" + ("" if store["reachable"] else f", unreachable: {store['error']}")
    yield f"networks   {status['networks']}"
    yield f"endpoints  {status['endpoints']}"
    yield from (f"           {failed['endpoint']}: {failed['error']}" for failed in status.get("failed", ()))
    yield from (f"no way to  {_lost(lost)}" for lost in status.get("unreachable", ()))
    yield from _dns(status.get("dns") or {})
    yield f"reconcile  {_reconcile(status['reconcile'])}"
    yield "kernel     " + ("has everything" if not missing else f"without {', '.join(missing)}")
    yield from (f"           {feature}: {reason}" for feature, reason in missing.items())


def _lost(lost: Mapping[str, Any]) -> str:
    return f"{lost['block']} on {lost['host']}, network {lost['network']}: {lost['reason']}"


def _node(node: Mapping[str, Any]) -> str:
    name, underlay = node["name"], ", ".join(node["underlay"])
    return f"{name}" + (f" ({underlay} on {node['device']}, MTU {node['mtu']})" if underlay else "")


def _dns(dns: Mapping[str, Any]) -> Iterator[str]:
    if dns.get("listening"):
        yield f"names      {dns['names']} in {dns['domain']}, asked at {', '.join(dns['listening'])}"
    if dns.get("error"):
        yield f"           {dns['error']}" if dns["listening"] else f"names      not answered: {dns['error']}"


def _reconcile(last: Mapping[str, Any]) -> str:
    """`at` is when the last pass ended, in seconds since 1970; without it there was none yet."""
    if not last.get("at"):
        return "no pass yet"
    told = f"{duration(time.time() - last['at'])} ago, {last['changes']} changes"
    return "\n           ".join([told, *last["failures"]])
