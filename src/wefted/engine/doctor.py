"""`doctor`: what is wrong on this host, why, and the command that helps. It changes nothing.

Every check looks at one thing and returns its findings; one without anything to tell returns that it is well.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from wefted.errors import UsageError
from wefted.model import codec
from wefted.model.node import HostFacts

from .host import Host
from .intent import supported
from .operations import Nothing
from .publishing import OF_DOCKER

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_ANOTHER_SERVER = """put {"dns": ["ADDRESS"]}, a server beyond any loopback, into /etc/docker/daemon.json, and restart Docker"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`level` is ok, warning or problem; `cause` and `command` are empty where there is nothing to do."""

    check: str
    level: str
    finding: str
    cause: str = ""
    command: str = ""


class Doctor:
    """Looks; the worst comes first."""

    def __init__(self, host: Host, unreachable: Callable[[], list[dict[str, str]]]) -> None:
        self._host = host
        self._unreachable = unreachable

    async def examine(self, _: Nothing) -> Any:
        """Return all findings, and whether one of them is a problem."""
        if not self._host.live:
            await self._host.refresh()
        found = [*self._agent(), *self._store(), *self._endpoints(), *self._hosts(), *self._kernel(), *self._names()]
        found += [*await self._firewall(), *await self._followed(), *self._docker()]
        found.sort(key=lambda finding: (PROBLEM, WARNING, OK).index(finding.level))
        healthy = all(finding.level != PROBLEM for finding in found)
        return {"healthy": healthy, "findings": [codec.encode(finding) for finding in found]}

    def _agent(self) -> Iterator[Finding]:
        if self._host.live:
            yield _well("agent", "it runs")
            return
        yield Finding(
            check="agent",
            level=WARNING,
            finding="no agent runs on this host",
            cause="nobody repairs, follows containers that come and go, or answers names",
            command="wefted up",
        )

    def _store(self) -> Iterator[Finding]:
        host = self._host
        if host.store_error:
            cause = f"{host.store_error}; what needs a new network or block waits, everything else goes on"
            yield _problem("store", f"the cluster store at {host.cluster_url} does not answer", cause, "wefted status")
        else:
            yield _well("store", f"{host.cluster_url} answers")
        for key, why in sorted(host.view.unreadable.items()):
            yield _problem("store", f"the record {key} cannot be read", why, "install the version that the others have")

    def _endpoints(self) -> Iterator[Finding]:
        host = self._host
        failures = sorted(host.failures.items())
        for identifier, why in failures:
            endpoint = host.endpoints.get(identifier)
            if endpoint is not None:
                command = f"wefted network connect {endpoint.network} {shlex.quote(endpoint.container)}"
                yield _problem("endpoints", f"{endpoint.container} is not attached to {endpoint.network!r}", why, command)
        refused = (self._host.last_pass.get("failures") or []) if not failures else []
        for line in refused:
            yield _problem("endpoints", "the kernel refuses a change", str(line), "wefted plan")
        if not failures and not refused:
            yield _well("endpoints", f"{len(host.endpoints)} on this host, as they should be")

    def _hosts(self) -> Iterator[Finding]:
        found = self._unreachable()
        for way in found:
            what = f"there is no way to {way['block']} of network {way['network']!r} on {way['host']}"
            yield _problem("hosts", what, way["reason"], "wefted status")
        if not found:
            yield _well("hosts", f"{max(1, len(self._host.view.nodes))} in the cluster, all networks lead there")

    def _kernel(self) -> Iterator[Finding]:
        missing = 0
        for network in self._host.view.networks.values():
            try:
                supported(network, self._host.facts)
            except (UsageError, KeyError) as error:
                missing += 1
                yield _problem("kernel", f"network {network.name!r} cannot work on this host", str(error), "wefted status")
        if not missing:
            yield _well("kernel", "it has what the networks need")

    def _names(self) -> Iterator[Finding]:
        error = self._host.dns.get("error")
        if error:
            yield _problem("names", "names are not answered everywhere", str(error), "wefted status")
        elif self._host.live:
            yield _well("names", f"{self._host.dns.get('names', 0)} in {self._host.domain}")

    async def _followed(self) -> list[Finding]:
        """Tell what published ports obey, firewalld, and what of it they cannot; and whom they do not reach."""
        facts = await self._host.look()
        found = list(self._turned_back(facts))
        if facts.unread_firewall:
            what = f"published ports do not obey {facts.unread_firewall}"
            cause = "it lets pass what was translated, and its rules cannot be read"
            found.append(_warned("firewall", what, cause, "wefted up --publish-from none"))
        for rule in facts.unfollowed:
            cause = "what it would let in does not reach published ports, what it would keep out does not either"
            chain = rule.split()[0]
            command = f"nft -a list chain inet firewalld {chain}" if " handle " in rule else "nft list table inet firewalld"
            found.append(_warned("firewall", f"firewalld's rule {rule} cannot be followed", cause, command))
        if facts.input_filter and not facts.unfollowed:
            found.append(_well("firewall", "published ports are open where firewalld opens them (firewall-cmd --add-port)"))
        return found

    def _turned_back(self, facts: HostFacts) -> Iterator[Finding]:
        """Tell of ports that not every container of their network reaches by the host (adr 13)."""
        published = [endpoint for endpoint in self._host.endpoints.values() if endpoint.ports and endpoint.bridge]
        for network in sorted({endpoint.network for endpoint in published}) if facts.bridge_netfilter else ():
            names = sorted(endpoint.container for endpoint in published if endpoint.network == network)
            what = f"by the host, containers of {network!r} do not all reach the ports that {', '.join(names[:3])} publish"
            cause = f"{len(names)} containers with ports are beyond the network's first bridge, and br_netfilter is on"
            yield _warned("firewall", what, f"{cause}; by name or address they are reached", "wefted ps --ports")

    async def _firewall(self) -> list[Finding]:
        way = self._host.docker_user
        if way is None:
            return []
        host = self._host
        policy = await host.worker(way.forward_policy)
        missing = await host.worker(way.missing, host.node.device, host.open_prefixes())
        found = []
        if policy != "DROP" or not host.view.networks:
            pass
        elif missing:
            cause = "Docker sets the policy of FORWARD to DROP; with br_netfilter that holds inside a bridge too"
            command = " && ".join(missing)
            found.append(_problem("firewall", "Docker's firewall drops the packets of our containers", cause, command))
        elif missing is not None:
            found.append(_well("firewall", "FORWARD drops by default; our rules in DOCKER-USER let our containers pass"))
        else:
            cause = "another program than Docker set the policy of FORWARD to DROP"
            found.append(_problem("firewall", "this host forwards nothing for containers", cause, "iptables -P FORWARD ACCEPT"))
        for chain in (await host.look()).forward_filters if host.view.networks else ():
            if chain not in OF_DOCKER:
                cause = "it drops what none of its rules accepts, and an accept of ours ends our own table alone"
                found.append(
                    _warned("firewall", f"the chain {chain} may drop published ports", cause, f"nft list chain {chain}")
                )
        return [*found, *self._raw(await host.worker(way.raw_drops))] or [_well("firewall", "nothing drops what we forward")]

    def _raw(self, rules: Iterable[str]) -> Iterator[Finding]:
        ours = [subnet.prefix for network in self._host.view.networks.values() for subnet in network.subnets]
        for rule in rules:
            target = _target(rule)
            if target is not None and any(target.version == p.version and target.overlaps(p) for p in ours):
                cause = f"a rule of the raw table, which no later rule undoes: {rule}"
                command = f"{'iptables' if target.version == 4 else 'ip6tables'} -t raw {rule.replace('-A ', '-D ', 1)}"
                yield _problem("firewall", f"packets for {target} are dropped before anything else is asked", cause, command)

    def _docker(self) -> Iterator[Finding]:
        told = self._host.docker
        if not told:
            return
        for network in told["networks"]:
            if network["trouble"]:
                name = network["name"] or network["id"][:12]
                cause = network["trouble"]
                yield _problem("docker", f"no container can join Docker's network {name!r}", cause, f"docker network rm {name}")
        if told["asks"]:
            servers = ", ".join(told["asks"])
            yield Finding(
                check="docker",
                level=WARNING,
                finding="Docker's containers do not find names of other hosts",
                cause=f"Docker asks {servers} for them from the host's own address, where nothing can be redirected",
                command=_ANOTHER_SERVER,
            )
        if told["inside"]:
            what = "no names are found in Docker's containers, except those that Docker knows itself"
            cause = f"dns in /etc/docker/daemon.json is {', '.join(told['inside'])}: the container's own loopback"
            yield _problem("docker", what, cause, _ANOTHER_SERVER)
        if told["error"]:
            yield Finding(check="docker", level=WARNING, finding="Docker does not answer us", cause=told["error"])
        elif not told["asks"] and not told["inside"] and not any(network["trouble"] for network in told["networks"]):
            yield _well("docker", f"{len(told['networks'])} networks; Docker finds us at {told['plugin']}")


def _target(rule: str) -> Any:
    words = rule.split()
    if "-d" not in words[:-1]:
        return None
    try:
        return ip_network(words[words.index("-d") + 1])
    except ValueError:
        return None


def _well(check: str, finding: str) -> Finding:
    return Finding(check=check, level=OK, finding=finding)


def _warned(check: str, finding: str, cause: str, command: str) -> Finding:
    return Finding(check=check, level=WARNING, finding=finding, cause=cause, command=command)


def _problem(check: str, finding: str, cause: str, command: str) -> Finding:
    return Finding(check=check, level=PROBLEM, finding=finding, cause=cause, command=command)
