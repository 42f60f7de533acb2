"""Compile what is not Python, where its source is newer: small programs with gcc or clang, the eBPF programs with clang.

No libraries are needed, and for eBPF only the kernel's headers. Linked statically a program starts a millisecond sooner and
runs wherever an engine starts it. `make env` runs this file; the build of a package calls the two through its hook
(hatch_build.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "wefted" / "plugins" / "native"
PROGRAMS = ("wefted-cni", "wefted-classic")
EBPF = ROOT / "src" / "wefted" / "kernel" / "bpf"
EBPF_FLAGS = ("-O2", "-target", "bpf", "-mcpu=v2", "-Wall", "-Wextra", "-Werror")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong", "-s")


def compiler() -> str | None:
    """Return the path of a compiler: $CC, gcc or clang."""
    names = (os.environ.get("CC", ""), "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def build(*, force: bool = False) -> list[Path] | None:
    """Return the programs, or None where there is no compiler. Raises `CalledProcessError` with what the compiler said."""
    found = compiler()
    made = [_program(FOLDER / name, found, force) for name in PROGRAMS]
    return made if all(path.exists() for path in made) else None


def _program(program: Path, found: str | None, force: bool) -> Path:
    sources = [program.with_suffix(".c"), FOLDER / "agent.h"]
    fresh_enough = program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources)
    if found is None or (fresh_enough and not force):
        return program
    fresh = program.with_suffix(f".{os.getpid()}")
    static = [found, *FLAGS, "-static", "-o", str(fresh), str(sources[0])]
    if subprocess.run(static, capture_output=True).returncode:  # there may be no static C library
        subprocess.run([found, *FLAGS, "-o", str(fresh), str(sources[0])], check=True)
    return fresh.replace(program)


def build_ebpf(*, force: bool = False) -> Path | None:
    """Return the object with the eBPF programs, or None where there is no clang. Raises `CalledProcessError`."""
    source, target = EBPF / "udp.bpf.c", EBPF / "udp.bpf.o"
    if not force and target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    clang = shutil.which("clang")
    if clang is None:
        return target if target.exists() else None
    fresh = target.with_suffix(f".{os.getpid()}")
    headers = [f"-I{path}" for path in Path("/usr/include").glob(f"{os.uname().machine}-linux-*")]
    subprocess.run([clang, *EBPF_FLAGS, *headers, "-c", str(source), "-o", str(fresh)], check=True)
    fresh.replace(target)
    return target


def main() -> int:
    """Compile both; say which one there is no compiler for."""
    missing = []
    if not build():
        missing.append("no C compiler here, so no CNI plugin, and classic commands are Python")
    if not build_ebpf():
        missing.append("no clang here, so UDP tunnels are carried by a process")
    for reason in missing:
        print(f"env: {reason}; make engines installs one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
