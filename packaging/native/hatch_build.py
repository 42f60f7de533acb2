"""Build hook of hatchling: a package has the compiled program in it, so it is one for this machine's kind of processor."""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, os.path.dirname(__file__))

from build import build, build_ebpf


class NativeBuildHook(BuildHookInterface[Any]):
    """Compiles before files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a package is not made without the program, a working copy is."""
        if self.target_name != "wheel":
            return
        program = build(force=version != "editable")
        if build_ebpf(force=version != "editable") is None:
            self.app.display_warning("no clang: a package without eBPF programs, whose UDP tunnels a process carries")
        if version == "editable":
            return
        if program is None:
            raise SystemExit("no C compiler: apt-get install gcc libc6-dev")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
