"""A module that is copied: one copy as a function of its inputs and parameters, and the parameters of all, stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Instance, Tensor, type_name
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.calls import module_arguments
from dlc.elaborate.calls.binding import bind_inputs
from dlc.elaborate.calls.facts import prove_facts
from dlc.elaborate.calls.initial_copies import stacked_initial
from dlc.elaborate.calls.stacked import Lifted, lifted
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.callee import Bound, way_in
from dlc.elaborate.state.scope import Scope
from dlc.ir.nodes import Op, Param, Value
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


@dataclass(frozen=True)
class Applied:
    """One copy of a module as it is applied to a tensor: its function, what it makes, and in which sizes."""

    lifted: Lifted
    result: TensorType
    bound: Bound
    terms: Mapping[str, Any]
    """What the module's symbols are where the copies stand."""
    attrs: tuple[tuple[str, Any], ...]
    given: tuple[tuple[str, Any], ...]

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


def applied(call: Call, key: str, type: TensorType) -> Applied:
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
    callee = way_in(instance.definition, instance.static)
    first = str(callee.inputs[0].name) if callee.inputs else "x"
    given = Tensor(Value("", type), node.span, key)
    bound = bind_inputs(body, callee, {first: (given, node.span)}, node)
    prove_facts(body, callee, bound, node)
    made = body.instantiate(callee, bound, node)
    if made.broken or not made.function:
        raise Silent
    if not isinstance(made.results, TensorType):
        call.fail(problems.COPIED, key, message="a module that is copied gives one tensor")
    traced = body.context.session.traced
    terms = bound.terms(callee.static)
    return Applied(
        lifted(body, made.function, node.span),
        made.results.substitute(terms),
        bound,
        terms,
        module_arguments.attributes(callee.static, traced),
        (*instance.terms.items(), *(module_arguments.terms(callee.static) if traced else ())),
    )


def stacks(call: Call, one: Applied, count: Dim) -> list[Value]:
    """The parameters of all copies, declared where the copies stand: right below their label."""
    body = call.body
    scope = Scope({}, static=module_arguments.all_numbers(body.scope))
    values = []
    for each in one.lifted.parameters:
        single = each.type.substitute(one.terms)
        type = single.with_axes((count, *single.axes))
        session = body.context.session
        if each.sources:
            message = f"`{each.path}` begins with a value computed of another parameter, which copies can't"
            body.report.fail(problems.COPIED, call.node.span, message=message)
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
