"""What passes share that put a layer in the place of others, for backends whose files say layers (`Backend.fuses_layers`).

    child q: linear                                   child qkv: linear, joined of q, k, v
    child k: linear                             ->    prepared qkv.weight = merged_weight(q.weight, k.weight, v.weight)
    child v: linear

The layers that it stands for are gone; the program's parameters go on saying what a checkpoint holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial

from dlc.ir.builder import Builder
from dlc.ir.index import at_turn, has_index, split
from dlc.ir.nodes import Attr, Child, Function, Fused, Op, Param, Program, Value, walk
from dlc.ir.paths import Paths
from dlc.ir.splice import Names, path_of, prefixed
from dlc.passes.prepared import Preparing, read
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc.types.terms import term


@dataclass
class Layers:
    """The layers of one function that others take the place of."""

    program: Program
    function: Function
    made: dict[str, Child] = field(default_factory=dict)
    """By the path of the first layer that each stands for."""
    gone: set[str] = field(default_factory=set)

    def may_go(self, *paths: str) -> bool:
        """Whether the layers at these paths are applied here and once, and nobody else reads their tensors."""
        calls = [op.path for op in walk(self.function.body) if op.callee]
        held = [child.path for child in self.function.children]
        return not self._is_shared and all(
            calls.count(path) == 1 and held.count(path) == 1 and not self._is_read(path) for path in paths
        )

    @cached_property
    def _is_shared(self) -> bool:
        """Whether an instance of the function is entered by another function too, which may apply other layers of it."""
        for owner in self.program.functions.values():
            within = [child.function for child in owner.children if not child.path]
            if self.function.name in (*within, *((owner.name,) if within else ())):
                return True
            # (By all paths: two loops may say theirs alike, `{i}`, and go over other numbers.)
            places = {True: set[str](), False: set[str]()}
            for child in owner.children:
                places[child.function == self.function.name].update(child.paths())
            if not places[True].isdisjoint(places[False]):
                return True
        return False

    def put(self, path: str, function: str, fused: Fused) -> None:
        """Have a layer at a path stand for others, in as many turns of a loop as they are there."""
        first = next(child for child in self.function.children if child.path == fused.parts[0])
        self.made[first.path] = replace(first, path=path, function=function, call=None, fused=fused)
        self.gone.update(fused.parts)

    def free(self, path: str) -> str:
        """The path, or one like it where there is something already."""
        taken = {child.path for child in (*self.function.children, *self.made.values())}
        taken |= {param.name for param in self.function.params}
        while any(each == path or each.startswith(f"{path}.") for each in taken):
            path += "_"
        return path

    def applied(self, function: Function) -> Function:
        """The function with these parts."""
        if not self.made:
            return function
        children = (self.made.get(child.path, child) for child in function.children)
        kept = (child for child in children if child.path not in self.gone or child in self.made.values())
        return replace(function, children=tuple(kept))

    def _is_read(self, path: str) -> bool:
        parts = split(path) if has_index(path) else (path,)
        inside = re.compile(r"\d+".join(map(re.escape, parts)) + r"(\.|$)")
        return any(inside.match(each) for each in self._from_outside)

    @cached_property
    def _from_outside(self) -> set[str]:
        """What is read of instances without calling them, or lies in them, relative to the function."""
        paths = Paths(self.program.functions)
        return {
            rest
            for function in self.program.functions.values()
            for path in _leading_in(function, is_own=function.name == self.function.name)
            for owner, rest in paths.owners(function.name, path)
            if owner == self.function.name
        }


def _leading_in(function: Function, *, is_own: bool) -> Iterator[str]:
    """The paths by which a function reaches into instances, in every turn of a loop: of tensors that it reads there, and of
    instances that lie there."""
    paths = [path_of(op) for op in walk(function.body) if not op.callee]
    paths += [] if is_own else [child.path for child in function.children]
    turns = {child.start + child.step * k for child in function.children for k in range(child.count)}
    for path in (each for each in paths if "." in each):
        yield from (at_turn(path, turn) for turn in turns) if has_index(path) else (path,)


class Fusing(Preparing):
    """A pass at work that may put layers in the place of others: where `as_layers`, it does nothing else."""

    @cached_property
    def layers(self) -> Layers:
        return Layers(self.prepare.program, self.function)

    def run(self) -> Function:
        return self.layers.applied(super().run())

    def layer(self, function: Function, out: Dim, *, bias: bool) -> Function:
        """The layer that stands for some like `function`."""
        how = partial(prepared_layer, function, out=out, bias=bias)
        return self.prepare.placed(f"{function.name}_fused", how)


# --- layers that are made -----------------------------------------------------------------------------------


def prepared_layer(function: Function, name: str, out: Dim, *, bias: bool) -> Function:
    """A convolution or linear layer like another one, with so many outputs and maybe a bias, whose parameters who holds it
    prepares."""
    weight = next(each.type for each in function.params if each.name == "weight")
    types = {"weight": weight.with_axes((out, *weight.axes[1:]))}
    if bias:
        types["bias"] = weight.with_axes((out,))
    given = {"out": out.constant, "bias": bias}
    body, result = _body(function, types)
    return replace(
        function,
        name=name,
        params=tuple(Param(each, type, "prepared") for each, type in types.items()),
        static=tuple((key, given.get(key, value)) for key, value in function.static),
        decisions=(),
        body=body,
        outputs=((function.outputs[0][0], result),),
    )


def _body(function: Function, types: Mapping[str, TensorType]) -> tuple[tuple[Op, ...], str]:
    """What the layer does, and the name of its result."""
    builder = Builder(Facts(function.facts), names=Names.of(function).fresh)
    if function.source == "linear":
        y = builder.matmul(
            function.inputs[0], builder.permute(read(builder, "weight", types["weight"]), (1, 0))
        )
    else:
        builder.body += function.body
        y = Value(function.outputs[0][1], function.output_types[0])
        if any(each.name == "bias" for each in function.params):
            return function.body, y.name
    if "bias" in types:
        bias = read(builder, "bias", types["bias"])
        ones = (1,) * (y.type.rank - 2) if function.source != "linear" else ()
        y = builder.add(y, builder.reshape(bias, (types["bias"].axes[0], *ones)) if ones else bias)
    return tuple(builder.body), y.name


def with_static(op: Op, **given: Attr) -> Op:
    """A call of a layer with other static arguments, and what the spec wrote for them there."""
    told = {name: term(value) for name, value in given.items()}
    return replace(
        op,
        attrs=tuple((name, given.get(name, value)) for name, value in op.attrs),
        given=tuple((name, told.get(name, each)) for name, each in op.given),
    )


def joined_path(paths: Sequence[str]) -> str:
    """The names of layers of one parent in one: `qkv_proj` for `q_proj`, `k_proj` and `v_proj`."""
    parent = paths[0].rpartition(".")[0]
    labels = [path.rpartition(".")[2] for path in paths]
    endings = {label.rpartition("_")[2] for label in labels if "_" in label}
    ending = endings.pop() if len(endings) == 1 and all("_" in label for label in labels) else ""
    stems = [label.removesuffix(f"_{ending}") if ending else label for label in labels]
    stem = ("" if all(len(each) == 1 and each.isalpha() for each in stems) else "_").join(stems)
    return prefixed(parent, f"{stem}_{ending}" if ending else stem)
