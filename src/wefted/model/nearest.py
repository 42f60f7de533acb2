"""The close match in an error message: what somebody who typed an unknown word may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that looks most like `word`, or "" where none does."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1)), "")


def guess(word: str, known: Iterable[str], before: str = ", ") -> str:
    """Return ", did you mean 'x'?", to stand behind a message, or ""; `before` joins it to the message."""
    found = nearest(word, known)
    return f"{before}did you mean {found!r}?" if found else ""
