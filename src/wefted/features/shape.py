"""Limits on how much a container sends and gets: a token bucket on its own end, and one on the host's end. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.network import Endpoint, Segment
from wefted.model.objects import HOST, KernelObject
from wefted.model.shaping import Shaper

SMALLEST_BURST = 65536
"""Bytes: the largest packet that a link hands over at once (GSO)."""
WITH_HOST_END = ("bridge", "ptp")
"""Drivers whose endpoints have a link of their own on the host; what comes in by the others passes nothing of ours."""


class Shape:
    """Shapes what leaves either end of an attached endpoint's link."""

    name = "shape"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield one object for each direction that is limited."""
        for endpoint in endpoints:
            if not endpoint.attached:
                continue
            limits = endpoint.bandwidth
            if limits.ingress_rate and segment.network.driver in WITH_HOST_END:
                yield _shaper(HOST, endpoint.link, limits.ingress_rate, limits.ingress_burst)
            if limits.egress_rate:
                yield _shaper(endpoint.ns, endpoint.ifname, limits.egress_rate, limits.egress_burst)


def _shaper(ns: str, link: str, rate: int, burst: int) -> Shaper:
    return Shaper(ns=type(HOST)(ns), link=link, rate=max(1, rate // 8), burst=max(burst // 8, SMALLEST_BURST))
