"""What names a flannel server, parsed. Pure.

HOST[:PORT]                                             as flannel's -remote has it
http://HOST[:PORT][/NETWORK]                            PORT is 8888; without a NETWORK the one that has no name
https://HOST[:PORT][/NETWORK][?ca=FILE&cert=FILE&key=FILE]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from wefted.errors import UsageError
from wefted.model.flannel_wire import DEFAULT_PORT, UNNAMED

from .url import EtcdSpec, parse_store_url

FORMS = "write HOST:8888, http://HOST:8888/NETWORK or https://HOST:8888?ca=FILE&cert=FILE&key=FILE"
_NETWORK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server, how to speak to it, and one network of its."""

    members: EtcdSpec
    """Its address and the files of TLS, as for a member of etcd."""
    network: str = UNNAMED

    @property
    def root(self) -> str:
        """The address of the list of networks."""
        return f"{self.members.endpoints[0]}/v1/"

    @property
    def base(self) -> str:
        """The address under which everything of the network is."""
        return f"{self.root}{self.network}/"


def parse_server(text: str) -> ServerSpec:
    """Return what `text` describes. Raises `UsageError`."""
    whole = text if "://" in text else f"http://{text}"
    try:
        url = urlsplit(whole)
        port = url.port
    except ValueError:
        raise UsageError(f"the flannel server {text!r} is not an address", FORMS) from None
    network = url.path.strip("/") or UNNAMED
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or "," in url.netloc:
        raise UsageError(f"the flannel server {text!r} is not an address", FORMS)
    if not valid_network(network):
        raise UsageError(f"{network!r} is no name of a network", FORMS)
    netloc = url.netloc if port else f"{url.netloc.rstrip(':')}:{DEFAULT_PORT}"
    try:
        members = parse_store_url(f"{url.scheme}://{netloc}{'?' if url.query else ''}{url.query}")
    except UsageError as error:
        raise UsageError(f"the flannel server {text!r}: {error.message}", FORMS) from None
    assert isinstance(members, EtcdSpec)
    return ServerSpec(members, network)


def valid_network(name: str) -> bool:
    """Tell whether a name can be that of a network under a prefix of etcd's, or `_`."""
    return _NETWORK.fullmatch(name) is not None
