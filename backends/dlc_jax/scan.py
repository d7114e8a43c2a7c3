"""The statements of a function of JAX: loops as `lax.scan` over stacked parameters, buffers as results.

x, _ = lax.scan(lambda x, layer: (block(layer, x), None), x, params["h"]["0:12"])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.emit.checks import Check
from dlc.emit.layout import INDENT, fits
from dlc.emit.names import Variables
from dlc.emit.python import quoted
from dlc.emit.statements import Assign, Loop, Stmt, Store, Target, expressions
from dlc.emit.tree import Call, Expr, Ref, Seq, Text, refs
from dlc.emit.write import Writer, shape_text
from dlc.ir.index import without_index
from dlc_jax.settling import turns_of, upto_index
from dlc_jax.stacking import index_literal, range_of


@dataclass(frozen=True, slots=True)
class Turn:
    """The body of a scan: the variables that it carries, those of one turn, what it gives."""

    carried: tuple[str, ...]
    slices: tuple[str, ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]
    updates: str


@dataclass
class Statements(Writer):
    """`count` is how many results the function has before the new values of buffers; the `entry` gives these
    flat. `updates` are their expressions by path, or behind `**` those of a dict."""

    count: int = 1
    entry: bool = False
    updates: dict[str, str] = field(default_factory=dict)

    def check(self, stmt: Check) -> None:
        if isinstance(stmt.condition, Call):  # of the library's `require`
            self.line(self.text(stmt.condition))
        else:
            super().check(stmt)

    def store(self, path: Expr, value: Expr) -> None:
        assert isinstance(path, Text)
        self.updates[path.value] = self.text(value)

    def hints(self, target: Target, stmt: Assign) -> list[str]:
        return list(self.variables.hints[target.name]) if not target.dtype else super().hints(target, stmt)

    def comment(self, targets: Sequence[Target], names: Sequence[str], leading: str) -> str:
        """Keys and buffers have no shapes to tell, and one that is not known says nothing."""
        kept = [(target, name) for target, name in zip(targets, names, strict=True) if target.dtype]
        found = super().comment([each for each, _ in kept], [name for _, name in kept], leading)
        return "" if found.count("_,") + found.count("_]") > 1 else found

    def returned(self, results: Sequence[Expr]) -> str:
        found = [self.text(expr) for expr in results[: self.count]]
        if self.updates:
            new = _display(self.updates)
            if len(new) > 40:
                name = self.variables.keep("updates", self.at)
                self.line(f"{name} = {new}")
                new = name
            found.append(f"flatten({new})" if self.entry else new)
        return ", ".join(found)

    # Loops

    def loop(self, loop: Loop) -> None:
        turn = self._turn(loop)
        first = [self.text(expr) for expr in loop.inputs]
        assert isinstance(loop.source, Seq)
        over = [self.text(expr) for expr in loop.source.items]
        function = self._inline(turn) or self._defined(turn)
        names = [self.named(target, Assign(loop.outputs, loop.source), {}) for target in loop.outputs]
        new = self._kept(loop, turn)
        xs = _tuple(over) if over else f"length={len(turns_of(loop))}"
        statement = f"{_tuple(names)}, {new} = lax.scan({function}, {_tuple(first)}, {xs})"
        self.line(statement, self.comment(loop.outputs, names, ""))

    def _turn(self, loop: Loop) -> Turn:
        """The body, in a scope of its own: only what it reads from outside keeps its names."""
        outside = self.variables
        read = {outside.names[name] for name in _reads(loop) if name in outside.names}
        slices = tuple(loop.variable.split(", ")) if loop.variable != "_" else ()
        taken = {*outside.taken, *read, *slices, "turn", "carry"}
        variables = Variables(outside.last, outside.hints, outside.reserved, taken, dict(outside.names))
        writer = replace(
            self, variables=variables, indent=self.indent + 1, lines=[], shapes={}, updates={}, told=""
        )
        carried = tuple(map(writer.argument, loop.args, loop.inputs))
        writer.write(loop.body)
        results = tuple(writer.text(expr) for expr in loop.results[: len(loop.args)])
        self.at = writer.at + 1
        return Turn(carried, slices, tuple(writer.lines), results, _given(writer.updates))

    def argument(self, target: Target, value: Expr) -> str:
        """The variable of a carried value: what it is called outside, where the loop's body doesn't read that."""
        hints = [*([self.variables.names[value.value]] if isinstance(value, Ref) else ())]
        hints += self.variables.hints.get(target.name, ("y",))
        self.variables.last.setdefault(target.name, self.at)
        name = self.variables.give(target.name, hints, self.at)
        self.shapes[name] = shape_text(target)
        self.dtypes[target.name] = target.dtype
        return name

    def _kept(self, loop: Loop, turn: Turn) -> str:
        """The variable of the layers' new buffers."""
        if turn.updates == "None":
            return "_"
        name = self.variables.keep("new", self.at)
        stems = _by_stem(dict.fromkeys(_stored(loop.body), ""))
        found = []
        for stem in stems:
            part = f"{name}[{quoted(without_index(stem))}]" if len(stems) > 1 else name
            paths = f"[{index_literal(stem)} for i in {range_of(turns_of(loop))}]"
            found.append(f"unstack_layers({part}, {paths})")
        self.updates[f"**{name}"] = " | ".join(found)
        return name

    def _inline(self, turn: Turn) -> str:
        """The body as a lambda, where it is one short expression: what is carried and what is given, or a
        call that gives both."""
        if len(turn.lines) > 1 or len(turn.carried) != 1 or len(turn.slices) > 1:
            return ""
        given, call = f"{turn.results[0]}, {turn.updates}", ""
        if turn.lines:
            target, _, call = turn.lines[0].partition("  # ")[0].strip().partition(" = ")
            if target != given:
                return ""
        function = f"lambda {turn.carried[0]}, {(*turn.slices, '_')[0]}: {call or f'({given})'}"
        return function if fits(function, self.indent + 5) else ""

    def _defined(self, turn: Turn) -> str:
        """The body as a function of its own, written here."""
        name = self.variables.keep("turn", self.at)
        margin = INDENT * (self.indent + 1)
        slices = turn.slices[0] if len(turn.slices) == 1 else "inputs" if turn.slices else "_"
        carry = turn.carried[0] if len(turn.carried) == 1 else "carry"
        kinds = "Array" if len(turn.carried) == 1 else f"tuple[{', '.join(['Array'] * len(turn.carried))}]"
        taken = {"key": "Array", "inputs": "tuple[Params, Array]", "_": "None"}.get(slices, "Params")
        given = "None" if turn.updates == "None" else "Params"
        self.lines.append("")
        self.line(f"def {name}({carry}: {kinds}, {slices}: {taken}) -> tuple[{kinds}, {given}]:")
        if len(turn.carried) > 1:
            self.lines.append(f"{margin}{', '.join(turn.carried)} = carry")
        if slices == "inputs":
            self.lines.append(f"{margin}{', '.join(turn.slices)} = inputs")
        self.lines += turn.lines
        self.lines += [f"{margin}return {_tuple(turn.results)}, {turn.updates}", ""]
        return name


def _tuple(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"({', '.join(items)})"


def _reads(loop: Loop) -> set[str]:
    exprs = (*expressions(loop.body), *loop.results)
    return {name for expr in exprs for name in refs(expr)}


def _stored(body: Iterable[Stmt]) -> list[str]:
    return [stmt.path.value for stmt in body if isinstance(stmt, Store) and isinstance(stmt.path, Text)]


def _by_stem(updates: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The new buffers of a turn by the layer that has them, and by path below it."""
    found: dict[str, dict[str, str]] = {}
    for path, value in updates.items():
        stem = upto_index(path)
        if not stem:
            raise NotImplementedError(
                f"`{path}` is updated in every turn of a loop, which only layers of its own can be"
            )
        found.setdefault(stem, {})[path[len(stem) + 1 :]] = value
    return found


def _given(updates: Mapping[str, str]) -> str:
    """What a turn gives besides what it carries: the new buffers of its layers."""
    layers = {
        without_index(stem): each[""] if "" in each else _display(each)
        for stem, each in _by_stem(updates).items()
    }
    return "None" if not layers else next(iter(layers.values())) if len(layers) == 1 else _display(layers)


def _display(updates: Mapping[str, str]) -> str:
    """The new values of buffers as a dict display."""
    items = (
        f"**{value}" if path.startswith("**") else f"{quoted(path)}: {value}"
        for path, value in updates.items()
    )
    return "{" + ", ".join(items) + "}"
