"""Optimizers that scripts of a training write out, whatever the framework: the functions of all forms, told apart, and which is for which parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from dlc.backend.script import Form, Memory, Rule
from dlc.emit.names import identifier
from dlc.emit.relaid import bare, laid_out
from dlc.emit.script import drawn, pascal
from dlc.ir.nodes import Program
from dlc.records import dataclass, replace

Blocks = dict[str, str]
"""Functions and classes by name."""
Shape = tuple[int, ...]
TYPE = re.compile(r"  # \w*\[[^\]]*\]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Said:
    """A function of the script, and the forms that it is said for."""

    name: str
    forms: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """An optimizer that is written out: its functions, and what its class, or whatever holds them, is called by."""

    name: str
    functions: tuple[Said, ...]

    @property
    def by_rank(self) -> bool:
        """Whether the number of axes tells which function is a parameter's."""
        ranks = [{len(form.shape) for form in each.forms} for each in self.functions]
        return sum(map(len, ranks)) == len(set().union(*ranks))

    def keys(self, said: Said) -> Iterator[int | Shape]:
        """Those of what one of the functions is for: numbers of axes, or shapes."""
        yield from dict.fromkeys(len(each.shape) if self.by_rank else each.shape for each in said.forms)

    def is_for(self, other: Written) -> bool:
        """Whether it is another one, too."""
        if len(self.functions) == len(other.functions) == 1:
            return self.functions[0].name == other.functions[0].name
        mine, others = (
            {key: said.name for said in each.functions for key in each.keys(said)} for each in (self, other)
        )
        return self.by_rank == other.by_rank and mine == others

    @property
    def takes(self) -> tuple[str, ...]:
        """What the functions take besides a parameter, its gradient and what is remembered."""
        return self.functions[0].forms[0].takes

    @property
    def draws(self) -> bool:
        """Whether they draw: what they do is the last that they take."""
        return any(form.draws for form in self.forms)

    @property
    def dtypes(self) -> set[str]:
        return {each.dtype for form in self.forms for each in form.memory}

    @property
    def forms(self) -> Iterator[Form]:
        return (form for said in self.functions for form in said.forms)

    @property
    def table(self) -> str:
        """The table of functions where there are several, and what stands before and behind it for a parameter `p`."""
        return f"{self.name.upper()}[{'p.ndim' if self.by_rank else 'tuple(p.shape)'}]"

    def tabled(self) -> list[str]:
        """The table, with what is remembered at first beside each function."""
        pairs = ((key, said.name) for said in self.functions for key in self.keys(said))
        drawn = ", {name}_draws" if self.draws else ""
        rows = [f"    {key!r}: ({name}, {name}_memory{drawn.format(name=name)})," for key, name in pairs]
        kind = "number of axes" if self.by_rank else "shape"
        return [f"# By the {kind} of a parameter.", f"{self.name.upper()} = {{", *rows, "}"]


def written(
    rules: Iterable[Rule], emitted: Callable[[Program], Blocks], taken: Mapping[str, str]
) -> tuple[list[Written | None], Blocks]:
    """The optimizers of the rules as functions, None for one that is known by its name; and all of these functions, beside those that the
    file has `taken`. `emitted` gives the functions of a form, its own last."""
    blocks: Blocks = {}
    found: list[Written | None] = []
    made: dict[tuple[object, ...], Said] = {}
    for rule in rules:
        if not rule.forms:
            found.append(None)
            continue
        said = []
        for bodies, forms in _alike(rule.forms, emitted):
            begun = ((each.dtype, each.value, shape) for each, shape in memories(Said("", forms)))
            key = (*map(bare, bodies.values()), *begun, *drawing(Said("", forms), str))
            if key not in made:
                name, own = _beside(bodies, {**taken, **blocks})
                blocks |= own
                made[key] = Said(name, forms)
            said.append(Said(made[key].name, forms))
        found.append(_named(Written(said[0].name, tuple(said)), found, {*taken, *blocks}))
    return found, blocks


def _named(made: Written, others: Sequence[Written | None], taken: Collection[str]) -> Written:
    """The optimizer under a name of its own, or another one that is the same."""
    known = [each for each in others if each is not None]
    for each in known:
        if each.is_for(made):
            return each
    names = {each.name for each in known}
    used = {*(pascal(name) for name in names), *taken}
    hints = (made.name, f"{made.name}_optimizer", *(f"{made.name}_{n}" for n in range(2, 2 + len(used))))
    name = next(each for each in hints if each not in names and pascal(each) not in used)
    return replace(made, name=name)


def _alike(
    forms: Sequence[Form], emitted: Callable[[Program], Blocks]
) -> Iterator[tuple[Blocks, tuple[Form, ...]]]:
    """The forms by their functions: shapes of which these say nothing have the same."""
    groups: dict[tuple[object, ...], tuple[Blocks, list[Form]]] = {}
    for form in forms:
        blocks = emitted(form.program)
        places = tuple((each.name, each.dtype, each.value) for each in form.memory)
        drawn = tuple((each.op, *each.attrs.items()) for each in form.draws)
        key = (*map(bare, blocks.values()), places, drawn)
        groups.setdefault(key, (blocks, []))[1].append(form)
    for blocks, alike in groups.values():
        for part in _with_shapes(alike):
            same = blocks if len(part) == 1 else {name: untyped(text) for name, text in blocks.items()}
            yield same, tuple(part)


def _with_shapes(forms: list[Form]) -> list[list[Form]]:
    """The forms together where what they remember has shapes that can be said for all; else each by itself."""
    first = forms[0]
    pairs = [[(form.shape, form.memory[i].shape) for form in forms] for i in range(len(first.memory))]
    pairs += [[(form.shape, _drawn(form, i)) for form in forms] for i in range(len(first.draws))]
    together = all(shape_of(each) is not None for each in pairs)
    return [forms] if together else [[each] for each in forms]


SHAPES: dict[str, Callable[[Shape], Shape]] = {
    "{p}.shape": lambda shape: shape,
    "()": lambda shape: (),
    "{p}.shape[:-1]": lambda shape: shape[:-1],
    "{p}.shape[1:]": lambda shape: shape[1:],
    "{p}.shape[:1]": lambda shape: shape[:1],
    "{p}.shape[-1:]": lambda shape: shape[-1:],
    "(*{p}.shape[:-2], {p}.shape[-1])": lambda shape: (*shape[:-2], *shape[-1:]),
}


def shape_of(pairs: Collection[tuple[Shape, Shape]]) -> str | None:
    """The shape of what is remembered as an expression over that of a parameter `{p}`; None where there is none for all of these pairs."""
    for text, made in SHAPES.items():
        if all(len(shape) > 0 or text in ("{p}.shape", "()") for shape, _ in pairs) and all(
            made(shape) == wanted for shape, wanted in pairs
        ):
            return text
    shapes = {wanted for _, wanted in pairs}
    return repr(shapes.pop()) if len(shapes) == 1 else None


def memories(said: Said) -> Iterator[tuple[Memory, str]]:
    """What a function's optimizer remembers, and the shapes of that as expressions."""
    for i, each in enumerate(said.forms[0].memory):
        shape = shape_of([(form.shape, form.memory[i].shape) for form in said.forms])
        assert shape is not None
        yield each, shape


def _drawn(form: Form, i: int) -> Shape:
    return tuple(int(each) for each in form.draws[i].shape)


def drawing(said: Said, rng: Callable[[int], str]) -> Iterator[str]:
    """What a function's optimizer draws for a parameter `p`, as expressions; `rng` is the generator for the draw of a number."""
    for i, each in enumerate(said.forms[0].draws):
        shape = shape_of([(form.shape, _drawn(form, i)) for form in said.forms])
        assert shape is not None
        yield drawn(each, shape.format(p="p"), rng(each.number))


# --- text


def blocks_of(source: str, skipped: Collection[str] = ()) -> Blocks:
    """The functions and classes of a file."""
    lines = source.splitlines()
    found: Blocks = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in skipped:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
    return found


def untyped(block: str) -> str:
    """A function without the types of its values, which are those of one of its forms."""
    (node,) = ast.parse(block).body
    if not isinstance(node, ast.FunctionDef):
        return block
    lines = block.splitlines()
    first = node.args.args[0].arg
    doc = ast.get_docstring(node, clean=False)
    start, head = node.body[0].lineno - 1, []
    if doc is not None:
        start = node.body[0].end_lineno or start
        said = re.split(rf"(?:\A|\n\n? *){first}: \w*\[", doc)[0].rstrip()
        head = [f'    """{said}"""' if "\n" not in said else f'    """{said}\n    """'] if said else []
        opening = lines[: node.body[0].lineno - 1]
    else:
        opening = lines[:start]
        while opening and opening[-1].lstrip().startswith("#"):
            opening.pop()
    rest = lines[start:]
    while rest and rest[0].lstrip().startswith("#"):
        rest.pop(0)
    return TYPE.sub("", "\n".join((*opening, *head, *rest)))


def _beside(bodies: Blocks, others: Mapping[str, str]) -> tuple[str, Blocks]:
    """The functions of a form beside those of the file: what has another form here has another name. The form's own is the last."""
    now: dict[str, str] = {}
    last = list(bodies)[-1]
    for label, block in bodies.items():
        if label in others and (label == last or bare(block) != bare(others[label])):
            now[label] = _fresh(label, {*others, *bodies, *now.values()})
    # (A value may be called as a function is; a class is also named as a type.)
    patterns = (
        rf"{re.escape(each)}\b" + ("" if bodies[each].startswith("class ") else r"(?=\()") for each in now
    )
    word = re.compile(rf"(?<![\w.\"])(?:{'|'.join(patterns)})") if now else None
    found: Blocks = {}
    for label, block in bodies.items():
        text = word.sub(lambda match: now[match[0]], block) if word else block
        for name in now.values():
            text = laid_out(text, name)
        if now.get(label, label) not in others:
            found[now.get(label, label)] = text
    return now.get(last, last), found


def _fresh(label: str, taken: Collection[str]) -> str:
    number = 2
    while identifier(f"{label}_{number}") in taken:
        number += 1
    return identifier(f"{label}_{number}")
