"""AST -> IR: the state that all functions of a program share, and the elaboration of one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate import conditions, lent, parameters
from dlc.elaborate.depth import deep
from dlc.elaborate.frame import ElabError, Frame, InitRuleClosure, Silent
from dlc.elaborate.functions import Bound, Callee, Instantiation, inner_types, key_of
from dlc.elaborate.origin import Origin, enter
from dlc.elaborate.paths import RELABEL
from dlc.elaborate.project import Project, Unit
from dlc.elaborate.values import (
    POISON,
    Definition,
    GroupValue,
    Instance,
    Poison,
    PresetRef,
    Tensor,
    attribute,
    settings,
    type_name,
)
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Param, Value
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.facts import Facts, Relation
from dlc.types.tensor import TensorType

STEP_LIMIT = 2_000_000
DEPTH_LIMIT = 60


class Elaborator:
    """Elaborates definitions of a project into functions of one program, for training or for inference.

    `functions` grows with each instantiation, callees before callers; `diagnostics` collects what is wrong."""

    def __init__(self, project: Project, *, training: bool = False) -> None:
        self.project = project
        self.training = training
        self.functions: dict[str, Function] = {}
        self.rules: dict[str, list[InitRuleClosure]] = {}
        self.lent: set[str] = set()  # functions that were put into the bodies of those who call them
        self.diagnostics: list[Diagnostic] = []
        self.failures = 0
        self.told_inside: set[Span] = set()
        self._values: list[ast.Let | ast.Preset] = []
        self.made: dict[Any, Instantiation] = {}
        self._seen: set[tuple[str, Span]] = set()
        self._names: dict[str, int] = {}
        self._lets: dict[tuple[int, str], Any] = {}
        self._open: list[tuple[Any, str]] = []
        self._steps = 0
        self.initials: dict[str, str] = {}
        self.paths: dict[str, list[tuple[str, Param]]] = {}

    # --- what is wrong, and how much may be computed -------------------------------------------------------------

    def report(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic; the same problem at the same place is told once, however often a body is elaborated."""
        self.failures += 1
        key = (diagnostic.code, diagnostic.span)
        if key not in self._seen:
            self._seen.add(key)
            self.diagnostics.append(diagnostic)

    def spend(self, steps: int, span: Span, frame: Frame) -> None:
        self._steps += steps
        if self._steps > STEP_LIMIT:
            self._steps = 0
            frame.fail(
                problems.BUDGET,
                span,
                what="what this spec computes while compiling",
                found=f"over {STEP_LIMIT:,} steps",
                limit=f"{STEP_LIMIT:,}",
            )

    # --- static values of files ----------------------------------------------------------------------------------

    def static_frame(self, unit: Unit, library: bool = False, chain: tuple[str, ...] = ()) -> Frame:
        """A frame for expressions that stand in no body: defaults, `let`, presets."""
        builder = Builder(Facts())
        return Frame(self, unit, "", "static", builder, chain=chain, library=library, training=self.training)

    @deep
    def let(self, unit: Unit, item: ast.Let) -> Any:
        """The value of a `let`. Constants from files are read by the handler of `npz`."""
        key = (id(unit), item.name)
        if key not in self._lets:
            self._lets[key] = POISON
            frame = self.static_frame(unit)
            from dlc.elaborate.expressions import evaluate

            with self._evaluating(item):
                self._lets[key] = frame.guarded(lambda: evaluate(frame, item.value), POISON)
        self._check_cycle(unit, item)
        value = self._lets[key]
        if isinstance(value, Poison):
            raise Silent
        return value

    def let_dims(self, unit: Unit) -> Callable[[str], Dim | tuple[Dim, ...] | None]:
        """What a name in a type of this file means besides parameters and dims: an int given by `let`."""

        def find(name: str) -> Dim | None:
            item = unit.names.get(name)
            if not isinstance(item, ast.Let):
                return None
            value = self.let(unit.own(name), item)
            return Dim.of(value) if isinstance(value, int) and not isinstance(value, bool) else None

        return find

    @deep
    def preset(self, unit: Unit, item: ast.Preset) -> PresetRef:
        """A preset: its model, and the settings that it gives."""
        from dlc.elaborate.expressions import evaluate

        frame = self.static_frame(unit)
        self._check_cycle(unit, item)
        with self._evaluating(item):
            value = evaluate(frame, item.value)
        if isinstance(value, PresetRef):
            return PresetRef(value.definition, value.static, item.name)
        if not isinstance(value, Instance):
            what = value.name if isinstance(value, Definition) else "Model"
            message = f"the preset `{item.name}` needs a model at given settings, not {type_name(value)}"
            help = f"write `preset {item.name} = {what}(…)`"
            frame.fail(problems.BAD_PRESET, item.value.span, message=message, help=help)
        return PresetRef(value.definition, tuple(value.static.items()), item.name)

    @contextmanager
    def _evaluating(self, item: ast.Let | ast.Preset) -> Iterator[None]:
        """While the value of `item` is computed, so that one that needs itself is found out."""
        self._values.append(item)
        try:
            yield
        finally:
            self._values.pop()

    def _check_cycle(self, unit: Unit, item: ast.Let | ast.Preset) -> None:
        start = next((i for i, each in enumerate(self._values) if each is item), None)
        if start is None:
            return
        cycle = self._values[start:]
        top = min(range(len(cycle)), key=lambda i: (cycle[i].span.file, cycle[i].span.line))
        cycle = [*cycle[top:], *cycle[: top + 1]]
        names = " -> ".join(each.name for each in cycle)
        self.static_frame(unit).fail(problems.LET_CYCLE, cycle[0].value.span, name=cycle[0].name, cycle=names)

    # --- functions -------------------------------------------------------------------------------------------------

    @deep
    def instantiate(self, caller: Frame, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
        """The function for this callee with these static values and sizes, elaborated at its first use."""
        self.project.reached.add(callee.definition)
        key = key_of(callee, bound, self.training)
        found = self.made.get(key)
        # what is wrong inside the library is told at each of the calls that lead there
        if (
            found is not None
            and not (found.broken and callee.definition.library)
            and _proved(caller, found, bound)
        ):
            return found
        self._check_depth(caller, callee, node)
        self._open.append(((callee.definition, callee.entry), callee.name))
        try:
            made = self._elaborate(caller, callee, bound, node)
        except RecursionError:
            self._too_deep(caller, node)
        finally:
            self._open.pop()
        self.made[key] = made
        return made

    def _check_depth(self, caller: Frame, callee: Callee, node: ast.Node) -> None:
        own = (callee.definition, callee.entry)
        same = [i for i, (key, _) in enumerate(self._open) if key == own]
        if len(same) >= 12:
            names = [name for _, name in self._open[same[-1] :]]
            caller.fail(
                problems.RECURSION, node.span, name=callee.name, cycle=" -> ".join([*names, callee.name])
            )
        if len(self._open) > DEPTH_LIMIT:
            self._too_deep(caller, node)

    def _too_deep(self, caller: Frame, node: ast.Node) -> NoReturn:
        found = f"{len(self._open)} calls inside each other"
        caller.fail(problems.BUDGET, node.span, what="this nesting", found=found, limit=DEPTH_LIMIT)

    def _elaborate(self, caller: Frame, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
        from dlc.elaborate.statements import run_body

        needs: list[Relation] = []
        frame = self._frame(callee, bound, _chain(caller, callee, node))
        frame.origin = _origin(caller, callee, bound, node)
        inputs = self._enter_inputs(frame, callee, bound)
        frame.where = []
        for condition in [part for each in callee.where for part in conditions.parts(each)]:
            frame.guarded(partial(conditions.assume, frame, condition))
        if callee.definition.library:
            frame.facts.beyond = partial(_at_the_call, caller, bound, needs)
        before = self.failures
        if callee.entry:
            self._enter_main(frame, callee)
        run_body(frame, callee.body)
        broken = self.failures > before
        if not callee.is_module and _is_static(frame.returned) and frame.has_returned:
            return Instantiation("", None, broken, frame.returned, tuple(needs))
        results, outputs = parameters.finish_outputs(frame, callee)
        if isinstance(results, Poison):
            return Instantiation("", None, True)
        frame.where += needs
        function = self._close(frame, callee, inputs, outputs)
        return Instantiation(function.name, results, broken, needs=tuple(needs))

    def _frame(self, callee: Callee, bound: Bound, chain: tuple[str, ...]) -> Frame:
        definition = callee.definition
        frame = Frame(
            self,
            definition.unit,
            callee.name,
            "module" if callee.is_module else "fn",
            Builder(Facts()),
            env=dict(callee.static),
            dims=dict(bound.inner),
            static=dict(callee.static),
            chain=chain,
            outputs=callee.outputs,
            training=self.training,
            library=definition.library,
            float_dtype=bound.float_dtype,
            definition=definition,
        )
        for name, value in callee.static.items():
            frame.env[name] = own_instances(frame, name, value)
        return frame

    def _enter_inputs(self, frame: Frame, callee: Callee, bound: Bound) -> tuple[Value, ...]:
        """Bind the inputs' names to values of the callee's own types."""
        values: list[Value] = []
        types = bound.types or inner_types(bound)
        for name, given in bound.values.items():
            pending = iter(types.get(name, ()))
            frame.env[name] = _parameter(frame, name, given, pending, values)
        return tuple(values)

    def _enter_main(self, frame: Frame, callee: Callee) -> None:
        """An entry sees the parameters, buffers and bound instances of the main body."""
        parameters.enter_main(self, frame, callee)

    def _close(
        self, frame: Frame, callee: Callee, inputs: tuple[Value, ...], outputs: tuple[tuple[str, str], ...]
    ) -> Function:
        node = callee.definition.node
        function = Function(
            name=self.unique(callee.definition.name + (f"_{callee.entry}" if callee.entry else "")),
            source=callee.definition.name,
            kind="module" if callee.is_module else "fn",
            inputs=inputs,
            outputs=outputs,
            body=tuple(frame.builder.body),
            params=tuple(frame.params.values()),
            children=tuple(frame.children.values()),
            static=tuple((name, attribute(value)) for name, value in callee.static.items()),
            facts=tuple(frame.where),
            entry=callee.entry,
            library=callee.definition.library,
            training=self.training,
            doc=node.doc,
            span=node.span,
        )
        self.functions[function.name] = function
        if frame.rules:
            self.rules[function.name] = frame.rules
        parameters.check_paths(self, frame, function)
        return function

    def called(self) -> dict[str, Function]:
        """The functions of a program."""
        return {name: each for name, each in self.functions.items() if name not in self.lent}

    def unique(self, name: str) -> str:
        """A function name that is not taken: `Block`, `Block_2`, …"""
        count = self._names.get(name, 0) + 1
        self._names[name] = count
        return name if count == 1 else f"{name}_{count}"

    # --- parameters --------------------------------------------------------------------------------------------------

    def local_paths(self, function: str) -> list[tuple[str, Param]]:
        """Every parameter below a function, by its path relative to it."""
        return parameters.local_paths(self.functions, function, self.paths)

    def has_parameters(self, function: str) -> bool:
        found = self.functions[function]
        return bool(found.params or found.children)

    def claim(self, owner: Frame, instance: Instance, path: str, function: str) -> None:
        """Note who owns the parameters at `path`, so that two parameters at one path are found out."""
        for local, _ in self.local_paths(function):
            full = f"{path}.{local}" if local else path
            other = owner.taken.setdefault(full, instance)
            again = other.span == instance.span
            if other is not instance and not _alternatives(owner, other, instance):
                owner.fail(
                    problems.SAME_PATH,
                    instance.span,
                    path=full,
                    notes=[] if again else [f"the first is made at {other.span}"],
                    help="let its label, or the loop's, mention the loop's variable" if again else RELABEL,
                )

    def make_known(self, frame: Frame, instance: Instance) -> bool:
        """Whether the parameters of an instance that was not applied yet can be known; none can, so far."""
        return False


def _alternatives(owner: Frame, a: Any, b: Any) -> bool:
    """Two branches of `if training` may declare the same parameter."""
    return bool(owner.dead)


def _at_the_call(caller: Frame, bound: Bound, needs: list[Relation], relation: Relation) -> bool | None:
    """Whether a relation between a callee's sizes holds by the facts of the caller; what was found out is noted in `needs`."""
    if not relation.symbols <= bound.names.keys():
        return None
    answer = caller.facts.decide(relation.substitute(bound.names))
    if answer is not None:
        needs.append(relation if answer else relation.negated())
    return answer


def _proved(caller: Frame, made: Instantiation, bound: Bound) -> bool:
    """Whether a caller's facts have all that an instantiation needs."""
    return all(caller.facts.decide(need.substitute(bound.names)) is True for need in made.needs)


def _chain(caller: Frame, callee: Callee, node: ast.Node) -> tuple[str, ...]:
    """The calls that lead into a callee, innermost first, each but the first with the place where it calls the one before.
    A body is elaborated once, so the chain of its first call stands for all."""
    own = (
        f"{callee.name}({settings(dict(list(callee.static.items())[:6]))})" if callee.static else callee.name
    )
    above = caller.chain
    if not above and caller.kind in ("train", "test"):
        above = (f"{caller.kind} {caller.name}",)
    if not above or not node.span.line:
        return (own, *above)
    file = "" if node.span.file == callee.definition.unit.path else f"{node.span.file}:"
    return (own, f"{above[0]} at {file}{node.span}", *above[1:])


def _origin(caller: Frame, callee: Callee, bound: Bound, node: ast.Node) -> Origin | None:
    """Where errors of a callee in the library are told; None for a callee in the user's files."""
    if not callee.definition.library:
        return None
    return enter(caller, callee.name, node.span, callee.places, bound.names)


def _is_static(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(_is_static(each) for each in value)
    return not isinstance(value, Tensor | GroupValue | Poison)


def _parameter(
    frame: Frame, name: str, given: Any, types: Iterator[TensorType], values: list[Value]
) -> Tensor | GroupValue | tuple[Any, ...] | None:
    """A callee's input, of the structure of what the caller gave."""
    match given:
        case Tensor():
            value = Value(frame.builder.fresh(name), next(types))
            values.append(value)
            return Tensor(value)
        case GroupValue(definition, members):
            made = [(key, _parameter(frame, f"{name}.{key}", each, types, values)) for key, each in members]
            return GroupValue(definition, tuple(made))
        case tuple():
            return tuple(
                _parameter(frame, f"{name}_{i}", each, types, values) for i, each in enumerate(given)
            )
    return None


def own_instances(frame: Frame, name: str, value: Any) -> Any:
    """A module given inline as an argument is owned by the callee, under the parameter's name. One that has a name where it
    was made is lent: its path says so until the callee's body stands in its owner's (`dlc/elaborate/lent.py`)."""
    if isinstance(value, Instance):
        path, functions = (lent.path(name), value.functions) if value.is_bound else (None, {})
        return Instance(
            value.definition,
            value.static,
            value.span,
            name=name,
            path=path,
            frame=frame,
            functions=functions,
            places=value.places,
        )
    if isinstance(value, list):
        return [own_instances(frame, f"{name}.{i}", each) for i, each in enumerate(value)]
    return value


def model_definition(unit: Unit, name: str) -> Definition | None:
    found = unit.names.get(name)
    return found if isinstance(found, Definition) else None


__all__ = ["ElabError", "Elaborator", "Function", "model_definition"]
