"""`prepare(params)`: tensors that passes compute once from the spec's parameters (weights with a norm
folded in).

    params |= folded(params, "conv1", "bn1")
    for i in range(1, 3):
        params |= folded(params, f"layer1.{i}.conv1", f"layer1.{i}.bn1")

Layers for which the same is prepared share a function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import unique
from dlc.emit.python import quoted
from dlc.ir.nodes import Param
from dlc_jax.loops import Parts, literal, statements
from dlc_jax.module import Module


@dataclass(frozen=True, slots=True)
class Tensor:
    """A prepared tensor: what its name adds to its layer's, the function that computes it with its arguments, and the
    parameters that it takes, as (the number of the layer, the parameter's name there)."""

    ending: str
    function: str
    arguments: tuple[str, ...]
    sources: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Task:
    """The tensors prepared for the first of some layers, by their paths in an instance."""

    layers: tuple[str, ...]
    tensors: tuple[Tensor, ...]


class Prepare:
    """`prepare` of a module, and the functions that it calls."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.tasks = list(self._tasks(module.prepared))
        self.shared: dict[tuple[Tensor, ...], str] = {}
        self.said: Counter[tuple[Tensor, ...]] = Counter()
        self.lines()
        for tensors, count in self.said.items():
            if count > 2:
                name = "folded" if tensors[0].ending.startswith("_folded") else "prepared"
                taken = {*self.shared.values(), *(callee.name for callee in module.callees.values())}
                self.shared[tensors] = unique(name, taken)

    def lines(self) -> list[str]:
        """The function, or no lines where nothing is prepared."""
        if not self.tasks:
            return []
        return [
            "def prepare(params: Params) -> Params:",
            f'{INDENT}"""The parameters, and what `apply` computes from them only once."""',
            f"{INDENT}params = dict(params)",
            *statements([(path, task) for path, task in self.tasks], self._say),
            f"{INDENT}return params",
        ]

    def helpers(self) -> list[list[str]]:
        return [self._helper(name, tensors) for tensors, name in self.shared.items()]

    def _say(self, path: Parts, body: Hashable, indent: int) -> Iterator[str]:
        task = cast(Task, body)
        self.said[task.tensors] += 1
        places = [(*path, *each.split(".")) if each else path for each in task.layers]
        if helper := self.shared.get(task.tensors):
            arguments = ", ".join(["params", *map(literal, places)])
            yield from layout(f"params |= {helper}({arguments})", indent)
            return
        for tensor in task.tensors:
            read = [literal((*places[layer], *name.split("."))) for layer, name in tensor.sources]
            name = literal(
                (*places[0][:-1], places[0][-1] + tensor.ending) if places[0] else (tensor.ending,)
            )
            yield from layout(f"params[{name}] = {self._call(tensor, read)}", indent)

    def _helper(self, name: str, tensors: Sequence[Tensor]) -> list[str]:
        count = 1 + max(layer for tensor in tensors for layer, _ in tensor.sources)
        layers = ["layer", "norm"] if name.startswith("folded") and count == 2 else list("abcdefgh"[:count])
        arguments = ", ".join(f"{each}: str" for each in layers)
        lines = [
            f"def {name}(params: Params, {arguments}) -> Params:",
            f'{INDENT}"""What is prepared for the layer at a path."""',
            f"{INDENT}return {{",
        ]
        for tensor in tensors:
            read = ["f" + quoted(f"{{{layers[layer]}}}.{leaf}") for layer, leaf in tensor.sources]
            key = "f" + quoted(f"{{{layers[0]}}}{tensor.ending}")
            *first, last = layout(f"{key}: {self._call(tensor, read)}", 2, width=WIDTH - 1)
            lines += [*first, f"{last},"]
        return [*lines, f"{INDENT}}}"]

    def _call(self, tensor: Tensor, read: Sequence[str]) -> str:
        arguments = [*(f"params[{path}]" for path in read), *tensor.arguments]
        return f"{tensor.function}({', '.join(arguments)})"

    def _tasks(self, items: Sequence[tuple[str, Param]]) -> Iterator[tuple[Parts, Task]]:
        """What is prepared, by instance and layer."""
        for prefix, found in groupby(items, key=lambda item: item[0]):
            params = [param for _, param in found]
            known = {source.rpartition(".")[0] for param in params for source in param.sources}
            path = tuple(prefix.split(".")) if prefix else ()
            for layer, same in groupby(params, key=lambda param: _layer(param.name, known)):
                yield path, self._task(layer, list(same))

    def _task(self, layer: str, params: Sequence[Param]) -> Task:
        layers = [layer]
        tensors = []
        for param in params:
            sources = []
            for source in param.sources:
                owner, _, leaf = source.rpartition(".")
                if owner not in layers:
                    layers.append(owner)
                sources.append((layers.index(owner), leaf))
            callee = self.module.callees[param.init]
            arguments = tuple(f"{key}={value}" for key, value in callee.arguments)
            tensors.append(Tensor(param.name.removeprefix(layer), callee.name, arguments, tuple(sources)))
        return Task(tuple(layers), tuple(tensors))


def _layer(name: str, known: set[str]) -> str:
    """The layer that a prepared tensor is named after; its whole name if there is none."""
    return max((each for each in known if each and name.startswith(f"{each}_")), key=len, default=name)
