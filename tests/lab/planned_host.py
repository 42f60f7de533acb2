"""Hosts made of namespaces, from the plans of drivers, backends and features, by `ip`, `bridge`, `sysctl` and `nft`.

It knows nothing of the program's own kernel room: a test that uses it judges the plans and the kernel alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import subprocess
import threading
from collections.abc import Callable
from uuid import uuid4

from wefted.model.firewall import NftElement, NftTable, Sysctl
from wefted.model.link import LINK_GROUP, Bridge, LinkState, Macvlan, Veth, Vxlan
from wefted.model.objects import KernelObject
from wefted.model.route import Address, ForwardingEntry, Neighbor, Route

CLONE_NEWNET = 0x40000000
PATIENCE = 5.0
SILENCE = 0.35
"""Seconds after which an answer that would take a millisecond will not come."""

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{text}\n{done.stderr}"
    return done.stdout


def in_namespace(ns: str, make: Callable[[], socket.socket]) -> socket.socket:
    """Make a socket in a namespace: it stays there, whichever thread uses it."""
    made: list[socket.socket] = []

    def enter() -> None:
        with open(f"/run/netns/{ns}") as handle:
            if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {ns}")
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


class Lab:
    """Namespaces with a random prefix, and the servers in them."""

    def __init__(self) -> None:
        self.prefix = f"wf{uuid4().hex[:6]}"
        self.names: list[str] = []
        self.servers: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.elements: list[NftElement] = []

    def namespace(self, name: str) -> str:
        full = f"{self.prefix}-{name}"
        run("ip", "netns", "add", full)
        self.names.append(full)
        return full

    def close(self) -> None:
        for server in self.servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        for thread in self.threads:
            thread.join(PATIENCE)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def ip(self, name: str, *lines: str) -> None:
        run("ip", "-n", f"{self.prefix}-{name}", "-batch", "-", text="\n".join(lines))

    def execute(self, name: str, *command: str, text: str = "") -> str:
        return run("ip", "netns", "exec", f"{self.prefix}-{name}", *command, text=text)

    def nft(self, name: str, *lines: str) -> None:
        self.execute(name, "nft", "-f", "-", text="\n".join(lines))

    def serve(self, name: str, port: int, address: str = "") -> None:
        """Answer every connection and datagram on a port with the address that it came from."""
        family = socket.AF_INET if address else socket.AF_INET6

        def tcp() -> socket.socket:
            return socket.create_server((address, port), family=family, dualstack_ipv6=not address)

        def udp() -> socket.socket:
            made = socket.socket(family, UDP)
            if not address:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind((address, port))
            made.settimeout(0.1)
            return made

        for make, loop in ((tcp, self._answer_tcp), (udp, self._answer_udp)):
            server = in_namespace(f"{self.prefix}-{name}", make)
            self.servers.append(server)
            self.threads.append(threading.Thread(target=loop, args=(server,), daemon=True))
            self.threads[-1].start()

    @staticmethod
    def _answer_tcp(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(peer[0].removeprefix("::ffff:").encode())

    @staticmethod
    def _answer_udp(server: socket.socket) -> None:
        while server.fileno() >= 0:
            with contextlib.suppress(TimeoutError):
                try:
                    _, peer = server.recvfrom(100)
                    server.sendto(peer[0].removeprefix("::ffff:").encode(), peer)
                except OSError as error:
                    if isinstance(error, TimeoutError):
                        raise
                    return

    def ask(self, name: str, address: str, port: int, kind: int = TCP, wait: float = PATIENCE, source: str = "") -> str:
        """Return the address as which the server saw us, or "" when nothing came back."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        client = in_namespace(f"{self.prefix}-{name}", lambda: socket.socket(family, kind))
        with client:
            client.settimeout(wait)
            if source:
                client.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: bind to what is not ours
                client.bind((source, 0))
            try:
                client.connect((address, port))
                if kind == UDP:
                    client.send(b"?")
                return client.recv(100).decode()
            except OSError:
                return ""

    def apply(self, name: str, *objects: KernelObject) -> None:
        """Make a plan true on the host `name` by the system's own tools."""
        for item in sorted({o.key: o for o in objects}.values(), key=lambda o: o.rank):
            if isinstance(item, Sysctl):
                self.execute(name, "sysctl", "-qw", f"{item.name}={item.value}")
            elif isinstance(item, NftTable):
                self.nft(name, f"table inet wefted {{\n{item.body}\n}}")
            elif isinstance(item, NftElement):
                self.elements.append(item)
                self.nft(name, f"add element inet wefted {item.container} {{ {element_text(item)} }}")
            elif isinstance(item, ForwardingEntry):
                self.execute(name, "bridge", "fdb", "append", item.mac, "dev", item.link, "dst", str(item.remote))
            elif isinstance(item, Macvlan):
                ns = item.ns.removeprefix("/run/netns/")
                create = f"link add link {item.parent} name {item.name} netns {ns} group {LINK_GROUP} address {item.mac}"
                self.ip(name, f"{create} mtu {item.mtu} type macvlan mode {item.mode}")
                run("ip", "-n", ns, "link", "set", item.name, "up")
            else:
                ns = item.ns.removeprefix("/run/netns/") or f"{self.prefix}-{name}"
                run("ip", "-n", ns, "-batch", "-", text="\n".join(commands(item)))


def element_text(item: NftElement) -> str:
    return " . ".join(item.match) + (f" : {' . '.join(item.value)}" if item.value else "")


def commands(item: KernelObject) -> list[str]:
    """Write a link, an address or a route in the language of `ip`."""
    group = f"group {LINK_GROUP}"
    if isinstance(item, Bridge):
        create = f"link add {item.name} {group} address {item.mac} mtu {item.mtu} type bridge forward_delay 0"
        return [create, f"link set {item.name} up"]
    if isinstance(item, Veth):
        netns = f"netns {item.peer_ns.removeprefix('/run/netns/')}" if item.peer_ns else ""
        address = f"address {item.peer_mac}" if item.peer_mac else ""
        peer = f"peer name {item.peer_name} {netns} {address}"
        master = f"master {item.master}" if item.master else ""
        create = f"link add {item.name} {group} mtu {item.mtu} {master} type veth {peer}"
        hairpin = [f"link set {item.name} type bridge_slave hairpin on"] if item.hairpin else []
        isolated = [f"link set {item.name} type bridge_slave isolated on"] if item.isolated else []
        return [create, *hairpin, *isolated, f"link set {item.name} up"]
    if isinstance(item, Vxlan):
        tunnel = f"type vxlan id {item.vni} local {item.local} dev {item.device} dstport {item.port}"
        learning = "learning" if item.learning else "nolearning"
        master = [f"link set {item.name} master {item.master}"] if item.master else []
        create = f"link add {item.name} {group} address {item.mac} mtu {item.mtu} {tunnel} {learning}"
        return [create, *master, f"link set {item.name} up"]
    if isinstance(item, LinkState):
        master = f" master {item.master}" if item.master else ""
        return [f"link set {item.name} up" + (f" mtu {item.mtu}" if item.mtu else "") + master]
    if isinstance(item, Address):
        return [f"address add {item.address} dev {item.link}" + (" nodad" if item.address.version == 6 else "")]
    if isinstance(item, Neighbor):
        return [f"neighbor add {item.address} lladdr {item.mac} dev {item.link} nud permanent"]
    assert isinstance(item, Route)
    via = f"via {item.via}" if item.via else ""
    source = f"src {item.source}" if item.source else ""
    return [f"route add {item.destination} {via} dev {item.link} {source} {'onlink' if item.onlink else ''}"]
