"""What the network of this machine looks like, as comparable values: for tests that nothing is left behind.

Counters, timers and numbers that the kernel hands out anew each time are left out. What cannot be read is left out as well: a
snapshot is compared with another of the same machine, and both then lack it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Snapshot = dict[str, Any]

_VOLATILE = frozenset({"ifindex", "link_index", "stats64", "stats", "expires", "valid_life_time", "preferred_life_time", "age"})
"""Keys of `ip -json` that change by themselves."""
_VOLATILE_SYSCTLS = re.compile(r"net/netfilter/nf_conntrack_count|.*/route/flush|.*/stable_secret|.*/nf_log/.*")
_PER_LINK = re.compile(r"net/(ipv4|ipv6|mpls)/(conf|neigh)/")
_COUNTERS = re.compile(r"counter packets \d+ bytes \d+|\[\d+:\d+\]")


def snapshot() -> Snapshot:
    """Return links, addresses, routes, rules, firewall, sysctls, named namespaces, mounts and processes of where we are."""
    return {name: read() for name, read in READERS.items()}


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that is in one snapshot only, such as `- routes: ...` for one that has gone.

    Empty when the two are equal; a part with the same things in another order is named too.
    A sysctl that is new and is no link's belongs to a kernel module that has been loaded meanwhile; modules are not unloaded.
    """
    lines = []
    for name in before:
        old, new = list(_items(before[name])), list(_items(after[name]))
        gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
        lines += [f"- {name}: {item}" for item in gone.elements()]
        lines += [f"+ {name}: {item}" for item in come.elements() if not _of_module(name, item, before)]
        lines += [f"~ {name}: the order has changed"] if old != new and not gone and not come else []
    return lines


def _of_module(name: str, item: str, before: Mapping[str, Any]) -> bool:
    key = item.partition(" = ")[0]
    return name == "sysctls" and key not in before["sysctls"] and not _PER_LINK.match(key)


def _items(value: Any) -> Iterator[str]:
    """Yield the items of a snapshot's part as lines."""
    if isinstance(value, Mapping):
        yield from (f"{key} = {item}" for key, item in value.items())
    else:
        yield from (item if isinstance(item, str) else json.dumps(item, sort_keys=True) for item in value)


def _ip(*words: str) -> Callable[[], list[Any]]:
    def read() -> list[Any]:
        output = _output(["ip", "-json", "-details", *words])
        return sorted(
            (_steady(item) for item in json.loads(output or "[]") if item), key=lambda i: json.dumps(i, sort_keys=True)
        )

    return read


def _steady(value: Any) -> Any:
    """Return a JSON value without what changes by itself."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in _VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def _lines(*argv: str) -> Callable[[], list[str]]:
    """Return a reader of a program's lines; one that is not installed prints none. Comments hold dates: they are left out."""

    def read() -> list[str]:
        lines = _COUNTERS.sub("", _output(argv)).splitlines()
        return [line for line in lines if line and line[0] != "#"]

    return read


def _output(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _sysctls() -> dict[str, str]:
    """Return the settings below /proc/sys/net by their names, written with slashes."""
    root = Path("/proc/sys")
    paths = (Path(directory, name) for directory, _, names in os.walk(root / "net") for name in names)
    found = sorted((str(path.relative_to(root)), path) for path in paths)
    return {name: text for name, path in found if not _VOLATILE_SYSCTLS.fullmatch(name) and (text := _text(path)) is not None}


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _namespaces() -> list[str]:
    directory = Path("/run/netns")
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def _mounts() -> list[str]:
    """Return mounts without their numbers: place, options, kind, source; in their order, which tells what hides what."""
    return [_mount(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _mount(line: str) -> str:
    fields, _, kind = line.partition(" - ")
    root, place, options = fields.split()[3:6]
    return f"{place} {root} {options} {kind}"


def _processes() -> list[str]:
    """Return number and command line of every process but ourselves, kernel threads and zombies."""
    own = {os.getpid(), os.getppid()}
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [f"{pid} {command}" for pid in pids if pid not in own and (command := _command(pid))]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _files() -> list[str]:
    """Return the names in the directories where wefted and its lab keep things."""
    places = ("/run", "/var/lib", "/etc", "/var/log")
    return [f"{place}/{name}" for place in places for name in sorted(_names(place))]


def _names(directory: str) -> Iterable[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return ()


READERS: Mapping[str, Callable[[], Any]] = {
    "links": _ip("link", "show"),
    "addresses": _ip("address", "show"),
    "routes": _ip("route", "show", "table", "all"),
    "routes6": _ip("-6", "route", "show", "table", "all"),
    "rules": _ip("rule", "show"),
    "rules6": _ip("-6", "rule", "show"),
    "nft": _lines("nft", "list", "ruleset"),
    "iptables": _lines("iptables-save"),
    "ip6tables": _lines("ip6tables-save"),
    "sysctls": _sysctls,
    "namespaces": _namespaces,
    "mounts": _mounts,
    "processes": _processes,
    "files": _files,
}
"""The parts of a snapshot, and how each is read."""
