"""Write uv.lock anew: names, versions and hashes, and no host that files come from.

Which index a machine uses is that machine's setting, not the project's. uv itself writes an index and a download address beside
each hash; this takes them away again. `uv lock --check` and `uv export --frozen` read the result as they read any lock; only
`uv sync` cannot, which is why `make env` installs with pip and the hashes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def without_hosts(lock: str) -> str:
    """Return the text of a lock with the index called `index`, and files by their names alone."""
    lock = re.sub(r'registry = "[^"]*"', 'registry = "index"', lock)
    lock = re.sub(r'url = "[^"]*/([^/"]+)"', r'url = "\1"', lock)
    return re.sub(r', upload-time = "[^"]*"', "", lock)


def main() -> None:
    """Resolve with uv (arguments go to `uv lock`, such as `--upgrade`), then rewrite the file."""
    path = ROOT / "uv.lock"
    before = path.read_text() if path.exists() else ""
    try:
        subprocess.run([Path(sys.executable).with_name("uv"), "lock", *sys.argv[1:]], cwd=ROOT, check=True)
        path.write_text(without_hosts(path.read_text()))
    except BaseException:
        path.write_text(before)
        raise


if __name__ == "__main__":
    main()
