"""Many copies of a module, their parameters stacked: side by side (`copies`), and chosen row by row (`mixture`).

The library's modules of these names call what stands here, for what no statement of the language says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Instance, Tensor, type_name
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.builtins.routing import ROWS, routed_function
from dlc.elaborate.calls import module_arguments
from dlc.elaborate.calls.alone import joins_rows
from dlc.elaborate.calls.binding import bind_inputs
from dlc.elaborate.calls.facts import prove_facts
from dlc.elaborate.calls.initial_copies import stacked_initial
from dlc.elaborate.calls.stacked import Lifted, lifted
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.callee import Bound, Callee
from dlc.elaborate.state.scope import Scope
from dlc.ir.nodes import Op, Param, Program, Value
from dlc.ir.routing import ROUTED
from dlc.ops.calls import REQUIRED
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import rooted
from dlc.types.traced import Term


@dataclass(frozen=True)
class Applied:
    """One copy of a module as it is applied to a tensor: its function, what it makes, and in which sizes."""

    lifted: Lifted
    result: TensorType
    bound: Bound
    static: Mapping[str, Any]
    attrs: tuple[tuple[str, Any], ...]
    given: tuple[tuple[str, Any], ...]

    @property
    def terms(self) -> Mapping[str, Any]:
        return self.bound.terms(self.static)

    def op(self, inputs: Sequence[str], out: Value, known: Mapping[str, Dim], node: ast.Node) -> Op:
        """The call; `known` says what sizes are by now that were open when the copy was made."""
        function = self.lifted.function
        dims = {name: self.bound.names[name] for name in function.dims if name in self.bound.names}
        return Op(
            "call",
            tuple(inputs),
            (out,),
            self.attrs,
            function.name,
            dims=tuple((name, size.substitute(known)) for name, size in dims.items()),
            span=node.span,
            given=self.given,
            names=tuple(value.name for value in function.inputs) if self.bound.traced else (),
            known=tuple((name, size.substitute(known)) for name, size in self.bound.sizes.items()),
        )


def _copies(call: Call) -> Tensor:
    """Copy i applied to x[i]: x: [n, …] -> [n, …]."""
    body, node, x = call.body, call.node, call.tensor("x")
    copies = call.integer("n")
    one = _applied(call, "inner", TensorType(x.type.dtype, x.type.axes[1:]))
    stacks = _stacks(call, one, copies)

    def turn(inner: Any, xi: Value, *slices: Value) -> list[Value]:
        out = Value(inner.fresh("y"), one.result)
        inner.append(one.op([xi.name, *(each.name for each in slices)], out, {}, node))
        return [out]

    builder = body.emission.builder
    builder.span = node.span
    (whole,) = builder.loop(copies, turn, sequences=[(each, 0) for each in (x.value, *stacks)], stacked=(0,))
    return Tensor(whole, node.span, "copies")


def _routed(call: Call) -> Tensor:
    """What each expert that `choice` names makes of a position: x: [*S, i], choice: i64[*S, k] -> [*S, k, o]."""
    body, node, x, choice = call.body, call.node, call.tensor("x"), call.tensor("choice")
    experts = call.integer("experts")
    one = _applied(call, "expert", TensorType(x.type.dtype, (Dim.symbol(ROWS), x.type.axes[-1])))
    if one.result.rank != 2 or one.result.axes[0] != Dim.symbol(ROWS) or ROWS in one.result.axes[1].symbols:
        message = f"an expert takes rows [N, {x.type.axes[-1]}] and gives a row for each, this one gives {one.result}"
        call.fail(problems.COPIED, "expert", message=message)
    _check_rows(call, one)
    stacks = _stacks(call, one, experts)
    function = routed_function(call, one, stacks, x.type, choice.type.axes[-1], experts)
    *outside, k = choice.type.axes
    count = Dim.of(1)
    for size in outside:
        count = count * size
    rows = call.emit("reshape", x, shape=(count, x.type.axes[-1]))
    chosen = call.emit("reshape", choice, shape=(count, k))
    out = Value(body.emission.builder.fresh("y"), one.result.with_axes((count, k, one.result.axes[1])))
    operands = (rows.name, chosen.name, *(each.name for each in stacks))
    dims = {"R": count, "k": k}
    body.emission.builder.append(
        Op(
            ROUTED,
            operands,
            (out,),
            tuple((name, rooted(name, value)) for name, value in function.static)
            if one.bound.traced
            else function.static,
            function.name,
            dims=tuple((name, dims[name]) for name in function.dims),
            span=node.span,
            given=tuple((name, Term("param", (name,))) for name, _ in function.static)
            if one.bound.traced
            else (),
            names=tuple(value.name for value in function.inputs) if one.bound.traced else (),
        )
    )
    return call.emit("reshape", Tensor(out, node.span, "mixture"), shape=(*outside, k, one.result.axes[1]))


def _check_rows(call: Call, one: Applied) -> None:
    session, function = call.body.context.session, one.lifted.function
    op = joins_rows(
        Program(session.functions, function.name), "".join(function.inputs[0].type.axes[0].symbols)
    )
    if op is not None:
        message = f"an expert treats each row for itself, and `{function.source}` joins them"
        where = f"{op.span.file or 'here'}:{op.span}" if op.span.line else ""
        call.fail(problems.COPIED, "expert", message=message, notes=[f"at {where}"] if where else [])


def _applied(call: Call, key: str, type: TensorType) -> Applied:
    """A copy of the module as a function, on an input of this type."""
    body, node, instance = call.body, call.node, call[key]
    if not isinstance(instance, Instance) or instance.path is not None:
        found = (
            "a part that has a name, and parameters of its own"
            if isinstance(instance, Instance)
            else type_name(instance)
        )
        message = f"`{body.context.name}` makes copies of a module: `{body.context.name}(Expert(d), n)`, not of {found}"
        call.fail(problems.COPIED, key, message=message)
    module = instance.definition.node
    assert isinstance(module, ast.ModuleDef)
    callee = Callee(
        instance.definition, instance.static, module.inputs, module.outputs, module.where, module.body
    )
    first = str(module.inputs[0].name) if module.inputs else "x"
    given = Tensor(Value("", type), node.span, key)
    bound = bind_inputs(body, callee, {first: (given, node.span)}, node)
    prove_facts(body, callee, bound, node)
    made = body.instantiate(callee, bound, node)
    if made.broken or not made.function:
        raise Silent
    if not isinstance(made.results, TensorType):
        call.fail(problems.COPIED, key, message="a module that is copied gives one tensor")
    traced = body.context.session.traced
    return Applied(
        lifted(body, made.function, node.span),
        made.results.substitute(bound.terms(callee.static)),
        bound,
        callee.static,
        module_arguments.attributes(callee.static, traced),
        (*instance.terms.items(), *(module_arguments.terms(callee.static) if traced else ())),
    )


def _stacks(call: Call, one: Applied, copies: int) -> list[Value]:
    """The parameters of all copies, declared where the copies stand: right below their label."""
    body, count = call.body, call.size("n" if "n" in call.values else "experts")
    assert count.constant == copies
    scope = Scope({}, static=module_arguments.all_numbers(body.scope))
    values = []
    for each in one.lifted.parameters:
        single = each.type.substitute(one.terms)
        type = single.with_axes((count, *single.axes))
        session = body.context.session
        # Numbers of a part inside speak of that part: names are those of another body.
        own = session.functions[each.init].scope == one.lifted.function.source
        init = stacked_initial(
            session, each.init, count, single, scope, one.terms if own else None, body.context.name
        )
        body.emission.params[each.path] = Param(each.path, type, each.kind, each.frozen, init)
        body.emission.copied[each.path] = (each.owner, each.path.rpartition(".")[2])
        value = Value(body.emission.builder.fresh(each.path.rpartition(".")[2]), type)
        body.emission.builder.append(Op("param", (), (value,), (("path", each.path),), span=call.node.span))
        values.append(value)
    return values


BUILTINS = (
    builtin("_copies", {"inner": REQUIRED, "n": REQUIRED, "x": REQUIRED}, _copies),
    builtin("_routed", {"expert": REQUIRED, "experts": REQUIRED, "x": REQUIRED, "choice": REQUIRED}, _routed),
)
