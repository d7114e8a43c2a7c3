"""Paths, keys and calls of a draft as JAX's source has them: parts of `params`, keys split from `key`, loops over
stacked parameters.

    Path("h.{i}.attn")  ->  layer["attn"]  in a loop over  params["h"]["0:12"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from dlc.emit.checks import Check
from dlc.emit.forms import call
from dlc.emit.statements import Assign, Draft, Loop, Stmt, Target, expressions, rewritten
from dlc.emit.tree import (
    At,
    Call,
    Expr,
    Keyword,
    Make,
    Pairs,
    Path,
    Ref,
    Seq,
    Text,
    Word,
    text,
    transform,
    walk,
    without,
)
from dlc.ir.index import has_index, without_index
from dlc.ir.paths import Paths
from dlc_jax.drafter import Key
from dlc_jax.stacking import Stack

Parts = tuple[tuple[str, Expr], ...]
"""Paths with what holds the parameters below them, the longest first."""


@dataclass
class Settling:
    """Settles the draft of `function`. `called` are the functions that it calls; `stacks` takes the layers that
    its loops run over."""

    function: str
    paths: Paths
    called: frozenset[str]
    stacks: list[Stack]
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, draft: Draft) -> Draft:
        body, results = self._body(draft.body, draft.results, (("", Word("params")),))
        return replace(draft, body=body, results=results, roles={**draft.roles, **self.roles})

    def _body(
        self, body: Sequence[Stmt], results: Iterable[Expr], parts: Parts
    ) -> tuple[tuple[Stmt, ...], tuple[Expr, ...]]:
        """The statements of a function, or of one turn of a loop."""
        keys, split = self._keys([index for stmt in body for index in _draws(stmt)])

        def change(expr: Expr) -> Expr:
            return _said(transform(expr, lambda node: _leaf(node, parts, keys)))

        done: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, Loop):
                done.append(self._loop(stmt, parts, keys, change))
            else:
                done += rewritten((stmt,), change)
        lead = next((i for i, stmt in enumerate(done) if not isinstance(stmt, Check)), len(done))
        return (*done[:lead], *split, *done[lead:]), tuple(map(change, results))

    def _keys(self, wanted: Sequence[int]) -> tuple[dict[int, Expr], list[Stmt]]:
        """`key` itself for a single draw, else one of several keys that it is split into."""
        if len(wanted) < 2:
            return {index: Word("key") for index in wanted}, []
        keys = Target(f"keys {wanted[0]}", "", ())
        self.roles[keys.name] = ("keys",)
        split = Assign((keys,), call("jax.random.split", Word("key"), Word(str(len(wanted)))))
        return {index: At(Ref(keys.name), (Word(str(i)),)) for i, index in enumerate(wanted)}, [split]

    def _loop(self, loop: Loop, parts: Parts, keys: dict[int, Expr], change: Callable[[Expr], Expr]) -> Loop:
        """The loop over what `lax.scan` gives its turns one by one: parameters of a layer, a key."""
        name = next(each for each in ("layer", "part", "weights") if each not in self.called)
        stems = list(_stems(loop.body))
        below = [(stem, At(Word(name), (Text(without_index(stem)),))) for stem in stems]
        inner = below if len(stems) > 1 else [(stem, Word(name)) for stem in stems]
        turns = turns_of(loop)
        found = [Stack.of(self.paths, self.function, stem, turns) for stem in stems]
        self.stacks += found
        layers = [
            (without_index(stem), _read(each.path, parts)) for stem, each in zip(stems, found, strict=True)
        ]
        over = [layers[0][1] if len(layers) == 1 else _dict(layers)] if layers else []
        drawn = _inner_draws(loop)
        over += (call("jax.random.split", keys[index], Word(str(len(turns)))) for index in drawn)
        body, results = self._body(loop.body, loop.results, (*inner, *parts))
        variable = ", ".join([name] * bool(layers) + ["key"] * bool(drawn)) or "_"
        inputs = tuple(map(change, loop.inputs))
        source = Seq(tuple(over))
        return replace(loop, inputs=inputs, body=body, results=results, variable=variable, source=source)


def turns_of(loop: Loop) -> range:
    """The indices of a loop's turns."""
    return range(loop.start, loop.start + loop.step * int(text(loop.count)), loop.step)


def upto_index(path: str) -> str:
    """A path up to the part that holds the loop's index: `h.{i}` for `h.{i}.attn`; "" if there is none."""
    labels = path.split(".")
    at = next((i for i, label in enumerate(labels) if has_index(label)), -1)
    return ".".join(labels[: at + 1])


def _stems(body: Iterable[Stmt]) -> dict[str, None]:
    nodes = (node for expr in expressions(body) for node in walk(expr) if isinstance(node, Path))
    return dict.fromkeys(stem for stem in (upto_index(node.path) for node in nodes) if stem)


def _draws(stmt: Stmt) -> list[int]:
    """The keys that a statement takes in its own scope; a loop takes one for all of its turns."""
    exprs = stmt.inputs if isinstance(stmt, Loop) else expressions((stmt,))
    found = [node.index for expr in exprs for node in walk(expr) if isinstance(node, Key)]
    return found + (_inner_draws(stmt) if isinstance(stmt, Loop) else [])


def _inner_draws(loop: Loop) -> list[int]:
    return [index for stmt in loop.body for index in _draws(stmt)][:1]


def _leaf(node: Expr, parts: Parts, keys: dict[int, Expr]) -> Expr:
    match node:
        case Path(path):
            return _read(path, parts)
        case Key(index):
            return keys[index]
        case Make(function, args):
            return Call(Word(function), args)
    return node


def _read(path: str, parts: Parts) -> Expr:
    """`params["attn"]["weight"]`."""
    part, expr = next(each for each in parts if not each[0] or f"{path}.".startswith(f"{each[0]}."))
    rest = path[len(part) :].strip(".")
    for name in rest.split(".") if rest else ():
        expr = At(expr, (Text(name),))
    return expr


def _dict(items: Sequence[tuple[str, Expr]]) -> Expr:
    return Pairs(tuple((Text(key), value) for key, value in items))


def _said(expr: Expr) -> Expr:
    """Keyword arguments that have their default are left out."""
    return without(expr, is_default)


def is_default(node: Keyword) -> bool:
    """Whether a keyword argument says what is so anyhow."""
    return node.default is not None and text(node.value) == text(node.default)
