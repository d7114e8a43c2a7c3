"""A module that is copied: one copy as a function of its inputs and parameters, and the parameters of all, stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Instance, Tensor, type_name
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.calls import module_arguments, moved
from dlc.elaborate.calls.binding import bind_inputs
from dlc.elaborate.calls.facts import prove_facts
from dlc.elaborate.calls.initial_copies import moved_initial
from dlc.elaborate.calls.stacked import Lifted, lifted
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.callee import Bound, way_in
from dlc.elaborate.state.emission import TakenOver
from dlc.elaborate.state.scope import Scope
from dlc.ir.nodes import Op, Param, Parameter, Value
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


COPIES = "makes copies of a module: `{name}(Expert(d), n)`, not of"


def applied(call: Call, key: str, type: TensorType, does: str = COPIES) -> Applied:
    """A copy of the module as a function, on an input of this type. `does` tells what the user wrote it for."""
    body, node, instance = call.body, call.node, call[key]
    if not isinstance(instance, Instance) or instance.path is not None:
        found = (
            "a part that has a name, and parameters of its own"
            if isinstance(instance, Instance)
            else type_name(instance)
        )
        name = body.context.name
        message = f"`{name}` {does.format(name=name)} {found}"
        call.fail(problems.COPIED, key, message=message)
    if moved.moves(instance):
        name = body.context.name
        message = f"`{name}` {does.format(name=name)} a norm along another axis than its own"
        call.fail(problems.COPIED, key, message=message, help="move the axis around it")
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
    return [declared(call, one, each, each.path, count) for each in one.lifted.parameters]


def declared(call: Call, one: Applied, each: Parameter, path: str, count: Dim | None = None) -> Value:
    """A parameter of the module as one of the body that applies it, at `path` there; of `count` copies, with a first axis more."""
    body = call.body
    session, emission = body.context.session, body.emission
    single = each.type.substitute(one.terms)
    type = single if count is None else single.with_axes((count, *single.axes))
    scope = Scope({}, static=module_arguments.all_numbers(body.scope))
    if each.sources:
        what = "copies" if count is not None else f"`{body.context.name}`"
        message = f"`{each.path}` begins with a value computed of another parameter, which {what} can't"
        body.report.fail(problems.COPIED, call.node.span, message=message)
    # Numbers of a part inside speak of that part: names are those of another body.
    own = session.functions[each.init].scope == one.lifted.function.source
    terms = one.terms if own else None
    init = moved_initial(session, each.init, single, scope, terms, body.context.name, count)
    emission.params[path] = Param(path, type, each.kind, each.frozen, init)
    emission.taken_over[path] = TakenOver(each.owner, each.path.rpartition(".")[2], count is not None)
    value = Value(emission.builder.fresh(path.rpartition(".")[2]), type)
    emission.builder.append(Op("param", (), (value,), (("path", path),), span=call.node.span))
    return value
