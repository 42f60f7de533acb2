"""From the environment and standard input of a CNI plugin to a request (specification 1.1.0, sections 1 to 3)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wefted.errors import UsageError
from wefted.model import spec

from .fields import Fields
from .refusal import CONFIGURATION, DECODING, ENVIRONMENT, VERSION, Refusal

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The newest is the last."""
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""Verbs that came later than the first version."""
NEEDS: Mapping[str, tuple[str, ...]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
"""Verb -> the variables without which it means nothing."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the plugin; `config` is the configuration of this plugin alone, as the runtime has filled it in."""

    command: str
    version: str
    config: Fields
    name: str = ""
    container: str = ""
    netns: str = ""
    ifname: str = ""
    arguments: Mapping[str, str]

    @property
    def spec(self) -> str:
        """The container as the engine knows it."""
        return f"cni:{self.container}"


def version_of(config: bytes) -> str:
    """Return the version in which errors are to be told: that of the configuration, else our newest. Raises nothing."""
    try:
        found = json.loads(config)["cniVersion"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return VERSIONS[-1]
    return found if isinstance(found, str) and found else VERSIONS[-1]


def decode(environment: Mapping[str, str], config: bytes) -> Request:
    """Return the request. Raises `Refusal`."""
    command = environment.get("CNI_COMMAND", "")
    if command not in NEEDS:
        raise Refusal(ENVIRONMENT, f"CNI_COMMAND is {command[:40]!r}", f"known are: {', '.join(NEEDS)}")
    fields = Fields(_parsed(config))
    version = _version(fields, command)
    if command == "VERSION":
        return Request(command=command, version=version, config=fields, arguments={})
    missing = [name for name in NEEDS[command] if not environment.get(name)]
    if missing:
        raise Refusal(ENVIRONMENT, f"{command} needs {', '.join(missing)}")
    return Request(
        command=command,
        version=version,
        config=fields,
        name=_network(fields),
        container=_container(environment) if NEEDS[command] else "",
        netns=environment.get("CNI_NETNS", ""),
        ifname=_interface(environment) if NEEDS[command] else "",
        arguments=_arguments(environment.get("CNI_ARGS", "")),
    )


def _parsed(config: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise Refusal(DECODING, "the configuration is not JSON", str(error)[:200]) from None
    if not isinstance(value, dict):
        raise Refusal(DECODING, "the configuration is not a JSON object")
    return value


def _version(fields: Fields, command: str) -> str:
    """Return the version of the configuration; without one, it is of version 0.1.0 by the first specification."""
    version = fields.text("cniVersion") or "0.1.0"
    if version not in VERSIONS and command != "VERSION":
        raise Refusal(VERSION, f"cniVersion {version[:40]!r} is not supported", f"supported are: {', '.join(VERSIONS)}")
    since = SINCE.get(command, VERSIONS[0])
    if version in VERSIONS and VERSIONS.index(version) < VERSIONS.index(since):
        raise Refusal(VERSION, f"{command} came with CNI {since}", f"the configuration says cniVersion {version}")
    return version


def _network(fields: Fields) -> str:
    """Return the name of the network of the configuration, which is also that of wefted's unless it says another."""
    name = fields.text("name")
    if not name:
        raise Refusal(CONFIGURATION, "the configuration has no name")
    try:
        return spec.network_name(fields.text("network") or name)
    except UsageError as error:
        raise Refusal(CONFIGURATION, error.message, error.hint) from None


def _container(environment: Mapping[str, str]) -> str:
    found = environment["CNI_CONTAINERID"]
    if not _NAME.fullmatch(found) or len(found) > 128:
        raise Refusal(ENVIRONMENT, f"CNI_CONTAINERID {found[:40]!r} is not an id", "letters, digits, _ . -, at most 128")
    return found


def _interface(environment: Mapping[str, str]) -> str:
    try:
        return spec.interface_name(environment["CNI_IFNAME"])
    except UsageError as error:
        raise Refusal(ENVIRONMENT, f"CNI_IFNAME: {error.message}", error.hint) from None


def _arguments(text: str) -> Mapping[str, str]:
    """Return CNI_ARGS: `KEY=VALUE;KEY=VALUE`. What we do not know is not for us."""
    pairs = (item.partition("=") for item in text.split(";") if item)
    return {key: value for key, equals, value in pairs if equals}
