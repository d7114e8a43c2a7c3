"""What passes share that want other parameters than a checkpoint holds: `prepared` ones, and the functions that make
them. The spec's own parameters and instances stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Param, Program, Value
from dlc.ir.paths import turn_paths
from dlc.types.tensor import TensorType

# (name of an input, its type); what the inputs, as values of the builder, make.
Inputs = Sequence[tuple[str, TensorType]]
Make = Callable[..., Value]


@dataclass
class PrepareFunctions:
    """Functions of kind "prepare" that passes add to a program, one for each computation."""

    program: Program
    added: dict[str, Function] = field(default_factory=dict)

    def get(self, hint: str, inputs: Inputs, make: Make) -> Function:
        """The function that `make` builds from the inputs. It is named by `hint`, and made once if it is the same."""
        builder = Builder()
        values = [Value(builder.fresh(name), type) for name, type in inputs]
        result = make(builder, *values)
        number = 1
        while True:
            name = f"{hint}_{number}"
            made = Function(
                name, hint, "prepare", tuple(values), (("result", result.name),), tuple(builder.body)
            )
            known = self.added.get(name) or self.program.functions.get(name)
            if known is None or known == made:
                self.added[name] = made
                return made
            number += 1

    def joined(self, functions: dict[str, Function]) -> Program:
        """The program with changed functions, and those added in front of them."""
        return self.program.with_functions({**self.added, **functions})


def sibling(path: str, name: str) -> str:
    """A path beside that of an instance: prepared tensors do not lie in instances, which may be a backend's own."""
    return f"{path}_{name}"


def prepared_params(
    name: str, sources: Sequence[str], function: Function, repeat: Op | None
) -> list[Param]:
    """The prepared parameter that `function` computes from the sources, one for every turn of the repeat."""
    type = function.output_types[0]
    turns = zip(turn_paths(name, repeat), *(turn_paths(each, repeat) for each in sources), strict=True)
    return [Param(first, type, "prepared", init=function.name, sources=tuple(rest)) for first, *rest in turns]


def with_params(function: Function, body: tuple[Op, ...], params: Sequence[Param]) -> Function:
    """The function with another body and further parameters, each path once."""
    known = {each.name for each in function.params}
    new = {each.name: each for each in params if each.name not in known}
    return replace(function, body=body, params=(*function.params, *new.values()))


def read(builder: Builder, path: str, type: TensorType) -> Value:
    """Append the read of a parameter."""
    out = Value(builder.fresh(path.rsplit(".", 1)[-1].replace("{i}", "i")), type)
    builder.append(Op("param", (), (out,), (("path", path),), span=builder.span))
    return out
