"""Instantiations: what makes two calls the same function, and the function made at the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import FREE_FACTS, FUNCTION_STEPS, PARAMETER_LIMIT
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.spelling import parts
from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.units import entries, main_statements
from dlc.elaborate.base.values import (
    GroupValue,
    Instance,
    Poison,
    Tensor,
    default_parts,
    frozen,
    settings,
    show,
)
from dlc.elaborate.bodies.statements import run_body
from dlc.elaborate.calls import lent, module_arguments
from dlc.elaborate.calls.binding import inner_types
from dlc.elaborate.names import conditions
from dlc.elaborate.names.origins import origin
from dlc.elaborate.programs import parameters, reuse
from dlc.elaborate.programs.indices import check_indices
from dlc.elaborate.programs.outputs import finish_outputs
from dlc.elaborate.reports.report import Report
from dlc.elaborate.state.body import Body, Context, Counting, Session
from dlc.elaborate.state.callee import Bound, Callee, Instantiation
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.state.kept import Record
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.types.static import inner_text
from dlc.ir.nodes import Function, Setting, Value
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.dims import Dim, sole_atom
from dlc.types.facts import Facts, Relation
from dlc.types.tensor import TensorType
from dlc.types.terms import rooted, term, untraced
from dlc.types.traced import Term

DEPTH_LIMIT = 60


@deep
def instantiate(caller: Body, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
    """The function for this callee with these static values and sizes, elaborated at its first use."""
    session = caller.context.session
    session.project.reached.add(callee.definition)
    bound.empty = _empty(caller.emission.facts, bound)
    key = key_of(callee, bound)
    found = session.made.get((key, session.training))
    if found is not None and _serves(caller, callee, found, bound):
        session.asked(found.kept)
        return _minded(session, found)
    shares = session.open and session.measure is None and callee.definition not in session.outlining
    shares = shares and not session.fixed_in(callee.definition)
    for kept in reuse.known(session, key) if shares else ():
        if _serves(caller, callee, kept.made, bound) and (found := reuse.take(session, kept)) is not None:
            session.asked(kept)
            return _minded(session, found)
    _check_depth(caller, callee, node)
    session.spend(FUNCTION_STEPS, node.span, caller.report)
    session.open.append(((callee.definition, callee.entry), callee.name))
    session.records.append(Record())
    told = session.findings.failures
    try:
        made = _elaborate(caller, callee, bound, node)
    except RecursionError:
        _too_deep(caller, node)
    finally:
        session.open.pop()
        record = session.records.pop()
    session.made[key, session.training] = made
    if shares:
        if session.findings.failures == told:
            reuse.keep(session, key, callee, made, record)
        session.asked(made.kept)
    return _minded(session, made)


def _minded(session: Session, made: Instantiation) -> Instantiation:
    """What calls something that is another one in training is another one, too."""
    function = session.functions.get(made.function)
    if function is not None and function.modal:
        session.minded_mode()
    return made


def _serves(caller: Body, callee: Callee, made: Instantiation, bound: Bound) -> bool:
    """Whether a function that was made for another call does for this one. What is wrong inside the library is told at each of
    the calls that lead there, so a broken body of it is elaborated again. And a body of the library may have looked up facts of
    its first caller, to simplify a size or to refuse an axis: another caller whose facts say less gets a body of its own."""
    if made.broken and callee.definition.library:
        return False
    facts = caller.emission.facts
    return all(facts.decide(need.substitute(bound.names)) is True for need in made.needs)


def key_of(callee: Callee, bound: Bound) -> Any:
    """What makes two calls the same instantiation: all that the body can see of them, the mode aside. Sizes count in the callee's own terms, so
    two calls with other symbols but the same pattern of equal and known sizes share a function. Types are compared as text: the
    dims of two callers are different objects that say the same."""
    types = tuple((name, tuple(map(str, bound.types.get(name, ())))) for name in bound.values)
    sizes = tuple(sorted((name, size) for name, size in bound.inner.items()))
    return (
        callee.definition,
        callee.entry,
        frozen(callee.static),
        types,
        _hashable(sizes),
        bound.float_dtype,
        bound.empty,
    )


def _empty(facts: Facts, bound: Bound) -> tuple[str, ...]:
    """The callee's symbols for sizes that the caller does not know to be 1 or more."""
    return tuple(sorted(name for name, size in bound.names.items() if not _has_some(facts, size)))


def _has_some(facts: Facts, size: Dim) -> bool:
    name = sole_atom(size)
    if isinstance(name, str):
        return name not in facts.nonnegative or facts.prove_ge(size, 1) is True
    return (size - 1).nonnegative or facts.prove_ge(size, 1) is True


def _hashable(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        (name, str(size) if isinstance(size, Dim) else tuple(map(str, size))) for name, size in sizes
    )


def _check_depth(caller: Body, callee: Callee, node: ast.Node) -> None:
    """A callee that calls itself may do so with other static values, a dozen times; what goes deeper is a circle."""
    own, calls = (callee.definition, callee.entry), caller.context.session.open
    same = [i for i, (key, _) in enumerate(calls) if key == own]
    if len(same) >= 12:
        cycle = " -> ".join([*(name for _, name in calls[same[-1] :]), callee.name])
        caller.report.fail(problems.RECURSION, node.span, name=callee.name, cycle=cycle)
    if len(calls) > DEPTH_LIMIT:
        _too_deep(caller, node)


def _too_deep(caller: Body, node: ast.Node) -> NoReturn:
    found = f"{len(caller.context.session.open)} calls inside each other"
    caller.report.fail(problems.BUDGET, node.span, what="this nesting", found=found, limit=DEPTH_LIMIT)


def _elaborate(caller: Body, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
    """Run the body in sizes of its own: `bound.inner` has numbers for those that are numbers at the call, and symbols of the
    callee for all others, so the function says nothing of this caller and serves every call with the same key."""
    findings, needs = caller.context.session.findings, list[Relation]()
    body = _body(caller, callee, bound, node)
    inputs = _enter_inputs(body, callee, bound)
    emission = body.emission
    for name in bound.empty:
        emission.where.append(Relation(Dim.symbol(name), ">=", Dim.of(0)))
        emission.facts = emission.facts.assume(emission.where[-1])
    for count, condition in enumerate(part for each in callee.where for part in parts(each)):
        if count > FREE_FACTS:
            body.context.session.spend(count // 10 + 50, condition.span, body.report)
        body.report.guarded(partial(conditions.assume, body, condition))
    if callee.definition.library:
        # Only the library may ask: a user's module has to hold by its own `where`, whoever calls it.
        emission.facts.beyond = partial(_at_the_call, caller.emission, bound, needs)
    before = findings.failures
    if callee.entry:
        parameters.enter_main(body, callee)
    elif entries(callee.definition):
        parameters.bind_itself(body, callee, parameters.itself(body, callee))
    run_body(body, callee.body)
    broken = findings.failures > before
    if not callee.is_module and emission.has_returned and _is_static(emission.returned):
        return Instantiation("", None, broken, emission.returned, tuple(needs))
    results, outputs = finish_outputs(body, callee)
    if isinstance(results, Poison):
        return Instantiation("", None, True)
    emission.where += needs
    function = _close(body, callee, bound, inputs, outputs)
    if not callee.definition.library and not broken:
        broken = check_indices(body, callee, function)
    return Instantiation(function.name, results, broken, needs=tuple(needs))


def _body(caller: Body, callee: Callee, bound: Bound, node: ast.Node) -> Body:
    """The callee's body before its first statement: its static values and sizes, no operation yet."""
    session, definition = caller.context.session, callee.definition
    context = Context(
        session,
        definition.unit,
        callee.name,
        "module" if callee.is_module else "fn",
        session.training,
        definition.library,
        bound.float_dtype,
        definition=definition,
        statements=main_statements(definition),
    )
    origin = None
    if definition.library:
        origin = caller.origin_of(callee.name, node.span, callee.places, bound.names)
    report = Report(
        session.findings,
        session.vocabulary,
        _chain(caller, callee, node),
        origin,
        definition.node.span,
        (node.span, *caller.report.calls) if node.span.line else caller.report.calls,
    )
    body = Body(
        context,
        Scope({}, dict(bound.inner), dict(callee.static)),
        Emission(Counting(session, report)),
        report,
    )
    own = {name: own_instances(body, name, value) for name, value in callee.static.items()}
    body.bind_header(own, (*static_fields(definition.node), *callee.own, *callee.sizes))
    if session.traced:
        _root(body, callee, own)
    return body


def _root(body: Body, callee: Callee, static: Mapping[str, Any]) -> None:
    """Inside, a static parameter's expression is its name, whatever it is at the call."""
    session = body.context.session
    fixed = session.fixed_in(callee.definition)
    # The library's lists have an element for each axis: another function where there are others.
    told = {
        name: value
        for name, value in static.items()
        if name not in fixed and not (callee.definition.library and isinstance(value, list))
    }
    free = {
        name: module_arguments.rooted_instance(name, value, callee.static)
        if isinstance(value, Instance)
        else rooted(name, value)
        for name, value in told.items()
    }
    optional = [str(item.name) for item in callee.inputs if item.default is not None]
    origins = {name: Term("param", (name,)) for name in free} | {
        name: Term("input", (name,)) for name in optional
    }
    scope = body.scope
    body.scope = Scope(
        {**scope.names, **free},
        scope.dims,
        {**scope.static, **free},
        scope.turning,
        scope.loops,
        scope.places,
        scope.sizes_of,
        scope.hidden,
        origins,
        scope.written,
    )
    body.scope = body.scope.changed(names={**body.scope.names, **_default_parts(body, callee)})


def _default_parts(body: Body, callee: Callee) -> dict[str, Instance]:
    """What defaults make, its numbers in terms of the parameters before."""
    made = {
        name: body.evaluate(default)
        for name, default in default_parts(callee.definition, callee.static).items()
    }
    return {name: replace(part, name=name, owner=body) for name, part in made.items()}


def _enter_inputs(body: Body, callee: Callee, bound: Bound) -> tuple[Value, ...]:
    """Bind the inputs' names to values of the callee's own types."""
    values: list[Value] = []
    types = bound.types or inner_types(bound)
    inputs: dict[str, Any] = {}
    for name, given in bound.values.items():
        pending = iter(types.get(name, ()))
        inputs[name] = _parameter(body.emission, name, given, pending, values)
    body.emission.inputs = values
    body.bind_header(inputs, callee.inputs)
    body.note_types(each.type for each in (*callee.inputs, *callee.outputs))
    return tuple(values)


def _close(
    body: Body,
    callee: Callee,
    bound: Bound,
    inputs: tuple[Value, ...],
    outputs: tuple[tuple[str, str], ...],
) -> Function:
    session, emission, node = body.context.session, body.emission, callee.definition.node
    function = Function(
        name=session.unique(callee.definition.name + (f"_{callee.entry}" if callee.entry else "")),
        source=callee.definition.name,
        kind="module" if callee.is_module else "fn",
        inputs=inputs,
        outputs=outputs,
        body=tuple(emission.builder.body),
        params=tuple(emission.params.values()),
        children=tuple(emission.children.values()),
        static=module_arguments.attributes(callee.static, session.traced),
        facts=tuple(emission.where),
        entry=callee.entry,
        library=callee.definition.library,
        training=session.training,
        modal=session.records[-1].minds_mode,
        doc=entries(callee.definition)[callee.entry].doc if callee.entry else node.doc,
        span=node.span,
    )
    if session.traced:
        function = _with_provenance(function, body, callee, bound)
    session.functions[function.name] = function
    _count_parameters(body, function)
    if emission.rules:
        session.rules[function.name] = emission.rules
    if emission.hosted:
        session.hosted[function.name] = emission.hosted
    session.taken_over.update(((function.name, path), one) for path, one in emission.taken_over.items())
    parameters.check_paths(body, function)
    return function


def _count_parameters(body: Body, function: Function) -> None:
    """Parts of parts multiply, though each is elaborated once: count the paths before any is written."""
    count = body.context.session.parameter_count(function.name)
    if count > PARAMETER_LIMIT:
        found = "the number of parameters", f"{count:,}", f"{PARAMETER_LIMIT:,}"
        body.context.session.exhausted(found, body.report.place, body.report)


def _default(body: Body, root: Scope, field: ast.Field) -> Term | None:
    """A static parameter's default as a term; of one that is a function, its name."""
    if isinstance(field.default, ast.Name) and inner_text(field.type) == "fn":
        return Term("name", (field.default.id,))
    return None if field.default is None else origin(body.context, root, field.default)


def _with_provenance(function: Function, body: Body, callee: Callee, bound: Bound) -> Function:
    """With what emission needs to say the function for other static arguments."""
    session, node = body.context.session, callee.definition.node
    fixed = session.fixed_in(callee.definition)
    numbers = (each for each in callee.sizes if not isinstance(callee.static[str(each.name)], Dim))
    fields = [
        each
        for each in (*static_fields(node), *callee.own, *numbers)
        if str(each.name) in callee.static and str(each.name) not in fixed
    ]
    values = {name: value for name, value in callee.static.items() if name in fixed}
    root = Scope(
        values,
        origins={name: Term("param", (name,)) for name in callee.static if name not in fixed}
        | {name: term(untraced(value)) for name, value in values.items()},
    )
    defaults = [_default(body, root, each) for each in fields]
    asked = [origin(body.context, root, part) for each in callee.where for part in parts(each)]
    return replace(
        function,
        settings=(
            *(
                Setting(str(each.name), inner_text(each.type), default, is_own=each in callee.own)
                for each, default in zip(fields, defaults, strict=True)
            ),
            *module_arguments.settings(callee.static),
        ),
        sizes=tuple((name, int(size.constant or 0)) for name, size in bound.sizes.items()),
        decisions=tuple(body.emission.decisions),
        optional=tuple(str(each.name) for each in callee.inputs if each.default is not None),
        requires=tuple(each for each in asked if each is not None),
        remarks=callee.definition.unit.remarks,
    )


def _at_the_call(caller: Emission, bound: Bound, needs: list[Relation], relation: Relation) -> bool | None:
    """Whether a relation between a callee's sizes holds by the facts of the caller; what was found out is noted in `needs`."""
    if not relation.symbols <= bound.names.keys():
        return None
    answer = caller.facts.decide(relation.substitute(bound.names))
    if answer is not None:
        needs.append(relation if answer else relation.negated())
    return answer


def _chain(caller: Body, callee: Callee, node: ast.Node) -> tuple[str, ...]:
    """The calls that lead into a callee, innermost first, each but the first with the place where it calls the one before.
    A body is elaborated once, so the chain of its first call stands for all."""
    told = {name: value for name, value in callee.static.items() if show(value) != name}
    own = f"{callee.name}({settings(dict(list(told.items())[:6]))})" if told else callee.name
    above = caller.report.chain
    if not above and caller.context.kind in ("train", "test"):
        above = (f"{caller.context.kind} {caller.context.name}",)
    if not above or not node.span.line:
        return (own, *above)
    file = "" if node.span.file == callee.definition.unit.path else f"{node.span.file}:"
    return (own, f"{above[0]} at {file}{node.span}", *above[1:])


def _is_static(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(_is_static(each) for each in value)
    return not isinstance(value, Tensor | GroupValue | Poison)


def _parameter(
    emission: Emission, name: str, given: Any, types: Iterator[TensorType], values: list[Value]
) -> Tensor | GroupValue | tuple[Any, ...] | None:
    """A callee's input, of the structure of what the caller gave."""
    match given:
        case Tensor():
            value = Value(emission.builder.fresh(name), next(types))
            values.append(value)
            return Tensor(value)
        case GroupValue(definition, members):
            made = [
                (key, _parameter(emission, f"{name}.{key}", each, types, values)) for key, each in members
            ]
            return GroupValue(definition, tuple(made))
        case tuple():
            return tuple(
                _parameter(emission, f"{name}_{i}", each, types, values) for i, each in enumerate(given)
            )
    return None


def own_instances(body: Body, name: str, value: Any) -> Any:
    """A module given inline as an argument is owned by the callee, under the parameter's name. One that has a name where it
    was made is lent: its path says so until the callee's body stands in its owner's (`dlc/elaborate/calls/lent.py`)."""
    if isinstance(value, Instance):
        path, functions = (lent.path(name), value.functions) if value.is_bound else (None, {})
        return Instance(
            value.definition,
            {key: untraced(each) for key, each in value.static.items()},
            value.span,
            name=name,
            path=path,
            owner=body,
            functions=functions,
            places=value.places,
        )
    if isinstance(value, list):
        return [own_instances(body, f"{name}.{i}", each) for i, each in enumerate(value)]
    return value
