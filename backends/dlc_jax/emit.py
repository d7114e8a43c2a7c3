"""A program as one module of pure functions.

The module holds, in this order: the `Config`, the functions of `library.py` that it uses, one function per module of the spec,
`init`, the way from checkpoints and back, and `apply`. Emission imports no JAX.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from dlc import ops
from dlc.backend import Artifact, EmitOptions, Family
from dlc.emit import helpers as helping
from dlc.emit.arguments import Argument, arguments, with_defaults
from dlc.emit.asked import EXACT, Lengths
from dlc.emit.canonical import Canonical, from_zero
from dlc.emit.common import merged
from dlc.emit.file import imports, names_in
from dlc.emit.layout import layout
from dlc.emit.names import identifier
from dlc.emit.origins import expression, forgotten
from dlc.emit.outline import outline, varies
from dlc.emit.own import Own
from dlc.emit.python import comment, docstring, wrapped
from dlc.emit.requirements import Requirements
from dlc.emit.settled import ForOneSetting, settled
from dlc.emit.tidy import tidied
from dlc.emit.tree import Expr
from dlc.emit.unturned import unturned
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc.once import remembering
from dlc.passes.recompute import Recompute
from dlc.types.terms import names as in_term
from dlc.types.traced import Term
from dlc_jax import methods, rows
from dlc_jax.checkpoints import LIBRARY, checkpoints, looked_up
from dlc_jax.config import config
from dlc_jax.functions import Written, outputs_lines, outputs_type
from dlc_jax.init import Init
from dlc_jax.integers import LONGEST, needs_x64
from dlc_jax.layers import LAYERS
from dlc_jax.prepare import Prepare
from dlc_jax.units import RESERVED, Units, finished

Lines = list[str]
OWN = frozenset({"apply", "init", "prepare", "from_flat", "to_flat"})


def is_native(op: Op) -> bool:
    """Whether an op is kept as it is: said by a row, by a function of `library.py`, or by one that is made
    from its definition."""
    if op.op == LOOP:
        return Loop.of(op).is_layers or bool(op.attr("shared"))
    if op.op == "attention" and (op.attr("causal") or op.attr("window") is not None):
        return False  # of the library's, with a mask that all layers share
    if op.op == "resize":
        return methods.is_resized(op)
    if op.op == "var":  # of fewer elements than are taken off, JAX's is nan
        return op.attr("correction") in (0, 1)
    composite = op.op in rows.COMPOSITES or op.op in LAYERS or op.op in rows.FUNCTIONS
    primitive = op.op == "size" or (ops.known(op.op) and (op.op in rows.ROWS or op.op in methods.SAY))
    return composite or primitive or ops.row(op.op, "jax") is not None


@remembering()
def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`."""

    module = _module(program, options)
    main = program.main
    types = zip(main.outputs, main.output_types, strict=True)
    meta = {
        "entry": "apply",
        "inputs": [[value.name, value.type.to_json()] for value in main.inputs],
        "given": list(module.inputs),
        "sizes": list(main.given_sizes),
        "outputs": [[name, type.to_json()] for (name, _), type in types],
        "state": any(each.kind == "buffer" for each in program.parameters),
        "arguments": list(module.arguments),
        "prepare": list(module.prepare),
        "training": options.training or main.training,
        "precision": options.precision,
        "x64": needs_x64(program),
        "x64_if_long": needs_x64(program, LONGEST),
        "trainable": [each.path for each in program.parameters if each.trainable],
        "dtypes": dict(_dtypes(program, options.precision)),
    }
    return Artifact("jax", {f"{options.name}.py": module.text}, meta)


def _module(program: Program, options: EmitOptions) -> Module:
    """The source for as many settings as can be said: with the spec's loops whole, with these as the turns begin to differ, or for one."""
    if options.family is not None:
        for loops in (True, False):
            with suppress(ForOneSetting):
                return _settled(options, options.family, loops)
        options = replace(options, family=None)
        program = program.with_functions({**program.functions, program.entry: forgotten(program.main)})
    return Module.of((program,), options, True)


def _settled(options: EmitOptions, family: Family, loops: bool) -> Module:
    return settled(
        family,
        lambda programs, defaults, lengths: Module.of(programs, options, defaults, loops, lengths),
    )


def _dtypes(program: Program, precision: str) -> Iterator[tuple[str, str]]:
    """The dtype of every parameter, buffer and prepared tensor, by path."""
    types = [(each.path, each.type.dtype) for each in program.parameters]
    expanded = Paths(program.functions).expand(program.entry)
    prepared = ((prefix, param) for prefix, param in expanded if param.kind == "prepared")
    types += ((prefixed(prefix, param.name), param.type.dtype) for prefix, param in prepared)
    return ((path, precision if dtype == "float" else dtype) for path, dtype in types)


@dataclass
class Module:
    """The source, and what `apply` takes by name."""

    text: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    """The inputs that it takes by place, those that may be left out among them."""
    prepare: tuple[str, ...] = ()
    """The trees that `prepare` takes; none where nothing is prepared."""

    @staticmethod
    def of(
        family: Sequence[Program],
        options: EmitOptions,
        defaults: bool,
        loops: bool = True,
        lengths: Lengths = EXACT,
    ) -> Module:
        # A program whose numbers have no expressions can't be said for other settings: every instantiation stands for itself.
        canonical = Canonical()
        programs = tuple(map(canonical.program, family))
        common = programs[0]
        if options.family:  # what can't be stacked is a function of one turn
            common = outline(
                merged(
                    programs, NATIVE, rows.FUNCTIONS, loops=loops, begun=True, callables=rows.CALLABLES
                ).program,
                varies,
            )
        common = unturned(from_zero(common))
        common = Recompute().run(common) if options.recompute else common
        return _Writing(common, options, defaults, lengths).run()


# What is said by its name in any mode.
NATIVE = (rows.COMPOSITES.keys() | LAYERS.keys()) - {"dropout"}


@dataclass
class _Writing:
    program: Program
    options: EmitOptions
    defaults: bool
    lengths: Lengths = EXACT

    def run(self) -> Module:
        main, taken = self.program.main, OWN | LIBRARY.functions.keys()
        units = Units(self.program, taken)
        entry = units.add(self.program.entry)
        requirements = Requirements(self.program, NATIVE).of(main.name) if self.options.family else ()
        settings = (
            arguments(main, None, RESERVED, main=True, defaults=self.defaults, own=False)
            if self.options.family
            else ()
        )
        own = self._own(requirements) if self.options.family else Own()
        taken_by_own = {each.spec for each in own.arguments}
        requirements = tuple(each for each in requirements if not in_term(each) & taken_by_own)
        init = Init(units, bool(settings), self.options.precision, set(taken))
        initial = [init.lines()] if self.program.parameters else []
        prepare = Prepare(units, {*taken, *init.names})
        prepared = [prepare.lines()] if prepare.is_needed else []
        others = {unit.name: unit for unit in units.by_name.values() if unit is not entry}
        functions = [Written(unit).lines() for unit in others.values()]
        outputs = outputs_type(main)
        written = Written(
            entry,
            entry=True,
            config=tuple(each.name for each in settings),
            own=own.apart(main, entry.draft.expressions()),
            defaults=self.defaults,
            precision=self.options.precision,
            named=outputs,
        )
        made = [*init.functions, *initial, *prepare.functions, *prepared]
        body = [*functions, *made, written.lines()]
        settings = _read(settings, body, requirements, main)
        table, flat = (
            checkpoints(self.program, units.places, has_config=bool(settings))
            if self.program.parameters
            else ([], [])
        )
        read: list[Expr] = [
            *entry.draft.expressions(),
            *own.expressions(),
            *init.read,
            *map(expression, requirements),
        ]
        drafted = (expr for unit in units.by_name.values() for expr in unit.draft.expressions())
        leading = [
            *map(helping.lines, helping.helpers([*read, *drafted])),
            config(settings, requirements, main, read, self.defaults, self.lengths) if settings else [],
            ["CONFIG = Config()"] if settings else [],
            outputs_lines(main, outputs, written.optional) if outputs else [],
        ]
        layers = copied(body)
        paths = [looked_up(lines, table) for lines in copied(flat) if lines not in layers]
        flat = [looked_up(lines, table) for lines in flat]
        known = {"config": bool(settings), "training": entry.traits.training, "key": bool(entry.traits.key)}
        source = _joined(
            self._head(written.inputs, self._static(own, known), prepare),
            tidied([*leading, *layers, *body, table, *paths, *flat]),
        )
        trees = ("params", "state") if prepare.takes_state(main.name) else ("params",)
        given = tuple(name for name, holds in known.items() if holds)
        inputs = tuple(value.name for value in entry.draft.function.inputs)
        return Module(source, given, inputs, trees if prepare.is_needed else ())

    def _static(self, own: Own, known: Mapping[str, bool]) -> list[str]:
        """The arguments of `apply` that a compiled function is for, in quotes: sizes, an entry's own, and two of those `known`."""
        sizes = (identifier(name) for name in self.program.main.given_sizes)
        rest = (name for name in ("config", "training") if known[name])
        return [f'"{name}"' for name in (*sizes, *(each.name for each in own.arguments), *rest)]

    def _own(self, asked: Sequence[Term]) -> Own:
        """What `apply` takes of its own list of static parameters, by the names that its body has for them."""
        own = Own.of(self.program.main, RESERVED, main=True, defaults=self.defaults, asked=asked)
        names = {each.spec: each.name for each in own.arguments}
        return own.rewritten(partial(finished, names))

    def _head(self, inputs: Sequence[str], static: Sequence[str], prepare: Prepare) -> Lines:
        """Where it comes from, what it is, and how it is used."""
        lines = [f"# {comment(line)}" for line in self.options.header]
        main = self.program.main
        doc = wrapped(main.doc.strip() or main.source, 92)
        if self.program.parameters:
            state = any(each.kind == "buffer" for each in self.program.parameters)
            held = "params, state" if state else "params"
            given = ", ".join(
                (
                    held,
                    *(
                        name
                        for name, value in zip(inputs, main.inputs, strict=True)
                        if value.name not in main.optional
                    ),
                    *(f"{identifier(name)}={name}" for name in main.given_sizes),
                )
            )
            doc += ["", f"    {held} = init(jax.random.key(0))"]
            taken = held if prepare.takes_state(main.name) else "params"
            doc += [f"    params = prepare({taken})"] if prepare.is_needed else []
            doc += layout(f"{'outputs, state' if state else 'outputs'} = apply({given})", 1)
        if self.program.parameters and not static:
            doc += ["", "It can be compiled with `jax.jit`."]
        if static:
            names = static[0] if len(static) == 1 else f"({', '.join(static)})"
            doc += ["", f"Under `jax.jit`: `static_argnames={names}`."]
        return [*lines, *docstring("\n".join(doc))]


# The file


def copied(blocks: Iterable[Lines]) -> list[Lines]:
    """The library's functions that the blocks use."""
    return list(LIBRARY.copied("\n".join(line for lines in blocks for line in lines), OWN))


STANDARD = {
    "collections.abc": ("Callable", "Sequence"),
    "dataclasses": ("dataclass",),
    "functools": ("partial",),
    "typing": ("Any", "NamedTuple"),
}


def _read(
    settings: Sequence[Argument], body: Iterable[Lines], asked: Iterable[Term], function: Function
) -> tuple[Argument, ...]:
    """The settings that something reads: another one would be taken and ignored."""
    read = set(re.findall(r"\bconfig\.(\w+)", "\n".join(line for lines in body for line in lines)))
    found = {each.spec for each in settings if each.name in read}
    found = with_defaults(function, found.union(*map(in_term, asked)))
    return tuple(each for each in settings if each.spec in found) or tuple(settings)


def _joined(head: Iterable[str], blocks: Iterable[Lines]) -> str:
    whole = "\n\n\n".join("\n".join(lines) for lines in blocks if lines)
    used = names_in(whole)
    types = [f"{name} = dict[str, Any]" for name in ("Params", "State") if name in used]
    used |= {"Any"} if types else set()
    text = "\n\n\n".join((*(["\n".join(types)] if types else []), whole))
    jax = sorted(used & {"Array", "lax"})
    own = [
        *(["import jax"] if "jax" in used else []),
        *(["import jax.numpy as jnp"] if "jnp" in used else []),
        *([f"from jax import {', '.join(jax)}"] if jax else []),
        *(["from jax.typing import DTypeLike"] if "DTypeLike" in used else []),
    ]
    return (
        "\n".join((*head, "", *imports(used, STANDARD, own, ("itertools", "math", "re")), ""))
        + "\n"
        + text
        + "\n"
    )
