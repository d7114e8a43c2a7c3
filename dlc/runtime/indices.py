"""Indices and divisors that depend on data, checked before a backend sees them: backends clamp, wrap, or stop with words of their
own, and a division of integers by 0 ends the process of one.

Of a program only what its indices are computed of is kept (`IndexCheck`), and run on the NumPy references: for the tokens of a language
model a look at their least and greatest. Indices that were proved to be inside (`dlc/ir/indices.py`) cost nothing. What hangs on a draw,
or on a buffer that the program itself changes, can't be known beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.ir.indices import DIVIDED, INDEXED, Division, Survey, Use, divides, room
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.routing import ROUTED
from dlc.ops.arrays import numpy_dtype
from dlc.passes.wide_constants import in_precision
from dlc.records import dataclass, field, replace
from dlc.runtime.interpret import DIVISOR, INSIDE, Machine, Outside, bind_dims
from dlc.types.facts import Facts

Array = NDArray[Any]


class IndexCheck:
    """What a program asks of its indices. With `weights`, those that are computed of parameters count as well; `sources` are the
    texts that spans are of."""

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, Array] | None = None,
        precision: str = "f32",
        sources: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.program = in_precision(program, precision)
        self.weights = weights
        self.precision = precision
        self.sources = sources

    @cached_property
    def trimmed(self) -> Program | None:
        """What the indices are computed of, and the checks; None where there is nothing to check."""
        open_uses = list(_open(self.program))
        if not open_uses:
            return None
        whole = _trimmed(self.program, open_uses)
        if _knowable(whole, self._known):
            return whole
        known = [each for each in open_uses if _knowable(_trimmed(self.program, [each]), self._known)]
        return _trimmed(self.program, known) if known else None

    @cached_property
    def _known(self) -> frozenset[str]:
        """The local paths of parameters whose values are those of `weights` whenever the program runs."""
        functions = self.program.functions.values()
        every = [op for each in functions for op in walk(each.body) if op.op in ("param", "update")]
        changed = {op.text("path") for op in every if op.op == "update"}
        return frozenset() if self.weights is None else frozenset(op.text("path") for op in every) - changed

    def __call__(self, inputs: Mapping[str, Any]) -> None:
        """Raises SpecError (E0710) where an index is outside its axis, or integers are divided by 0. Inputs have the names, dtypes and shapes that the program asks
        for."""
        if self.trimmed is None:
            return
        main, whole = self.trimmed.main, self.program.main
        dims = bind_dims(whole, [_shaped(inputs[each.name]) for each in whole.inputs], inputs)
        arrays = [
            np.asarray(_here(inputs[each.name])).astype(
                numpy_dtype(each.type.dtype, self.precision), copy=False
            )
            for each in main.inputs
        ]
        machine = Machine(self.trimmed, self.weights or {}, np.random.default_rng(0), self.precision, {})
        try:
            with np.errstate(all="ignore"):
                machine.call(main, "", arrays, dims)
        except Outside as error:
            raise SpecError([problems.DATA.at(error.span, message=str(error))], self.sources) from None


def _shaped(given: Any) -> Any:
    return given if hasattr(given, "shape") and hasattr(given, "ndim") else np.asarray(given)


def _here(given: Any) -> Any:
    """A framework's own tensor may lie on a device."""
    return given.detach().cpu() if hasattr(given, "detach") else given


def _open(program: Program) -> Iterable[Use | Division]:
    """The uses of indices that are not known to be inside, and the divisions by what is not known to differ from 0."""
    facts = Facts(program.main.facts)
    survey = Survey(program.functions, facts, {})
    yield from (use for use in survey.of(program.main) if use.inside(facts) != (True, True))
    yield from (each for each in survey.divisions if not each.safe(facts))


def _knowable(program: Program, known: frozenset[str]) -> bool:
    """Whether a program gives the same whenever it runs."""
    ran = (op for name in program.reachable() for op in walk(program.functions[name].body))
    return not any(
        (ops.known(op.op) and ops.get(op.op).random) or (op.op == "param" and op.text("path") not in known)
        for op in ran
    )


# --- what is kept of a program ------------------------------------------------------------------------------


def _trimmed(program: Program, uses: Iterable[Use | Division]) -> Program:
    """The program without outputs, checks in it, and what these are computed of."""
    uses = tuple(uses)
    trimming = _Trimming(program, {id(use.op): _told(use) for use in uses})
    main = trimming.function(program.main, frozenset())
    return Program({**trimming.made, main.name: main}, main.name)


def _told(use: Use | Division) -> Op:
    """What reads, writes or divides, as the spec says it: the first call of the library on the way there, or the op."""
    return next((each for each in use.calls if each.op != "call"), use.op)


@dataclass
class _Trimming:
    program: Program
    checked: Mapping[int, Op]
    """By the identity of each op to be checked, what it is in the spec."""
    made: dict[str, Function] = field(default_factory=dict)
    _of: dict[tuple[str, frozenset[str]], Function] = field(default_factory=dict)

    def function(self, function: Function, wanted: frozenset[str]) -> Function:
        """A function with these of its outputs, its checks, and the inputs that are left."""
        key = (function.name, wanted)
        if key not in self._of:
            self._of[key] = made = self._function(function, wanted)
            self.made[made.name] = made
        return self._of[key]

    def _function(self, function: Function, wanted: frozenset[str]) -> Function:
        outputs = tuple((name, value) for name, value in function.outputs if name in wanted)
        types = function.types()
        live = {value for _, value in outputs}
        body = self._live(function.body, live, types)
        inputs = tuple(each for each in function.inputs if each.name in live)
        name = f"{function.name}.{len(self._of)}"
        return replace(function, name=name, inputs=inputs, outputs=outputs, body=body, children=(), params=())

    def _live(self, body: Iterable[Op], live: set[str], types: Mapping[str, Any]) -> tuple[Op, ...]:
        """What `live` values and the checks need; what is read in turn is added to `live`."""
        kept: list[Op] = []
        for op in reversed(tuple(body)):
            for each in (*self._kept(op, live, types), *self._check(op, types)):
                live.update(filter(None, each.inputs))
                kept.append(each)
        return tuple(reversed(kept))

    def _check(self, op: Op, types: Mapping[str, Any]) -> list[Op]:
        if id(op) not in self.checked:
            return []
        told, operands = self.checked[id(op)], [types[name] for name in op.inputs]
        if divides(op):
            signs = (
                ("of", DIVIDED.get(told.op, told.op)),
                ("sign", DIVIDED[op.op]),
                ("axes", op.out.type.axes),
            )
            return [Op(DIVISOR, (op.inputs[1],), (), signs, span=told.span)]
        attrs = (
            ("of", told.op),
            ("writes", not op.op.startswith("take")),
            ("room", room(op, operands)),
            ("size", operands[0].axes[op.integer("axis")] if op.op != ROUTED else op.integer("experts")),
        )
        return [Op(INSIDE, (op.inputs[INDEXED[op.op]],), (), attrs, span=told.span)]

    def _kept(self, op: Op, live: set[str], types: Mapping[str, Any]) -> list[Op]:
        wanted = any(value.name in live for value in op.outputs)
        if op.op == LOOP:
            loop = Loop.of(op).needed(live, partial(self._live, types=types))
            return [loop.op()] if wanted or loop.body else []
        if op.callee:
            return self._call(op, live)
        return [op] if wanted else []

    def _call(self, op: Op, live: set[str]) -> list[Op]:
        callee = self.program.functions[op.callee]
        pairs = list(zip(op.outputs, callee.outputs, strict=True))
        made = self.function(callee, frozenset(name for value, (name, _) in pairs if value.name in live))
        if not made.body and not made.outputs:
            return []
        needed = {each.name for each in made.inputs}
        given = zip(callee.inputs, filter(None, op.inputs), strict=True)
        inputs = tuple(name for value, name in given if value.name in needed)
        outputs = tuple(value for value, _ in pairs if value.name in live)
        return [replace(op, callee=made.name, inputs=inputs, outputs=outputs)]
