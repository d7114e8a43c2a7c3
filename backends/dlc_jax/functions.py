"""An emitted function as source: its signature, its documentation, its statements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, partial

from dlc.emit.body import Body, shapes_text, tensors
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import camel, field_names, identifier
from dlc.emit.own import Own
from dlc.emit.python import docstring, filled, wrapped
from dlc.emit.statements import Assign, Draft, If, Loop, Stmt, Store, absent
from dlc.emit.tree import At, Expr, Ref, Seq, need_name, the, walk
from dlc.ir.nodes import Function
from dlc.records import dataclass, field
from dlc_jax.drafter import STATE
from dlc_jax.layers import DIALECT
from dlc_jax.rows import DTYPES
from dlc_jax.scan import Statements
from dlc_jax.steps import Scan
from dlc_jax.units import Unit

Lines = list[str]


@dataclass
class Written:
    """A function in the making. The `entry` takes its static parameters from the `config`."""

    unit: Unit
    entry: bool = False
    config: tuple[str, ...] = ()
    """The fields of that."""
    own: Own = field(default_factory=Own)
    """What the entry takes of its own list of static parameters."""
    defaults: bool = True
    """Whether its defaults are written out: without, the same source comes from other settings."""
    precision: str = "f32"
    named: str = ""
    """The type of the entry's results, where they are several."""
    inputs: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    """The results that are not always there."""

    @property
    def function(self) -> Function:
        return self.unit.function

    @cached_property
    def words(self) -> dict[str, str]:
        names = (*self.config, *(each.name for each in self.unit.arguments)) if self.entry else ()
        return {name: f"config.{name}" for name in names}

    def lines(self) -> Lines:
        """The function's source."""
        writer = partial(Statements, updates=self.unit.traits.updates, outputs=self.named)
        told = {*self.config, *(each.spec for each in (*self.unit.arguments, *self.own.arguments))}
        body = Body(self.unit.draft, DIALECT, 1, self._taken(), self.words, writer, told)
        if isinstance(body.writer, Statements):
            body.writer.fields = list(fields(self.function))
            body.writer.usual = [
                name
                for name, result in zip(body.writer.fields, body.results, strict=True)
                if result in body.usual
            ]
        self.optional = sometimes(body)
        self.inputs = body.inputs
        inside = body.lines()
        return [
            *self._signature(body),
            *self._docstring(body.draft),
            *self.own.lines(1, self.words),
            *self._lead(),
            *inside,
        ]

    def _taken(self) -> set[str]:
        """Names that stand for something else in it, besides functions that it calls."""
        own = {"params", "state", "config", "training", "key", "dtype", "layer"}
        given = self.own.arguments if self.entry else self.unit.arguments
        return own | {each.name for each in given}

    def _lead(self) -> Lines:
        """The state is copied before it gets new values."""
        depth = max(map(len, _updated(self.unit.draft.body)), default=0)
        if not depth:
            return []
        copy = "dict(state)" if depth == 1 else "jax.tree.map(lambda leaf: leaf, state)"
        return [f"{INDENT}state = {copy}"]

    # --- signature

    def _signature(self, body: Body) -> Lines:
        traits = self.unit.traits
        trees = ["params: Params"] if traits.params or self.entry else []
        trees += ["state: State"] if traits.state else []
        keywords = list(map(self._needed, sorted(self.unit.draft.needs, key=need_name)))
        if not self.entry:
            keywords += [each.signature() for each in self.unit.arguments]
            keywords.sort(key=lambda each: " = " in each)
        keywords += self.own.signature(self.defaults)
        keywords += ["config: Config = CONFIG"] if self.config else []
        keywords += ["training: bool = False"] if traits.training else []
        keywords += [_KEYS[traits.key]] if traits.key else []
        keywords.sort(key=lambda each: " = " in each)
        star = ["*"] if keywords else []
        arguments = ", ".join((*trees, *tensors(self.unit.draft, body.inputs, "Array"), *star, *keywords))
        return layout(f"def {self.unit.name}({arguments}) -> {self._result()}:")

    def _needed(self, name: str) -> str:
        """What no input tells. The dtype of an entry's without floats is that of its precision."""
        default = f" = {DTYPES[self.precision]}" if self.entry and name == the("dtype") else ""
        return f"{identifier(need_name(name))}: {_NEEDS.get(name, 'int')}{default}"

    def _result(self) -> str:
        names = fields(self.function)
        outputs = ["Array | None" if name in self.optional else "Array" for name in names]
        if self.named:
            whole = self.named
        else:
            whole = outputs[0] if len(outputs) == 1 else f"tuple[{', '.join(outputs)}]"
        if not self.unit.traits.updates:
            return whole
        return f"tuple[{whole}, State]" if self.named or len(outputs) == 1 else f"tuple[{whole[6:-1]}, State]"

    def _docstring(self, draft: Draft) -> Lines:
        if self.function.kind == "prepare":  # of any layer: the sizes of one say nothing
            return []
        doc = self.unit.doc.strip()
        names = self.inputs or [identifier(each.name) for each in self.function.inputs]
        shapes = shapes_text(draft, names, always=True)
        if not doc:
            return docstring(_broken(shapes, WIDTH - 10), 4)
        one = f"{doc if doc.endswith('.') else doc + '.'} {shapes}"
        if "\n" not in doc and len(one) + len(INDENT) + 6 <= WIDTH:
            return docstring(one, 4)
        return docstring("\n".join((*wrapped(doc, WIDTH - 8), "", _broken(shapes, WIDTH - 4))), 4)


_NEEDS = {the("dtype"): "DTypeLike"}
_KEYS = {"always": "key: Array", "maybe": "key: Array | None = None"}


def outputs_type(function: Function) -> str:
    """The name of the type of a model's results, where they are several."""
    return f"{camel(function.source)}Outputs" if len(function.outputs) > 1 else ""


def outputs_lines(function: Function, name: str, optional: Sequence[str]) -> Lines:
    """That type; results that are not always there stand last."""
    found = fields(function)
    always = [f"{INDENT}{each}: Array" for each in found if each not in optional]
    return [
        f"class {name}(NamedTuple):",
        *always,
        *(f"{INDENT}{each}: Array | None = None" for each in found if each in optional),
    ]


def fields(function: Function) -> tuple[str, ...]:
    """What the results are called in emitted source."""
    return field_names(name for name, _ in function.outputs)


def sometimes(body: Body) -> list[str]:
    """The results that are not always there, by name."""
    missing = absent(body.body)
    pairs = zip(fields(body.draft.function), body.results, strict=True)
    return [name for name, each in pairs if isinstance(each, Ref) and each.value in missing]


def _updated(body: Sequence[Stmt]) -> list[tuple[str, ...]]:
    """The places of the state that statements set, as keys below `state`."""
    found: list[tuple[str, ...]] = []
    for stmt in body:
        match stmt:
            case Assign(targets=targets):
                exprs = [axis for each in targets if each.dtype == STATE for axis in each.axes]
            case Store(path=path):
                exprs = [path]
            case If():
                found += _updated((*stmt.then, *stmt.otherwise))
                continue
            case Scan():  # its steps are handed what they update
                continue
            case Loop():
                exprs = [node for node in walk(stmt.source) if isinstance(node, At)]
                exprs = [each for each in exprs if each in _new_places(stmt)]
                found += _updated(stmt.body) if not _new_places(stmt) and stmt.body else []
            case _:
                continue
        for expr in exprs:
            keys: list[str] = []
            while isinstance(expr, At):
                keys.append(str(expr.items[0]))
                expr = expr.base
            if getattr(expr, "text", "") == "state":
                found.append(tuple(keys))
    return found


def _new_places(loop: Loop) -> tuple[Expr, ...]:
    parts = loop.source.items if isinstance(loop.source, Seq) else ()
    return parts[1].items if len(parts) == 4 and isinstance(parts[1], Seq) else ()


def _broken(shapes: str, width: int) -> str:
    """Shapes that are too long for a line, broken between inputs, with the results on lines of their own."""
    taken, arrow, given = shapes.rpartition(" -> ")
    if len(shapes) <= width or not arrow:
        return shapes
    sides = (re.split(r"(?<=\],) ", each) for each in (taken, f"-> {given}"))
    return "\n".join(line for side in sides for line in filled(side, width))
