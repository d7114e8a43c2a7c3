"""Numbers in the precision that a module is moved to: `.to(torch.bfloat16)` and `.half()` are the user's, long after emission.

What comes from inputs and parameters has the module's precision. What is made of positions and constants is computed in f32, and
so is what the spec says in f32; where such a value meets the others it takes their dtype. Before:

    fn turn(%x: [B, T], %table: f32[T]) -> (y: %y) {
        %cast: [T] = cast(%table) {dtype="float"}
        %y: [B, T] = mul(%x, %cast)
    }

After (`y = x * table.to(x.dtype)`):

    fn turn(%x: [B, T], %table: f32[T]) -> (y: %y) {
        %cast: [T] = cast(%table) {dtype="float"}
        %cast_2: [T] = like(%cast, %x)
        %y: [B, T] = mul(%x, %cast_2)
    }

`like` and `wide`, to f32, are known to this backend's forms alone."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, Region, Value, walk
from dlc.ir.splice import Names
from dlc.types.tensor import TensorType
from dlc_torch import rows

LIKE, WIDE = "like", "wide"

# Ops that take numbers of any precision: they do not compute with them, or keep them where they are.
PRODUCTS = frozenset(("matmul", "einsum", "conv", "conv_transpose"))
VIEWS = frozenset(("permute", "reshape", "slice"))
MOVED = VIEWS | {"broadcast"}
ANY = frozenset(("cast", "choice", "loop", "require", "stop_gradient", "update"))


def working(program: Program, kept: Container[str]) -> Program:
    """The program with casts where precisions meet. Functions of the library are written out if they are `kept`."""
    done = dict(program.functions)
    fixed: dict[str, set[str]] = {name: set() for name in done}
    for name in reversed(done):  # callers first
        function = done[name]
        if function.kind in ("init", "prepare"):
            continue
        casting = _Casting(program, function, kept, set(fixed[name]))
        done[name] = casting.run()
        for callee, inputs in casting.passed.items():
            fixed[callee] |= inputs
    return program.with_functions(done)


def _made_alike(function: Function) -> Function:
    """The function in which what is only read in the dtype of others is made in it: constants, `x.new_zeros(B, n)`, and numbers of what
    holds none yet, `(x > 0).to(x.dtype)`; views of both."""
    alone = _read_alike(function)
    names = Names.of(function)

    def made(name: str, like: Op, out: Value) -> Iterator[Op]:
        """The value as `like` takes it."""
        op = alone[name]
        if op.op == "full":
            yield replace(op, inputs=like.inputs[1:], outputs=(out,), span=like.span)
        elif op.op == "cast":
            yield replace(like, inputs=(*op.inputs, *like.inputs[1:]), outputs=(out,))
        else:
            source = alone[op.inputs[0]].out
            inner = Value(names.fresh(source.name), source.type.with_dtype("float"))
            yield from made(source.name, like, inner)
            yield replace(op, inputs=(inner.name,), outputs=(out,))

    def change(body: Sequence[Op]) -> Iterator[Op]:
        for op in body:
            if op.op == LIKE and op.inputs[0] in alone:
                yield from made(op.inputs[0], op, op.out)
            elif not op.outputs or op.out.name not in alone:
                parts = (
                    each and replace(each, body=tuple(change(each.body)))
                    for each in (op.region, op.otherwise)
                )
                region, otherwise = parts
                yield replace(op, region=region, otherwise=otherwise) if region else op

    return replace(function, body=tuple(change(function.body))) if alone else function


def _read_alike(function: Function) -> dict[str, Op]:
    """The values that are only read in the dtype of others, and what makes them."""
    types = function.types()
    read: dict[str, list[Op | None]] = {name: [None] for _, name in function.outputs}
    for op in walk(function.body):
        results = (name for part in op.regions for name in part.results)
        for name in (*op.inputs, *results):
            read.setdefault(name, []).append(op)
    found: dict[str, Op] = {}
    for op in reversed(list(walk(function.body))):
        seen = op.op in MOVED and len(op.inputs) == 1
        if not (seen or op.op == "full" or (op.op == "cast" and not types[op.inputs[0]].is_float)):
            continue
        readers = read.get(op.out.name, [])
        if readers and all(_takes_dtype(each, op, found) for each in readers):
            found[op.out.name] = op
    kept: dict[str, Op] = {}
    for name, op in reversed(found.items()):
        if op.op not in MOVED or op.inputs[0] in kept:
            kept[name] = op
    return kept


def _takes_dtype(op: Op | None, made: Op, others: Container[str]) -> bool:
    """Whether an operation only takes the value in the dtype of another, or is one of the others, a view that is only taken so; a
    constant needs a tensor to be made like."""
    if op is None or op.inputs[:1] != (made.out.name,) or len(op.outputs) != 1:
        return False
    if op.op in MOVED and op.out.name in others:
        return made.op != "full"
    if op.op != LIKE or made.out.name in op.inputs[1:]:
        return False
    return len(op.inputs) == 2 or made.op != "full"


@dataclass
class _Casting:
    """Puts casts into one function. `fixed` are values that may be in f32 whatever the module's precision is."""

    program: Program
    function: Function
    kept: Container[str]
    fixed: set[str]
    passed: dict[str, set[str]] = field(default_factory=dict)
    """Inputs of functions that such values are passed as."""
    cast: dict[str, str] = field(default_factory=dict)
    """Such values in the module's precision, where that is known."""

    def __post_init__(self) -> None:
        self.types: Mapping[str, TensorType] = self.function.types()
        self.names = Names.of(self.function)
        self.fixed |= {value.name for value in self.function.inputs if value.type.dtype == "f32"}
        self.results = {value for _, value in self.function.outputs}
        self.stored = set[str]()
        """Parameters that the spec keeps in f32, and views of them: they are moved with the module all the same."""

    def run(self) -> Function:
        body = tuple(self._body(self.function.body))
        more, outputs = self._settled_results()
        return _made_alike(replace(self.function, body=(*body, *more), outputs=outputs))

    def _settled_results(self) -> tuple[list[Op], tuple[tuple[str, str], ...]]:
        """Casts of results that came out in f32 to the precision of the inputs: callers take a result for one in it. A single number
        stays as exact as it is (a count, a mean of a batch): it changes the precision of nothing that it meets."""
        lead = next((each.name for each in self.function.inputs if self._works(each.name)), "")
        more: dict[str, Op] = {}
        for _, value in self.function.outputs if lead else ():
            type = self.types[value]
            if value in self.fixed and type.dtype == "float" and type.rank and value not in more:
                out = Value(self.names.fresh(value), self.types[value])
                more[value] = Op(LIKE, (value, lead), (out,), span=self.function.span)
        named = tuple(
            (name, more[value].out.name if value in more else value) for name, value in self.function.outputs
        )
        return list(more.values()), named

    def _body(self, body: Sequence[Op]) -> Iterator[Op]:
        known = dict(self.cast)
        for i, op in enumerate(body):
            if self._is_made(op) and (lead := self._lead(op, body[i + 1 :])):
                yield replace(op, op=LIKE, inputs=(op.inputs[0], lead), attrs=())
                continue
            if op.op == LOOP:
                op = yield from self._loop(op)
            elif op.region is not None:
                op = self._regions(op)
            elif self._passes_on(op):
                self._note(op)
            elif op.op == "cast" and op.attr("dtype") == "f32" and self._works(op.inputs[0]):
                op = replace(op, op=WIDE)
            elif op.op not in ANY:
                changed = yield from self._alike(op)
                changed |= yield from self._widened(op)
                op = op.renamed(changed)
            if (op.op == "param" and op.out.type.dtype == "f32") or (
                op.op in VIEWS and op.inputs[0] in self.stored
            ):
                self.stored.add(op.out.name)
            yield op
            self.fixed.update(value.name for value in op.outputs if self._is_fixed(op, value))
        self.cast = known

    # --- what has which precision ---------------------------------------------------------------------------

    def _works(self, name: str) -> bool:
        """Whether a value has the module's precision."""
        type = self.types.get(name)
        return type is not None and type.dtype == "float" and name not in self.fixed

    def _is_fixed(self, op: Op, value: Value) -> bool:
        if value.type.dtype != "float":
            return value.type.dtype == "f32"
        if op.region is not None:
            return value.name in self.fixed
        return op.op != "param" and not self._has_parameters(op) and not any(map(self._works, op.inputs))

    def _has_parameters(self, op: Op) -> bool:
        callee = self.program.functions.get(op.callee)
        return callee is not None and bool(callee.params or callee.children)

    # --- functions and loops --------------------------------------------------------------------------------

    def _passes_on(self, op: Op) -> bool:
        """Whether it is a call of another function of the source, which casts by itself."""
        return bool(op.callee) and (op.op == "call" or op.op in self.kept or self._is_class(op))

    def _is_class(self, op: Op) -> bool:
        return self._has_parameters(op) and op.op not in rows.LAYERS

    def _note(self, op: Op) -> None:
        inputs = [value.name for value in self.program.functions[op.callee].inputs]
        names = op.names or inputs
        found = {name for name, each in zip(names, op.inputs, strict=False) if each in self.fixed}
        self.passed.setdefault(op.callee, set()).update(found & set(inputs))

    def _regions(self, op: Op) -> Op:
        made = []
        for region in (op.region, op.otherwise):
            if region is not None:
                firsts = zip(region.args[-len(op.inputs) :], op.inputs, strict=False)
                self.fixed.update(arg.name for arg, first in firsts if first in self.fixed)
                region = Region(region.args, tuple(self._body(region.body)), region.results)
                results = zip(op.outputs, region.results, strict=False)
                self.fixed.update(out.name for out, result in results if result in self.fixed)
            made.append(region)
        return replace(op, region=made[0], otherwise=made[1])

    def _loop(self, op: Op) -> Generator[Op, None, Op]:
        """A loop, before which what is carried takes the precision that the turns give: not every turn casts it anew."""
        loop = Loop.of(op)
        lead = self._lead_of(loop)
        before = {each.first for each in loop.carried if each.first in self.fixed}
        working = self._working(loop) if before and lead else frozenset()
        changed: dict[str, str] = {}
        for each in loop.carried:
            if each.first in before and each.arg.name in working and each.first not in changed:
                out = Value(self.names.fresh(each.arg.name), self.types[each.first].with_dtype("float"))
                changed[each.first] = out.name
                self.types = {**self.types, out.name: out.type}
                yield Op(LIKE, (each.first, lead), (out,), span=op.span)
        return self._regions(replace(op, inputs=tuple(changed.get(name, name) for name in op.inputs)))

    def _lead_of(self, loop: Loop) -> str:
        """A value that has the module's precision, and is there before the loop: a sequence of it, or what its turns read."""
        body = list(walk(loop.body))
        own = {value.name for op in body for value in op.outputs} | {value.name for value in loop.region.args}
        own |= {value.name for op in body for part in op.regions for value in part.args}
        outside = (name for op in body for name in op.inputs if name not in own)
        return next(filter(self._works, (*(each.source for each in loop.sequences), *outside)), "")

    def _working(self, loop: Loop) -> Container[str]:
        """Of what a loop carries, what has the module's precision after a turn: what began with it, and what meets such a value."""
        carried = {each.arg.name for each in loop.carried if each.arg.type.dtype == "float"}
        found = {each.arg.name for each in loop.carried if each.first not in self.fixed} & carried
        while True:
            fixed = carried - found
            fixed |= {each.arg.name for each in loop.sequences if each.source in self.fixed}
            turn = _Casting(self.program, self.function, self.kept, self.fixed | fixed)
            list(turn._body(loop.body))
            met = {each.arg.name for each in loop.carried if each.next not in turn.fixed} & carried
            if met <= found:
                return found
            found |= met

    # --- casts ----------------------------------------------------------------------------------------------

    def _is_made(self, op: Op) -> bool:
        """Whether it is the spec's own cast to the module's precision: of a number in f32, or of a result that is none yet."""
        if op.op != "cast" or op.attr("dtype") != "float":
            return False
        return op.inputs[0] in self.fixed or (
            op.out.name in self.results and self.types[op.inputs[0]].dtype != "float"
        )

    def _lead(self, op: Op, rest: Sequence[Op]) -> str:
        """An input that tells the precision: callers take a result for one in it; else if it is read later on, as is the value,
        beside others."""
        if op.out.name in self.results:
            return next((each.name for each in self.function.inputs if self._works(each.name)), "")
        later = list(walk(rest))
        if not any(op.out.name in each.inputs and len(each.inputs) > 1 for each in later):
            return ""
        read = {name for each in later for name in each.inputs}
        return next(
            (each.name for each in self.function.inputs if self._works(each.name) and each.name in read), ""
        )

    def _widened(self, op: Op) -> Generator[Op, None, dict[str, str]]:
        """Stored numbers as operands of products, which take no others than f32 beside f32."""
        changed: dict[str, str] = {}
        for name in op.inputs if op.op in PRODUCTS else ():
            if name in self.stored and name not in changed:
                out = Value(self.names.fresh(name), self.types[name])
                changed[name] = out.name
                self.types = {**self.types, out.name: out.type}
                yield Op(WIDE, (name,), (out,), span=op.span)
        return changed

    def _alike(self, op: Op) -> Generator[Op, None, dict[str, str]]:
        """Casts of operands that are to have the dtype of the others; what they are called then."""
        lead = next((name for name in op.inputs if name and self._works(name)), "")
        layer = op.path if self._has_parameters(op) else ""
        changed: dict[str, str] = {}
        for name in op.inputs if lead or layer else ():
            if name not in self.fixed or not self.types[name].rank:
                continue
            if name in self.cast:
                changed[name] = self.cast[name]
            elif name not in changed:
                out = Value(self.names.fresh(name), self.types[name].with_dtype("float"))
                changed[name] = self.cast[name] = out.name
                self.types = {**self.types, out.name: out.type}
                yield Op(
                    LIKE, (name, lead) if lead else (name,), (out,), path="" if lead else layer, span=op.span
                )
        return changed
