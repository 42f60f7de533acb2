"""The resolv.conf of Docker's containers: a file of the host, beside the container's configuration, bound into the container.

Docker writes it at every start, with a hash beside it, and leaves alone what somebody has changed since (libnetwork's
`updateDNS`). So do we: only a file that is still as Docker wrote it becomes ours, and its lines stay in it as comments, so that
it can be given back without remembering anything. It is written in place, for a new file would not be the bound one.

On networks that users make, the container asks Docker's own server, 127.0.0.11, and that one asks the host's. Where it asks
from the container's address (20.10, 26.1, with `--dns` all), its questions are led to us on the way, and the file is left
alone: the names of Compose would be gone. Newer ones (28.5) ask the host's servers from the host's address, and say so in the
file (`ExtServers: [host(192.0.2.1)]`, libnetwork/internal/resolvconf). Then a container of a Docker network of ours has us
before Docker's server, and we leave to that one the bare names that we do not know. Docker (26.1, 28.5) writes such a file only
if nobody has changed the one that it wrote before: so nothing is written until it has.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from .resolvconf import MARK, MOST_SERVERS, Written, is_ours

KIND = "docker"
SETTINGS = Path("/etc/docker/daemon.json")
ROOT = "/var/lib/docker"
EMBEDDED = "127.0.0.11"
KEPT = "#~ "
"""How a line of Docker's begins in a file of ours."""
_UPSTREAM = "# ExtServers:"
_WITHOUT_SERVER = ("default", "bridge", "host", "none")
"""Docker's own networks: containers on them ask the host's servers themselves."""


class DockerResolvConfs:
    """The files of one engine, by the containers' ids. Those that cannot be ours are left as they are."""

    def __init__(self, root: Path | None = None) -> None:
        self._containers = (root or _root(SETTINGS)) / "containers"

    def write(self, identifier: str, content: str, before_engine: bool = False) -> Written:
        """Put our content before what Docker has written: its servers are asked when ours does not answer. Raises `OSError`."""
        path = self.path(identifier)
        if not identifier or not path.is_file():
            return Written.NOT
        now = path.read_text()
        ours = is_ours(path)
        original = _original(now) if ours else now
        embedded = asks_docker(original)
        if not ours and not embedded and self._on_own_network(identifier):
            return Written.LATER
        ready = before_engine and _from_the_host(original) if embedded else ours or _untouched(path, now)
        if not ready:
            return Written.NOT
        if (wanted := merged(content, original)) != now:
            _write_in_place(path, wanted)
        return Written.BEFORE_ENGINE if embedded else Written.YES

    def remove(self, identifier: str) -> None:
        """Give a file of ours back as Docker wrote it. Raises `OSError`."""
        path = self.path(identifier)
        if identifier and is_ours(path):
            _write_in_place(path, _original(path.read_text()))

    def ours(self) -> list[str]:
        """Return the ids of the containers whose file is ours."""
        try:
            found = os.listdir(self._containers)
        except OSError:
            return []
        return sorted(identifier for identifier in found if is_ours(self.path(identifier)))

    def path(self, identifier: str) -> Path:
        """Return where a container's file is."""
        return self._containers / identifier / "resolv.conf"

    def _on_own_network(self, identifier: str) -> bool:
        """Whether Docker starts a container on a network that a user has made, where its own server answers."""
        try:
            found = json.loads((self._containers / identifier / "hostconfig.json").read_bytes())
            mode = str(found.get("NetworkMode") or "default")
        except (OSError, ValueError, AttributeError):
            return False
        return mode not in _WITHOUT_SERVER and not mode.startswith("container:")


def asks_docker(content: str) -> bool:
    """Tell whether a file leads to Docker's own server and to no other."""
    return list(_words(content, "nameserver")) == [EMBEDDED]


def merged(content: str, original: str) -> str:
    """Return a file of ours: our servers first, then the other's, all domains, all options, and the other's own lines kept."""
    servers = [*_words(content, "nameserver"), *_words(original, "nameserver")]
    search = [*_words(content, "search"), *_words(original, "search")]
    options = [*_words(content, "options"), *(o for o in _words(original, "options") if not o.startswith("ndots:"))]
    lines = [MARK, *(f"nameserver {server}" for server in list(dict.fromkeys(servers))[:MOST_SERVERS])]
    lines += [f"search {' '.join(dict.fromkeys(search))}", f"options {' '.join(options)}"]
    return "\n".join([*lines, *(f"{KEPT}{line}" for line in original.split("\n"))]) + "\n"


def _from_the_host(content: str) -> bool:
    """Whether Docker's server asks all others from the host's addresses, by what Docker notes in the file."""
    line = next((line for line in content.splitlines() if line.startswith(_UPSTREAM)), "")
    servers = line.removeprefix(_UPSTREAM).strip(" []").split()
    return bool(servers) and all(server.startswith("host(") for server in servers)


def _original(text: str) -> str:
    return "\n".join(line.removeprefix(KEPT) for line in text.split("\n") if line.startswith(KEPT))


def _words(text: str, keyword: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [keyword]:
            yield from words[1:]


def _untouched(path: Path, content: str) -> bool:
    """Whether a file is as Docker wrote it: by the hash that it writes too, hexadecimal behind the name of the algorithm."""
    try:
        told = path.with_name("resolv.conf.hash").read_text().strip()
    except OSError:
        return False
    return told.rpartition(":")[2] == hashlib.sha256(content.encode()).hexdigest()


def _write_in_place(path: Path, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = content.encode()
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def _root(settings: Path) -> Path:
    """Return the engine's directory: its default, or what its settings say."""
    try:
        found = json.loads(settings.read_text())
        return Path(found.get("data-root") or ROOT)
    except (OSError, ValueError, AttributeError, TypeError):
        return Path(ROOT)
