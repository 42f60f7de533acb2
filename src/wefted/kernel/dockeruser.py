"""The way through Docker's firewall: rules of ours in the chain that Docker leaves to others, DOCKER-USER, and nowhere else.

Docker sets the policy of FORWARD to DROP, and with br_netfilter that holds for frames between two ports of one bridge too. An
accept in a table of ours cannot undo it (nft(8): a packet must be accepted by every base chain). What may pass to and from our
links is decided in our own table; Docker's rules for its own bridges stay in force, because nothing is accepted that leaves by
one of them except answers. Our rules know our links by their group, so their number is fixed, and are told by their comment.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from wefted.model.link import LINK_GROUP
from wefted.model.objects import IPNetwork

CHAIN = "DOCKER-USER"
PROGRAMS = {4: "iptables", 6: "ip6tables"}
PATIENCE = 5.0
"""Seconds to wait for others who change the firewall."""
_MARK = ("-m", "comment", "--comment", "wefted", "-j", "ACCEPT")
_GROUP = hex(LINK_GROUP)


class DockerUser:
    """Blocking; called from the kernel's worker thread."""

    def open(self, device: str, members: Sequence[IPNetwork] = ()) -> int:
        """Add the rules that are missing, for containers that leave by `device`; return how many were changed.

        `members` are networks whose containers may be behind a bridge of Docker's, as behind a docker0 that has a subnet of
        flannel's: what comes from such a network and goes into it is accepted, as flannel's own FLANNEL-FWD does.
        """
        return sum(
            _bring(program, _rules(device, members, version))
            for version, program in _programs().items()
            if _chain(program) is not None
        )

    def close(self) -> int:
        """Remove every rule of ours; return how many there were."""
        return sum(_bring(program, []) for program in _programs().values() if _chain(program) is not None)

    def missing(self, device: str, members: Sequence[IPNetwork] = ()) -> list[str] | None:
        """Return the rules that should stand in Docker's chain and do not, as commands; None where there is no such chain."""
        chains = {v: present for v, program in _programs().items() if (present := _chain(program)) is not None}
        if not chains:
            return None
        return [
            " ".join((PROGRAMS[version], "-I", *_with_chain(rule)))
            for version, present in chains.items()
            for rule in _rules(device, members, version)
            if rule not in present
        ]

    def forward_policy(self) -> str:
        """Return the policy of FORWARD, or "" where there is no such program."""
        lines = _listing("iptables", "filter", "FORWARD")
        return next((line.split()[2] for line in lines if line.startswith("-P FORWARD ")), "")

    def raw_drops(self) -> list[str]:
        """Return the rules of the raw tables that drop, as Docker 28 has them for the addresses of its containers."""
        lines = [line for program in PROGRAMS.values() for line in _listing(program, "raw", "PREROUTING")]
        return [line for line in lines if line.startswith("-A ") and line.endswith("-j DROP")]


def _rules(device: str, members: Sequence[IPNetwork], version: int) -> list[tuple[str, ...]]:
    """Return the rules, the last one first: each is put at the beginning of the chain."""
    rules = [
        *(("-s", str(prefix), "-d", str(prefix), *_MARK) for prefix in members if prefix.version == version),
        ("-m", "devgroup", "--dst-group", _GROUP, *_MARK),
        ("-m", "devgroup", "--src-group", _GROUP, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", *_MARK),
    ]
    if device:
        rules.append(("-o", device, "-m", "devgroup", "--src-group", _GROUP, *_MARK))
    return rules


def _bring(program: str, wanted: list[tuple[str, ...]]) -> int:
    present = _chain(program) or []
    mine = [rule for rule in present if rule[-len(_MARK) :] == _MARK]
    changes = [("-D", rule) for rule in mine if rule not in wanted] + [("-I", rule) for rule in wanted if rule not in mine]
    for action, rule in changes:
        _run(program, "-w", f"{PATIENCE:.0f}", action, *_with_chain(rule))
    return len(changes)


def _with_chain(rule: tuple[str, ...]) -> tuple[str, ...]:
    return (CHAIN, *rule)


def _chain(program: str) -> list[tuple[str, ...]] | None:
    """Return the rules of Docker's chain, or None where it does not exist."""
    done = _run(program, "-w", f"{PATIENCE:.0f}", "-S", CHAIN)
    if done.returncode:
        return None
    return [tuple(line.split()[2:]) for line in done.stdout.splitlines() if line.startswith("-A ")]


def _listing(program: str, table: str, chain: str) -> list[str]:
    if shutil.which(program) is None:
        return []
    return _run(program, "-w", f"{PATIENCE:.0f}", "-t", table, "-S", chain).stdout.splitlines()


def _programs() -> Mapping[int, str]:
    return {version: program for version, program in PROGRAMS.items() if shutil.which(program) is not None}


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=2 * PATIENCE)
