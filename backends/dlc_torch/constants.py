"""Tables of numbers are buffers of the module that reads them: made once, moved with it, in no state dict.

Before:

    module Bucket(%x: i64[B]) -> (y: %y)
        param weight: [4]
    {
        %edges: i64[2] = const() {value=[12, 16]}
        …
    }

After (`self.register_buffer("edges", torch.tensor([12, 16]), persistent=False)`):

    module Bucket(%x: i64[B]) -> (y: %y)
        param weight: [4]
        constant edges: i64[2]
    {
        %edges: i64[2] = param() {path="edges"}
        …
    }

What the spec says in f32 is made where it is read: `.to(torch.bfloat16)` would round a buffer. So are frequencies and the like,
which are computed, once a forward, in f32."""

from __future__ import annotations

from dataclasses import replace

from dlc.emit.names import unique
from dlc.ir.nodes import Attr, Function, Op, Param, Program
from dlc.ir.splice import within
from dlc.passes.subexpressions import exact
from dlc.types.tensor import TensorType
from dlc_torch.drafter import stateful
from dlc_torch.foreign import Divided
from dlc_torch.structure import CONSTANT, TAKEN


def held(program: Program) -> Program:
    """The program with tables as buffers, whose values stand in functions of initial values. A module whose parts lie in
    another's has no place of its own for them."""
    functions: dict[str, Function] = {}
    lent = {
        child.function
        for each in program.functions.values()
        for child in Divided.of(each.children, each.params).inside
    }
    for name, function in program.functions.items():
        if stateful(function) and not function.library and name not in lent:
            holder = _Holder(function)
            function = holder.run()
            functions.update((each.name, each) for each in holder.made)
        functions[name] = function
    return program.with_functions(functions)


class _Holder:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.params: list[Param] = []
        self.values: dict[str, tuple[TensorType, Attr]] = {}
        self.made: list[Function] = []
        taken = {each.name.partition(".")[0] for each in function.params}
        taken |= {each.path.partition(".")[0] for each in function.children}
        self.taken = taken | TAKEN | {each.name for each in function.settings}

    def run(self) -> Function:
        body = tuple(map(self._op, self.function.body))
        return replace(self.function, body=body, params=(*self.function.params, *self.params))

    def _op(self, op: Op) -> Op:
        op = within(op, self._op)
        if op.op != "const" or not op.out.type.rank or op.out.type.dtype in ("f32", "f64"):
            return op
        if op.out.type.is_empty:
            return op
        if dict(op.given).get("value") is not None:  # computed from static parameters, where it is read
            return op
        return replace(op, op="param", attrs=(("path", self._label(op)),))

    def _label(self, op: Op) -> str:
        """The buffer that holds the table."""
        value = op.attr("value")
        for label, (type, each) in self.values.items():
            if type == op.out.type and (each is value or exact(each) == exact(value)):
                return label
        hint = op.out.name if op.out.name != "const" else "table"
        label = unique(f"{hint}_{self.function.entry}" if self.function.entry else hint, self.taken)
        self.taken.add(label)
        self.values[label] = op.out.type, value
        made = Function(f"{self.function.name} {label}", label, "init", (), (("value", op.out.name),), (op,))
        self.made.append(made)
        self.params.append(Param(label, op.out.type, CONSTANT, init=made.name))
        return label
