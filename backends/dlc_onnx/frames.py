"""The body that is being written: a function of its own, or one whose operations stand in its caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.ir.nodes import Function, Op, Value
from dlc.ir.splice import Draws, Names, Splice, prefixed
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType
from dlc_onnx.naming import bare, spoken, within
from dlc_onnx.template import Ref


@dataclass
class Frame:
    """One body. `values` are ONNX's names of its values, `types` their types in the writer's dims; `path` is its
    instance's, under which parameters are found, `scope` the same as nodes are named; `wanted` are names that results
    must have."""

    body: Sequence[Op]
    types: Mapping[str, TensorType]
    facts: Sequence[Relation] = ()
    path: str = ""
    scope: str = ""
    values: dict[str, Ref] = field(default_factory=dict)
    wanted: dict[str, Ref] = field(default_factory=dict)

    def inside(self, body: Sequence[Op], values: Mapping[str, Ref], types: Mapping[str, TensorType]) -> Frame:
        """The body of a loop of this one."""
        inner = replace(self, body=body, types={**self.types, **types}, values={**self.values, **values})
        inner.wanted = {}
        return inner

    def parameter(self, path: str) -> str:
        """A parameter's path as the writer's function knows it."""
        return prefixed(self.path, path)

    def scope_of(self, op: Op) -> str:
        return within(self.scope, op.path)

    def hint(self, op: Op, value: Value) -> str:
        """What a result is called: after its instance, or as in the spec; "" where its node's name is the best."""
        if op.path:
            outer = self.scope_of(op)
            return outer if len(op.outputs) == 1 else f"{outer}/{bare(value.name)}"
        return f"{self.scope}/{value.name}" if spoken(op, value.name) else ""


def inlined(outer: Frame, op: Op, callee: Function, fresh: Callable[[str], str]) -> Frame:
    """The body of a call as it stands in the caller's place, in the caller's dims."""
    dims = dict(op.dims)
    copied = Splice(Names(), Draws(), {}, dims, str).body(callee.body)
    scope = fresh(within(outer.scope, op.path or callee.source.strip("_")))
    inner = Frame(
        copied,
        {name: type.substitute(dims) for name, type in callee.types().items()},
        [fact.substitute(dims) for fact in callee.facts],
        prefixed(outer.path, op.path),
        scope,
    )
    given = [outer.values[name] for name in op.inputs if name]
    inner.values.update(zip((each.name for each in callee.inputs), given, strict=True))
    for (name, value), out in zip(callee.outputs, op.outputs, strict=True):
        single = len(op.outputs) == 1
        inner.wanted.setdefault(
            value, outer.wanted.get(out.name) or Ref(scope if single else f"{scope}/{name}")
        )
    return inner
