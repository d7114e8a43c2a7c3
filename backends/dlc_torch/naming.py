"""Names of the emitted classes and functions: the spec's, and telling ones for forms of a module that differ
in structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import PurePath

from dlc.emit.names import camel, identifier, snake, told_apart, unique
from dlc.ir.nodes import Function, walk
from dlc_torch.classes import Class

TAKEN = frozenset({"Rename", "NamedTuple", "torch", "nn", "F", "math", "Tensor", "self"})


def name_classes(classes: Sequence[Class], initials: Mapping[str, str]) -> None:
    """Give every class and function its name; forms of one module are told apart by what one has and another
    lacks. `initials` tells for which parameter an init function is."""
    forms: dict[str, list[Class]] = {}
    for each in classes:
        forms.setdefault(_base(each, initials), []).append(each)
    taken = set(TAKEN)
    for base, group in forms.items():
        plain = min(group, key=lambda each: len(_labels(each)))
        for each in group:
            each.name = unique(base, taken) if each is plain else _other_name(base, each, plain, group, taken)
            taken.add(each.name)


def _other_name(base: str, made: Class, plain: Class, group: Sequence[Class], taken: Container[str]) -> str:
    """The name of a further class of one base: by the spec that it comes from, or what it has."""
    own = _of_its_file(base, made, [each for each in group if each is not made])
    if own and own not in taken:
        return own
    return told_apart(base, _differences(made, plain, group), taken, is_class=made.is_class)


def _of_its_file(base: str, made: Class, others: Sequence[Class]) -> str:
    """A name with that of the spec that it comes from: `Llama2Attention`, where another spec has an attention too; "" for forms of one."""
    file = made.function.span.file
    if made.function.library or not file or any(each.function.span.file == file for each in others):
        return ""
    stem = camel(PurePath(file).stem)
    return identifier(f"{stem}{base}" if made.is_class else f"{snake(stem)}_{base}")


def _base(made: Class, initials: Mapping[str, str]) -> str:
    function = made.function
    if function.kind == "init":
        return identifier(f"initial_{initials.get(function.name, 'value').rpartition('.')[2]}")
    if not made.is_class:
        name = f"{function.source}_{function.entry}" if function.entry else function.source
        name = identifier(name.strip("_"), "function")
        if function.kind == "model" or not name[0].isupper():
            return name
        return snake(name)  # a module that has no parameters of its own, or is passed them
    source = function.source.strip("_") if function.source.startswith("__") else function.source
    name = identifier(camel(source) if function.library else source, "Module")
    return name if name not in TAKEN else f"{name}_"


def _labels(made: Class) -> list[str]:
    """The first parts of a class's paths, and its inputs."""
    function = made.function
    return [
        *(node.label for node in made.root.items.values()),
        *(value.name for value in function.inputs),
    ]


def _differences(made: Class, plain: Class, group: Sequence[Class]) -> Iterator[str]:
    """What a form has and the plain one lacks, or the other way round: `WithDownsample`."""
    mine, theirs = _labels(made), _labels(plain)
    extra = [label for label in mine if label not in theirs]
    missing = [label for label in theirs if label not in mine]
    if extra or missing:
        yield f"With{camel(extra[0])}" if extra else f"Without{camel(missing[0])}"
    alike = [each for each in group if _labels(each) == mine]
    yield from filter(None, (_static_difference(made, alike), _op_difference(made, plain)))


def _static_difference(made: Class, group: Sequence[Class]) -> str:
    """A static argument that all members of the form share and no other form has."""
    statics = [dict(made.function.static)]
    others = [dict(each.function.static) for each in group if each is not made]
    if not others:
        return ""
    for name, value in statics[0].items():
        shared = all(each.get(name) == value for each in statics)
        if not shared or any(each.get(name) == value for each in others):
            continue
        if value is None:
            return f"Without{camel(name)}"
        if isinstance(value, bool):
            return camel(name) if value else f"Without{camel(name)}"
        if isinstance(value, str):
            return camel(value) or camel(name)
    return ""


def _op_difference(made: Class, plain: Class) -> str:
    mine, theirs = (Counter(_steps(each.function)) for each in (made, plain))
    extra, missing = list(mine - theirs), list(theirs - mine)
    if extra or missing:
        return f"With{camel(extra[0])}" if extra else f"Without{camel(missing[0])}"
    return ""


def _steps(function: Function) -> Iterator[str]:
    """The names of the operations; a sum with the function's own input is a residual."""
    inputs = {value.name for value in function.inputs}
    for op in walk(function.body):
        yield "skip" if op.op == "add" and inputs & set(op.inputs) else op.path or op.op
