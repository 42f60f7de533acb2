"""The result of an ADD (specification 1.1.0, section 5, and as the versions before it had it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from .fields import Fields
from .request import Request

Device = tuple[str, int]
"""The MAC and the MTU of a link of this host; "" and 0 where it cannot be asked."""


def result(request: Request, row: Mapping[str, Any], device: Callable[[str], Device]) -> dict[str, Any]:
    """Return the result for an endpoint (a row of `endpoint.inspect`), behind the one of the plugins before us in the chain."""
    interfaces = [] if not row["link"] else [_interface(row["link"], *device(row["link"]))]
    interfaces.append(_interface(row["ifname"], row["mac"], row["mtu"]) | {"sandbox": request.netns})
    ips = [_ip(text, row, len(interfaces) - 1) for text in row["addresses"]]
    made = {
        "cniVersion": request.version,
        "interfaces": [_for_version(interface, request.version) for interface in interfaces],
        "ips": [_with_version(ip) if request.version < "1.0.0" else ip for ip in ips],
        "routes": _routes(row),
        "dns": _dns(request.config, row),
    }
    return _behind(request.config.object("prevResult").values, made)


def _interface(name: str, mac: str, mtu: int) -> dict[str, Any]:
    return {"name": name, **({"mac": mac} if mac else {}), **({"mtu": mtu} if mtu else {})}


def _for_version(interface: dict[str, Any], version: str) -> dict[str, Any]:
    return {key: value for key, value in interface.items() if key != "mtu" or version >= "1.1.0"}


def _ip(text: str, row: Mapping[str, Any], interface: int) -> dict[str, Any]:
    gateway = _gateway(row, ip_interface(text).version)
    return {"address": text, **({"gateway": gateway} if gateway else {}), "interface": interface}


def _with_version(ip: dict[str, Any]) -> dict[str, Any]:
    return {"version": str(ip_interface(ip["address"]).version), **ip}


def _gateway(row: Mapping[str, Any], version: int) -> str:
    return next((g for g in row["gateways"] if ip_address(g).version == version), "")


def _routes(row: Mapping[str, Any]) -> list[dict[str, str]]:
    whole = {4: "0.0.0.0/0", 6: "::/0"}
    default = [{"dst": whole[ip_address(g).version], "gw": g} for g in row["gateways"]] if row["default_route"] else []
    return default + [{"dst": r["destination"], **({"gw": r["via"]} if r["via"] else {})} for r in row["routes"]]


def _dns(config: Fields, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the container asks for names: as the runtime says, else as the configuration says, else at our gateways."""
    told = config.object("runtimeConfig").object("dns")
    if told.values:
        found = {"nameservers": told.texts("servers"), "search": told.texts("searches"), "options": told.texts("options")}
        return {key: list(value) for key, value in found.items() if value}
    if config.object("dns").values:
        return dict(config.object("dns").values)
    if not row["nameservers"]:
        return {}
    domain = row["domain"]
    return {"nameservers": list(row["nameservers"]), "search": [domain, domain.partition(".")[2]]}


def _behind(before: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return both results as one: what the plugins before us made stays, and our interfaces are counted on from theirs."""
    first = before.get("interfaces") or []
    ips = [ip | {"interface": ip["interface"] + len(first)} for ip in made["ips"]]
    return {
        "cniVersion": made["cniVersion"],
        "interfaces": [*first, *made["interfaces"]],
        "ips": [*(before.get("ips") or []), *ips],
        "routes": [*(before.get("routes") or []), *made["routes"]],
        "dns": before.get("dns") or made["dns"],
    }
