"""`init(key)`: the initial parameters and buffers, as the spec's initial values say them.

    params["wte.weight"] = 0.02 * jax.random.normal(next(keys), (50257, 768), jnp.float32)
    for i in range(12):
        params |= init_layer_norm(f"h.{i}.ln_1", (768,))
        params |= init_linear(next(keys), f"h.{i}.attn.c_attn", (2304, 768), std=0.02)

Layers that are initialised alike share a function; layers of equal blocks stand in a loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from dlc.emit.initial import Shape
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import snake
from dlc.emit.python import number, quoted
from dlc_jax.distributions import Distribution, Scale, customary, scale_text
from dlc_jax.initial import InitialValues
from dlc_jax.loops import Parts, literal, statements
from dlc_jax.module import Module
from dlc_jax.rows import DTYPES

SCALES = {"uniform": "bound", "normal": "std", "truncated_normal": "std"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter: the last part of its path, its shape and dtype, and what it is drawn from (or the
    expression that gives it)."""

    name: str
    shape: Shape
    dtype: str
    value: Distribution | str

    @property
    def draws(self) -> bool:
        return self.value.draws if isinstance(self.value, Distribution) else "next(keys)" in self.value

    @property
    def scale(self) -> Scale:
        return self.value.scale if isinstance(self.value, Distribution) else Scale(1.0)

    def pattern(self, kernel: Shape) -> object:
        """What layers that share a function have in common."""
        value = self.value
        if isinstance(value, Distribution):
            value = replace(value, scale=replace(value.scale, value=0.0))
        return self.name, related(self.shape, kernel), self.dtype, value


@dataclass(frozen=True, slots=True)
class Layer:
    """The parameters of one instance."""

    owner: str
    entries: tuple[Entry, ...]

    @property
    def kernel(self) -> Shape:
        """The shape from which those of all parameters follow."""
        return max((entry.shape for entry in self.entries), key=len)

    @property
    def draws(self) -> int:
        return sum(entry.draws for entry in self.entries)

    @property
    def pattern(self) -> object:
        return self.owner, tuple(entry.pattern(self.kernel) for entry in self.entries)

    @property
    def has_rule(self) -> bool:
        """Whether a scale is computed from the kernel's shape."""
        return any(entry.scale.rule for entry in self.entries)


def related(shape: Shape, kernel: Shape) -> str:
    """A shape in terms of the kernel's, `shape`."""
    if not shape or shape == kernel:
        return "shape" if shape else "()"
    for start, stop in ((0, 1), (-1, None), (1, 2)):
        if shape == kernel[start:stop]:
            return f"shape[{start or ''}:{stop or ''}]"
    return _tuple(shape)


def _tuple(shape: Shape) -> str:
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


class Init:
    """`init` of a module, and the functions that it calls."""

    def __init__(self, module: Module) -> None:
        self.module = module
        parameters = module.program.parameters
        others = {each.init: each.path for each in parameters if module.initial[each.init] is None}
        hints = {init: snake(path.rpartition(".")[2]) for init, path in others.items()}
        self.unknown = InitialValues.of(module, hints)
        self.layers = self._layers()
        counts = Counter(layer.pattern for path, layer in self.layers if path)
        self.shared: dict[object, str] = {}
        for path, layer in self.layers:
            alike = counts[layer.pattern] > 1 and len(layer.entries) > 1
            if path and (alike or layer.has_rule) and layer.pattern not in self.shared:
                self.shared[layer.pattern] = self._fresh(f"init_{snake(layer.owner or 'layer')}")
        self.members = {name: self._alike(pattern) for pattern, name in self.shared.items()}
        self.scales = {name: self._differing(layers) for name, layers in self.members.items()}

    def _alike(self, pattern: object) -> list[Layer]:
        return [layer for path, layer in self.layers if path and layer.pattern == pattern]

    def _fresh(self, name: str) -> str:
        taken = set(self.shared.values())
        number = 1
        found = name
        while found in taken or self.module.fresh(found) != found:
            number += 1
            found = f"{name}_{number}"
        return found

    def helpers(self) -> list[list[str]]:
        shared = [self._helper(name, layers) for name, layers in self.members.items()]
        return [*self.unknown.functions, *shared]

    def lines(self) -> list[str]:
        splits = sum(
            bool(layer.draws) if path and layer.pattern in self.shared else layer.draws
            for path, layer in self.layers
        )
        return [
            "def init(key: Array) -> Params:",
            f'{INDENT}"""Initial parameters and buffers, by path."""',
            *([f"{INDENT}keys = iter(jax.random.split(key, {splits}))"] if splits else []),
            f"{INDENT}params: Params = {{}}",
            *statements(self.layers, self._statements),
            f"{INDENT}return params",
        ]

    # The parameters

    def _layers(self) -> list[tuple[Parts, Layer]]:
        layers: list[tuple[Parts, Layer]] = []
        parameters = self.module.program.parameters
        instances = groupby(parameters, key=lambda each: (each.path.rpartition(".")[0], each.owner))
        for (path, owner), found in instances:
            entries = [
                Entry(
                    each.path.rpartition(".")[2],
                    each.type.shape or (),
                    self._dtype(each.type.dtype),
                    self.module.initial[each.init] or self.unknown.texts[each.init],
                )
                for each in found
            ]
            layers.append((tuple(path.split(".")) if path else (), Layer(owner, tuple(entries))))
        ruled = _with_rules([layer for _, layer in layers])
        return [(path, layer) for (path, _), layer in zip(layers, ruled, strict=True)]

    def _dtype(self, dtype: str) -> str:
        return DTYPES[self.module.options.precision if dtype == "float" else dtype]

    # Statements

    def _statements(self, path: Parts, layer: Hashable, indent: int) -> Iterator[str]:
        assert isinstance(layer, Layer)
        helper = self.shared.get(layer.pattern) if path else None
        if helper:
            scales = self.scales[helper]
            arguments = [
                *(["next(keys)"] if layer.draws else []),
                literal(path),
                _tuple(layer.kernel),
                *(f"{name}={number(layer.entries[i].scale.value)}" for i, name in scales.items()),
            ]
            yield from layout(f"params |= {helper}({', '.join(arguments)})", indent)
            return
        for entry in layer.entries:
            value = entry.value
            if isinstance(value, Distribution):
                scale = scale_text(value.scale, layer.kernel)
                value = value.expression("next(keys)", _tuple(entry.shape), entry.dtype, scale)
            yield from layout(f"params[{literal((*path, entry.name))}] = {value}", indent)

    # Functions for layers

    def _differing(self, layers: Sequence[Layer]) -> dict[int, str]:
        """The entries whose scales differ between layers, with the names of the arguments that give them."""
        names: dict[int, str] = {}
        for i, column in enumerate(zip(*(layer.entries for layer in layers), strict=True)):
            value = column[0].value
            if (
                isinstance(value, Distribution)
                and not value.scale.rule
                and len({each.scale.value for each in column}) > 1
            ):
                name = SCALES[value.kind]
                names[i] = f"{column[0].name}_{name}" if name in names.values() else name
        return names

    def _helper(self, name: str, layers: Sequence[Layer]) -> list[str]:
        layer, scales = layers[0], self.scales[name]
        arguments = [
            *(["key: Array"] if layer.draws else []),
            "path: str",
            "shape: tuple[int, ...]",
            *(["*", *(f"{each}: float" for each in scales.values())] if scales else []),
        ]
        rules = {
            scale_text(entry.scale): SCALES[entry.value.kind]
            for entry in layer.entries
            if isinstance(entry.value, Distribution) and entry.scale.rule
        }
        first = next(entry.name for entry in layer.entries if entry.shape == layer.kernel)
        return [
            *layout(f"def {name}({', '.join(arguments)}) -> Params:"),
            f'{INDENT}"""Initial parameters of `{layer.owner}`, from the shape of its {first}."""',
            *(f"{INDENT}{variable} = {rule}" for rule, variable in rules.items()),
            *([f"{INDENT}keys = jax.random.split(key, {layer.draws})"] if layer.draws > 1 else []),
            f"{INDENT}return {{",
            *self._items(layer, scales, rules),
            f"{INDENT}}}",
        ]

    def _items(self, layer: Layer, scales: dict[int, str], rules: dict[str, str]) -> Iterator[str]:
        drawn = 0
        for i, entry in enumerate(layer.entries):
            value = entry.value
            key = "key" if layer.draws == 1 else f"keys[{drawn}]"
            if isinstance(value, Distribution):
                text = scale_text(value.scale)
                scale = scales.get(i) or rules.get(text, text)
                value = value.expression(key, related(entry.shape, layer.kernel), entry.dtype, scale)
            else:
                value = value.replace("next(keys)", key)
            drawn += entry.draws
            name = entry.name.replace("{", "{{").replace("}", "}}")
            lines = layout(f"f{quoted('{path}.' + name)}: {value}", 2, width=WIDTH - 1)
            yield from (*lines[:-1], lines[-1] + ",")


def _with_rules(layers: Sequence[Layer]) -> Iterator[Layer]:
    """The layers with their scales in terms of their kernels' shapes, by the rules that hold for most of
    their kind."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for layer in layers:
        for entry in layer.entries:
            counts.update((layer.owner, entry.name, each.rule, each.fan) for each in _rules(layer, entry))
    for layer in layers:
        entries = []
        for entry in layer.entries:
            found = sorted(
                _rules(layer, entry),
                key=lambda each, name=entry.name, owner=layer.owner: (
                    -counts[owner, name, each.rule, each.fan]
                ),  # type: ignore[misc]
            )
            entries.append(replace(entry, value=replace(entry.value, scale=found[0])) if found else entry)  # type: ignore[type-var]
        yield replace(layer, entries=tuple(entries))


def _rules(layer: Layer, entry: Entry) -> list[Scale]:
    return list(customary(entry.value, layer.kernel)) if isinstance(entry.value, Distribution) else []
