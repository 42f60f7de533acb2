"""Connecting a container that is connected: to what is there, by one more interface, or to something else? Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wefted.errors import UsageError
from wefted.model import spec
from wefted.model.network import Endpoint

from .operations import Connect

DEFAULT_CLAIMS = ("auto", "take", "never")


def same_interface(members: Iterable[Endpoint], request: Connect) -> Endpoint | None:
    """Return the interface that `request` speaks of, of those that its container has in its network.

    Raises `UsageError` for a further interface without a name.
    """
    if not request.additional:
        return next((e for e in members if request.ifname == e.ifname), next((e for e in members if not e.slot), None))
    if not request.ifname:
        raise UsageError("a further interface in one network needs a name of its own", "add --ifname eth1")
    return next((e for e in members if request.ifname == e.ifname), None)


def asks_for_what_is(known: Endpoint, request: Connect) -> bool:
    """Tell whether all addresses and gateways that were asked for are there; without a prefix length any length will do."""
    have = {address.ip for address in known.addresses}
    whole = [text for text in request.ip if "/" in text]
    bare = {spec.address(text) for text in request.ip if "/" not in text}
    exact = {spec.interface_address(text) for text in whole} <= set(known.addresses)
    return exact and bare <= have and {spec.address(text) for text in request.gateways} <= set(known.gateways)


def refuse_plugged(endpoints: Iterable[Endpoint], command: str) -> None:
    """Raise `UsageError` for an endpoint that Docker asked for: Docker would not know what became of it."""
    for endpoint in endpoints:
        if endpoint.plugged:
            where = f"{endpoint.container} is in network {endpoint.network!r}"
            raise UsageError(f"{where} by Docker's doing", f"let Docker change that: {command} ...")


def default_claim(text: str) -> str:
    """Return how an endpoint claims its container's default route. Raises `UsageError`."""
    if text not in DEFAULT_CLAIMS:
        raise UsageError(f"default route {text!r} is not one of {', '.join(DEFAULT_CLAIMS)}", "leave it out: auto")
    return text
