"""The bridges of Open vSwitch, as its own command lists them: the kernel does not tell them from other links."""

from __future__ import annotations

import subprocess

TIMEOUT = 10.0
"""Seconds: `ovs-vsctl` waits for ever for a database that is not there."""


def bridges() -> frozenset[str]:
    """Return their names; none where Open vSwitch does not answer."""
    command = ["ovs-vsctl", f"--timeout={TIMEOUT:g}", "--", "list-br"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError:
        return frozenset()
    return frozenset(done.stdout.split()) if done.returncode == 0 else frozenset()
