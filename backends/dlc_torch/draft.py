"""A function of the IR as statements over trees: first draft of a method, before anything is nested or named.

Values that Python computes (constants, sizes and arithmetic on them) are written where they are used; every
other operation is a statement of its own. What is native, and how it is said, stands in the tables of
`rows.py` and in the functions of `shapes.py`, `neural.py` and `methods.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.emit.checks import checks
from dlc.emit.names import identifier, snake
from dlc.emit.sizes import readable
from dlc.emit.tree import (
    Call,
    Dot,
    Expr,
    Keyword,
    Make,
    Num,
    Path,
    Ref,
    Seq,
    Text,
    Word,
    size,
    template,
    transform,
    walk,
)
from dlc.ir.nodes import Attr, Function, Op, Program, Value
from dlc.ir.nodes import walk as walk_ops
from dlc.types.dims import Dim
from dlc.types.tensor import FLOATS, INTS, TensorType
from dlc_torch import rows
from dlc_torch.statements import Assign, Device, Draft, Loop, Stmt, Target, Training, expressions
from dlc_torch.structure import method_name

# Names of operands that say nothing about what is passed.
PLAIN_NAMES = frozenset({"x", "a", "b", "xs", "y", "input"})

Say = Callable[["Drafter", Op], "Expr | None"]
"""How an operation is said; None where it is not covered in this form, DONE where it has been dealt with."""

DONE = Word("")


def stateful(function: Function) -> bool:
    """Whether instances have parameters or buffers: a class then, else a plain function."""
    return function.kind in ("module", "model") and bool(function.params or function.children)


@dataclass
class Drafter:
    """Drafts one function. `needs` tells what a plain function is passed besides its operands."""

    program: Program
    function: Function
    say: Mapping[str, Say]
    precision: str = "f32"
    needs: Callable[[str], frozenset[str]] = lambda name: frozenset()
    body: list[Stmt] = field(default_factory=list)
    inline: dict[str, Expr] = field(default_factory=dict)
    """Values that are written wherever they are read: what Python computes, parameters, other names for a
    value."""
    host: set[str] = field(default_factory=set)
    """Those of them that are Python numbers."""
    skip: set[str] = field(default_factory=set)
    """Results that a statement for several operations has computed already."""

    def __post_init__(self) -> None:
        self.types: dict[str, TensorType] = self.function.types()
        self.producers: dict[str, Op] = {}
        self.readers: dict[str, list[Op]] = {}
        self.count_uses(self.function.body)
        self.uses.update(value for _, value in self.function.outputs)
        updates = (op for op in walk_ops(self.function.body) if op.op == "update")
        self.updated = frozenset(op.text("path") for op in updates)

        self.better: dict[str, str] = {}

    def count_uses(self, body: Sequence[Op]) -> None:
        self.uses: Counter[str] = Counter()
        self.block: dict[str, int] = {}
        stack = [(op, 0) for op in reversed(body)]
        while stack:
            op, block = stack.pop()
            self.uses.update(name for name in op.inputs if name)
            self.producers.update((value.name, op) for value in op.outputs)
            self.block.update((value.name, block) for value in op.outputs)
            for name in op.inputs:
                self.readers.setdefault(name, []).append(op)
            if op.region is not None:
                self.uses.update(op.region.results)
                stack.extend((inner, id(op)) for inner in reversed(op.region.body))

    # --- the whole ------------------------------------------------------------------------------------------

    def draft(self) -> Draft:
        if self.function.name == self.program.entry:
            self.body += checks(self.function)
        for op in self.function.body:
            self.operation(op)
        inputs = tuple(self.target(value) for value in self.function.inputs)
        results = tuple(self.tensor(value) for _, value in self.function.outputs)
        body = without_dead(self._numbered(_renamed(self.body, self.better)), results)
        return Draft(self.function, inputs, body, results, self._needs(body, results), self.roles())

    def _numbered(self, body: Sequence[Stmt]) -> list[Stmt]:
        """Values that carry one name many times over, as in an unrolled loop, are no more than
        temporaries."""
        names = Counter(plain_name(stmt.targets[0].name) for stmt in body if isinstance(stmt, Assign))
        often = {name for name, count in names.items() if count > 4 and name not in PLAIN_NAMES}

        def loosened(stmt: Stmt) -> Stmt:
            if not isinstance(stmt, Assign) or plain_name(stmt.targets[0].name) not in often:
                return stmt
            return replace(stmt, temporary=len(stmt.targets) == 1)

        return list(map(loosened, body))

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Telling names for values: of the operand that one is passed as, of what it becomes in the end."""
        found: dict[str, list[str]] = {value: [plain_name(name)] for value, name in self.better.items()}
        for op in walk_ops(self.function.body):
            if op.callee:
                named = [
                    (value, name) for name, value in self.operands(op).items() if name not in PLAIN_NAMES
                ]
                several = Counter(value for value, _ in named)
                for value, name in named:
                    if several[value] == 1:
                        found.setdefault(value, []).append(name)
            for out in op.outputs:
                found.setdefault(out.name, []).extend(self._goal(out.name))
        return {value: tuple(names) for value, names in found.items()}

    def _goal(self, name: str) -> list[str]:
        """The name that the spec gives to what a temporary goes into."""
        while self.temporary(name):
            readers = self.readers.get(name, [])
            if len(readers) != 1 or self.uses[name] != 1 or len(readers[0].outputs) != 1:
                return []
            last, name = name, readers[0].out.name
            if self.dtype_of(last) != self.dtype_of(name):
                return []
            if not self.temporary(name):
                return [plain_name(name)]
        return []

    def temporary(self, name: str) -> bool:
        op = self.producers.get(name)
        if op is None:
            return False
        return is_temporary(name, op, self.program.functions[op.callee].source if op.callee else "")

    def _needs(self, body: tuple[Stmt, ...], results: tuple[Expr, ...]) -> frozenset[str]:
        """What the statements read that a plain function has to be given."""
        known = readable(self.function)
        needs: set[str] = set()
        for node in (node for expr in (*expressions(body), *results) for node in walk(expr)):
            match node:
                case Device() if not self.function.inputs:
                    needs.add("device")
                case Training():
                    needs.add("training")
                case _ if type(node).__name__ == "Size" and node.symbol not in known:  # type: ignore[attr-defined]
                    needs.add(node.symbol)  # type: ignore[attr-defined]
        return frozenset(needs)

    def operation(self, op: Op) -> None:
        """Append the statements of one operation."""
        if op.outputs and all(value.name in self.skip for value in op.outputs):
            return
        if self.on_host(op):
            return
        expr = self.expression(op)
        if expr is not DONE:
            self.assign(op, expr)

    def expression(self, op: Op) -> Expr:
        """The operation as an expression; DONE where it has become statements, or a name for another
        value."""
        say = self.say.get(op.op)
        found = say(self, op) if say is not None else None
        if found is not None:
            return found
        if op.callee:
            return self.call(op)
        row = rows.ROWS.get(op.op) or ops.row(op.op, "torch")
        if row is not None:
            return self.row(row, op)
        raise SpecError(
            [problems.UNSUPPORTED.at(op.span, backend="torch", op=op.op, reason="it has no row for it")]
        )

    def assign(self, op: Op, expr: Expr, outputs: Sequence[Value] = ()) -> None:
        values = tuple(outputs or op.outputs)
        temporary = len(values) == 1 and (
            self.temporary(values[0].name) or values[0].name not in self.producers
        )
        first = expr.args[0] if isinstance(expr, Call) and expr.args else None
        through = first.value if isinstance(first, Ref) else ""
        self.body.append(Assign(tuple(map(self.target, values)), expr, temporary, self.layer(expr), through))

    def target(self, value: Value) -> Target:
        axes = tuple(_soft(size(axis)) for axis in value.type.axes)
        return Target(value.name, self.dtype(value.type.dtype), axes)

    # --- operands -------------------------------------------------------------------------------------------

    def dtype(self, name: str) -> str:
        return self.precision if name == "float" else name

    def dtype_of(self, value: str) -> str:
        return self.dtype(self.types[value].dtype)

    def value(self, name: str) -> Expr:
        """A value as it is read: a variable, or what it is written as."""
        return self.inline.get(name, Ref(name))

    def tensor(self, name: str) -> Expr:
        """A value that must be a tensor."""
        if name not in self.host:
            return self.value(name)
        return self.create("torch.tensor", (self.inline[name],), self.dtype_of(name))

    def create(self, function: str, args: Sequence[Expr], dtype: str, natural: str = "") -> Expr:
        """A call that makes a tensor of `dtype` on the inputs' device; `natural` is the dtype that it has by
        itself."""
        keywords: list[Expr] = []
        if dtype != natural:
            keywords.append(Keyword("dtype", Word(rows.DTYPES[dtype])))
        if self.function.kind not in ("init", "prepare"):
            keywords.append(Keyword("device", Device()))
        return Call(Word(function), (*args, *keywords))

    def axis(self, axis: int, rank: int) -> Expr:
        """An axis as a person counts it: the last one is -1."""
        axis = axis % rank if rank else axis
        return Word("-1" if axis == rank - 1 and rank > 1 else str(axis))

    def attribute(self, op: Op, name: str, value: Attr) -> Expr:
        if isinstance(value, bool) or value is None:
            return Word(repr(value))
        if isinstance(value, str):
            return Word(rows.DTYPES[self.dtype(value)]) if name == "dtype" else Text(value)
        if isinstance(value, tuple):
            return Seq(tuple(self.attribute(op, name, each) for each in value))
        if name in ("axis", "axes") and isinstance(value, int):
            rank = self.types[op.inputs[0]].rank
            return self.axis(value, rank)
        return size(value, name) if isinstance(value, Dim) else Num(value, name)

    def operands(self, op: Op) -> dict[str, str]:
        """The operands that are there, by their names in the op's definition."""
        present = [name for name in op.inputs if name]
        if op.callee:
            named = [value.name for value in self.program.functions[op.callee].inputs]
            return dict(zip(named, present, strict=True))
        from dlc.ops import get

        named = [operand.name for operand in get(op.op).signature.operands]
        return {name: value for name, value in zip(named, op.inputs, strict=False) if value}

    def row(self, text: str, op: Op) -> Expr:
        """A row filled with the op's operands and attributes."""
        slots = {name: self.attribute(op, name, value) for name, value in op.attrs}
        operands = self.operands(op)
        values = list(operands.values())
        binary = set(operands) == {"a", "b"}
        for name, value in operands.items():
            loose = binary and (value not in self.host or any(each not in self.host for each in values))
            slots[name] = self.value(value) if loose else self.tensor(value)
        return without_defaults(template(text, slots))

    # --- what Python computes -------------------------------------------------------------------------------

    def on_host(self, op: Op) -> bool:
        """Settle an operation on numbers that Python knows; False if a tensor is involved."""
        if (op.op not in rows.HOST and op.op not in ("cast", "const", "size")) or not op.outputs:
            return False
        if op.op == "const":
            return self._constant(op)
        if op.op == "size":
            return self.number(op.out.name, size(_dim(op.attr("dim")), "size"))
        if any(name not in self.host for name in op.inputs):
            return False
        slots = {key: self.inline[name] for key, name in self.operands(op).items()}
        if op.op == "cast":
            return self.number(
                op.out.name, self._cast(slots["x"], self.dtype_of(op.inputs[0]), self.dtype_of(op.out.name))
            )
        return self.number(op.out.name, template(rows.HOST[op.op], slots))

    def number(self, name: str, expr: Expr) -> bool:
        self.inline[name] = expr
        self.host.add(name)
        return True

    def _constant(self, op: Op) -> bool:
        value = op.attr("value")
        if isinstance(value, tuple) or op.out.type.rank:
            return False
        assert isinstance(value, int | float)
        dtype = self.dtype_of(op.out.name)
        if dtype == "bool":
            return self.number(op.out.name, Word(repr(bool(value))))
        return self.number(op.out.name, Num(plain(value, dtype)))

    def _cast(self, expr: Expr, source: str, to: str) -> Expr:
        if isinstance(expr, Num):
            return Num(plain(expr.value, to), expr.role)
        if (to in FLOATS and source != "bool") or source == to:
            return expr  # an int stands for a float wherever one is asked for
        function = "bool" if to == "bool" else "int" if to in INTS else "float"
        return Call(Word(function), (expr,))

    # --- calls ----------------------------------------------------------------------------------------------

    def call(self, op: Op) -> Expr:
        """A call of another emitted function: an instance, a further entry of one, or a plain function."""
        callee = self.program.functions[op.callee]
        args = tuple(self.tensor(name) for name in op.inputs if name)
        if not stateful(callee):
            return Make(op.callee, (*args, *self._passed(op)))
        instance: Expr = Path(op.path) if op.path else Word("self")
        return Call(Dot(instance, method_name(callee.entry)) if callee.entry else instance, args)

    def _passed(self, op: Op) -> Iterable[Expr]:
        special: Mapping[str, Expr] = {"device": Device(), "training": Training()}
        dims = dict(op.dims)
        for name in sorted(self.needs(op.callee)):
            if name == "device" and self.function.kind == "init":
                continue
            value = special[name] if name in special else size(dims.get(name, Dim.symbol(name)))
            yield Keyword(identifier(name), value)

    def layer(self, expr: Expr) -> Expr | None:
        """The operation as a layer, for `nn.Sequential`: an instance, or a function of one tensor that is a
        layer too."""
        if not isinstance(expr, Call) or not expr.args or not isinstance(expr.args[0], Ref):
            return None
        if isinstance(expr.function, Path):
            return expr.function if len(expr.args) == 1 else None
        name = rows.MODULES.get(expr.function.text) if isinstance(expr.function, Word) else None
        rest = tuple(
            arg for arg in expr.args[1:] if not (isinstance(arg, Keyword) and isinstance(arg.value, Training))
        )
        return Call(Word(name), rest) if name else None


def plain(value: int | float, dtype: str) -> int | float:
    """A constant as Python writes it for a tensor of that dtype."""
    if dtype in FLOATS:
        return float(value)
    return bool(value) if dtype == "bool" else int(value)


# Names that only say which operation made a value.
GENERATED = frozenset(
    {
        *rows.ROWS,
        *rows.COMPOSITES,
        *rows.LAYERS,
        "conv",
        "reshape",
        "slice",
        "permute",
        "concat",
        "where",
        "repeat",
    }
)


def is_temporary(name: str, op: Op, source: str = "") -> bool:
    """Whether a value is only named after the operation that computes it, or the function that is called."""
    base = plain_name(name)
    own = (
        op.op.strip("_"),
        "call",
        "",
        snake(source) if source else "",
        "y" if op.callee and not op.path else "",
    )
    return base in own or name in own or base in GENERATED or base == op.path.rpartition(".")[2]


def plain_name(name: str) -> str:
    """`x` for `x_2`."""
    return re.sub(r"_\d+$", "", name).strip("_")


def without_defaults(expr: Expr) -> Expr:
    """Keyword arguments that say what the function does anyhow are left out."""

    def change(node: Expr) -> Expr:
        if not isinstance(node, Call):
            return node
        kept = tuple(arg for arg in node.args if not _is_default(arg))
        return node if len(kept) == len(node.args) else Call(node.function, kept)

    return transform(expr, change)


def _is_default(node: Expr) -> bool:
    if not isinstance(node, Keyword):
        return False
    value = node.value
    found = value.text if isinstance(value, Word) else value.value if isinstance(value, Text) else None
    return rows.KEYWORD_DEFAULTS.get(node.name, "?") == found


def _renamed(body: Iterable[Stmt], better: Mapping[str, str]) -> list[Stmt]:
    """A temporary that the spec names one step later (`c = cast(cos(a), float)`) is none."""
    return [
        replace(stmt, temporary=False)
        if isinstance(stmt, Assign) and stmt.targets[0].name in better
        else stmt
        for stmt in body
    ]


def without_dead(body: Sequence[Stmt], results: Iterable[Expr]) -> tuple[Stmt, ...]:
    """The statements that matter for the results, or have an effect."""
    live = {name for expr in results for name in _reads(expr)}
    kept: list[Stmt] = []
    for stmt in reversed(body):
        if isinstance(stmt, Assign) and not any(target.name in live for target in stmt.targets):
            continue
        if isinstance(stmt, Loop):
            stmt = _pruned(stmt, live)
        live.update(name for expr in expressions((stmt,)) for name in _reads(expr))
        kept.append(stmt)
    return tuple(reversed(kept))


def _pruned(loop: Loop, live: set[str]) -> Loop:
    return replace(loop, body=without_dead(loop.body, loop.results))


def _reads(expr: Expr) -> Iterable[str]:
    return (node.value for node in walk(expr) if isinstance(node, Ref))


def _soft(expr: Expr) -> Expr:
    return transform(expr, lambda node: Num(node.value, node.role, True) if isinstance(node, Num) else node)


def _dim(value: Attr) -> Dim | int:
    assert isinstance(value, int | Dim)
    return value
