"""What a Docker daemon must be told so that its containers live in this host's subnet of a flannel network. Pure.

    subnet.env  ->  the variables of mk-docker-opts.sh, which a unit of Docker's reads
                ->  keys of /etc/docker/daemon.json
                ->  `docker network create`, which leaves docker0 as it is

Since version 28 Docker drops what is routed to a container from another host (moby 49325), before any rule of others sees it:
`allow-direct-routing` (28.2) and the gateway mode `nat-unprotected` (28.0) lift that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from wefted.errors import UsageError

KEY = "DOCKER_NETWORK_OPTIONS"
"""The variable that Docker's unit of Fedora and CentOS has on its command line."""
DROPS, ALLOWS = (28, 0), (28, 2)
"""The first version that drops what is routed to containers, and the first that can be told not to."""
FLAGS = ("--bip", "--mtu", "--ip-masq", "--fixed-cidr-v6", "--allow-direct-routing", "--ipv6")


@dataclass(frozen=True, slots=True)
class Subnet:
    """What `subnet.env` says."""

    bip: IPv4Interface | None
    bip6: IPv6Interface | None
    mtu: int
    masqueraded: bool
    """By whoever keeps the subnet: then Docker must not do it too."""


def parse(environment: Mapping[str, str], source: str) -> Subnet:
    """Return what the variables of `subnet.env` mean. Raises `UsageError`."""
    try:
        bip, bip6 = environment.get("FLANNEL_SUBNET"), environment.get("FLANNEL_IPV6_SUBNET")
        if not bip and not bip6:
            raise ValueError("it has no FLANNEL_SUBNET")
        return Subnet(
            IPv4Interface(bip) if bip else None,
            IPv6Interface(bip6) if bip6 else None,
            int(environment.get("FLANNEL_MTU", "0")),
            environment.get("FLANNEL_IPMASQ") == "true",
        )
    except ValueError as error:
        raise UsageError(f"{source}: {error}", "see whether the subnet is held: wefted flannel ls") from None


def variables(environment: Mapping[str, str], masquerade: bool = True) -> dict[str, str]:
    """Return the DOCKER_OPT_* variables of mk-docker-opts.sh. Raises `UsageError` for what the script refuses."""
    found = {name: value for name, value in environment.items() if name.startswith("DOCKER_OPT_")}
    if environment.get("FLANNEL_SUBNET"):
        found["DOCKER_OPT_BIP"] = f"--bip={environment['FLANNEL_SUBNET']}"
    if environment.get("FLANNEL_MTU"):
        found["DOCKER_OPT_MTU"] = f"--mtu={environment['FLANNEL_MTU']}"
    theirs = environment.get("FLANNEL_IPMASQ", "")
    if theirs and masquerade:
        if theirs not in ("true", "false"):
            raise UsageError(f"Invalid value of FLANNEL_IPMASQ: {theirs}")
        found["DOCKER_OPT_IPMASQ"] = f"--ip-masq={'false' if theirs == 'true' else 'true'}"
    return dict(sorted(found.items()))


def lines(found: Mapping[str, str], key: str, before: str = "", *, individual: bool = True, combined: bool = True) -> str:
    """Return variables as the script writes them: each one, and all of them in `key`, behind what it had before."""
    texts = [f'{name}="{value}"' for name, value in found.items()] if individual else []
    if combined:
        together = "".join(f" {value}" for value in found.values())
        texts.append(f'{key}="{before}{together}"')
    return "".join(f"{text}\n" for text in texts)


def settings(subnet: Subnet, version: tuple[int, ...]) -> dict[str, Any]:
    """Return the keys of daemon.json for a Docker of this version (empty: unknown, taken for one that knows them all)."""
    found: dict[str, Any] = {}
    if subnet.bip is not None:
        found["bip"] = str(subnet.bip)
    if subnet.mtu:
        found["mtu"] = subnet.mtu
    found["ip-masq"] = not subnet.masqueraded
    if subnet.bip6 is not None:
        found |= {"ipv6": True, "fixed-cidr-v6": str(subnet.bip6.network)}
    if version >= ALLOWS:
        found["allow-direct-routing"] = True
    return found


def merged(text: str, wanted: Mapping[str, Any], source: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of daemon.json with `wanted`, and what changes; other keys stay. Raises `UsageError` for broken JSON."""
    known = _object(text, source)
    _refuse_contradiction(known, wanted, source)
    changes = tuple(_change(key, known.get(key), value) for key, value in wanted.items() if known.get(key) != value)
    return (json.dumps({**known, **wanted}, indent=2) + "\n" if changes else text), changes


def given_as_flags(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the words of dockerd's command line that say what daemon.json must not say too: Docker refuses both."""
    return tuple(word for word in argv if word.partition("=")[0] in FLAGS)


def network_create(subnet: Subnet, name: str, version: tuple[int, ...]) -> str:
    """Return the command that makes a network of Docker's in the subnet, beside docker0."""
    words = ["docker network create"]
    for bip in (subnet.bip, subnet.bip6):
        if bip is not None:
            ipv6 = "--ipv6 " if bip.version == 6 else ""
            words.append(f"{ipv6}--subnet {bip.network} --gateway {bip.ip}")
    if subnet.mtu:
        words.append(f"-o com.docker.network.driver.mtu={subnet.mtu}")
    if subnet.masqueraded:
        words.append("-o com.docker.network.bridge.enable_ip_masquerade=false")
    if version >= DROPS:
        modes = [f"ipv{bip.version}" for bip in (subnet.bip, subnet.bip6) if bip is not None]
        words += [f"-o com.docker.network.bridge.gateway_mode_{mode}=nat-unprotected" for mode in modes]
    return " ".join((*words, name))


def routed_traffic(version: tuple[int, ...]) -> str:
    """Return what a Docker of this version does to packets from other hosts' containers, or "" where they pass."""
    if not DROPS <= version < ALLOWS:
        return ""
    return (
        f"Docker {'.'.join(map(str, version))} drops what other hosts send to its containers, and cannot be told not to: use"
        " 28.2 or newer, or start dockerd with DOCKER_INSECURE_NO_IPTABLES_RAW=1, or use the network below"
    )


def version_of(text: str) -> tuple[int, ...]:
    """Return a version of Docker's as numbers, major and minor: "20.10.24+dfsg1" is (20, 10)."""
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if len(parts) == 2 and all(part.isdecimal() for part in parts) else ()


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        known = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise UsageError(f"{source} is not JSON: {error}", "dockerd would not start with it either: repair it first") from None
    if not isinstance(known, dict):
        raise UsageError(f"{source} is JSON, but no object", "repair it first")
    return known


def _refuse_contradiction(known: Mapping[str, Any], wanted: Mapping[str, Any], source: str) -> None:
    """Raise `UsageError` for what is there and makes no sense beside what is wanted."""
    if known.get("bridge"):
        raise UsageError(
            f"{source} names another bridge than docker0: {known['bridge']!r}", "take bridge out, or give that one the address"
        )
    inner, bip = known.get("fixed-cidr"), wanted.get("bip")
    if inner and bip and not ip_interface(inner).network.subnet_of(ip_interface(bip).network):  # type: ignore[arg-type]
        raise UsageError(f"{source}: fixed-cidr {inner} lies outside of {bip}", "take fixed-cidr out")


def _change(key: str, before: Any, after: Any) -> str:
    return f"{key}: {json.dumps(after)}" + (f" (it was {json.dumps(before)})" if before is not None else "")
