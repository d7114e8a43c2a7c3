"""The code blocks of README.md and docs/, and a folder to run those of a page in.

A block's language is the first word of its info string; further words say how it is tested:

    dl                      checks without a diagnostic
    dl file=NAME            the same, and later blocks of the page find it as that file
    dl wrong CODE           gives that diagnostic
    dl fragment             statements; they are checked in the body of FRAGMENT
    python                  runs after the page's Python blocks before it, in one namespace
    python file=NAME        is that file; `tests/backends/test_without_dlc.py` runs those of deploying.md
    sh                      runs if every command is one of `dlc`; `sh exit=1` must end with that status
    text output             what the `sh` block before it printed: a line `…` stands for any lines, `…` in a line
                            for any text
    … slow                  takes more than a few seconds, as all commands of README.md do
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

# What statements of a fragment may speak of.
FRAGMENT = """
module MLP(d: int)(x: [B, T, d]) -> [B, T, d] {{
    return x |> linear(4 * d) as up |> gelu |> linear(d) as down
}}

model Fragment(d: int = 64, heads: int = 4, layers: int = 3, vocab: int = 100)    # allow W0110
              (x: [B, T, d], tokens: i64[B, T], image: [B, 3, 32, 32], mask: bool[B, T] = none) -> _
    where d % heads == 0
{{
{body}
{end}}}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its fence, its language and the words behind it, its text, and for a
    shell block what it prints, where the page says so."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str
    output: str | None = None

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def slow(self) -> bool:
        return "slow" in self.words or (self.page == PAGES[0] and self.language == "sh")

    def option(self, name: str, default: str = "") -> str:
        found = (word.partition("=")[2] for word in self.words if word.startswith(f"{name}="))
        return next(found, default)


@cache
def blocks() -> tuple[Block, ...]:
    """Every block, page by page."""
    return tuple(block for page in PAGES for block in _blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    found = list(_fenced(page))
    for block, after in zip(found, [*found[1:], None], strict=False):
        is_output = after is not None and after.language == "text" and "output" in after.words
        output = after.text if after is not None and is_output else None
        yield Block(block.page, block.line, block.language, block.words, block.text, output)


def _fenced(page: Path) -> Iterator[Block]:
    info, start, lines = None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(.*)", line)
        if fence is None:
            lines.append(line)
        elif info is None:
            info, start, lines = fence.group(1).split(), number, []
        else:
            language, *words = info or ["text"]
            yield Block(page, start, language, tuple(words), "\n".join(lines) + "\n")
            info = None
    assert info is None, f"{page}:{start}: a block that is never closed"


def folder(base: Path, page: Path) -> Path:
    """The folder that the blocks of a page run in: with the specs and examples, and what README.md speaks of."""
    place = base / "_".join(page.relative_to(ROOT).with_suffix("").parts)
    if place.exists():
        return place
    place.mkdir(parents=True)
    for name in ("specs", "examples"):
        (place / name).symlink_to(ROOT / name)
    if page.name == "README.md":
        shutil.copy(ROOT / "specs/language/gpt2.dl", place)
        letters = "".join(map(chr, range(32, 32 + 65)))
        (place / "input.txt").write_text(letters * 400, encoding="utf-8")
    return place


def wrapped(fragment: str) -> str:
    """Statements as the body of a model."""
    body = "".join(f"    {line}\n" for line in fragment.splitlines())
    returns = re.search(r"^return ", fragment, re.MULTILINE)
    return FRAGMENT.format(body=body.rstrip("\n"), end="" if returns else "    return x\n")
