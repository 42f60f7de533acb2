"""`mk-docker-opts.sh`: from flannel's `subnet.env` to the options of Docker's daemon, in a file that its unit reads.

Same flags, same defaults, same output as the script that flannel ships, newer check included: a subnet that the host reaches
by way of another host is not its own.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from wefted.errors import UsageError
from wefted.model import flannel_docker

from .flanneld_flags import assignments

FLANNEL_FILE, DOCKER_FILE = "/run/flannel/subnet.env", "/run/docker_opts.env"
USAGE = """{program} [-f FLANNEL-ENV-FILE] [-d DOCKER-ENV-FILE] [-i] [-c] [-m] [-k COMBINED-KEY]

Generate Docker daemon options based on flannel env file
OPTIONS:
\t-f\tPath to flannel env file. Defaults to /run/flannel/subnet.env
\t-d\tPath to Docker env file to write to. Defaults to /run/docker_opts.env
\t-i\tOutput each Docker option as individual var. e.g. DOCKER_OPT_MTU=1500
\t-c\tOutput combined Docker options into DOCKER_OPTS var
\t-k\tSet the combined options key to this value (default DOCKER_OPTS=)
\t-m\tDo not output --ip-masq (useful for older Docker version)
"""


class Mistake(Exception):
    """What the script would have printed before it left with 1."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    flannel_file: str = FLANNEL_FILE
    docker_file: str = DOCKER_FILE
    individual: bool = False
    combined: bool = False
    key: str = "DOCKER_OPTS"
    masquerade: bool = True


def main(words: Sequence[str], ask: Callable[..., Any] | None = None) -> int:
    """Be the script; return its exit code."""
    try:
        options = parse(words)
        environment = {**os.environ, **_read(options.flannel_file)}
        _own_subnet(environment.get("FLANNEL_SUBNET", ""), Path("/proc/net/route").read_text())
        Path(options.docker_file).write_text(text(options, environment))
    except Mistake as mistake:
        sys.stderr.write(str(mistake))
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 1
    return 0


def parse(words: Sequence[str]) -> Options:
    """Return what was typed. Raises `Mistake` with the usage, which -h asks for."""
    try:
        found, _ = getopt.getopt(list(words), "f:d:icmk:?h")
    except getopt.GetoptError:
        raise Mistake(USAGE.format(program="mk-docker-opts.sh")) from None
    given = dict(found)
    if {"-h", "-?"} & set(given):
        raise Mistake(USAGE.format(program="mk-docker-opts.sh"))
    both = not {"-i", "-c"} & set(given)
    return Options(
        given.get("-f", FLANNEL_FILE),
        given.get("-d", DOCKER_FILE),
        both or "-i" in given,
        both or "-c" in given,
        given.get("-k", "DOCKER_OPTS"),
        "-m" not in given,
    )


def text(options: Options, environment: Mapping[str, str]) -> str:
    """Return the lines of the file; `environment` holds what `subnet.env` says as well. Raises `Mistake`."""
    try:
        found = flannel_docker.variables(environment, options.masquerade)
    except UsageError as error:
        raise Mistake(f"{error.message}\n") from None
    before = environment.get(options.key, "")
    return flannel_docker.lines(found, options.key, before, individual=options.individual, combined=options.combined)


def _read(path: str) -> dict[str, str]:
    try:
        return assignments(Path(path).read_text())
    except FileNotFoundError:
        return {}


def _own_subnet(subnet: str, routes: str) -> None:
    """Raise `Mistake` when the kernel sends this subnet through a gateway; `routes` is the text of /proc/net/route."""
    if not subnet:
        return
    wanted = ip_interface(subnet).network
    for line in routes.splitlines()[1:]:
        fields = line.split()
        here = int.from_bytes(bytes.fromhex(fields[1]), "little") == int(wanted.network_address)
        if here and fields[2] != "00000000" and int(fields[7], 16).bit_count() == wanted.prefixlen:
            raise Mistake(f"ERROR: {wanted} is reached through another host (by {fields[0]}), so it is not this host's\n")
