"""flannel's records as ours: its configuration as a network, its leases as blocks, and back. Pure.

A flannel network is a network like any other: driver bridge, one of our backends, a routed block for each host. What only
flannel knows stands in two labels, so that nothing is lost on the way back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wefted.errors import UsageError

from .flannel import Config, parse
from .flannel_lease import FlannelLease
from .lease import Lease
from .network import Network, Subnet

PREFIX_LABEL, CONFIG_LABEL, API_LABEL = "flannel.prefix", "flannel.config", "flannel.api"
"""Where in etcd a network has its records, its configuration as it was written, and the API of etcd where that is not v3."""
STRANGER = "flannel:"
"""Begins the id of a node of which nothing but its public address is known: it runs flanneld."""

HIDDEN = "(secret)"
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")

_OPTIONS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "udp": {"port": ("Port", 8285)},
    "vxlan": {
        "vni": ("VNI", 1), "port": ("Port", 8472), "direct_routing": ("DirectRouting", False), "gbp": ("GBP", False),
        "learning": ("Learning", False),
    },
    "ipip": {"direct_routing": ("DirectRouting", False)},
    "wireguard": {
        "port": ("ListenPort", 51820), "port6": ("ListenPortV6", 51821), "psk": ("PSK", ""), "mode": ("Mode", "separate"),
        "keepalive": ("PersistentKeepaliveInterval", 0),
    },
    "extension": {
        "pre_startup": ("PreStartupCommand", ""), "post_startup": ("PostStartupCommand", ""),
        "subnet_add": ("SubnetAddCommand", ""), "subnet_remove": ("SubnetRemoveCommand", ""),
    },
}  # fmt: skip
"""Our option -> flannel's key and its default, for each backend. What is empty or off is left out of the options."""

_DATA: Mapping[str, Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "vxlan": {"vni": ("VNI", int), "vtep_mac": ("VtepMAC", str)},
    "wireguard": {"public_key": ("PublicKey", str)},
}
"""What a lease of a backend announces -> flannel's key and type, in the order in which flannel writes them."""


def network_of(
    name: str, prefix: str, text: str, masquerade: bool, blackhole: bool = False, is_v2: bool = False, key_file: str = ""
) -> Network:
    """Return the network that a configuration describes. Raises `UsageError`.

    flannel lets everybody reach the containers; masquerading (`-ip-masq`), dropping what is for none of them
    (`-ip-blackhole-route`) and where its WireGuard key is (`WIREGUARD_KEY_FILE`) are each host's own choice. `is_v2` tells that
    its records are in etcd's API v2.
    """
    config = parse(text, f"{prefix}config")
    own = {"blackhole": "on"} if blackhole else {}
    if config.backend_type == "wireguard" and key_file:
        own["key_file"] = key_file
    return Network(
        name=name,
        driver="bridge",
        backend=config.backend_type,
        subnets=tuple(Subnet(prefix=each.network) for each in config.ranges),
        mtu=_mtu(config, f"{prefix}config"),
        masquerade=masquerade,
        isolated=False,
        exposed=True,
        options=tuple(sorted((_options(config) | own).items())),
        labels=(*(((API_LABEL, "2"),) if is_v2 else ()), (CONFIG_LABEL, text), (PREFIX_LABEL, prefix)),
    )


def _devices(config: Config, options: Mapping[str, str]) -> dict[str, str]:
    """Return what flannel calls the devices of a backend; IPv6 has one of its own, over IPv6."""
    if config.backend_type == "ipip":
        return {"device": "flannel.ipip"}
    versions = {each.network.version for each in config.ranges}
    if config.backend_type == "wireguard":
        names = {4: ("device", "flannel-wg"), 6: ("device6", "flannel-wg-v6")}
        versions = versions if options["mode"] == "separate" else {4}
    elif config.backend_type == "vxlan":
        names = {4: ("device", f"flannel.{options['vni']}"), 6: ("device6", f"flannel-v6.{options['vni']}")}
    else:
        return {}
    return dict(names[version] for version in versions)


def without_secrets(network: Network) -> Network:
    """Return a network as it may be shown: flannel's pre-shared key is a part of its configuration."""
    psk = network.option("psk")
    if not psk:
        return network
    options = tuple((key, HIDDEN if key == "psk" else value) for key, value in network.options)
    # JSON may write the same text in several ways, so it is written anew
    labels = tuple((key, _hidden(value) if key == CONFIG_LABEL else value) for key, value in network.labels)
    return replace(network, options=options, labels=labels)


def _hidden(text: str) -> str:
    """Return a configuration whose pre-shared keys, in whatever case, are not shown."""

    def inner(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: HIDDEN if key.lower() == "psk" else value for key, value in pairs}

    return json.dumps(json.loads(text, object_pairs_hook=inner))


def is_flannel(network: Network) -> bool:
    """Tell whether a network's records are flannel's."""
    return any(key == PREFIX_LABEL for key, _ in network.labels)


def blocks_of(network: str, lease: FlannelLease, node: str = "") -> tuple[Lease, ...]:
    """Return the blocks of a lease, one for each IP version; without a `node` its owner runs flanneld."""
    underlay = tuple(address for address in (lease.public, lease.public6) if address is not None)
    owner = node or f"{STRANGER}{underlay[0] if underlay else ''}"
    data = {4: lease.data, 6: lease.data if lease.data6 is None else lease.data6}
    return tuple(
        Lease(network=network, block=s, node=owner, underlay=underlay, data=_announced(lease.backend, data[s.version]))
        for s in lease.subnets
    )


def lease_of(backend: str, *blocks: Lease) -> FlannelLease:
    """Return the lease that blocks of one host make, one of each IP version at most."""
    found = {block.block.version: block for block in blocks}
    public = {address.version: address for block in reversed(blocks) for address in block.underlay}
    first = found.get(4) or found[6]
    return FlannelLease(
        subnet=found[4].block if 4 in found else None,  # type: ignore[arg-type]
        subnet6=found[6].block if 6 in found else None,  # type: ignore[arg-type]
        public=public.get(4),  # type: ignore[arg-type]
        public6=public.get(6) if 6 in found else None,  # type: ignore[arg-type]
        backend=backend,
        data=_told(backend, first),
        data6=_told(backend, found[6]) if {4, 6} <= set(found) else None,
    )


def _options(config: Config) -> dict[str, str]:
    options = {"block": str(config.ranges[0].length)} if len(config.ranges) == 1 else {}
    for ours, (theirs, default) in _OPTIONS.get(config.backend_type, {}).items():
        value = config.option(theirs, default) or default
        if value not in ("", 0, False):
            options[ours] = "on" if value is True else str(value)
    return options | _devices(config, options)


def _mtu(config: Config, source: str) -> int:
    found = config.option("MTU", 0) or 0
    if not isinstance(found, int) or not 0 <= found <= 65535:
        raise UsageError(f"{source}: MTU is no number of bytes: {found!r}")
    return found


def _announced(backend: str, data: Any) -> tuple[tuple[str, str], ...]:
    words = _DATA.get(backend)
    if words is None:
        return (("data", data),) if isinstance(data, str) else ()
    fields = data if isinstance(data, dict) else {}
    return tuple(sorted((ours, str(fields[theirs])) for ours, (theirs, _) in words.items() if _is_sound(theirs, fields)))


def _is_sound(name: str, fields: Mapping[str, Any]) -> bool:
    """Tell whether a field is there, and what it must be: others' mistakes must not come as far as the kernel."""
    value = fields.get(name)
    return _MAC.fullmatch(str(value)) is not None if name == "VtepMAC" else value is not None


def _told(backend: str, lease: Lease) -> Any:
    words = _DATA.get(backend)
    if words is None:
        return lease.get("data") or None
    told = {theirs: kind(lease.get(ours)) for ours, (theirs, kind) in words.items() if lease.get(ours)}
    return told or None
