"""What /proc tells of processes: who runs under a name, who is whose parent, who is the first of a pid namespace (proc(5))."""

from __future__ import annotations

from pathlib import Path


def processes(proc: Path, comm: str) -> list[int]:
    """Return the processes whose program has this name (its first 15 characters)."""
    return [int(path.parent.name) for path in proc.glob("[0-9]*/comm") if _read(path).rstrip("\n") == comm[:15]]


def firsts(proc: Path) -> list[int]:
    """Return the first process of every pid namespace below ours."""
    return [pid for pid in sorted(int(path.parent.name) for path in proc.glob("[0-9]*/comm")) if is_first(proc, pid)]


def is_first(proc: Path, pid: int) -> bool:
    """Tell whether a process is number 1 of a pid namespace below ours."""
    numbers = status(proc, pid, "NSpid").split()
    return len(numbers) > 1 and numbers[-1] == "1"


def parent(proc: Path, pid: int) -> int:
    """Return the parent of a process, 0 when either is gone or out of sight."""
    found = status(proc, pid, "PPid")
    return int(found) if found.isdecimal() else 0


def title(proc: Path, pid: int) -> str:
    """Return the command line of a process, or what it has written in its place (setproctitle)."""
    return _read(proc / str(pid) / "cmdline").rstrip("\0").replace("\0", " ")


def status(proc: Path, pid: int, field: str) -> str:
    """Return a field of the status of a process; empty when it is gone."""
    lines = _read(proc / str(pid) / "status").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:")), "")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
