"""What a request to join a network of flannel's means: where its records are, and how one of many is joined. Pure."""

from __future__ import annotations

from wefted.store.flannel_server_url import parse_server

from .operations import FlannelJoin, FlannelWatch


def one_of(watch: FlannelWatch, name: str) -> FlannelJoin:
    """Return how a network under a watched prefix is joined."""
    return FlannelJoin(
        name=name,
        prefix=f"{watch.prefix}{name}",
        masquerade=watch.masquerade,
        public_ip=watch.public_ip,
        public_ip6=watch.public_ip6,
        subnet_file=f"{watch.subnet_dir.rstrip('/')}/{name}.env",
        renew_margin=watch.renew_margin,
        blackhole=watch.blackhole,
        api=watch.api,
        key_file=watch.key_file,
        remote=_with_network(watch.remote, name) if watch.remote else "",
    )


def _with_network(remote: str, name: str) -> str:
    """Return the address of a network of a server, with the files of TLS as before."""
    address, mark, query = remote.partition("?")
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.partition('/')[0]}/{name}{mark}{query}"


def place(request: FlannelJoin) -> str:
    """Return where the records of a network are. Raises `UsageError` for what is no flannel server."""
    return parse_server(request.remote).base if request.remote else f"/{request.prefix.strip('/')}/"
