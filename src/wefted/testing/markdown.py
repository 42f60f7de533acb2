"""The code blocks of a Markdown page, so that a test can run what the page tells its readers to type.

A comment on the line before a block says where it runs, as in `<!-- on: h1 -->`. A block of the language `output` that
follows another block is what that one prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_BLOCK = re.compile(
    r"^(?:<!-- (?P<where>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of code; `line` is that of its first line of text, `output` None where the page does not show what is printed."""

    language: str
    text: str
    line: int
    where: str = ""
    output: str | None = None


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in order, each `output` joined to the block that prints it."""
    found: list[Block] = []
    for block in _all(page):
        if block.language == "output" and found:
            found[-1] = replace(found[-1], output=block.text)
        else:
            found.append(block)
    return found


def _all(page: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(page):
        line = page.count("\n", 0, match.start("text")) + 1
        yield Block(language=match["language"], text=match["text"], line=line, where=match["where"] or "")
