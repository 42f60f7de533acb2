"""Code blocks are found with their place, their line and their output."""

from __future__ import annotations

from wefted.testing.markdown import Block, blocks

PAGE = """# A page

<!-- on: h1 -->
```bash
echo a
echo b
```

```output
a
b
```

```text
drawing
```
"""


def test_a_block_has_its_place_its_line_and_what_it_prints() -> None:
    assert blocks(PAGE) == [
        Block(language="bash", text="echo a\necho b\n", line=5, where="on: h1", output="a\nb\n"),
        Block(language="text", text="drawing\n", line=15),
    ]


def test_an_output_without_a_command_stands_alone() -> None:
    assert blocks("```output\nx\n```\n") == [Block(language="output", text="x\n", line=2)]


def test_a_page_without_blocks_has_none() -> None:
    assert blocks("only `code` in a line\n") == []
