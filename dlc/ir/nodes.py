"""The IR: a program of functions in SSA form.

Flat: operands are value names, never nested nodes, and every walk is a loop. Immutable: a pass returns a new
program. The grammar:

    program  = functions by name, the entry function's name, parameters (every path, with its type and initial value)
    function = inputs, outputs, local parameters, children (instances and their functions), operations, facts
    op       = name, operand names, results with types, attributes
             | call: `callee` names a function; `path` the instance, relative to this function's own path
             | loop: `region` is a body run `count` times on carried values and slices of sequences, whose further results are
               stacked; "{i}" in its paths is the index, "{i+1}" one more (`dlc.ir.loops` has its parts)

Composite operations of the standard library (`softmax`, `linear`) are calls whose `op` is their name: a backend that
says them natively uses that, any other follows the callee's body.

A function's types speak of its own dims. A call carries `dims`, the callee's dims in terms of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NoReturn, TypeVar, Union

from dlc.diagnostics import NO_SPAN, Span
from dlc.ir.index import at_turn
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType
from dlc.types.traced import Term

BY = "()"
"""The name in what a call is `given` of the function that it calls, where that is a static parameter."""
Attr = Union[int, float, bool, str, None, Dim, tuple["Attr", ...]]  # noqa: UP007 - recursive
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value:
    """A result or input: `name` is unique within its function, regions included."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Region:
    """The body of a `loop`: `args` are the index (where the loop has one), the carried values inside, and one turn's
    slices of the sequences; `results` are the names that the carried values have after a turn, and those of what is
    stacked. It may read any value of the enclosing function that stands before it."""

    args: tuple[Value, ...]
    body: tuple[Op, ...]
    results: tuple[str, ...]

    def renamed(self, names: Mapping[str, str]) -> Region:
        """The same body, reading renamed values from outside."""
        body = tuple(op.renamed(names) for op in self.body)
        return Region(self.args, body, tuple(names.get(name, name) for name in self.results))


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a loop in the spec: the loop (by its place), its variable, what it goes over, the number of the turn, what was decided
    on the variable in it, and what the spec computes of it: `4 * 2 ** i`."""

    loop: Span
    variable: str
    over: Term
    index: int
    decisions: tuple[Decision, ...] = ()
    numbers: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the elaborator decided on static values: the condition in terms of the function's parameters, and the answer."""

    condition: Term
    answer: bool
    span: Span = NO_SPAN


@dataclass(frozen=True, slots=True)
class Setting:
    """A static parameter as the spec declares it: its type as text, and its default in terms of those before it."""

    name: str
    type: str
    default: Term | None = None
    is_own: bool = False
    """Whether it stands in an entry's own list: who calls the entry gives it, not who makes the model."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `inputs` are value names, "" for an optional operand that is absent.

    Structural ops, besides the library's:
      param    attrs path: reads the parameter or buffer at a path relative to the function; no inputs, one output
      const    attrs value (a number, or nested tuples of numbers)
      call     callee, path ("" for an `fn`), dims
      update   attrs path: the buffer's new value is input 0; no outputs
      require  attrs message: input 0 is a bool scalar that must be true at run time; no outputs
      choice   emission only: `region` where `condition` holds, `otherwise` else; results of both -> outputs
      loop     region, attrs count (a number or a size), start, step: position k has index start + step*k; inputs are the
               carried values' first ones and the sequences, outputs the carried values' last ones and the stacked results.
               Further attrs, absent where they have their default: sequences, stacked (the axis of each), index (the region
               takes it as an i64 argument), backwards, shared (all turns have the same parameters, paths hold no index),
               recompute (a derivative computes a turn again, instead of keeping what it computed)
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    attrs: tuple[tuple[str, Attr], ...] = ()
    callee: str = ""
    path: str = ""
    dims: tuple[tuple[str, Dim], ...] = ()
    region: Region | None = None
    span: Span = field(default=NO_SPAN, compare=False, repr=False)
    given: tuple[tuple[str, Term], ...] = field(default=(), compare=False, repr=False)
    """Of a call: the static arguments that the spec writes, as expressions over the caller's; under `BY` the function itself."""
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Of a call: which of the callee's inputs each operand is, absent ones included."""
    known: tuple[tuple[str, Dim], ...] = field(default=(), compare=False, repr=False)
    """Of a call: the callee's dims that are numbers here; their origins are in the caller's terms."""
    condition: Term | None = None
    otherwise: Region | None = None
    loops: tuple[Turn, ...] = field(default=(), compare=False, repr=False)
    """The loops of the spec that it stands in, as far as they were taken apart."""

    def attr(self, name: str, default: Attr = None) -> Attr:
        for key, value in self.attrs:
            if key == name:
                return value
        return default

    def integer(self, name: str) -> int:
        """The attribute that is a whole number. Each of these raises TypeError for one that is absent or something else."""
        found = _integer(self.attr(name))
        return self._refuse(name, "an integer") if found is None else found

    def integers(self, name: str) -> tuple[int, ...]:
        """The attribute that is a list of whole numbers, such as `axes`."""
        return self._list(name, _integer, "a list of integers")

    def sizes(self, name: str) -> tuple[Dim, ...]:
        """The attribute that is a list of sizes, such as `start`."""
        return self._list(name, _size, "a list of sizes")

    def text(self, name: str) -> str:
        """The attribute that is a string, such as `path`."""
        value = self.attr(name)
        return value if isinstance(value, str) else self._refuse(name, "a string")

    def _list(self, name: str, read: Callable[[Attr], T | None], wanted: str) -> tuple[T, ...]:
        value = self.attr(name)
        found = [read(each) for each in value] if isinstance(value, tuple) else [None]
        known = tuple(each for each in found if each is not None)
        return known if len(known) == len(found) else self._refuse(name, wanted)

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        raise TypeError(f"attribute `{name}` of `{self.op}` must be {wanted}, not {self.attr(name)!r}")

    @property
    def attributes(self) -> dict[str, Attr]:
        return dict(self.attrs)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The body of a loop, or the sides of a choice."""
        return tuple(each for each in (self.region, self.otherwise) if each is not None)

    @property
    def out(self) -> Value:
        """The only result."""
        return self.outputs[0]

    def renamed(self, names: Mapping[str, str]) -> Op:
        """The same operation on renamed operands (results and regions' own values keep their names)."""
        inputs = tuple(names.get(name, name) for name in self.inputs)
        region, otherwise = (each and each.renamed(names) for each in (self.region, self.otherwise))
        return replace(self, inputs=inputs, region=region, otherwise=otherwise)


def _integer(value: Attr) -> int | None:
    number = value.constant if isinstance(value, Dim) else value
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _size(value: Attr) -> Dim | None:
    return Dim.of(value) if isinstance(value, int | Dim) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter (`kind` "param"), a saved tensor that is not trained ("buffer"), or a tensor that a pass computes
    once from the others ("prepared"), local to a function: `name` is the path relative to an instance of it.

    `init` names a function that gives the initial value where no rule of an outer module overrides it; `sources` are the local
    paths of its inputs, in order: parameters declared before this one. For "prepared", `init` names the function that computes it. A layer that a pass made does not know them: it has none, and who holds it says them for the path inside."""

    name: str
    type: TensorType
    kind: str = "param"
    frozen: bool = False
    init: str = ""
    sources: tuple[str, ...] = ()
    when: Term | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fused:
    """What a layer that a pass made stands for, whose parameters are prepared of those of its `parts`: it is "joined" of parallel
    layers, or "folded" of a layer and the norm behind it, of which `eps` is, and whether it scales and shifts (`affine`); `bias`
    is whether the layer has one of its own."""

    how: str
    parts: tuple[str, ...]
    eps: float = 0.0
    affine: bool = True
    bias: bool = False

    def moved(self, change: Callable[[str], str]) -> Fused:
        """The same with other paths."""
        return replace(self, parts=tuple(map(change, self.parts)))


@dataclass(frozen=True, slots=True)
class Child:
    """An instance inside a function: the path relative to it ("{i}" for the index of a loop, "{i+1}" one ahead; its index values
    are `start + step*k` for k < `count`; count 0 where the path has no index) and the name of its function."""

    path: str
    function: str
    count: int = 0
    start: int = 0
    step: int = 1
    when: Term | None = field(default=None, compare=False, repr=False)
    """In merged functions: the condition on static parameters under which there is such an instance."""
    call: Op | None = field(default=None, compare=False, repr=False)
    """For emission, of an instance that the body does not call: how the main computation does, or a call that nothing read."""
    fused: Fused | None = field(default=None, compare=False, repr=False)

    @property
    def turns(self) -> tuple[int, int, int]:
        """Count, start and step."""
        return self.count, self.start, self.step

    def each(self) -> tuple[Child, ...]:
        """The instances one by one."""
        turns = [self.start + self.step * turn for turn in range(self.count)]
        here = (
            Child(path, self.function, fused=self.fused and self.fused.moved(partial(at_turn, index=turn)))
            for path, turn in zip(self.paths(), turns or [0], strict=True)
        )
        return tuple(here)

    def paths(self) -> Iterator[str]:
        if not self.count:
            yield self.path
        for turn in range(self.count):
            yield at_turn(self.path, self.start + self.step * turn)


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment of the spec on the code in lines `first` to `last` of a file."""

    file: str
    first: int
    last: int
    text: str
    behind: bool = False
    """Whether it stands behind the code: where that is said within something else, it would be taken for that's."""

    def covers(self, span: Span) -> bool:
        """Whether it speaks of what stands there."""
        return span.file == self.file and self.first <= span.line <= self.last


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the program.

    `kind` is "model", "module", "fn" (no parameters), "init" (an initial value), or "prepare". `source` is the name in
    the spec (`Block`) and `static` its static arguments as text, for documentation and names; `library` is true for
    definitions of the standard library. `entry` names the way in for `entry` blocks ("" for the main computation).
    """

    name: str
    source: str
    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[tuple[str, str], ...]  # (output name, value name)
    body: tuple[Op, ...]
    params: tuple[Param, ...] = ()
    children: tuple[Child, ...] = ()
    static: tuple[tuple[str, Attr], ...] = ()
    facts: tuple[Relation, ...] = ()
    entry: str = ""
    library: bool = False
    training: bool = False
    doc: str = field(default="", compare=False)
    span: Span = field(default=NO_SPAN, compare=False, repr=False)
    settings: tuple[Setting, ...] = field(default=(), compare=False, repr=False)
    sizes: tuple[tuple[str, int], ...] = field(default=(), compare=False, repr=False)
    """Dims of the inputs that are numbers in this instantiation, with their values: static parameters that nobody writes."""
    decisions: tuple[Decision, ...] = field(default=(), compare=False, repr=False)
    scope: str = field(default="", compare=False, repr=False)
    """Of an initial value: the module whose static parameters its numbers are expressions over."""
    recipe: str = field(default="", compare=False, repr=False)
    """Of an initial value: the distribution that the spec names (`kaiming_normal`)."""
    optional: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Inputs that may be absent, whether they are or not."""
    further: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Inputs that a pass added: what all instances share."""
    requires: tuple[Term, ...] = field(default=(), compare=False, repr=False)
    """What the spec's `where` says of static parameters alone."""
    modal: bool = field(default=False, compare=False, repr=False)
    """Whether it is another one in training than outside of it."""
    remarks: tuple[Remark, ...] = field(default=(), compare=False, repr=False)
    """For emission: the comments of the file that it stands in."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of dims in the inputs' types, in order of appearance, then those of static arguments alone."""
        axes = (axis for value in self.inputs for axis in value.type.axes)
        sizes = (*axes, *sizes_in(tuple(value for _, value in self.static)))
        return tuple(dict.fromkeys(symbol for size in sizes for symbol in sorted(size.symbols)))

    @property
    def given_sizes(self) -> tuple[str, ...]:
        """The dims that no input carries: whoever calls gives them, as they do inputs of a model."""
        carried = {symbol for value in self.inputs for symbol in value.type.symbols}
        return tuple(name for name in self.dims if name not in carried)

    @property
    def input_names(self) -> tuple[str, ...]:
        """All that whoever calls gives by name: tensors, then sizes."""
        return (*(value.name for value in self.inputs), *self.given_sizes)

    def types(self) -> dict[str, TensorType]:
        """The type of every value, regions included."""
        table = {value.name: value.type for value in self.inputs}
        for op in walk(self.body):
            table.update((value.name, value.type) for value in op.outputs)
            if op.region:
                table.update((value.name, value.type) for value in op.region.args)
        return table

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        table = self.types()
        return tuple(table[value] for _, value in self.outputs)


def sizes_in(value: Attr) -> Iterator[Dim]:
    """The sizes among static arguments and attributes."""
    if isinstance(value, Dim):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from sizes_in(each)


def walk(body: Iterable[Op]) -> Iterator[Op]:
    """Every operation of a body, those of regions included, a `loop` before its body."""
    stack = [iter(tuple(body))]
    while stack:
        op = next(stack[-1], None)
        if op is None:
            stack.pop()
            continue
        yield op
        if op.region is not None:
            stack.append(iter((*op.region.body, *(op.otherwise.body if op.otherwise else ()))))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the whole program. `path` is its name in checkpoints. `kind` is "param" or "buffer"; `init` names
    the function that gives its initial value; `owner` is the kind of the instance that it belongs to (`linear`)."""

    path: str
    type: TensorType
    kind: str
    frozen: bool
    init: str
    owner: str = ""
    rule: str = field(default="", compare=False, repr=False)
    """The path pattern of the `init` rule that gives its initial value, if one does."""
    sources: tuple[str, ...] = ()
    """The paths of the parameters that its initial value is computed of: they stand before it."""

    @property
    def trainable(self) -> bool:
        return self.kind == "param" and not self.frozen and self.type.is_trained


@dataclass(frozen=True, slots=True)
class Program:
    """Functions by name, in an order in which callees stand before callers; `entry` is the one that runs."""

    functions: Mapping[str, Function]
    entry: str
    parameters: tuple[Parameter, ...] = ()

    def __repr__(self) -> str:
        sizes = f"{len(self.functions):,} functions, {len(self.parameters):,} parameters"
        return f"<Program {self.entry}: {sizes}>"

    @property
    def main(self) -> Function:
        return self.functions[self.entry]

    def with_functions(self, functions: Mapping[str, Function]) -> Program:
        return replace(self, functions=dict(functions))

    def reachable(self) -> tuple[str, ...]:
        """Names of the functions that running the entry needs, callees first."""

        def called(name: str) -> Iterator[str]:
            return (op.callee for op in walk(self.functions[name].body) if op.callee)

        return tuple(callees_first((self.entry,), called))


def callees_first(roots: Iterable[str], callees: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """The roots and all that they call, each once and behind what it calls itself."""
    done: set[str] = set()
    stack = [(name, False) for name in reversed(list(roots))]
    while stack:
        name, ready = stack.pop()
        if name in done:
            continue
        if ready:
            done.add(name)
            yield name
            continue
        stack.append((name, True))
        stack.extend((each, False) for each in reversed(list(callees(name))) if each not in done)
