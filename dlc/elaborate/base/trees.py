"""What a tree says by itself: which names it binds and reads, which labels it holds."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from typing import Any, TypeVar

from dlc.diagnostics import Span
from dlc.syntax import ast


def snake_case(name: str) -> str:
    """`SwiGLU` -> `swi_glu`, `MLP` -> `mlp`, `GATv2` -> `gatv2`."""
    spaced = re.sub(r"([A-Z]+)([A-Z](?!v[0-9])[a-z])", r"\1_\2", name)
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced)
    return spaced.lower()


def assigned(statement: ast.Stmt) -> set[str]:
    """The names that a statement may bind."""
    names: set[str] = set()
    stack: list[Any] = [statement]
    while stack:
        match stack.pop():
            case ast.Assign(target, _) | ast.Yield(target, _):
                names |= target_names(target)
            case ast.ParamStmt(name=name):
                names.add(name)
            case ast.For(target, _, _, body):
                names |= target_names(target)
                stack += body
            case ast.If(_, then, otherwise):
                stack += [*then, *otherwise]
            case ast.Scan(carried=carried, body=body):
                stack += [*carried, *body]
    return names


def target_names(target: ast.Target) -> set[str]:
    match target:
        case ast.NameTarget(id):
            return {id} - {"_"}
        case ast.TupleTarget(items):
            return set().union(*map(target_names, items))
    return set()


def declared(body: Iterable[ast.Stmt]) -> set[str]:
    """The names of the parameters and buffers that a body declares, in whatever branch."""
    found: set[str] = set()
    stack: list[Any] = list(body)
    while stack:
        match stack.pop():
            case ast.ParamStmt(name=name):
                found.add(name)
            case ast.If(_, then, otherwise):
                stack += [*then, *otherwise]
            case ast.For(body=inner) | ast.Scan(body=inner):
                stack += inner
    return found


def mentions(label: ast.Label, names: frozenset[str]) -> bool:
    """Whether a label interpolates one of the names."""
    return any(not isinstance(part, str) and mentioned(part, names) for part in label.parts)


def mentioned(node: Any, names: frozenset[str]) -> bool:
    """Whether a tree contains one of the names as a Name."""
    stack: list[Any] = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Name):
            if each.id in names:
                return True
        else:
            stack += ast.children(each, "name_span")
    return False


def label_lines(body: Iterable[ast.Stmt]) -> dict[str, int]:
    """The lines in which labels of one word stand, by the word."""
    found: dict[str, int] = {}
    stack: list[Any] = [*body]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Label) and len(each.parts) == 1:
            found.setdefault(str(each.parts[0]), each.span.line)
        stack += ast.children(each)
    return found


Kind = TypeVar("Kind", bound=ast.Node)


def labels(body: Sequence[ast.Stmt]) -> list[ast.Label]:
    found: list[ast.Label] = []
    stack: list[Any] = list(body)
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Label):
            found.append(each)
        else:
            stack += ast.children(each)
    return found


_COMPUTING = (
    ast.Name,
    ast.Int,
    ast.Float,
    ast.Bool,
    ast.NoneLit,
    ast.Str,
    ast.Unary,
    ast.Binary,
    ast.Compare,
    ast.Index,
)


def readings(body: Iterable[ast.Stmt], names: frozenset[str], known: Container[str]) -> list[ast.Expr]:
    """What statements find out of some names, labels aside: the largest expressions that compute with them and with `known` static
    values only. `i < dense` for `Block(d) if i < dense else Other(d)`."""
    found: list[ast.Expr] = []
    stack: list[Any] = list(body)
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Label):
            continue
        if isinstance(each, ast.Expr) and _computes(each, names, known):
            found += [each] if mentioned(each, names) else []
        else:
            stack += ast.children(each, "name_span")
    return found


def _computes(node: Any, names: frozenset[str], known: Container[str]) -> bool:
    """Whether an expression computes with these names alone."""
    if isinstance(node, ast.Name):
        return node.id in names or node.id in known
    if isinstance(node, ast.Node) and not isinstance(node, _COMPUTING):
        return False
    return all(_computes(each, names, known) for each in ast.children(node, "name_span"))


def bound(body: Iterable[ast.Stmt]) -> frozenset[str]:
    """All names that are bound anywhere in statements, in comprehensions too."""
    found = declared(body)
    stack: list[Any] = [*body]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.NameTarget):
            found.add(each.id)
        stack += ast.children(each)
    return frozenset(found)


def loop_names(target: ast.Target) -> frozenset[str]:
    match target:
        case ast.NameTarget(id):
            return frozenset({id})
        case ast.TupleTarget(items):
            return frozenset().union(*map(loop_names, items))
    return frozenset()


def contains(tree: ast.Node, node: ast.Node) -> bool:
    return any(each is node for each in below(tree, ast.For))


def below(tree: Any, kind: type[Kind], but: ast.Node | None = None) -> list[Kind]:
    """The nodes of a kind in a tree, leaving out what is below one node."""
    found: list[Kind] = []
    stack: list[Any] = [tree]
    while stack:
        each = stack.pop()
        if each is but and but is not None:
            continue
        if isinstance(each, kind):
            found.append(each)
        stack += ast.children(each, "target")
    return found


def name_place(node: ast.NameTarget | ast.ParamStmt | ast.Field | ast.Name) -> Span:
    """Where the name of a binding stands."""
    match node:
        case ast.NameTarget(id=name) | ast.Name(id=name):
            return node.span.inside(0, len(name))
        case ast.ParamStmt(kind=kind, name=name):
            return node.span.inside(len(kind) + 1, len(kind) + 1 + len(name))
    return node.span.inside(0, len(str(node.name)))


def field_places(fields: Iterable[ast.Field]) -> dict[str, Span]:
    """Where the parameters of a header stand, by name."""
    return {item.name: name_place(item) for item in fields if item.name is not None}


def static_fields(node: ast.ModuleDef | ast.FnDef | ast.GroupDef) -> tuple[ast.Field, ...]:
    """The parameters of a header that may be static: all of an fn's."""
    match node:
        case ast.ModuleDef(static=fields) | ast.FnDef(params=fields):
            return fields
    return ()
