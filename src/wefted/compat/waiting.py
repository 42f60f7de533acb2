"""`pipework --wait`: runs inside a container, where there is no agent, no engine and perhaps no `ip`.

The original asks once a second, and ends as soon as the interface is there (where the container has `ip`) or has carrier. So
does this: carrier ends it at once, and mere existence when there is no carrier for the second in which it looks again.
"""

from __future__ import annotations

import time

from . import hostlink

EVERY = 0.02
"""Seconds between two looks: what an attach takes."""
GRACE = 1.0
"""Seconds that an interface which is there may still take to come up."""


def wait(ifname: str, timeout: float = 0.0, root: str = hostlink.SYSFS) -> bool:
    """Return True when the interface is there, False after `timeout` seconds (0: never)."""
    start = time.monotonic()
    seen = 0.0
    while not hostlink.is_ready(ifname, root):
        now = time.monotonic()
        seen = (seen or now) if hostlink.exists(ifname, root) else 0.0
        if seen and now - seen >= GRACE:
            return True
        if timeout and now - start >= timeout:
            return False
        time.sleep(EVERY)
    return True
