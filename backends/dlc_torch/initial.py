"""Initial values: recognised in the program's init functions, said with `nn.init`.

A layer of PyTorch's own begins with PyTorch's values, which the standard library's definitions share; what an
`init` rule of the spec changes is set by the model's `init_weights`, by kind of layer where all of a kind
agree, by name otherwise.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dlc.emit.initial import Form, Shape, close_forms, fans, recognise
from dlc.emit.python import number, quoted
from dlc.emit.tree import Call, Expr, Keyword, Make, Num, Seq, Word, size, transform, walk
from dlc.ir.nodes import Function, Param
from dlc_torch import rows

# --- as source ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A call of `nn.init` on a tensor: `nn.init.normal_({x}, std=0.02)`."""

    function: str
    args: tuple[Expr, ...] = ()

    def call(self, tensor: Expr) -> Expr:
        return Call(Word(f"nn.init.{self.function}"), (tensor, *self.args))


def said(form: Form) -> Said:
    """How `nn.init` draws from a distribution."""
    match form.draw:
        case "constant" if form.shift == 0.0:
            return Said("zeros_")
        case "constant" if form.shift == 1.0:
            return Said("ones_")
        case "constant":
            return Said("constant_", (_n(form.shift),))
        case "uniform":
            return Said("uniform_", (_n(form.shift), _n(form.shift + form.scale)))
        case "orthogonal":
            return Said("orthogonal_", _given(gain=(form.scale, 1.0)))
        case "truncated_normal":
            low, high = (form.shift + bound * form.scale for bound in (form.low, form.high))
            given = _given(mean=(form.shift, 0.0), std=(form.scale, 1.0), a=(low, -2.0), b=(high, 2.0))
            return Said("trunc_normal_", given)
    return Said("normal_", _given(mean=(form.shift, 0.0), std=(form.scale, 1.0)))


def _n(value: float) -> Expr:
    return Num(float(value))


def _given(**values: tuple[float, float]) -> tuple[Expr, ...]:
    return tuple(Keyword(name, _n(value)) for name, (value, default) in values.items() if value != default)


def _around(bound: float) -> Form:
    return Form("uniform", 2 * bound, -bound)


_RELU = Keyword("nonlinearity", Word('"relu"'))
_OUT = Keyword("mode", Word('"fan_out"'))

# Rules of `nn.init` that depend on a tensor's shape, as (what is said, distribution for fan_in and fan_out).
RULES: Sequence[tuple[Said, Callable[[int, int], Form]]] = (
    (Said("xavier_uniform_"), lambda i, o: _around(math.sqrt(6 / (i + o)))),
    (Said("xavier_normal_"), lambda i, o: Form("normal", math.sqrt(2 / (i + o)))),
    (Said("kaiming_uniform_", (_RELU,)), lambda i, o: _around(math.sqrt(6 / i))),
    (Said("kaiming_uniform_", (_OUT, _RELU)), lambda i, o: _around(math.sqrt(6 / o))),
    (Said("kaiming_normal_", (_RELU,)), lambda i, o: Form("normal", math.sqrt(2 / i))),
    (Said("kaiming_normal_", (_OUT, _RELU)), lambda i, o: Form("normal", math.sqrt(2 / o))),
    (
        Said("kaiming_uniform_", (Keyword("a", Call(Word("math.sqrt"), (Word("5"),))),)),
        lambda i, o: _around(math.sqrt(1 / i)),
    ),
    (
        Said("kaiming_normal_", (Keyword("nonlinearity", Word('"linear"')),)),
        lambda i, o: Form("normal", math.sqrt(1 / i)),
    ),
)


def by_shape(form: Form, shape: Shape) -> list[int]:
    """The numbers of the rules that give this distribution at this shape."""
    if len(shape) < 2:
        return []
    i, o = fans(shape)
    return [k for k, (_, rule) in enumerate(RULES) if rule(i, o).close(form)]


def tensor(param: Param, functions: Mapping[str, Function], precision: str) -> Expr:
    """The tensor that a class's own parameter begins with."""
    dtype = precision if param.type.dtype == "float" else param.type.dtype
    shape: tuple[Expr, ...] = tuple(size(axis, "dim") for axis in param.type.axes) or (Seq(()),)
    # `float` follows the model's `to`; other dtypes are the parameter's own.
    more = (
        (Keyword("dtype", Word(rows.DTYPES[dtype])),)
        if param.type.dtype != "float" and dtype != "f32"
        else ()
    )
    function = functions.get(param.init)
    if param.kind == "prepared" or function is None:
        return Call(Word("torch.empty"), (*shape, *more))
    form = recognise(function)
    if form is None:
        return Make(param.init)
    ruled = by_shape(form, param.type.shape or ())
    if ruled and not is_round(form):
        return RULES[ruled[0]][0].call(Call(Word("torch.empty"), (*shape, *more)))
    return _drawn(form, shape, more, is_float=dtype.startswith(("f", "bf")))


def is_round(form: Form) -> bool:
    """Whether a person would have written the numbers."""
    return all(len(str(number(value))) <= 7 for value in (form.scale, form.shift))


def _drawn(form: Form, shape: tuple[Expr, ...], more: tuple[Expr, ...], *, is_float: bool) -> Expr:
    match form:
        case Form("constant", shift=(0.0 | 1.0) as value):
            return Call(Word("torch.ones" if value else "torch.zeros"), (*shape, *more))
        case Form("constant", shift=value):
            filling = Num(value if is_float else int(value))
            whole = shape[0] if len(shape) == 1 and isinstance(shape[0], Seq) else Seq(shape)
            return Call(Word("torch.full"), (whole, filling, *more))
        case Form("normal", 1.0, 0.0):
            return Call(Word("torch.randn"), (*shape, *more))
        case Form("uniform", 1.0, 0.0):
            return Call(Word("torch.rand"), (*shape, *more))
    return said(form).call(Call(Word("torch.empty"), (*shape, *more)))


# --- rules of a model ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A parameter that begins otherwise than its layer would have it. `layer` is the native layer's class, ""
    for a parameter of a class of ours; `leaf` its name there; `init` its function; `variants` is the same
    parameter in each of the program's variants, None where it begins as its layer would have it."""

    path: str
    layer: str
    leaf: str
    shape: Shape
    form: Form | None
    init: str
    variants: tuple[Change | None, ...] = ()

    def by_shape(self) -> list[int]:
        """The numbers of the rules that give its distribution, here and in the variants."""
        kept = list(range(len(RULES)))
        for each in (self, *self.variants):
            fitting = by_shape(each.form, each.shape) if each is not None and each.form is not None else []
            kept = [k for k in kept if k in fitting]
        return kept

    @property
    def varies(self) -> bool:
        return any(each is None or not close_forms(each.form, self.form) for each in self.variants)

    def inits(self) -> tuple[str, ...]:
        """Its function here and in the variants."""
        return (self.init, *(each.init if each is not None else "" for each in self.variants))


@dataclass(frozen=True, slots=True)
class Rule:
    """What `init_weights` does to some parameters: those of a layer's class (`layer`, `leaf`), or those that
    a condition on the name tells (`condition`)."""

    said: Said
    layer: str = ""
    leaf: str = ""
    condition: str = ""
    optional: bool = False
    copied: tuple[str, ...] = ()
    """The functions that give the value where no distribution does, of the program and its variants."""


Term = Callable[[tuple[float, ...]], Expr]
"""How a number is said that has these values in the program and its variants."""


def rules(
    changes: Sequence[Change],
    everything: Sequence[tuple[str, str, str]],
    term: Term = lambda values: Num(values[0]),
) -> list[Rule]:
    """The rules for `changes`; `everything` lists (path, layer, leaf) of all parameters and buffers."""
    made: list[Rule] = []
    names = [path for path, _, _ in everything]
    kinds = Counter((layer, leaf) for _, layer, leaf in everything)
    for key in dict.fromkeys((each.layer, each.leaf) for each in changes):
        group = [each for each in changes if (each.layer, each.leaf) == key]
        described = _described(group, term)
        main = _main(described, kinds[key]) if key[0] else None
        if main is not None:
            # A convolution's bias may be None, as far as a type checker knows.
            lacking = key[0].startswith("nn.Conv") or any(_lacks(everything, key[0], "bias"))
            optional = key[1] == "bias" and lacking
            made.append(Rule(described[main][0], key[0], key[1], optional=optional))
        for text, (what, members) in described.items():
            if text != main:
                made.append(
                    Rule(
                        what,
                        condition=_condition([each.path for each in members], names),
                        copied=members[0].inits() if not what.function else (),
                    )
                )
    return [each for each in made if each.layer] + [each for each in made if not each.layer]


def _lacks(everything: Iterable[tuple[str, str, str]], layer: str, leaf: str) -> Iterator[bool]:
    """Whether some instance of a layer does not have a parameter."""
    owners: dict[str, set[str]] = {}
    for path, kind, name in everything:
        if kind == layer:
            owners.setdefault(path.rpartition(".")[0], set()).add(name)
    yield from (leaf not in names for names in owners.values())


def _described(group: Sequence[Change], term: Term) -> dict[str, tuple[Said, list[Change]]]:
    """The changes by what is said about them: one rule by shape where several distributions need it."""
    several = len({each.form for each in group}) > 1
    for k, (what, _) in enumerate(RULES):
        if several and all(k in each.by_shape() for each in group):
            return {f"rule {k}": (what, list(group))}
    found: dict[str, tuple[Said, list[Change]]] = {}
    for each in group:
        what = _said_change(each, term)
        key = f"{what}{each.init if each.form is None else ''}"
        found.setdefault(key, (what, []))[1].append(each)
    return found


def _said_change(change: Change, term: Term) -> Said:
    if change.form is None:
        return Said("")
    ruled = change.by_shape()
    if ruled and (change.varies or not is_round(change.form)):
        return RULES[ruled[0]][0]
    here = said(change.form)
    forms = [each.form if each is not None else None for each in change.variants]
    everywhere = [said(form) if form is not None else Said("") for form in forms]
    if not change.varies:
        return here
    rows = [
        [node for arg in each.args for node in walk(arg) if isinstance(node, Num)]
        for each in (here, *everywhere)
    ]
    if len({(each.function, len(row)) for each, row in zip((here, *everywhere), rows, strict=True)}) > 1:
        term(tuple(float(i) for i in range(len(rows))))  # nothing that holds for all
        return here
    terms = iter([term(tuple(float(node.value) for node in nodes)) for nodes in zip(*rows, strict=True)])
    args = tuple(
        transform(arg, lambda node: next(terms) if isinstance(node, Num) else node) for arg in here.args
    )
    return Said(here.function, args)


def _main(described: Mapping[str, tuple[Said, list[Change]]], total: int) -> str | None:
    """What holds for a kind of layer as a whole; None if most keep PyTorch's values."""
    changed = sum(len(members) for _, members in described.values())
    if changed < total:
        return None
    return max(described, key=lambda key: len(described[key][1]))


def _condition(paths: Sequence[str], everything: Sequence[str]) -> str:
    """A condition on `name` that holds for just these paths."""
    wanted = set(paths)
    for count in range(1, 5):
        suffixes = list(dict.fromkeys(".".join(path.split(".")[-count:]) for path in paths))
        if len(suffixes) > 3:
            continue
        if {path for path in everything if any(_ends(path, suffix) for suffix in suffixes)} == wanted:
            return _ending(suffixes, everything, wanted)
    if len(paths) == 1:
        return f"name == {quoted(paths[0])}"
    suffix = _common_suffix(paths)
    if suffix and {path for path in everything if path.endswith(suffix)} == wanted:
        return f"name.endswith({quoted(suffix)})"
    prefix = _common_prefix(paths)
    last = {path.rpartition(".")[2] for path in paths}
    if prefix and len(last) == 1:
        (leaf,) = last
        if {path for path in everything if path.startswith(prefix) and path.endswith(f".{leaf}")} == wanted:
            return f"name.startswith({quoted(prefix)}) and name.endswith({quoted('.' + leaf)})"
    return f"name in {{{', '.join(map(quoted, paths))}}}"


def _common_suffix(paths: Sequence[str]) -> str:
    """The longest common ending, from a dot or underscore on."""
    common = ""
    for letters in zip(*(reversed(path) for path in paths), strict=False):
        if len(set(letters)) > 1:
            break
        common = letters[0] + common
    cut = re.search(r"[._]", common)
    return common[cut.start() :].removeprefix(".") if cut else ""


def _ends(path: str, suffix: str) -> bool:
    return path == suffix or path.endswith("." + suffix)


def _ending(suffixes: Sequence[str], everything: Sequence[str], wanted: set[str]) -> str:
    """`name.endswith(...)`, with the dot in front only where it makes a difference."""
    if len(suffixes) == 1 and suffixes[0] in wanted:
        return (
            f"name == {quoted(suffixes[0])}" if len(wanted) == 1 else f"name.endswith({quoted(suffixes[0])})"
        )
    loose = {path for path in everything if any(path.endswith(suffix) for suffix in suffixes)}
    texts = [quoted(suffix if loose == wanted else "." + suffix) for suffix in suffixes]
    return f"name.endswith({texts[0] if len(texts) == 1 else '(' + ', '.join(texts) + ')'})"


def _common_prefix(paths: Sequence[str]) -> str:
    parts = [path.split(".") for path in paths]
    common: list[str] = []
    for labels in zip(*parts, strict=False):
        if len(set(labels)) > 1:
            break
        common.append(labels[0])
    return ".".join(common) + "." if common else ""
