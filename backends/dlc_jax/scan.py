"""A loop over layers as `lax.scan` over the stacked parameters of its layers.

x, _ = lax.scan(lambda x, layer: (block(layer, x), None), x, params["h"]["0:12"])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlc.emit.body import Step, Writer
from dlc.emit.layout import INDENT, fits
from dlc.emit.python import quoted
from dlc.emit.tree import At, Expr, Pairs, Path, Text, Word, text
from dlc.ir import paths
from dlc.ir.index import has_index, without_index
from dlc_jax.functions import Emission, Scope, draws, nodes, updates_of
from dlc_jax.stacking import Stack, index_literal, range_of


@dataclass(frozen=True, slots=True)
class Turn:
    """The body of a scan: the variables that it carries, those of one turn, what it gives."""

    carried: tuple[str, ...]
    slices: tuple[str, ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]
    updates: str


def write_scan(emission: Emission, scope: Scope, writer: Writer, step: Step) -> None:
    indices = paths.indices(step.op)
    stems = stems_of(step)
    layer = next(name for name in ("layer", "part", "weights") if name not in emission.called)
    inner = Scope(_parts(stems, layer, scope))
    turn = _turn(emission, inner, writer, step, layer)
    carried = writer.settled(step.value, room=50)
    xs = [*_layers(emission, scope, step, stems), *_keys(scope, step, len(indices))]
    writer.release(step)
    function = _inline(turn, writer) or _defined(turn, writer, step)
    names = [writer.target(step, target) for target in step.targets]
    new = "_"
    if inner.updates:
        new = writer.variables.hold(f"update {step.targets[0].name}", ("new",))
        writer.variables.reserve((new,))
        scope.updates[f"**{new}"] = _unstacked(_updated(inner, stems), len(stems) > 1, new, indices)
    first = text(carried.items[0]) if len(names) == 1 else text(carried)  # type: ignore[attr-defined]
    over = [xs[0] if len(xs) == 1 else f"({', '.join(xs)})"] if xs else ["length=" + str(len(indices))]
    target = names[0] if len(names) == 1 else f"({', '.join(names)})"
    statement = f"{target}, {new} = lax.scan({', '.join((function, first, *over))})"
    writer.line(statement, writer.comment(step, names))


# Parameters of the layers


def stems_of(step: Step) -> tuple[str, ...]:
    """The paths up to the part that holds the index: `h.{i}` for `h.{i}.attn` and `h.{i}.mlp`."""
    stems: dict[str, None] = {}
    for node in nodes(step.inner):
        if isinstance(node, Path) and has_index(node.path):
            parts = node.path.split(".")
            last = next(i for i, part in enumerate(parts) if has_index(part))
            stems.setdefault(".".join(parts[: last + 1]))
    return tuple(stems)


def _parts(stems: Sequence[str], name: str, outer: Scope) -> tuple[tuple[str, Expr], ...]:
    layer = Word(name)
    if len(stems) == 1:
        return ((stems[0], layer), *outer.parts)
    return (*((stem, At(layer, (Text(_key(stem)),))) for stem in stems), *outer.parts)


def _key(stem: str) -> str:
    return without_index(stem)


def _layers(emission: Emission, scope: Scope, step: Step, stems: Sequence[str]) -> list[str]:
    """The stacked parameters, which `stack` puts beside those of the single layers."""
    if not stems:
        return []
    stacks = [Stack.of(emission.paths, emission.function.name, stem, step.op) for stem in stems]
    emission.stacks += stacks
    parts = [scope.read(stack.path) for stack in stacks]
    keyed = Pairs(tuple((Text(_key(stem)), part) for stem, part in zip(stems, parts, strict=True)))
    return [text(parts[0] if len(parts) == 1 else keyed)]


def _updated(scope: Scope, stems: Sequence[str]) -> dict[str, dict[str, Expr]]:
    """The new buffers of a turn by stem, and by path below it."""
    found: dict[str, dict[str, Expr]] = {}
    for path, value in scope.updates.items():
        stem = next((stem for stem in stems if path == stem or path.startswith(stem + ".")), None)
        if stem is None:
            raise NotImplementedError(
                f"`{path}` is updated in every turn of a loop, which only layers of its own can be"
            )
        found.setdefault(stem, {})[path[len(stem) + 1 :]] = value
    return found


def _given(scope: Scope, stems: Sequence[str]) -> str:
    """What a turn gives besides what it carries: the new buffers of its layers."""
    updated = {stem: _tree(updates) for stem, updates in _updated(scope, stems).items()}
    if not updated:
        return "None"
    if len(stems) == 1:
        return text(updated[stems[0]])
    return text(updates_of({_key(stem): value for stem, value in updated.items()}))


def _tree(updates: dict[str, Expr]) -> Expr:
    return updates[""] if "" in updates else updates_of(updates)


def _unstacked(stems: Iterable[str], keyed: bool, new: str, indices: Sequence[int]) -> Expr:
    """The layers' new buffers, by their paths."""
    found = []
    for stem in stems:
        part = f"{new}[{quoted(_key(stem))}]" if keyed else new
        paths = f"[{index_literal(stem)} for i in {range_of(indices)}]"
        found.append(f"unstack_layers({part}, {paths})")
    return Word(" | ".join(found))


def _keys(scope: Scope, step: Step, count: int) -> list[str]:
    wanted = draws(step)
    return [f"jax.random.split({text(scope.keys[wanted[0]])}, {count})"] if wanted else []


# The body


def _turn(emission: Emission, scope: Scope, outer: Writer, step: Step, layer: str) -> Turn:
    region = step.region
    writer = emission.writer(step.inner, region.results, scope, outer.indent + 1)
    writer.variables.reserve((layer, "turn", "carry"))
    for name in step.captured():
        if name in outer.pending:
            writer.pending[name] = outer.pending[name]
        else:
            writer.variables.names[name] = outer.variables.names[name]
            writer.variables.reserve((outer.variables.names[name],))
    shapes = ["" if shape is None else text(shape) for shape in step.comments]
    carried = tuple(writer.argument(arg, shape) for arg, shape in zip(region.args, shapes, strict=True))
    split = emission.split_keys(writer, step.inner, scope)
    writer.write(step.inner)
    results = tuple(map(text, writer.results(region.results, room=20)))
    slices = (layer,) * bool(stems_of(step)) + ("key",) * bool(draws(step))
    return Turn(carried, slices, (*split, *writer.lines), results, _given(scope, stems_of(step)))


def _inline(turn: Turn, writer: Writer) -> str:
    """The body as a lambda, where it is one short expression: what is carried and what is given, or a call
    that gives both."""
    if len(turn.lines) > 1 or len(turn.carried) != 1 or len(turn.slices) > 1:
        return ""
    given, call = f"{turn.results[0]}, {turn.updates}", ""
    if turn.lines:
        target, _, call = turn.lines[0].partition("  # ")[0].strip().partition(" = ")
        if target != given:
            return ""
    function = f"lambda {turn.carried[0]}, {(*turn.slices, '_')[0]}: {call or f'({given})'}"
    return function if fits(function, writer.indent + 5) else ""


def _defined(turn: Turn, writer: Writer, step: Step) -> str:
    """The body as a function of its own, written here."""
    name = writer.variables.hold(f"turn {step.targets[0].name}", ("turn",))
    writer.variables.reserve((name,))
    margin = INDENT * (writer.indent + 1)
    slices = turn.slices[0] if len(turn.slices) == 1 else "inputs" if turn.slices else "_"
    carry = turn.carried[0] if len(turn.carried) == 1 else "carry"
    kinds = "Array" if len(turn.carried) == 1 else f"tuple[{', '.join(['Array'] * len(turn.carried))}]"
    taken = {"key": "Array", "inputs": "tuple[Params, Array]", "_": "None"}.get(slices, "Params")
    given = "None" if turn.updates == "None" else "Params"
    writer.lines.append("")
    writer.line(f"def {name}({carry}: {kinds}, {slices}: {taken}) -> tuple[{kinds}, {given}]:")
    if len(turn.carried) > 1:
        writer.lines.append(f"{margin}{', '.join(turn.carried)} = carry")
    if slices == "inputs":
        writer.lines.append(f"{margin}{', '.join(turn.slices)} = inputs")
    writer.lines += turn.lines
    results = turn.results[0] if len(turn.results) == 1 else f"({', '.join(turn.results)})"
    writer.lines += [f"{margin}return {results}, {turn.updates}", ""]
    return name
