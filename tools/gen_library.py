"""Writes docs/library.md: every layer, function and op with its signature, documentation, and how each backend says it.

    python tools/gen_library.py            writes the page
    python tools/gen_library.py --check    exits with 1 if the page is not what would be written

The page is what `dlc ops --format json` knows, and the names that only specs have (`rearrange`, `stack`, …).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dlc.analysis.capabilities import CALLED, lacking, table
from dlc.elaborate.builtins import BUILTINS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "library.md"
BACKENDS = ("torch", "jax", "onnx", "tvm")
SHOWN = {"native": "native", "decomposed": "by body", "missing": "—"}
INTRODUCTION = """\
# Layers, functions and ops

This page is written by `tools/gen_library.py` from the definitions themselves; `dlc ops NAME` shows one of them.

- *native*: the backend has a name or a function of its own for it;
- *in part*: natively, but not in every dtype (`dlc ops NAME` says which it lacks and why);
- *by body*: the backend follows the definition in `dlc/std/`, which gives the same;
- —: the backend can't do it. A spec that needs it is refused with E0802. Random ops are needed for training and for initial
  values only; dlc computes initial values itself.

In signatures, `*S` stands for any axes; results whose axes follow from the arguments are written `*R`. An axis may be
negative. In the library, `sizes` is an int or a list of ints, `any` any static value, and `any[…]` a tensor of any dtype.
"""
FAMILIES = {
    "layer": "Layers",
    "fn": "Functions",
    "primitive": "Primitive ops",
}
ABOUT = {
    "layer": "Modules with parameters, or with a behaviour of their own in training. Used as recipes: `x |> linear(10) as fc`.",
    "fn": "Written in the language, from primitive ops.",
    "primitive": "What everything else is made of, and what a new backend has to say. These are the forms in the IR; how specs "
    "call them stands in [the next section](#calls-of-ops).",
}
CALLS = """\
## Calls of ops

What a spec writes for ops that are not called by their signature above: axes are counted, lists become attributes, and some
names are written with several ops. `+ - * / // % ** @`, comparisons, `and or not` and indices have operators.
"""
# Names for static values, for tests, and what is refused as not compiled yet (docs/language.md lists it).
ELSEWHERE = frozenset(
    [
        "range",
        "enumerate",
        "zip",
        "reversed",
        "len",
        "npz",
        "int",
        "float",
        "parameters",
        "buffers",
        "active",
        "flops",
        "close",
        "mixture",
        "rnn",
        "lstm",
        "gru",
        "rnn_cell",
        "gru_cell",
        "lstm_cell",
        "associative_scan",
        "selective_scan",
        "frozen",
        "eval",
        "ema",
    ]
)


def page() -> str:
    """The whole page."""
    rows = table()
    without = (f"{name} has no op in {dtypes}." for name, dtypes in lacking().items())
    parts = [INTRODUCTION, *(f"{each}\n" for each in without)]
    for kind, title in FAMILIES.items():
        chosen = {name: row for name, row in rows.items() if row["kind"] == kind and row["family"]}
        parts += [f"## {title}\n", ABOUT[kind] + "\n"]
        for family in dict.fromkeys(row["family"] for row in chosen.values()):
            members = (row for row in chosen.values() if row["family"] == family)
            parts += [f"### {title}: {family}\n", "\n".join(_table(members)) + "\n"]
    parts += [CALLS, "\n".join(_calls(rows)) + "\n"]
    return "\n".join(parts)


def _table(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f"| | {' | '.join(BACKENDS)} |"
    yield "| --- |" + " --- |" * len(BACKENDS)
    for row in rows:
        how = (_shown(row["backends"][backend]) for backend in BACKENDS)
        signature = row["signature"].removeprefix("module ").removeprefix("fn ").replace("|", "\\|")
        yield f"| `{signature}`<br>{_line(row['doc'])} | {' | '.join(how)} |"


def _shown(how: str) -> str:
    """What a backend does with an op, in a word or two."""
    state, _, gap = how.partition(":")
    return "in part" if state == "native" and gap else SHOWN[state]


def _line(text: str) -> str:
    """Documentation on one line of a table, its brackets no links."""
    return (
        " ".join(text.split())
        .replace("|", "\\|")
        .replace("*", "\\*")
        .replace("[", "\\[")
        .replace("<", "&lt;")
    )


def _calls(rows: dict[str, Any]) -> Iterator[str]:
    yield "| call | |"
    yield "| --- | --- |"
    for name, builtin in sorted(BUILTINS.items()):
        if name.startswith("_") or name in ELSEWHERE or rows.get(name, {}).get("kind") in ("fn", "layer"):
            continue
        about = CALLED.get(name) or rows[name]["doc"]
        yield f"| `{builtin.signature or name}` | {_line(about)} |"


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        return int(text != current)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
