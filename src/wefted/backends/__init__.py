"""How the hosts of a network are joined. A new backend is one file here and one line in the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.interfaces import Backend

from .hostgw import HostGatewayBackend
from .none import NoneBackend
from .underlay import unreachable
from .vxlan import VxlanBackend

__all__ = ["BACKENDS", "unreachable"]

_ALL: tuple[Backend, ...] = (NoneBackend(), HostGatewayBackend(), VxlanBackend())

BACKENDS: Mapping[str, Backend] = {backend.name: backend for backend in _ALL}
