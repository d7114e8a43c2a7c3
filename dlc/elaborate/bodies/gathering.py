"""Lists that a loop adds a tensor a turn to, and that are stacked behind it.

loads = []
for i in range(layers) as layers {
    x, load = x |> Layer(d)
    loads = loads + [load]        ->  %x, %loads: [layers, d] = loop(…) {…, stacked=[0]} do { … yield %x, %load }
}
stack(loads)

A list that something else reads, if only its length, has its elements one by one; the loop is taken apart then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlc.elaborate.base.trees import below
from dlc.elaborate.base.values import Tensor, Turns
from dlc.elaborate.state.body import Body
from dlc.syntax import ast


def gathered(body: Body, node: ast.For) -> frozenset[str]:
    """The names of lists of tensors that this loop adds to and that nothing reads but `stack`."""
    added = [name for pair in _pairs(node.body) if (name := _added(*pair)) is not None]
    scope = body.scope.names
    lists = {name for name in added if isinstance(scope.get(name), list) and _of_tensors(scope[name])}
    if not lists or not _is_own(body.context.statements, node) or not _is_the_librarys(body):
        return frozenset()
    allowed = {id(each) for each in _allowed(body.context.statements)}
    reads = [each for each in below(body.context.statements, ast.Name) if each.id in lists]
    return frozenset(lists - {each.id for each in reads if id(each) not in allowed})


def added_by(
    lists: Iterable[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, tuple[Tensor, ...]]:
    """What a turn has added to each list; nothing where that was in error."""
    pairs = {name: (before[name], after[name]) for name in sorted(lists)}
    return {
        name: tuple(now[len(was) :]) if isinstance(was, list) and isinstance(now, list) else ()
        for name, (was, now) in pairs.items()
    }


def _pairs(statements: Sequence[ast.Stmt]) -> Iterator[tuple[ast.Target, ast.Expr]]:
    """What is bound to what in statements, those in branches too, those in loops not."""
    for statement in statements:
        match statement:
            case ast.Assign(ast.TupleTarget(targets), ast.TupleExpr(values)) if len(targets) == len(values):
                yield from zip(targets, values, strict=True)
            case ast.Assign(target, value):
                yield target, value
            case ast.If(_, then, otherwise):
                yield from _pairs((*then, *otherwise))


def _added(target: ast.Target, value: ast.Expr) -> str | None:
    """The name of `loads` in `loads = loads + [load]`."""
    match target, value:
        case ast.NameTarget(id=name), ast.Binary("+", ast.Name(id=same), ast.ListExpr()) if name == same:
            return name
    return None


def _of_tensors(items: Iterable[Any]) -> bool:
    return all(isinstance(each, Tensor | Turns) for each in items)


def _is_own(statements: Sequence[ast.Stmt], node: ast.For) -> bool:
    """Whether the loop stands in no other, whose later turns would read the list, nor in an entry."""
    for each in statements:
        if each is node:
            return True
        if isinstance(each, ast.If) and (_is_own(each.then, node) or _is_own(each.otherwise, node)):
            return True
    return False


def _is_the_librarys(body: Body) -> bool:
    """Whether `stack` means the library's, from here to the end."""
    context = body.context
    return "stack" not in {*body.scope.names, *body.scope.dims, *context.unit.names, *context.assigning}


def _allowed(statements: Sequence[ast.Stmt]) -> Iterator[ast.Name]:
    """Where a name may be read: in what adds to its list, and in calls of `stack`."""
    for each in below(statements, ast.Assign):
        for pair in _pairs((each,)):
            if _added(*pair) is not None:
                assert isinstance(pair[1], ast.Binary) and isinstance(pair[1].left, ast.Name)
                yield pair[1].left
    for call in below(statements, ast.Call):
        match call:
            case ast.Call(ast.Name("stack"), (ast.Arg(ast.Name() as name, None), *_)):
                yield name
