"""What passes share that want other parameters than a checkpoint holds: `prepared` ones, and the functions
that make them. The spec's own parameters and instances stay as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from dlc.ir.builder import Builder
from dlc.ir.index import INDEX
from dlc.ir.loops import turning
from dlc.ir.nodes import Function, Op, Param, Program, Region, Value
from dlc.ir.paths import turn_paths
from dlc.ir.splice import Names
from dlc.passes.base import remembering
from dlc.records import dataclass, field, replace
from dlc.types.facts import Facts
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
        """The function that `make` builds from the inputs. It is named by `hint`, and made once if it is the
        same."""
        builder = Builder()
        values = [Value(builder.fresh(name), type) for name, type in inputs]
        outputs = (("result", make(builder, *values).name),)
        body = tuple(builder.body)
        return self.placed(hint, lambda name: Function(name, hint, "prepare", tuple(values), outputs, body))

    def placed(self, hint: str, make: Callable[[str], Function]) -> Function:
        """The function that `make` gives for a name, which is `hint` with a number."""
        number = 1
        while True:
            made = make(name := f"{hint}_{number}")
            known = self.added.get(name) or self.program.functions.get(name)
            if known is None or known == made:
                self.added[name] = made
                return made
            number += 1

    def joined(self, functions: dict[str, Function]) -> Program:
        """The program with changed functions, and those added in front of them."""
        return self.program.with_functions({**self.added, **functions})


# Which functions are rewritten: what the norm or the weights are in training changes with every step, and a
# backend may say what the library says in one piece. The tests have a program for each that it alone refuses.
CONDITIONS: dict[str, Callable[[Function], bool]] = {
    "inference": lambda function: not function.training,
    "own": lambda function: not function.library,
}


@dataclass
class Preparing(ABC):
    """A pass at work on one function: `rewritten` is its body, or that of a loop in it."""

    function: Function
    prepare: PrepareFunctions
    as_layers: bool = False

    @classmethod
    def program(cls, program: Program, *, as_layers: bool = False) -> Program:
        """The program with every function rewritten, but for those of training and the library."""
        prepare = PrepareFunctions(program)
        functions = {
            name: cls(each, prepare, as_layers).run()
            if all(may(each) for may in CONDITIONS.values())
            else each
            for name, each in program.functions.items()
        }
        return prepare.joined(functions) if prepare.added else program

    def run(self) -> Function:
        body = self.rewritten(self.function.body, None)
        if not self.added.params:
            return self.function
        made = self.added.applied(body)
        return replace(made, children=remembering(made.children, self.function.body, body))

    @abstractmethod
    def rewritten(self, body: Iterable[Op], loop: Op | None) -> tuple[Op, ...]:
        """A body, of the function or of a loop in it, with the parameters that it wants. `loop` is the one whose
        index `{i}` in its paths is."""

    def within(self, op: Op, outer: Op | None) -> Op:
        """A loop with its own body rewritten; any other op as it is."""
        if op.region is None:
            return op
        body = self.rewritten(op.region.body, turning(op, outer))
        return replace(op, region=Region(op.region.args, body, op.region.results))

    @cached_property
    def added(self) -> Additions:
        return Additions(self.function)

    @cached_property
    def names(self) -> Names:
        return Names.of(self.function)

    @property
    def builder(self) -> Builder:
        """A new builder of ops for this function."""
        return Builder(Facts(self.function.facts), names=self.names.fresh)


class Additions:
    """Prepared parameters that a pass adds to one function."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.params: dict[str, Param] = {}
        self._known = {param.name for param in function.params} | {child.path for child in function.children}

    def add(self, path: str, sources: Sequence[str], made: Function, loop: Op | None) -> str:
        """Add what the function `made` computes from the sources, for every turn of the loop. Gives its
        path: `path`, or one like it where that is taken."""
        type = made.output_types[0]
        while True:
            turns = zip(turn_paths(path, loop), *(turn_paths(each, loop) for each in sources), strict=True)
            params = [
                Param(name, type, "prepared", init=made.name, sources=tuple(rest)) for name, *rest in turns
            ]
            if all(
                each.name not in self._known and self.params.get(each.name, each) == each for each in params
            ):
                self.params.update((each.name, each) for each in params)
                return path
            path += "_"

    def applied(self, body: tuple[Op, ...]) -> Function:
        """The function with these parameters and another body."""
        return replace(self.function, body=body, params=(*self.function.params, *self.params.values()))


def sibling(path: str, name: str) -> str:
    """A path beside that of an instance: prepared tensors do not lie in instances, which may be a backend's
    own."""
    return f"{path}_{name}"


def read(builder: Builder, path: str, type: TensorType) -> Value:
    """Append the read of a parameter."""
    out = Value(builder.fresh(INDEX.sub("i", path.rsplit(".", 1)[-1])), type)
    builder.append(Op("param", (), (out,), (("path", path),), span=builder.span))
    return out
