"""Real etcd processes for tests: one member or several, with TLS and logins if asked, on loopback or in namespaces.

    with EtcdCluster(tmp_path, size=3) as cluster:
        store = EtcdStore(EtcdSpec(endpoints=cluster.endpoints))
        cluster.leader().kill()

Everything here blocks. Members are killed when the block ends, by their own pids; the data stays in the directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wefted.errors import Unreachable, Unsupported

if TYPE_CHECKING:
    from .certificates import Certificates

BINARY = "/usr/bin/etcd"
_START = 20.0
_STEP = 0.02


@dataclass(kw_only=True)
class EtcdMember:
    """One etcd process, which may be stopped and started again on its data. `netns` is a namespace's path or empty."""

    name: str
    directory: Path
    client_url: str
    peer_url: str
    netns: str = ""
    tls: Certificates | None = None
    flags: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, cluster: str) -> None:
        """Start the process; `cluster` lists all members as etcd's --initial-cluster wants them."""
        enter = ["nsenter", f"--net={self.netns}"] if self.netns else []
        with open(self.directory / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [*enter, *self._command(cluster)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; SIGSTOP makes a member that is there and silent, SIGCONT wakes it."""
        assert self.process is not None, f"{self.name} was never started"
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)  # until then its other threads may still answer

    def kill(self) -> None:
        """End it at once, like a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        self.process.wait(_START)

    def log(self) -> str:
        """Return the end of what it has written."""
        return (self.directory / f"{self.name}.log").read_text(errors="replace")[-2000:]

    def _command(self, cluster: str) -> list[str]:
        return [
            BINARY, "--name", self.name, "--data-dir", str(self.directory / f"{self.name}.etcd"),
            "--listen-client-urls", self.client_url, "--advertise-client-urls", self.client_url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", cluster, "--heartbeat-interval", "50", "--election-timeout", "400", "--pre-vote",
            "--bcrypt-cost", "4", "--logger", "zap", "--log-level", "warn", *_tls_flags(self.tls), *self.flags,
        ]  # fmt: skip


class EtcdCluster:
    """Members that find each other. `hosts` are their addresses (loopback, with free ports, where left out).

    `ask` runs a callable where the members can be reached; tests whose members live in namespaces give one that enters.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 1,
        *,
        tls: Certificates | None = None,
        hosts: Sequence[str] = (),
        namespaces: Sequence[str] = (),
        flags: Sequence[str] = (),
        ask: Callable[[Callable[[], Any]], Any] = lambda question: question(),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tls = tls
        self._login: tuple[str, str] | None = None
        self._ask = ask
        addresses = list(hosts) or ["127.0.0.1"] * size
        ports = iter([2379, 2380] * len(addresses) if hosts else free_ports(2 * size))
        self.members = [
            EtcdMember(
                name=f"m{n}",
                directory=directory,
                client_url=f"{'https' if tls else 'http'}://{host}:{next(ports)}",
                peer_url=f"http://{host}:{next(ports)}",
                netns=namespaces[n] if namespaces else "",
                tls=tls,
                flags=flags,
            )
            for n, host in enumerate(addresses)
        ]

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.client_url for member in self.members)

    @property
    def initial(self) -> str:
        return ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    def __enter__(self) -> Self:
        require_etcd()
        try:
            for member in self.members:
                member.start(self.initial)
            self.wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as stack:
            for member in self.members:
                stack.callback(member.kill)

    def restart(self, member: EtcdMember) -> None:
        """Start a member that has ended, and wait until it serves."""
        member.start(self.initial)
        self.wait_ready(member)

    def revive(self) -> None:
        """Wake and start whatever is not there, and wait until all of them serve."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                member.start(self.initial)
            else:
                member.signal(signal.SIGCONT)
        self.wait_ready()

    def wait_ready(self, *members: EtcdMember) -> None:
        """Wait until each of these members (all of them, if none is named) has a leader. Raises `Unreachable`."""
        for member in members or self.members:
            wait_for(partial(self._healthy, member), f"{member.name} serves", member.log)

    def leader(self) -> EtcdMember:
        """Return the member that leads, as the members that answer agree."""
        found: list[EtcdMember] = []

        def look() -> bool:
            found[:] = [member for member in self.members if self._leads(member)]
            return len(found) == 1

        wait_for(look, "there is one leader")
        return found[0]

    def followers(self) -> list[EtcdMember]:
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def enable_login(self, user: str, password: str, prefix: str = "/wefted/") -> None:
        """Switch authentication on: root with the same password, and `user`, who may read and write under `prefix` alone."""
        for name in ("root", user):
            self.post("/auth/user/add", {"name": name, "password": password})
            self.post("/auth/role/add", {"name": name})
            self.post("/auth/user/grant", {"user": name, "role": name})
        self.post("/auth/role/grant", {"name": user, "perm": {"permType": 2, **self.span(prefix)}})
        self.post("/auth/enable", {})
        self._login = ("root", password)

    def post(self, path: str, body: dict[str, Any], member: EtcdMember | None = None) -> dict[str, Any]:
        """Ask a member (the first, if none is named) what the store under test does not, as root. Raises `OSError`."""
        url = (member or self.members[0]).client_url
        headers = {"Authorization": self._token(url)} if self._login else {}
        answer: dict[str, Any] = self._ask(lambda: _request(url, self._tls, "POST", f"/v3{path}", body, headers))
        return answer

    @staticmethod
    def span(prefix: str) -> dict[str, str]:
        """Return the fields of a request that mean every key under `prefix`."""
        first = prefix.encode()
        last = first[:-1] + bytes([first[-1] + 1])
        return {"key": b64encode(first).decode(), "range_end": b64encode(last).decode()}

    def _token(self, url: str) -> str:
        assert self._login is not None
        login = {"name": self._login[0], "password": self._login[1]}
        return str(self._ask(lambda: _request(url, self._tls, "POST", "/v3/auth/authenticate", login, {}))["token"])

    def _healthy(self, member: EtcdMember) -> bool:
        if member.process is not None and member.process.poll() is not None:
            raise Unreachable(f"{member.name} has ended with status {member.process.returncode}", member.log())
        try:
            answer = self._ask(lambda: _request(member.client_url, self._tls, "GET", "/health", None, {}))
        except (OSError, ValueError):
            return False
        return str(answer.get("health")) == "true"

    def _leads(self, member: EtcdMember) -> bool:
        if member.process is None or member.process.poll() is not None:
            return False
        try:
            status = self.post("/maintenance/status", {}, member)
        except (OSError, ValueError):
            return False
        return bool(status.get("leader")) and status["leader"] == status["header"]["member_id"]


def require_etcd() -> None:
    """Raise `Unsupported` where there is no etcd."""
    if shutil.which(BINARY) is None:
        raise Unsupported(f"there is no {BINARY}", "apt-get install etcd-server")


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [opened.getsockname()[1] for opened in sockets]


def wait_for(condition: Callable[[], bool], what: str, detail: Callable[[], str] = str, seconds: float = _START) -> None:
    """Wait until `condition` holds. Raises `Unreachable`, with `detail`, when `seconds` have passed."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Unreachable(f"waited {seconds:g} s in vain until {what}", detail())
        time.sleep(_STEP)


def _request(
    url: str, tls: Certificates | None, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
) -> dict[str, Any]:
    host = url.partition("://")[2]
    connection = HTTPSConnection(host, timeout=3, context=_context(tls)) if tls else HTTPConnection(host, timeout=3)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except HTTPException as error:
        raise OSError(f"{url}{path}: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{url}{path}: {answer}")
    return answer


def _context(tls: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(tls.client_cert, tls.client_key)
    return context


def _tls_flags(tls: Certificates | None) -> list[str]:
    if tls is None:
        return []
    return ["--cert-file", tls.server_cert, "--key-file", tls.server_key, "--trusted-ca-file", tls.ca, "--client-cert-auth"]
