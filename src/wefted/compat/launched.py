"""What a launcher leaves out for speed (`-I -S`), for the ways that need more than the standard library."""

from __future__ import annotations

import sys


def bring_in_site_packages() -> None:
    """Run what the interpreter was told to skip: an engine in this process needs installed libraries."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
