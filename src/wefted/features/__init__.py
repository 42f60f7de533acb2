"""Rules for every network, as elements of one constant nft table. A new feature is one file and one line below. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wefted.interfaces import Feature

from .blackhole import Blackhole
from .expose import Expose
from .isolation import Isolation
from .masquerade import Masquerade
from .publish import Publish
from .resolve import Resolve
from .shape import Shape
from .shortcut import Shortcut

FEATURES: Sequence[Feature] = (Isolation(), Masquerade(), Expose(), Publish(), Resolve(), Shape(), Shortcut(), Blackhole())
