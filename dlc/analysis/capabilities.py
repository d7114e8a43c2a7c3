"""Which backend says which op natively, by decomposition, or not at all: the table of `dlc ops` and of the docs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dlc import backend as backends
from dlc import ops
from dlc.backend import Backend
from dlc.elaborate.project import library_definition, library_index
from dlc.ir.nodes import Op
from dlc.syntax import ast


def table() -> dict[str, dict[str, Any]]:
    """Per op: signature, documentation, kind ("primitive", "fn" or "layer"), family (the file that defines it; empty
    for an op from outside), cost, and how each backend says it."""
    rows: dict[str, dict[str, Any]] = {}
    families = ops.families()
    for op in ops.all_ops():
        family = families.get(op.name, "")
        rows[op.name] = _row(op.name, op.signature_text, op.doc, "primitive", family, op.flops)
    for name, (file, _, _) in library_index().items():
        found = library_definition(name)
        if found is None or name.startswith("_"):
            continue
        node = found.node
        kind = "layer" if isinstance(node, ast.ModuleDef) else "fn"
        family = file.removesuffix(".dl")
        rows[name] = _row(name, header(found.unit.text, node), node.doc, kind, family, "")
    return dict(sorted(rows.items()))


def header(text: str, node: ast.Item) -> str:
    """The header of a definition of the library, as written, on one line."""
    lines = text.split("\n")[node.span.line - 1 :]
    words = " ".join(" ".join(lines[:8]).split())
    return words.split(" {", 1)[0].split(" where ", 1)[0]


def _row(name: str, signature: str, doc: str, kind: str, family: str, flops: str) -> dict[str, Any]:
    how = {each: _how(each, name, kind) for each in backends.names()}
    return {
        "signature": signature, "doc": doc, "kind": kind, "family": family, "flops": flops, "backends": how,
    }  # fmt: skip


def _how(backend_name: str, name: str, kind: str) -> str:
    backend = backends.find(backend_name)
    reason = unsupported(backend).get(name)
    if reason is not None:
        return f"missing: {reason}"
    if backend.is_native(Op(name, (), (), path="part" if kind == "layer" else "")):
        return "native"
    return "missing" if kind == "primitive" else "decomposed"


def unsupported(backend: Backend) -> Mapping[str, str]:
    """Ops that a backend's module declares it can't do (`UNSUPPORTED`), with the reason."""
    module = sys.modules[type(backend).__module__]
    found: Mapping[str, str] = getattr(module, "UNSUPPORTED", {})
    return found
