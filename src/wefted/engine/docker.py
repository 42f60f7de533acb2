"""What a Docker plugin needs of the engine, in one place."""

from __future__ import annotations

from .docker_endpoints import DockerEndpoints
from .docker_networks import DockerNetworks
from .docker_pools import DockerPools
from .docker_records import DockerRecords
from .engine import LocalEngine


class DockerDesk:
    """The records of one host's Docker, and the use cases on them."""

    def __init__(self, engine: LocalEngine) -> None:
        self.host = engine.host
        self.records = DockerRecords(engine.host)
        self.networks = DockerNetworks(engine.host, self.records, engine.networks)
        self.pools = DockerPools(engine.host, self.records, self.networks)
        self.endpoints = DockerEndpoints(engine.host, self.records, self.networks, engine.endpoints, engine.publishing)
