"""Settings: defaults < file < environment < flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from wefted.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a host may set. Empty `store` = this host alone, in its own SQLite; the rest is found out."""

    store: str = ""
    """`etcd://h1:2379,h2:2379/prefix`, `https://...`, `sqlite:/path`."""
    advertise: str = ""
    """The underlay address that the other hosts reach this one at; empty: that of the default route."""
    name: str = ""
    """This node's name; empty: the host's."""
    publish_from: str = ""
    """Who may use published ports from outside: prefixes with commas between, `all` or `none`; empty: all."""
    state_dir: str = "/var/lib/wefted"
    runtime_dir: str = "/run/wefted"
    interval: float = 30.0
    """Seconds between two passes over everything."""
    log_level: str = "info"
    dns_domain: str = "weft.internal"
    """What the names of containers end with."""
    dns_address: str = "127.0.0.77"
    """Where the host itself asks for names, besides the gateways of its networks; `off`: the agent answers no DNS."""

    datapath: str = "auto"
    """What carries UDP tunnels: `auto` is programs in the kernel where it takes them, `relay` always a process."""
    dhcp_timeout: float = 20.0
    """Seconds that an attach waits for an address from a DHCP server."""

    docker: str = "auto"
    """Where Docker finds us as its network plugin: `auto`: in /run/docker/plugins where there is a Docker; a path; `off`."""

    auto_network: str = ""
    """Networks, with commas between, that every container of Docker and podman joins unless its labels say otherwise."""

    @property
    def socket(self) -> Path:
        return Path(self.runtime_dir, "wefted.sock")

    @property
    def docker_socket(self) -> Path:
        """Where a managed plugin of Docker finds the agent."""
        return Path(self.runtime_dir, "docker.sock")

    @property
    def database(self) -> Path:
        return Path(self.state_dir, "state.db")

    @property
    def wireguard_key(self) -> Path:
        """This host's private WireGuard key."""
        return Path(self.state_dir, "wireguard.key")

    @property
    def lock(self) -> Path:
        return Path(self.state_dir, "lock")


FILE = "/etc/wefted/wefted.toml"


def load(flags: Mapping[str, object] | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """Return the settings in force. Raises `UsageError` for a damaged file, an unknown key or a wrong type."""
    config = _merge(Config(), _file(environment.get("WEFTED_CONFIG", FILE)), "the settings file")
    known = {f"WEFTED_{f.name.upper()}": f.name for f in fields(Config)}
    config = _merge(config, {known[k]: v for k, v in environment.items() if k in known and v != ""}, "the environment")
    return _merge(config, {k: v for k, v in (flags or {}).items() if v not in (None, "")}, "the flags")


def _file(path: str) -> Mapping[str, object]:
    if not os.path.exists(path):
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", "correct the file, or move it away") from None


def _merge(config: Config, values: Mapping[str, object], source: str) -> Config:
    known = {f.name for f in fields(Config)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(f"{source}: unknown setting {unknown[0]!r}", f"known are: {', '.join(sorted(known))}")
    converted: dict[str, object] = {}
    for key, value in values.items():
        wanted = type(getattr(config, key))
        try:
            converted[key] = wanted(value)
        except (TypeError, ValueError):
            raise UsageError(f"{source}: {key} must be a {wanted.__name__}, not {value!r}") from None
    return replace(config, **converted)  # type: ignore[arg-type]
