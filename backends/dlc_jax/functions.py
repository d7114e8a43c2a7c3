"""A group of sketches as one Python function: its signature, its head, its statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from dlc.emit.body import Special, Step, Uses, Writer
from dlc.emit.checks import Check, check_lines, checks
from dlc.emit.grouping import Group
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import identifier
from dlc.emit.python import docstring, quoted, wrapped
from dlc.emit.sizes import Source, readable, shape_of, solved
from dlc.emit.tree import At, Binary, Call, Expr, Keyword, Make, Path, Size, Text, Word, text, transform, walk
from dlc.ir.index import without_index
from dlc.ir.nodes import Function
from dlc.ir.paths import Paths
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc_jax.sketch import Key, Traits, Updating, pure
from dlc_jax.stacking import Stack

RESERVED = ("jax", "jnp", "lax", "math", "Array", "Params", "require")


@dataclass
class Scope:
    """What names stand for in a function, or in the body of a scan: `parts` are paths with the variable
    that holds what lies below them; `keys` the expressions of draws' keys; `updates` the new values of
    buffers, by path ("**" for those of a dict)."""

    parts: tuple[tuple[str, Expr], ...] = (("", Word("params")),)
    keys: dict[int, Expr] = field(default_factory=dict)
    updates: dict[str, Expr] = field(default_factory=dict)

    def read(self, path: str) -> Expr:
        """`params["attn"]["weight"]`; an instance whose buffers were updated before comes with their new
        values."""
        base, rest = next(
            (base, path[len(part) :].lstrip(".")) for part, base in self.parts if _below(path, part)
        )
        for name in rest.split(".") if rest else ():
            base = At(base, (Text(name),))
        if path in self.updates:
            old, new = (Call(Word("flatten"), (each,)) for each in (base, self.updates[path]))
            return Call(Word("nest"), (Binary("|", old, new),))
        return base


def _below(path: str, part: str) -> bool:
    return not part or path == part or path.startswith(part + ".")


@dataclass
class Emission:
    """One emitted function in the making: `traits` say what it takes besides its inputs."""

    group: Group
    name: str
    traits: Traits
    paths: Paths
    entry: bool = False
    doc: str = ""
    nests: bool = True
    """Whether the entry takes the flat parameters."""
    used: set[str] = field(default_factory=set)  # names that the statements read
    sizes: dict[str, None] = field(default_factory=dict)  # dims that they read
    inputs: list[str] = field(default_factory=list)  # the variables that hold its inputs
    written: list[str] = field(default_factory=list)
    error: NotImplementedError | None = None
    stacks: list[Stack] = field(default_factory=list)  # layers that it loops over

    @property
    def function(self) -> Function:
        return self.group.sketch.function

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.group.parameters)

    @cached_property
    def called(self) -> frozenset[str]:
        """The functions that the statements call."""
        steps = self.group.sketch.steps
        return frozenset(node.function for node in nodes(steps) if isinstance(node, Make))

    def lines(self) -> list[str]:
        """The function's source. Raises NotImplementedError for what can't be said in JAX."""
        if self.error is not None:
            raise self.error
        return self.written

    def write(self) -> None:
        """Write the function, which shows what it reads. An error is kept: the function may not be needed."""
        self.stacks.clear()
        try:
            self.written = self._write()
        except NotImplementedError as error:
            self.error = error

    def wrapper(self) -> list[str]:
        """The entry on flat parameters, by way of `stack` and `forward`."""
        passed = ", ".join(["stack(params)", *self.inputs, *(["key"] if self.traits.key else [])])
        return [
            *self._signature(self.inputs),
            *self._docstring(),
            *layout(f"return forward({passed})", 1),
        ]

    def _write(self) -> list[str]:
        scope = Scope()
        steps = self.group.sketch.steps
        results = [value for _, value in self.function.outputs]
        writer = self.writer(steps, results, scope)
        shapes = map(_shape_text, (value.type for value in self.function.inputs), self.group.shapes[0])
        self.inputs = [writer.argument(*each) for each in zip(self.function.inputs, shapes, strict=True)]
        split = self.split_keys(writer, steps, scope)

        def say(expr: Expr) -> str:
            return text(self.finish(scope, expr))

        writer.write(steps)
        self._return(writer, results, scope)
        asked = (
            [line for check in checks(self.function) for line in check_lines(check, say, 1)]
            if self.entry
            else []
        )
        nested = (
            [f"{INDENT}params = nest(params)"] if self.entry and self.nests and self.traits.params else []
        )
        head = [
            *self._signature(self.inputs),
            *self._docstring(),
            *nested,
            *self._size_lines(self.inputs),
            *asked,
            *split,
        ]
        return [*head, *writer.lines]

    def writer(self, steps: Sequence[Step], results: Sequence[str], scope: Scope, indent: int = 1) -> Writer:
        """A writer of statements in `scope`."""
        names = frozenset(self.function.types()).union(*(step.unnamed for step in steps))
        uses = Uses.of(steps, results, pure)
        finish = partial(self.finish, scope)
        writer = Writer(uses, names, partial(self._special, scope), finish, indent=indent)
        writer.roles = self.group.sketch.roles
        writer.lone_result = len(results) == 1 and not self.traits.updates and indent == 1
        sizes = (node.symbol for node in nodes(self.group.sketch.steps) if isinstance(node, Size))
        own = (
            ("stack", "forward") * self.entry
            + ("params",) * (self.traits.params or self.entry)
            + ("key", "keys") * self.traits.key
        )
        writer.variables.reserve((*RESERVED, *own, *self.parameters, *self.called, *map(identifier, sizes)))
        return writer

    def split_keys(self, writer: Writer, steps: Sequence[Step], scope: Scope) -> list[str]:
        """Split `key` into one for every draw of these steps, and one for every loop that draws."""
        wanted = [index for step in steps if id(step) in writer.uses.live for index in draws(step)]
        if len(wanted) == 1:
            scope.keys[wanted[0]] = Word("key")
        if len(wanted) < 2:
            return []
        scope.keys.update((index, At(Word("keys"), (Word(str(i)),))) for i, index in enumerate(wanted))
        return layout(f"keys = jax.random.split(key, {len(wanted)})", writer.indent)

    # Expressions

    def finish(self, scope: Scope, expr: Expr) -> Expr:
        """An expression as it stands in the source."""

        def settle(node: Expr) -> Expr:
            match node:
                case Size(symbol):
                    self.sizes.setdefault(symbol)
                    return Word(identifier(symbol))
                case Path(path):
                    return scope.read(path)
                case Updating(call):
                    return call
                case Key(index):
                    return scope.keys[index]
                case Make(function, args):
                    return Call(Word(function), tuple(arg for arg in args if not _is_default(arg)))
                case Call(function, args):
                    return Call(function, tuple(arg for arg in args if not _is_default(arg)))
                case Word(name):
                    self.used.add(name)
            return node

        return transform(expr, settle)

    # Statements of their own

    def _special(self, scope: Scope, step: Step) -> Special | None:
        if step.op.region is not None:
            from dlc_jax.scan import write_scan

            return lambda writer, each: write_scan(self, scope, writer, each)
        if step.op.op == "update":
            return partial(self._update, scope)
        if step.op.op == "require":
            return self._require
        return partial(self._updating_call, scope) if isinstance(step.value, Updating) else None

    def _update(self, scope: Scope, writer: Writer, step: Step) -> None:
        path = str(step.op.attr("path"))
        value = writer.settled(step.value, len(path) + 8)
        if not isinstance(value, Word):
            name = writer.variables.hold(f"update {path}", (path.rpartition(".")[2],))
            writer.variables.reserve((name,))
            writer.line(f"{name} = {text(value)}")
            value = Word(name)
        else:
            writer.variables.reserve((value.text,))
        writer.release(step)
        scope.updates[path] = value

    def _require(self, writer: Writer, step: Step) -> None:
        value = writer.value(step)
        writer.release(step)
        if isinstance(value, Call):
            writer.lines += layout(text(value), writer.indent)
            return
        message = str(step.op.attr("message") or "a requirement does not hold")
        check = Check(value, message.replace("{", "{{").replace("}", "}}"))
        writer.lines += check_lines(check, text, writer.indent)

    def _updating_call(self, scope: Scope, writer: Writer, step: Step) -> None:
        """`x, bn1 = batch_norm(params["bn1"], x)`."""
        value = writer.value(step)
        path = step.op.path
        writer.release(step)
        names = [writer.target(step, target) for target in step.targets]
        new = writer.variables.hold(f"update {path}", (_variable(path),))
        writer.variables.reserve((new,))
        writer.line(f"{', '.join((*names, new))} = {text(value)}", writer.comment(step, names))
        scope.updates[path] = Word(new)

    def _return(self, writer: Writer, results: Sequence[str], scope: Scope) -> None:
        found = writer.results(results, room=12 * len(scope.updates))
        if self.traits.updates:
            new = updates_of(scope.updates)
            if len(text(new)) > 40:
                name = writer.variables.hold("updates", ("updates",))
                writer.line(f"{name} = {text(new)}")
                new = Word(name)
            found.append(Call(Word("flatten"), (new,)) if self.entry else new)
        writer.line(f"return {', '.join(map(text, found))}")

    # Signature and head

    def _signature(self, inputs: Sequence[str]) -> list[str]:
        arguments = [f"{name}: Array" for name in inputs]
        if self.traits.params or self.entry:
            arguments.insert(0, "params: Params")
        if self.traits.key:
            arguments.append("key: Array")
        keywords = [f"{name}: {_kind(vector)}" for name, vector in self.group.parameters if name in self.used]
        arguments += ["*", *keywords] if keywords else []
        return layout(f"def {self.name}({', '.join(arguments)}) -> {self._result_type()}:")

    def _result_type(self) -> str:
        types = ["Array"] * len(self.function.outputs) + ["Params"] * self.traits.updates
        return types[0] if len(types) == 1 else f"tuple[{', '.join(types)}]"

    def _docstring(self) -> list[str]:
        doc, shapes = self.doc.strip(), self._shapes()
        if not doc:
            return docstring(_broken(shapes, WIDTH - 10), 4)
        one = f"{doc if doc.endswith('.') else doc + '.'} {shapes}"
        if "\n" not in doc and len(one) + len(INDENT) + 6 <= WIDTH:
            return docstring(one, 4)
        return docstring("\n".join((*wrapped(doc, WIDTH - 8), "", _broken(shapes, WIDTH - 4))), 4)

    def _shapes(self) -> str:
        """`x: [B, T, 64] -> [B, T, 64]`."""
        types = [value.type for value in self.function.inputs], self.function.output_types
        given, made = (list(map(_shape_text, *each)) for each in zip(types, self.group.shapes, strict=True))
        names = [identifier(value.name) for value in self.function.inputs]
        inputs = ", ".join(f"{name}: {shape}" for name, shape in zip(names, given, strict=True))
        named = zip((name for name, _ in self.function.outputs), made, strict=True)
        outputs = ", ".join((f"{name}: " if name != "output" else "") + shape for name, shape in named)
        return f"{inputs} -> {outputs}".strip()

    def _size_lines(self, inputs: Sequence[str]) -> list[str]:
        """`B, T, _ = x.shape` for the sizes that the statements read."""
        sources = readable(self.function)
        lines: list[str] = []
        for number, name in enumerate(inputs):
            wanted = {each: sources[each] for each in self.sizes if sources[each].input == number}
            lines += _reads(name, self.function.inputs[number].type.rank, wanted)
        return lines


def _broken(shapes: str, width: int) -> str:
    """Shapes that are too long for a line, with the results on a line of their own."""
    taken, arrow, given = shapes.rpartition(" -> ")
    return shapes if len(shapes) <= width or not arrow else f"{taken}\n-> {given}"


def _variable(path: str) -> str:
    """A name for the new buffers of an instance."""
    name = without_index(path).replace(".", "_").strip("_")
    return f"new_{name}" if not name or name[0].isdigit() else name


def _reads(name: str, rank: int, wanted: Mapping[str, Source]) -> Iterator[str]:
    plain = {source.axis: symbol for symbol, source in wanted.items() if source.size == Dim.symbol(symbol)}
    if len(plain) > 1:
        names = [identifier(plain[axis]) if axis in plain else "_" for axis in range(rank)]
        yield f"{INDENT}{', '.join(names)} = {name}.shape"
    for symbol, source in wanted.items():
        if len(plain) < 2 or symbol not in plain.values():
            read = solved(source, symbol, shape_of(name, source.axis))
            yield f"{INDENT}{identifier(symbol)} = {text(read)}"


def nodes(steps: Iterable[Step]) -> Iterator[Expr]:
    """Every node of the steps' expressions."""
    for step in steps:
        yield from walk(step.value)
        yield from nodes(step.inner)


def draws(step: Step) -> list[int]:
    """The keys that a step takes in its own scope; a loop takes one for all of its turns."""
    found = [node.index for node in walk(step.value) if isinstance(node, Key)]
    inner = [index for each in step.inner for index in draws(each)]
    return found + inner[:1]


def updates_of(updates: Mapping[str, Expr]) -> Expr:
    """The new values of buffers as a dict display; the keys of those of scans begin with `**`."""
    items = (
        f"**{text(value)}" if path.startswith("**") else f"{quoted(path)}: {text(value)}"
        for path, value in updates.items()
    )
    return Word("{" + ", ".join(items) + "}")


def _shape_text(type: TensorType, shape: Expr) -> str:
    """`[B, T, 64]`, with the dtype in front where it is no float."""
    return ("" if type.is_float else type.dtype) + text(shape)


def _kind(vector: Sequence[int | float]) -> str:
    return "float" if any(isinstance(each, float) for each in vector) else "int"


def _is_default(node: Expr) -> bool:
    return isinstance(node, Keyword) and node.default is not None and text(node.value) == text(node.default)
