"""Optimizers that a script writes out: what the spec or the library says of one parameter, as a function that remembers nothing itself.

An optimizer is a module whose buffers are what it remembers of a parameter. The function takes these behind the parameter and its gradient, and
gives their new values behind the parameter's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.backend.script import Drawn, Form, Memory
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.plan import OptimizerRule
from dlc.elaborate.programs.update import (
    STEP,
    Rule,
    gradient_input,
    rate_name,
    rule_program,
    state_path,
    value_input,
)
from dlc.emit.script import DRAWN
from dlc.ir.nodes import Function, Op, Parameter, Program, Value, walk
from dlc.ir.splice import Names, defined_names
from dlc.passes.base import functions_with
from dlc.passes.lower import drop_orphans, inline_in, unroll_function
from dlc.passes.randomness import Draw
from dlc.records import replace
from dlc.runtime.interpret import evaluated
from dlc.runtime.weights import initial_weights
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import untraced

HELD = frozenset(("param", "update"))
RATE = "lr"


class Undone(Exception):
    """What no script says of an optimizer."""


def forms(
    project: Project, parameters: Iterable[Parameter], rule: OptimizerRule, paths: Iterable[str]
) -> tuple[Form, ...]:
    """The optimizer for each type of the parameters that it trains. Raises SpecError where it does not fit one, and Undone."""
    known = {each.path: each for each in parameters}
    first: dict[TensorType, Parameter] = {}
    for path in paths:
        type = _plain(known[path].type)
        first.setdefault(type, replace(known[path], type=type))
    return tuple(_form(project, each, _at(rule, each.path)) for each in first.values())


def _at(rule: OptimizerRule, path: str) -> Rule:
    """The rule for one parameter; its numbers are those of a block, whose names mean nothing in it."""
    found = rule.on((path,))
    return replace(found, args={name: untraced(each) for name, each in found.args.items()})


def _plain(type: TensorType) -> TensorType:
    return TensorType(type.dtype, tuple(Dim.of(int(axis.constant or 0)) for axis in type.axes))


def _form(project: Project, parameter: Parameter, rule: Rule) -> Form:
    program, drawn = rule_program(project, [parameter], rule)
    draws = tuple(_draw(each, number) for number, each in enumerate(drawn))
    opened, place = _opened(program), f"{state_path(parameter.path)}."
    memory = tuple(_memory(opened, place))
    module = rule.module.node
    assert isinstance(module, ast.ModuleDef)
    names = [str(each.name) for each in module.inputs]
    takes = tuple(name for name in names[2:] if name != RATE or rule.takes_rate)
    called = {value_input(0): names[0], gradient_input(0): names[1], STEP: STEP, rate_name(0): RATE}
    called |= {each.name: each.name for each in draws}
    by_path = {f"{place}{each.name}": each.name for each in memory}
    main = _forgetful(opened, by_path, called, (*takes, *(each.name for each in draws)))
    doc = next((each.doc for each in program.functions.values() if each.source == rule.module.name), "")
    main = replace(main, source=rule.module.name, kind="fn", doc=doc, training=False)
    bare = Program({**opened.functions, main.name: main}, main.name)
    shape = tuple(int(axis.constant or 0) for axis in parameter.type.axes)
    return Form(drop_orphans(opened, bare), shape, memory, takes, draws)


def _draw(each: Draw, number: int) -> Drawn:
    if each.op not in DRAWN:
        raise Undone(f"that draws by `{each.op}`")
    attrs = {name: evaluated(value, {}) for name, value in each.attrs}
    return Drawn(each.input.name, each.op, tuple(map(int, attrs.pop("shape"))), attrs, number)


def _opened(program: Program) -> Program:
    """The program with all that remembers something in its entry."""
    holding = functions_with(program, lambda op: op.op in HELD)
    top = {op.callee for op in program.main.body}
    main = unroll_function(program.main, lambda loop: _holds(loop, holding))
    program = program.with_functions({**program.functions, main.name: main})
    program = inline_in(program, program.entry, lambda op: op.callee not in holding | top)
    left = functions_with(program, lambda op: op.op in HELD) - {program.entry}
    loops = [op for op in program.main.body if op.region is not None and _holds(op, left)]
    return _opened(program) if loops or left & {op.callee for op in program.main.body} else program


def _holds(loop: Op, holding: frozenset[str]) -> bool:
    return any(each.op in HELD or each.callee in holding for each in walk((loop,)))


def _memory(program: Program, place: str) -> Iterator[Memory]:
    """What is remembered of a parameter, and what that begins as."""
    begun: Mapping[str, NDArray[Any]] = initial_weights(program)
    for each in program.parameters:
        name, values = each.path.removeprefix(place), np.unique(begun[each.path])
        if values.size > 1:
            raise Undone(f"whose `{name}` begins as more than one number")
        dtype = "f32" if each.type.dtype == "float" else each.type.dtype
        yield Memory(name, begun[each.path].shape, dtype, values.item() if values.size else 0)


def _forgetful(
    program: Program, held: Mapping[str, str], called: Mapping[str, str], takes: Sequence[str]
) -> Function:
    """The entry with what is remembered, by its paths, as inputs and outputs; inputs are `called` as the module calls them."""
    main, types = program.main, {each.path: each.type for each in program.parameters}
    body = [op for op in main.body if op.op not in (*HELD, "stop_gradient")]
    names = Names(name for name in defined_names(replace(main, inputs=(), body=tuple(body))))
    given = {each.name: Value(names.fresh(called[each.name]), each.type) for each in main.inputs}
    before = {path: Value(names.fresh(name.replace(".", "_")), types[path]) for path, name in held.items()}
    now = {name: each.name for name, each in given.items()}
    at = {path: each.name for path, each in before.items()}
    done: list[Op] = []
    for op in main.body:
        inputs = [now.get(name, name) for name in op.inputs]
        if op.op == "param":
            now[op.out.name] = at[op.text("path")]
        elif op.op == "update":
            at[op.text("path")] = inputs[0]
        elif op.op == "stop_gradient":  # no gradient is taken
            now[op.out.name] = inputs[0]
        else:
            done.append(op.renamed(now))
    back = {called[name]: each for name, each in given.items()}
    ((_, value),) = main.outputs
    first, second = (back[called[name]] for name in (value_input(0), gradient_input(0)))
    further = (back[name] for name in takes)
    outputs = ((first.name, now.get(value, value)), *((before[path].name, at[path]) for path in held))
    given_in_order = (first, second, *before.values(), *further)
    return replace(
        main, inputs=given_in_order, outputs=outputs, body=tuple(done), params=(), children=(), entry=""
    )
