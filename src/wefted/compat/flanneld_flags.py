"""The flags of flanneld, those of today and those of 0.7, and what they mean to us. Pure.

`FLANNELD_NAME` in the environment stands for the flag `-name`, which wins. `/etc/sysconfig/flanneld`, which the unit of Fedora
reads, has names of its own, older and newer ones.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import abspath
from typing import Any
from urllib.parse import quote

from .goflags import Flag, FlagError, overlay, parse

VARIABLES = "FLANNELD_"
SYSCONFIG = "/etc/sysconfig/flanneld"

FLAGS: tuple[Flag, ...] = (
    Flag("etcd-endpoints", "http://127.0.0.1:4001,http://127.0.0.1:2379", "a comma-delimited list of etcd endpoints"),
    Flag("etcd-prefix", "/coreos.com/network", "etcd prefix"),
    Flag("etcd-api", "auto", "version of etcd's API that has the network: 2, 3, or auto for the one that has a configuration"),
    Flag("etcd-keyfile", "", "SSL key file used to secure etcd communication"),
    Flag("etcd-certfile", "", "SSL certification file used to secure etcd communication"),
    Flag("etcd-cafile", "", "SSL Certificate Authority file used to secure etcd communication"),
    Flag("etcd-username", "", "username for BasicAuth to etcd"),
    Flag("etcd-password", "", "password for BasicAuth to etcd"),
    Flag("iface", (), "interface (IP or name) for traffic between hosts; may be given several times"),
    Flag("iface-regex", (), "regular expression for that interface's addresses, then names; may be given several times"),
    Flag("iface-can-reach", "", "choose the interface that the host would use to reach this IP"),
    Flag("public-ip", "", "IP accessible by other hosts"),
    Flag("public-ipv6", "", "IPv6 accessible by other hosts"),
    Flag("subnet-file", "/run/flannel/subnet.env", "file with the subnet, MTU and so on, for others to read"),
    Flag("subnet-dir", "/run/flannel/networks", "directory of such files, where there are several networks"),
    Flag("subnet-lease-renew-margin", 60, "minutes before the end of the lease at which it is renewed"),
    Flag("networks", "", "several networks, by their names under the prefix"),
    Flag("watch-networks", False, "run all networks under the prefix"),
    Flag("listen", "", "run as a server for hosts without etcd, at ADDRESS:PORT, or at fd:// as systemd passes it"),
    Flag("remote", "", "run as a client of the server at ADDRESS:PORT instead of etcd"),
    Flag("remote-keyfile", "", "SSL key file used to secure client/server communication"),
    Flag("remote-certfile", "", "SSL certification file used to secure client/server communication"),
    Flag("remote-cafile", "", "SSL Certificate Authority file used to secure client/server communication"),
    Flag("ip-masq", False, "set up IP masquerading for traffic that leaves the network"),
    Flag(
        "ip-masq-fully-random-disable", False, "kept for old scripts: ports of masqueraded connections are the kernel's choice"
    ),
    Flag("iptables-resync", 5, "kept for old scripts: rules are put back as soon as they go"),
    Flag("iptables-forward-rules", True, "kept for old scripts: forwarding is in our own nft table"),
    Flag("ip-blackhole-route", False, "add a blackhole route for the host's own subnet"),
    Flag("healthz-ip", "0.0.0.0", "the IP for the healthz server to listen on"),
    Flag("healthz-port", 0, "the port for the healthz server to listen on (0: none)"),
    Flag("v", 0, "log level"),
    Flag("vmodule", "", "kept for old scripts"),
    Flag("log_backtrace_at", "", "kept for old scripts"),
    Flag("version", False, "print version and exit"),
    Flag("help", False, "print this and exit"),
    Flag("kube-subnet-mgr", False, "not supported: no Kubernetes", supported=False),
    Flag("kube-api-url", "", "not supported: no Kubernetes", supported=False),
    Flag("kubeconfig-file", "", "not supported: no Kubernetes", supported=False),
    Flag("kube-annotation-prefix", "", "not supported: no Kubernetes", supported=False),
    Flag("net-config-path", "", "not supported: no Kubernetes", supported=False),
    Flag("set-node-network-unavailable", False, "not supported: no Kubernetes", supported=False),
)

KEY_FILE = "/run/flannel/wgkey"

_SYSCONFIG_NAMES = {
    "FLANNEL_ETCD_ENDPOINTS": "etcd-endpoints",
    "FLANNEL_ETCD": "etcd-endpoints",
    "FLANNEL_ETCD_PREFIX": "etcd-prefix",
    "FLANNEL_ETCD_KEY": "etcd-prefix",
}
"""The newer name of each pair comes first, and wins."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of every flag, by its name."""

    values: Mapping[str, Any]
    key_file: str = KEY_FILE
    """Where the private key of backend `wireguard` is: flannel has a variable for it, and no flag."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def store(self) -> str:
        """The URL of the etcd for `--store`. TLS is used only with both a key and a certificate, as in flannel."""
        secure = bool(self["etcd-keyfile"] and self["etcd-certfile"])
        hosts = [endpoint.strip().rstrip("/") for endpoint in self["etcd-endpoints"].split(",") if endpoint.strip()]
        bare = [host.partition("://")[2] or host for host in hosts]
        login = f"{quote(self['etcd-username'], safe='')}:{quote(self['etcd-password'], safe='')}@"
        files = (("ca", self["etcd-cafile"]), ("cert", self["etcd-certfile"]), ("key", self["etcd-keyfile"]))
        query = "&".join(f"{key}={quote(path)}" for key, path in files if path) if secure else ""
        scheme = "https" if secure or any(host.startswith("https://") for host in hosts) else "http"
        return f"{scheme}://{login if self['etcd-username'] else ''}{','.join(bare)}{'?' if query else ''}{query}"

    @property
    def remote(self) -> str:
        """The address of the flannel server, "" without one. One file of TLS is enough for TLS, as with flannel."""
        address = self["remote"]
        files = {key: self[f"remote-{key}file"] for key in ("ca", "cert", "key") if self[f"remote-{key}file"]}
        if not address or not files or "://" in address:
            return str(address)
        return f"https://{address}?{'&'.join(f'{key}={quote(abspath(path))}' for key, path in files.items())}"

    @property
    def joins(self) -> tuple[dict[str, Any], ...]:
        """The parameters of `flannel.join` for each network."""
        names, prefix = self.names, "/" + self["etcd-prefix"].strip("/")
        if self["watch-networks"]:
            return ()
        if not names:
            return (self._join("flannel", prefix, self["subnet-file"], self.remote),)
        return tuple(
            self._join(name, f"{prefix}/{name}", f"{self['subnet-dir'].rstrip('/')}/{name}.env", self._remote_of(name))
            for name in names
        )

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """What our agent is asked to do: operations and their parameters."""
        watch = [("flannel.watch", self.watch)] if self.watch is not None else []
        return [*watch, *(("flannel.join", join) for join in self.joins)]

    @property
    def names(self) -> tuple[str, ...]:
        """The networks that `-networks` names."""
        return tuple(name.strip() for name in self["networks"].split(",") if name.strip())

    @property
    def watch(self) -> dict[str, Any] | None:
        """The parameters of `flannel.watch`, or None without `-watch-networks`."""
        if not self["watch-networks"]:
            return None
        return {
            "prefix": "/" + self["etcd-prefix"].strip("/"),
            "only": list(self.names),
            "subnet_dir": self["subnet-dir"],
            "remote": self.remote,
            **self._common(),
        }

    def _remote_of(self, name: str) -> str:
        address, mark, query = self.remote.partition("?")
        return f"{address.rstrip('/')}/{name}{mark}{query}" if address else ""

    def _join(self, name: str, prefix: str, file: str, remote: str) -> dict[str, Any]:
        return {
            "name": name,
            "prefix": prefix,
            "subnet_file": file,
            "remote": remote,
            **self._common(),
        }

    def _common(self) -> dict[str, Any]:
        return {
            "masquerade": self["ip-masq"],
            "public_ip": self["public-ip"],
            "public_ip6": self["public-ipv6"],
            "renew_margin": 60.0 * self["subnet-lease-renew-margin"],
            "blackhole": self["ip-blackhole-route"],
            "api": self["etcd-api"],
            "key_file": self.key_file,
        }


def read(words: Sequence[str], environment: Mapping[str, str], sysconfig: str = "") -> Settings:
    """Return what a command line, the environment and the text of the sysconfig file mean. Raises `FlagError`."""
    file = assignments(sysconfig)
    known = {**file, **environment}
    extra = shlex.split(file.get("FLANNEL_OPTIONS", "")) if "FLANNEL_OPTIONS" not in environment else []
    given, rest = parse([*extra, *words], FLAGS)
    if rest:
        raise FlagError(f"unexpected argument: {rest[0]}")
    for variable, name in _SYSCONFIG_NAMES.items():
        if known.get(variable) and name not in given and not known.get(f"{VARIABLES}{name.upper().replace('-', '_')}"):
            given[name] = known[variable]
    settings = Settings(overlay(given, FLAGS, known, VARIABLES), known.get("WIREGUARD_KEY_FILE") or KEY_FILE)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    for flag in FLAGS:
        if not flag.supported and settings[flag.name] != flag.default:
            raise Unsupported(f"-{flag.name} is {flag.help}")
    if settings["listen"] and settings["remote"]:
        raise Unsupported("--listen and --remote are mutually exclusive")
    if settings["etcd-api"] not in ("2", "3", "auto"):
        raise Unsupported(f"Invalid etcd-api option: {settings['etcd-api']!r} is none of 2, 3, auto")
    if not 1 <= settings["subnet-lease-renew-margin"] <= 1439:
        raise Unsupported("Invalid subnet-lease-renew-margin option, out of acceptable range: it is 1 to 1439 minutes")


class Unsupported(FlagError):
    """A flag or a value that was understood, and cannot be: exit code 1, as flanneld has it for such."""


def assignments(text: str) -> dict[str, str]:
    """Return the variables of a shell file without running it."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.isidentifier():
            try:
                found[name] = " ".join(shlex.split(value, comments=True))
            except ValueError:
                found[name] = value.strip("\"'")
    return found
