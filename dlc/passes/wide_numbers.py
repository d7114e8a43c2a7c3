"""Numbers of a batch, such as its loss, in f32 where the rest of a network is computed in f16.

f16 ends at 65,504: a sum over a batch, or the slope of a loss that is scaled by 65,536, has no place in it. So what a train block
computes without an axis is computed in f32, and so are functions of which only such a number comes, as in mixed precision by hand.

Before:

    fn error(%a: [B, 2]) -> (output: %sum) {
        %mul: [B, 2] = mul(%a, %a)
        %sum: [] = sum(%mul) {axis=[0, 1], keepdims=false}
    }

    model Net(%x: [B, 2], %y: [B, 2]) -> (loss: %loss) {
        %d: [B, 2] = sub(%x, %y)
        %error: [] = call(%d) -> error [B=B]
        %two: [] = const() {value=2.0}
        %loss: [] = mul(%error, %two)
    }

After:

    fn error_wide(%a: f32[B, 2]) -> (output: %sum)
        source error
    {
        %mul: f32[B, 2] = mul(%a, %a)
        %sum: f32[] = sum(%mul) {axis=[0, 1], keepdims=false}
    }

    model Net(%x: [B, 2], %y: [B, 2]) -> (loss: %loss) {
        %d: [B, 2] = sub(%x, %y)
        %cast: f32[B, 2] = cast(%d) {dtype="f32"}
        %error: f32[] = call(%cast) -> error_wide [B=B]
        %two_2: f32[] = const() {value=2.0}
        %loss: f32[] = mul(%error, %two_2)
    }
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dlc.ir.needed import reads
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.splice import Names, reached, referring
from dlc.passes.base import is_acting_or_random
from dlc.passes.lower import alone, drop_orphans, resolve_float
from dlc.records import dataclass, field, replace
from dlc.types.tensor import TensorType

WIDE = "f32"
STAYS = frozenset({"const", "param", "loop"})
"""What keeps its dtype though it is a single number: it is cast where a number is computed of it."""


def with_wide_numbers(program: Program) -> Program:
    """The program with the numbers of its entry in f32. Networks are left as they are."""
    return drop_orphans(program, _Widening(program).widened())


@dataclass(slots=True)
class _Widening:
    program: Program
    names: Names = field(init=False)
    types: dict[str, TensorType] = field(init=False)
    body: list[Op] = field(default_factory=list)
    casts: dict[tuple[str, str], str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)  # numbers that are f32 now
    now: dict[str, str] = field(default_factory=dict)
    """Functions that are computed in f32, by what they are called otherwise."""

    def __post_init__(self) -> None:
        main = self.program.main
        self.names = Names.of(main)
        self.types = dict(main.types())

    def widened(self) -> Program:
        main = self.program.main
        constants = {op.out.name: op for op in main.body if op.op == "const"}
        read = {name for op in main.body for name in reads(op)}
        for op in main.body:
            if op.op == "const" and op.out.name not in read:
                self.casts.clear()  # it marks where a step begins or ends, and each has casts of its own
            if self._is_wide(op):
                self._widen(op, constants)
            else:
                narrow = {each: self._cast(each, "float") for each in reads(op) if each in self.made}
                self.body.append(op.renamed(narrow))
        functions = {**self.program.functions, **self.functions}
        functions.pop(main.name)
        functions[main.name] = replace(main, body=tuple(self._read_still()))
        return self.program.with_functions(functions)

    def _read_still(self) -> Iterator[Op]:
        """The body without constants that only numbers were computed of. (Those that nothing read mark where steps begin.)"""
        before, now = (
            {name for op in body for name in reads(op)} for body in (self.program.main.body, self.body)
        )
        for op in self.body:
            if not (op.op == "const" and op.out.name in before and op.out.name not in now):
                yield op

    def _is_wide(self, op: Op) -> bool:
        if op.op in STAYS or is_acting_or_random(op) or op.region is not None or not op.outputs:
            return False
        if any(each.type.rank or each.type.dtype != "float" for each in op.outputs):
            return False
        return not op.callee or self._is_plain(op.callee)

    def _is_plain(self, name: str) -> bool:
        """Whether a function computes of its inputs alone."""
        functions = self.program.functions
        inside = (op for each in reached(functions, (name,)) for op in walk(functions[each].body))
        return not any(op.op == "param" or is_acting_or_random(op) for op in inside)

    def _widen(self, op: Op, constants: Mapping[str, Op]) -> None:
        inputs = tuple(self._wide(each, constants) for each in op.inputs)
        outputs = tuple(replace(each, type=each.type.with_dtype(WIDE)) for each in op.outputs)
        attrs = tuple((key, WIDE if key == "dtype" and each == "float" else each) for key, each in op.attrs)
        callee = self._called(op.callee) if op.callee else ""
        self.types.update((each.name, each.type) for each in outputs)
        self.made.update(each.name for each in outputs)
        self.body.append(replace(op, inputs=inputs, outputs=outputs, attrs=attrs, callee=callee))

    def _wide(self, name: str, constants: Mapping[str, Op]) -> str:
        """An operand in f32: a constant is one there, too."""
        if name not in constants or self.types[name].dtype != "float":
            return self._cast(name, WIDE)
        key = (name, WIDE)
        if key not in self.casts:
            out = Value(self.names.fresh(name), self.types[name].with_dtype(WIDE))
            self.body.append(replace(constants[name], outputs=(out,)))
            self.casts[key] = out.name
        return self.casts[key]

    def _cast(self, name: str, dtype: str) -> str:
        """A float operand in this dtype; what is no float is as it is."""
        if not name or self.types[name].dtype == dtype or (dtype == WIDE and not self.types[name].is_float):
            return name
        key = (name, dtype)
        if key not in self.casts:
            out = Value(self.names.fresh("cast"), self.types[name].with_dtype(dtype))
            self.body.append(Op("cast", (name,), (out,), (("dtype", dtype),)))
            self.types[out.name] = out.type
            self.casts[key] = out.name
        return self.casts[key]

    def _called(self, name: str) -> str:
        """The function in f32, with all that it calls."""
        if name not in self.now:
            part = resolve_float(alone(self.program, name), WIDE)
            taken = Names({**self.program.functions, **self.functions})
            self.now |= {each: taken.fresh(f"{each}_wide") for each in part.functions if each not in self.now}
            for each, function in part.functions.items():
                wide = referring(function, lambda called: self.now.get(called, called))
                self.functions[self.now[each]] = replace(wide, name=self.now[each])
        return self.now[name]
