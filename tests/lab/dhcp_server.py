"""A LAN on a virtual host with a real DHCP server, dnsmasq, in a namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from wefted.lab.host import Host

from .acceptance import container, wait_for, wefted

_NUMBERS = count(1)


class DhcpServer:
    """dnsmasq in the namespace `name`, whose eth0 has 192.168.N.1, with 192.168.N.10 to .50 to give; `{n}` in options is N."""

    def __init__(self, host: Host, folder: Path, number: int, *options: str) -> None:
        if shutil.which("dnsmasq") is None:
            pytest.skip("dnsmasq is not installed (Debian: dnsmasq-base)")
        self.host, self.name, self.link = host, f"srv{number}", f"lan{number}"
        self.prefix = f"192.168.{100 + number}"
        self.address = f"{self.prefix}.1"
        self._leases, self._log = folder / f"{self.name}.leases", folder / f"{self.name}.log"
        self.range = (10, 50)
        self._options = [option.format(n=100 + number) for option in options]
        self._process: Any = None

    @classmethod
    def behind_link(cls, host: Host, folder: Path, *options: str, link: str = "") -> Self:
        """Make a server that the host reaches by its link `link`, and start it."""
        made = cls(host, folder, next(_NUMBERS), *options)
        made.link = link or made.link
        for words in (
            f"ip netns add {made.name}",
            f"ip link add {made.link} type veth peer name eth0 netns {made.name}",
            f"ip link set {made.link} up",
            f"ip -n {made.name} addr add {made.address}/24 dev eth0",
            f"ip -n {made.name} link set eth0 up",
        ):
            host.run(words.split())
        made.start()
        return made

    @classmethod
    def in_container(cls, host: Host, folder: Path, *options: str) -> Self:
        """Make a server that is a container of our own bridge network `link`, and start it."""
        made = cls(host, folder, next(_NUMBERS), *options)
        subnet = ("--subnet", f"{made.prefix}.0/24", "--gateway", f"{made.prefix}.254")
        wefted(host, "network", "create", made.link, *subnet)
        wefted(host, "network", "connect", made.link, container(host, made.name), "--ip", made.address)
        made.start()
        return made

    def start(self) -> None:
        """Start dnsmasq, and wait until it serves what `range` says."""
        first, last = (f"{self.prefix}.{number}" for number in self.range)
        words = [
            "ip", "netns", "exec", self.name, "dnsmasq", "--no-daemon", "--port=0", "--no-ping", "--log-dhcp", "--user=root",
            "--conf-file=/dev/null", "--pid-file=", f"--dhcp-leasefile={self._leases}", "--interface=eth0",
            "--dhcp-authoritative", f"--dhcp-range={first},{last},120s", *self._options,
        ]  # fmt: skip
        self._log.write_text("")
        with self._log.open("ab") as log:
            self._process = self.host.popen(words, stdout=log, stderr=subprocess.STDOUT)
        wait_for(lambda: "DHCP, IP range" in self.log(), 10, f"dnsmasq to serve: {self.log()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def renumber(self, first: int, last: int) -> None:
        """Start again with other addresses, and without memory."""
        self.stop()
        self._leases.unlink()
        self.range = (first, last)
        self.start()

    def log(self) -> str:
        return self._log.read_text()

    def said(self, word: str) -> int:
        """Return how often a message was logged, as `DHCPACK`."""
        return sum(f" {word}(" in line for line in self.log().splitlines())

    def leases(self) -> dict[str, tuple[str, str]]:
        """Return what the leases file holds: address -> (host name, client identifier)."""
        lines = [line.split() for line in self._leases.read_text().splitlines()] if self._leases.exists() else []
        return {words[2]: (words[3], words[4]) for words in lines if len(words) == 5}
