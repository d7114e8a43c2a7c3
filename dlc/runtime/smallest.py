"""The models of a spec at settings that run in no time."""

from __future__ import annotations

from dlc.analysis.measure import count
from dlc.diagnostics import NO_SPAN, Span, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.units import Definition
from dlc.ir.nodes import Program
from dlc.spec import Model, Spec

# More than this is not what someone meant who asked for small ones: it would take gigabytes, in f64 and with gradients.
MANY = 50_000_000


def smallest(spec: Spec, name: str = "") -> tuple[Model, ...]:
    """Every model of a spec, or the one that `name` names, at the smallest settings that the spec gives it: its own or those of one
    of its presets, by the number of parameters.

    Raises SpecError for a model that is wrong, and for one that has no settings of less than 50 million parameters."""
    wanted = spec[name] if name else None
    settings = _settings(spec)
    if wanted is None:
        return tuple(map(_smallest, settings.values()))
    small = _smallest(settings[wanted.point.definition.node.name])
    entry = wanted.point.entry
    return (spec[f"{small.name}.{entry}"] if entry else small,)


def _settings(spec: Spec) -> dict[str, list[Model]]:
    """Under the name of each model: itself, where its static parameters have defaults, and its presets."""
    found: dict[str, list[Model]] = {}
    for name in spec.models:
        item = spec.unit.names[name]
        if isinstance(item, Definition) and any(each.default is None for each in static_fields(item.node)):
            continue
        model = spec[name]
        found.setdefault(model.point.definition.node.name, []).append(model)
    return found


def _smallest(settings: list[Model]) -> Model:
    sizes = [_size(model.program) for model in settings]
    size, i = min(zip(sizes, range(len(sizes)), strict=True))
    if size > MANY:
        raise _too_large(settings[i], size)
    return settings[i]


def _size(program: Program) -> int:
    return count(program) + count(program, "buffer")


def _too_large(model: Model, size: int) -> SpecError:
    origin = model.point.definition.node.name
    message = f"`{model.name}` is the smallest that `{origin}` comes in here, and has {size:,} parameters"
    help = f"give the spec a preset with small sizes: `preset Tiny = {origin}(…)`"
    where = Span(model.spec.unit.path, 0, 0) if model.spec.unit.path else NO_SPAN
    return SpecError([problems.BAD_OPTION.at(where, message=message, help=help)])
