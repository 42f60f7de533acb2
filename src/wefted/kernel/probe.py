"""What this host has and can do: its underlay, its addresses, and which kinds of link its kernel knows.

A kind is known when it can be made. That is tried once in a namespace without a name, which dies with the thread that made
it, and what was found is remembered until the next boot; only what was missing is tried again, for it may have been installed.
Trying loads modules. One of them makes a device of its own in every namespace of the host: that one is looked for instead.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from wefted.errors import UsageError
from wefted.model.node import HostFacts, HostLink
from wefted.model.objects import IPAddress, IPInterface

from . import portvlan, tun, wireguardprocess
from .address import dump
from .bpf import udp
from .foreigngate import DECIDING
from .ifinfo import IFLA_IFNAME, IFLA_LINK, RTM_GETLINK, RTM_NEWLINK, RawLink, decode, dump_request, header, link_info
from .linkkind import IPTUN_LOCAL
from .marks import PROTOCOL, is_our_group
from .memory import write_whole
from .netlink import CREATE, EXCL, Message, NetlinkSocket, Reply, attribute, text, u16, u32
from .netns import Namespaces, unshare
from .nft import Firewall
from .route import default_links

LINK_FEATURES = ("bridge", "veth", "macvlan", "dummy", "ipvlan", "vlan", "vxlan", "ipip", "ipoib", "wireguard-kernel")
TRIED = (*LINK_FEATURES, "port-vlan", "tun")
"""What is found by trying it in a namespace of its own."""
_LOUD = ("ipip",)
"""Modules that make a device in each namespace as soon as they are loaded (`tunl0`: net.core.fb_tunnels_only_for_init_net)."""
_LOADED, _MODULES = Path("/sys/module"), Path("/lib/modules")
_LOOPBACK = 1
_BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
_VLAN_ID, _VXLAN_ID = 1, 1
_LOCAL_IPIP = attribute(IPTUN_LOCAL, bytes([127, 0, 0, 1]))
"""With an address, for the kernel makes a tunnel without one of its own, tunl0, in each namespace, and no second."""


class Prober:
    """Finds features once for each kernel, and the underlay each time."""

    def __init__(self, runtime_dir: Path, spaces: Namespaces, firewall: Firewall, datapath: str = "auto") -> None:
        self._memory = runtime_dir / "features.json"
        self._spaces = spaces
        self._firewall = firewall
        self._datapath = datapath
        self._features: Mapping[str, str] | None = None

    def probe(self, sock: NetlinkSocket, advertise: IPAddress | None) -> HostFacts:
        """Return the facts. Raises `UsageError` without privileges, or when `advertise` is no address of this host."""
        require_privileges()
        links = {link.index: link for link in map(decode, sock.dump(RTM_GETLINK, dump_request()))}
        addresses = [found for found in dump(sock) if _is_global(found[1])]
        found = [(index, interface) for index, interface, _, _ in addresses]
        index = _underlay(sock, found, advertise)
        link = links.get(index)
        gate = self._firewall.gate()
        return HostFacts(
            device=link.name if link else "",
            underlay=_preferred((i for at, i in found if at == index), advertise) if link else (),
            mtu=link.mtu if link else 1500,
            features=self.features(),
            forward_filters=self._firewall.foreign_filters(),
            bridge_netfilter=self._bridge_netfilter(),
            input_filter=gate.chain if gate is not None else DECIDING,
            unfollowed=gate.unfollowed if gate is not None else (),
            unread_firewall=self._firewall.unread(),
            prefixes=tuple(interface for at, interface in found if _is_foreign(links.get(at))),
            links=_host_links(links, addresses, {at for _, at in default_links(sock)}),
        )

    def _bridge_netfilter(self) -> bool:
        try:
            with self._spaces.inside(self._spaces.home_fd):
                return _BRIDGE_NETFILTER.read_text().strip() == "1"
        except OSError:
            return False  # the module is not loaded

    def features(self) -> Mapping[str, str]:
        """Return "" for each feature that is there, else the reason why it is not."""
        if self._features is None:
            known = self._recall()
            missing = [name for name in TRIED if name not in known]
            asleep = [name for name in missing if name in _LOUD and is_installed(name)]
            unknown = [name for name in missing if name not in asleep]
            found = dict.fromkeys(asleep, "") | (try_links(unknown) if unknown else {})
            features = {**dict.fromkeys(known, ""), **found, "nft": self._firewall.missing()}
            if missing:
                self._remember([name for name in TRIED if not features[name]])
            features["wireguard-kernel"] = features["wireguard-kernel"] or self._told_otherwise()
            self._features = features | {"bpf": self._programs_missing(features["port-vlan"])}
        if self._features.get("wireguard", "not looked for"):  # what is missing may have been installed
            self._features = {**self._features, "wireguard": self._wireguard_missing(self._features)}
        return self._features

    def _told_otherwise(self) -> str:
        """Return why a process does WireGuard where the kernel could."""
        return "the setting datapath is relay" if self._datapath == "relay" and not wireguardprocess.missing() else ""

    def _wireguard_missing(self, features: Mapping[str, str]) -> str:
        """Return why neither the kernel nor a process can do WireGuard."""
        program = features["tun"] or wireguardprocess.missing()
        return f"{features['wireguard-kernel']}, and {program}" if features["wireguard-kernel"] and program else ""

    def _programs_missing(self, hooks_missing: str) -> str:
        """Return why programs cannot carry tunnels; tried each time, since that takes a few milliseconds."""
        if self._datapath == "relay":
            return "the setting datapath is relay"
        return hooks_missing or udp.missing()

    def _recall(self) -> set[str]:
        try:
            memory = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return set()
        if not isinstance(memory, dict) or memory.get("kernel") != _kernel():
            return set()
        return {name for name in TRIED if name in memory.get("present", ())}

    def _remember(self, present: Iterable[str]) -> None:
        """Keep what was found; where nothing can be written it is found again each time."""
        with suppress(OSError):
            write_whole(self._memory, json.dumps({"kernel": _kernel(), "present": list(present)}).encode())


def require_privileges() -> None:
    """Raise `UsageError` unless this process may change networks and enter namespaces (capabilities(7))."""
    status = Path("/proc/thread-self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [name for name, bit in _NEEDED.items() if not effective >> bit & 1]
    if missing:
        raise UsageError(f"changing the network of this host needs root ({', '.join(missing)})", "try: sudo wefted ...")


def is_installed(module: str, release: str = os.uname().release) -> bool:
    """Tell whether a module is there to be loaded, and is not; modules.dep(5)."""
    try:
        listed = (_MODULES / release / "modules.dep").read_text()
    except OSError:
        return False
    return f"/{module}.ko" in listed and not (_LOADED / module).exists()


def try_links(names: Iterable[str]) -> dict[str, str]:
    """Make one link of each kind in a new namespace; the thread that is in it ends at once, and the namespace with it."""
    found: dict[str, str] = {}
    thread = threading.Thread(target=lambda: found.update(_attempt(list(names))))
    thread.start()
    thread.join()
    return found


def _attempt(names: list[str]) -> dict[str, str]:
    try:
        unshare()
        sock = NetlinkSocket()
    except OSError as error:
        return dict.fromkeys(names, f"cannot be tried: {error.strerror}")
    try:
        base_index = _base(sock, "base")
        # A link carries macvlans or ipvlans, never both.
        parents = {"ipvlan": _base(sock, "base-ipvlan")}
        links = [name for name in names if name in LINK_FEATURES]
        replies = sock.transact([_message(_kind(name), f"try-{_kind(name)}", parents.get(name, base_index)) for name in links])
        programs = {"port-vlan": portvlan.missing(sock, base_index)} if "port-vlan" in names else {}
        devices = {"tun": tun.missing("try-tun")} if "tun" in names else {}
    finally:
        sock.close()
    return programs | devices | {name: _reason(_kind(name), reply) for name, reply in zip(links, replies, strict=True)}


def _kind(feature: str) -> str:
    """Return the kind of link that is a feature's; what a program may do as well has the kernel's name besides."""
    return feature.removesuffix("-kernel")


def _base(sock: NetlinkSocket, name: str) -> int:
    """Make a bridge for the kinds that need a link below them; return its index, or the loopback's without bridges."""
    if sock.transact([_message("bridge", name)])[0].errno:
        return _LOOPBACK
    return decode(sock.ask(Message(RTM_GETLINK, 0, header() + text(IFLA_IFNAME, name)))[0]).index


def _message(kind: str, name: str, parent: int = 0) -> Message:
    data = {"vlan": u16(_VLAN_ID, 1), "vxlan": u32(_VXLAN_ID, 1), "ipip": _LOCAL_IPIP}.get(kind, b"")
    below = u32(IFLA_LINK, parent) if kind in ("macvlan", "ipvlan", "vlan", "ipoib") else b""
    return Message(RTM_NEWLINK, CREATE | EXCL, header() + text(IFLA_IFNAME, name) + below + link_info(kind, data))


def _reason(name: str, reply: Reply) -> str:
    if reply.errno == 0 or (name == "ipoib" and reply.errno == errno.EINVAL):
        return ""  # an InfiniBand child cannot be made on the bridge that is tried, but the kind is known
    if reply.errno == errno.EOPNOTSUPP:
        return f"this kernel has no {name}"
    return f"this kernel refuses {name}: {reply.text or os.strerror(reply.errno)}"


def _underlay(sock: NetlinkSocket, found: list[tuple[int, IPInterface]], advertise: IPAddress | None) -> int:
    """Return the index of the link with this address, or of the default route's, or 0."""
    if advertise is None:
        return next((index for _, index in default_links(sock)), 0)
    index = next((index for index, interface in found if interface.ip == advertise), 0)
    if not index:
        known = ", ".join(str(interface.ip) for _, interface in found) or "none"
        raise UsageError(f"no link of this host has the address {advertise}", f"its addresses: {known}")
    return index


def _preferred(interfaces: Iterable[IPInterface], advertise: IPAddress | None) -> tuple[IPInterface, ...]:
    """Return the asked one first, then IPv4, then IPv6."""
    return tuple(sorted(interfaces, key=lambda i: (i.ip != advertise, i.version)))


def _host_links(
    links: Mapping[int, RawLink], addresses: Iterable[tuple[int, IPInterface, int, bool]], defaults: Collection[int]
) -> tuple[HostLink, ...]:
    """Return the links with those of their addresses that are not ours."""
    theirs: dict[int, list[IPInterface]] = {}
    for index, interface, protocol, _ in sorted(addresses, key=lambda found: not found[3]):
        if protocol != PROTOCOL:
            theirs.setdefault(index, []).append(interface)
    return tuple(
        HostLink(
            name=link.name, kind=link.kind, hardware=link.hardware, mac=link.mac, ours=is_our_group(link.group),
            master=links[link.master].name if link.master in links else "", default=link.index in defaults,
            addresses=tuple(theirs.get(link.index, ())),
        )
        for link in links.values()
    )  # fmt: skip


def _is_global(interface: IPInterface) -> bool:
    return not interface.ip.is_link_local and not interface.ip.is_loopback


def _is_foreign(link: RawLink | None) -> bool:
    return link is not None and not is_our_group(link.group)


def _kernel() -> str:
    return f"{os.uname().release} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
