"""Container engines: from a container's name to its network namespace, and their coming and going."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wefted.interfaces import Runtime

from .containerd import ContainerdRuntime
from .docker import DockerRuntime
from .lxc import LxcRuntime
from .netns import NetnsRuntime
from .nspawn import NspawnRuntime
from .path import PathRuntime
from .pid import PidRuntime
from .podman import PodmanRuntime
from .told import ToldRuntime

RUNTIMES: Mapping[str, Callable[[], Runtime]] = {
    NetnsRuntime.kind: NetnsRuntime,
    PidRuntime.kind: PidRuntime,
    PathRuntime.kind: PathRuntime,
    "docker": DockerRuntime,
    "podman": PodmanRuntime,
    "containerd": ContainerdRuntime,
    "lxc": LxcRuntime,
    "nspawn": NspawnRuntime,
    "cni": lambda: ToldRuntime("cni"),
    "oci": lambda: ToldRuntime("oci"),
}
"""A new kind of container engine: one file in this room and one line here."""

__all__ = ["RUNTIMES"]
