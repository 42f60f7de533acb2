"""Putting the small program, a CNI configuration and a hook where container engines look, and taking them away again.

A file that somebody else has put there is neither replaced nor removed: each of ours can be told by what is in it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wefted.errors import InUse, UsageError
from wefted.model import spec
from wefted.model.wishes import NETWORK

from .native import MARK, program

TYPE = "wefted"
"""The name of the plugin: the `type` in a configuration."""
CAPABILITIES = ("aliases", "bandwidth", "ips", "mac", "portMappings")
ALIASES = ("wefted-oci-hook", "wefted-runc")
"""Other names of the program, beside it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of ours: what is in it (or what it is a link to), and how one that is there is known to be ours."""

    path: Path
    content: Callable[[], bytes]
    ours: Callable[[bytes], bool]
    mode: int = 0o644
    target: str = ""


def files(settings: Mapping[str, str], directory: Path, conf: Path, network: str, hook: Path | None) -> Sequence[File]:
    """Return the files; `settings` has the agent's socket and the command that works without it. Raises `UsageError`."""
    name = spec.network_name(network)
    told = f"{settings['socket']}\n{settings['command']}\n".encode()
    found = [
        File(directory / TYPE, lambda: program().read_bytes(), lambda content: MARK in content, 0o755),
        File(directory / f"{TYPE}.command", lambda: told, lambda content: content.count(b"\n") == 2 and b"wefted" in content),
        File(conf, lambda: _json(_configuration(name)), _is_our_configuration),
    ]
    if hook is not None:
        links = [File(directory / alias, lambda: b"", lambda content: MARK in content, target=TYPE) for alias in ALIASES]
        found += [*links, File(hook, lambda: _json(_hook(directory / ALIASES[0])), _is_our_hook)]
    return found


def install(wanted: Sequence[File]) -> list[Path]:
    """Write all of the files, or none of them. Raises `InUse` for one that is not ours, `Unsupported` without the program."""
    contents = [file.content() for file in wanted]
    for file in wanted:
        if not _free(file):
            raise InUse(f"{file.path} is there already, and is not ours", "choose another place, or move it away")
    try:
        for file, content in zip(wanted, contents, strict=True):
            _write(file, content)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}", "choose another place: --dir, --conf") from None
    return [file.path for file in wanted]


def uninstall(wanted: Sequence[File]) -> list[Path]:
    """Remove those of the files that are there and ours, links first; return them."""
    doomed = [file.path for file in reversed(wanted) if os.path.lexists(file.path) and _free(file)]
    for path in doomed:
        path.unlink()
    return doomed


def _free(file: File) -> bool:
    """Tell whether nothing of anybody else's is at the place of a file."""
    if not os.path.lexists(file.path):
        return True
    if file.target:
        return file.path.is_symlink() and os.readlink(file.path) == file.target
    try:
        return file.ours(file.path.read_bytes())
    except OSError:
        return False


def _write(file: File, content: bytes) -> None:
    """Put a file in its place at once: an engine may start the plugin at any moment."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.path.parent, prefix=".wefted-") as folder:
        fresh = Path(folder, "fresh")
        if file.target:
            fresh.symlink_to(file.target)
        else:
            fresh.write_bytes(content)
            fresh.chmod(file.mode)
        fresh.replace(file.path)


def _configuration(network: str) -> dict[str, Any]:
    plugin = {"type": TYPE, "capabilities": dict.fromkeys(CAPABILITIES, True)}
    return {"cniVersion": "1.0.0", "name": network, "plugins": [plugin]}


def _hook(path: Path) -> dict[str, Any]:
    """Return a hook for containers with our annotation (oci-hooks(5))."""
    annotations = {f"^{NETWORK.replace('.', chr(92) + '.')}$": ".+"}
    return {"version": "1.0.0", "hook": {"path": str(path)}, "when": {"annotations": annotations}, "stages": ["createRuntime"]}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _is_our_configuration(content: bytes) -> bool:
    return any(plugin.get("type") == TYPE for plugin in _object(content).get("plugins", ()) if isinstance(plugin, dict))


def _is_our_hook(content: bytes) -> bool:
    hook = _object(content).get("hook", {})
    return isinstance(hook, dict) and str(hook.get("path", "")).endswith(f"/{ALIASES[0]}")


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
