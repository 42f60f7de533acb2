"""The namespaces that are attached: made before the clock starts, looked at after it stopped, by iproute2 and ping alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from wefted.errors import WeftedError

INTERFACE = "eth0"


def make(names: Sequence[str]) -> None:
    """Make empty network namespaces, as `ip netns add` does."""
    batch([f"netns add {name}" for name in names])


def batch(lines: Sequence[str]) -> None:
    """Run lines by one `ip -batch`. Raises `WeftedError` with what it said."""
    text = "\n".join(lines) + "\n"
    done = subprocess.run(["ip", "-batch", "-"], input=text, capture_output=True, text=True)
    if done.returncode:
        raise WeftedError(f"ip -batch: {done.stderr.strip()[-500:]}")


def ready(names: Iterable[str], prefix: str) -> list[str]:
    """Return those in which the interface is up, has carrier and holds an address of `prefix`."""
    return [name for name in names if _is_ready(_interface(name), prefix)]


def empty(names: Iterable[str]) -> list[str]:
    """Return those in which there is no interface."""
    return [name for name in names if not _interface(name)]


def answered(names: Iterable[str]) -> list[str]:
    """Return those whose default gateway answers a ping from within."""
    return [name for name in names if _ping(name)]


def _interface(name: str) -> dict[str, Any]:
    argv = ["ip", "-n", name, "-j", "address", "show", "dev", INTERFACE]
    done = subprocess.run(argv, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 and done.stdout else []
    return found[0] if found else {}


def _is_ready(interface: dict[str, Any], prefix: str) -> bool:
    network = ip_network(prefix)
    inside = any(ip_address(address) in network for address in _addresses(interface, network.version))
    return inside and {"UP", "LOWER_UP"} <= set(interface.get("flags", ()))


def _addresses(interface: dict[str, Any], version: int) -> Iterator[str]:
    family = {4: "inet", 6: "inet6"}[version]
    return (info["local"] for info in interface.get("addr_info", ()) if info["family"] == family)


def _ping(name: str) -> bool:
    shown = subprocess.run(["ip", "-n", name, "-j", "route", "show", "default"], capture_output=True, text=True)
    routes = json.loads(shown.stdout or "[]")
    if not routes:
        return False
    argv = ["ip", "netns", "exec", name, "ping", "-q", "-c", "1", "-W", "2", routes[0]["gateway"]]
    return subprocess.run(argv, capture_output=True).returncode == 0
