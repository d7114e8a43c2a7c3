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
from functools import lru_cache

from dlc.emit.forms import method
from dlc.emit.initial import Form, Shape, at_shape, by_fan, fans, in_sizes, recognise
from dlc.emit.origins import numbered, size
from dlc.emit.python import number, quoted
from dlc.emit.roots import simple
from dlc.emit.tree import (
    At,
    Binary,
    Call,
    Dot,
    Expr,
    Fan,
    Keyword,
    Make,
    Num,
    Path,
    Seq,
    Unary,
    Word,
    transform,
    walk,
)
from dlc.ir.nodes import Attr, Function, Param
from dlc.records import dataclass, replace
from dlc.types.terms import origin_of
from dlc_torch import rows
from dlc_torch.structure import CONSTANT

# --- as source ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A call of `nn.init` on a tensor: `nn.init.normal_({x}, std=0.02)`."""

    function: str
    args: tuple[Expr, ...] = ()

    def call(self, tensor: Expr) -> Expr:
        """The call; the fan of a tensor that has a name is counted in it."""

        def count(node: Expr) -> Expr:
            rows = (
                (Word(":"), Word("0")) if isinstance(node, Fan) and node.name == "fan_out" else (Word("0"),)
            )
            return Call(Dot(At(tensor, rows), "numel")) if isinstance(node, Fan) else node

        args = (transform(each, count) for each in self.args)
        return Call(Word(f"nn.init.{self.function}"), (tensor, *args))


def said(form: Form) -> Said:
    """How `nn.init` draws from a distribution."""
    match form.draw:
        case "constant" if form.shift == 0.0 and is_fixed(form):
            return Said("zeros_")
        case "constant" if form.shift == 1.0 and is_fixed(form):
            return Said("ones_")
        case "constant":
            return Said("constant_", (_n(form.shift),))
        case "uniform":
            return Said("uniform_", (_n(form.shift), _n(form.top)))
        case "orthogonal":
            return Said("orthogonal_", _given(gain=(form.scale, 1.0)))
        case "truncated_normal":
            low, high = (form.shift + bound * form.scale for bound in (form.low, form.high))
            given = _given(mean=(form.shift, 0.0), std=(form.scale, 1.0), a=(low, -2.0), b=(high, 2.0))
            return Said("trunc_normal_", given)
    return Said("normal_", _given(mean=(form.shift, 0.0), std=(form.scale, 1.0)))


def _n(value: float) -> Expr:
    return Num(simple(value))


def _given(**values: tuple[float, float]) -> tuple[Expr, ...]:
    told = {name: value for name, (value, default) in values.items() if value != default or origin_of(value)}
    return tuple(Keyword(name, _n(value)) for name, value in told.items())


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


def by_shape(form: Form, shape: Shape) -> Sequence[int]:
    """The numbers of the rules that give this distribution at this shape."""
    return _by_shape(form, shape) if len(shape) > 1 and form.by_shape else ()


@lru_cache(maxsize=4096)
def _by_shape(form: Form, shape: Shape) -> Sequence[int]:
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
    if param.kind == CONSTANT:
        return _table(function, more if dtype not in ("bool", "i64") else ())
    form = recognise(function)
    if more and dtype in rows.NARROW and form is not None and form.draw != "constant":
        # Drawn in f32, as all draws are, and rounded.
        wide = replace(param, type=param.type.with_dtype("f32"))
        return method(tensor(wide, functions, precision), "to", Word(rows.DTYPES[dtype]))
    if (
        form is None and param.sources and "." in param.name
    ):  # whose class does not hold what it is computed of
        return Call(Word("torch.empty"), (*shape, *more))
    if form is None:
        return computed(param)
    shape_here = param.type.shape or ()
    ruled = by_shape(at_shape(form, shape_here) if len(shape_here) > 1 else form, shape_here)
    if ruled and (by_fan(form) or not is_round(form)):
        return RULES[ruled[0]][0].call(Call(Word("torch.empty"), (*shape, *more)))
    if form.product is not None and len(shape_here) > 1:
        whole, factor = form.product
        ruled = by_shape(at_shape(whole, shape_here), shape_here)
        if ruled:
            return Binary(
                "*", RULES[ruled[0]][0].call(Call(Word("torch.empty"), (*shape, *more))), _n(factor)
            )
    form = in_sizes(form, param.type)
    return _drawn(form, shape, more, is_float=dtype.startswith(("f", "bf")))


def computed(param: Param) -> Expr:
    """What a parameter begins with, where that is no distribution; parameters that it is computed of are made before."""
    return Make(param.init, tuple(method(Path(each, tensor=True), "detach") for each in param.sources))


def _table(function: Function, more: tuple[Expr, ...]) -> Expr:
    """`torch.tensor([12, 16])`"""

    def numbers(value: Attr) -> Expr:
        if isinstance(value, tuple):
            return Seq(tuple(map(numbers, value)), "[]")
        return Word(repr(value)) if isinstance(value, bool) else Num(value)  # type: ignore[arg-type]

    return Call(Word("torch.tensor"), (numbers(function.body[0].attr("value")), *more))


def is_round(form: Form) -> bool:
    """Whether a person would have written the numbers."""
    return all(len(str(number(value))) <= 7 for value in (form.scale, form.shift))


def is_fixed(form: Form) -> bool:
    """Whether its numbers are the same at all settings."""
    return origin_of(form.scale) is None and origin_of(form.shift) is None


def _drawn(form: Form, shape: tuple[Expr, ...], more: tuple[Expr, ...], *, is_float: bool) -> Expr:
    match form:
        case Form("constant", shift=(0.0 | 1.0) as value) if is_fixed(form):
            return Call(Word("torch.ones" if value else "torch.zeros"), (*shape, *more))
        case Form("constant", shift=value):
            filling = Num(value if is_float else int(value))
            whole = shape[0] if len(shape) == 1 and isinstance(shape[0], Seq) else Seq(shape)
            return Call(Word("torch.full"), (whole, filling, *more))
        case Form("normal", 1.0, 0.0) if is_fixed(form):
            return Call(Word("torch.randn"), (*shape, *more))
        case Form("uniform", 1.0, 0.0) if is_fixed(form):
            return Call(Word("torch.rand"), (*shape, *more))
    return said(form).call(Call(Word("torch.empty"), (*shape, *more)))


def bounds(exprs: Iterable[Expr]) -> Iterator[Expr]:
    """What is computed for both ends of a distribution around zero: a variable should hold it."""
    for node in (node for expr in exprs for node in walk(expr)):
        match node:
            case Call(Word("nn.init.uniform_"), (_, Unary("-", low), high)) if low == high:
                if isinstance(high, Binary | Call):
                    yield high


def put(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with `new` wherever it says `old`."""
    return transform(expr, lambda node: new if node == old else node)


# --- rules of a model ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A parameter that begins otherwise than its layer would have it. `layer` is the native layer's class, ""
    for a parameter of a class of ours; `leaf` its name there; `init` its function; `rule` the spec's pattern."""

    path: str
    layer: str
    leaf: str
    shape: Shape
    form: Form | None
    init: str
    rule: str = ""
    factor: float = 1.0
    shift: float = 0.0
    """What the drawn values are multiplied by then, and what is added to them."""
    parts: tuple[Change, ...] = ()
    """Of a layer that stands for several, where each begins in its own way: theirs, one after another along the first axis."""

    def by_shape(self) -> Sequence[int]:
        """The numbers of the rules that give its distribution."""
        return by_shape(self.form, self.shape) if self.form is not None else ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What `init_weights` does to some parameters: those of a layer's class (`layer`, `leaf`), or those that
    a condition on the name tells (`condition`)."""

    said: Said
    layer: str = ""
    leaf: str = ""
    condition: str = ""
    optional: bool = False
    copied: str = ""
    """The function that gives the value where no distribution does."""
    factor: float = 1.0
    shift: float = 0.0
    rows: int = 0
    parts: tuple[Rule, ...] = ()
    """Where rows begin in several ways: the rule of each, for so many `rows`."""


def rules(changes: Sequence[Change], every: Sequence[Sequence[tuple[str, str, str]]]) -> list[Rule]:
    """The rules for `changes`; `every` lists (path, layer, leaf) of all parameters and buffers, for each form of the model."""
    made: list[Rule] = []
    everything = list(dict.fromkeys(each for one in every for each in one))
    names = [path for path, _, _ in everything]
    kinds = Counter((layer, leaf) for _, layer, leaf in everything)
    for key in dict.fromkeys((each.layer, each.leaf) for each in changes):
        group = [each for each in changes if (each.layer, each.leaf) == key]
        described = _described(group)
        main = _main(described, kinds[key]) if key[0] else None
        if main is not None:
            # A convolution's bias may be None, as far as a type checker knows.
            lacking = key[0].startswith("nn.Conv") or any(
                lacks for one in every for lacks in _lacks(one, key[0], "bias")
            )
            optional = key[1] == "bias" and lacking
            what, members = described[main]
            rule = _rule(members[0], what)
            made.append(replace(rule, layer=key[0], leaf=key[1], optional=optional))
        for text, (what, members) in described.items():
            if text != main:
                made.append(replace(_rule(members[0], what), condition=_condition(members, names)))
    return [each for each in made if each.layer] + [each for each in made if not each.layer]


def _rule(change: Change, what: Said) -> Rule:
    parts = tuple(replace(_rule(each, _said_change(each)), rows=each.shape[0]) for each in change.parts)
    return Rule(
        what,
        copied="" if what.function or parts else change.init,
        factor=change.factor,
        shift=change.shift,
        parts=parts,
    )


def _lacks(everything: Iterable[tuple[str, str, str]], layer: str, leaf: str) -> Iterator[bool]:
    """Whether some instance of a layer does not have a parameter."""
    owners: dict[str, set[str]] = {}
    for path, kind, name in everything:
        if kind == layer:
            owners.setdefault(path.rpartition(".")[0], set()).add(name)
    yield from (leaf not in names for names in owners.values())


def _described(group: Sequence[Change]) -> dict[str, tuple[Said, list[Change]]]:
    """The changes by what is said about them: one rule by shape where several distributions need it."""
    several = len({each.form for each in group}) > 1 and len({_then(each) for each in group}) == 1
    for k, (what, _) in enumerate(RULES):
        if several and all(k in each.by_shape() for each in group):
            return {f"rule {k}": (what, list(group))}
    found: dict[str, tuple[Said, list[Change]]] = {}
    known: dict[object, tuple[Said, str]] = {}  # of turns of a loop, which have the same form
    for each in group:
        same = (id(each.form), each.shape, _then(each), each.parts)
        if same not in known:
            parts = [_rule(part, _said_change(part)) for part in each.parts]
            what = _said_change(each)
            known[same] = (what, f"{what}{_then(each)}{parts or ''}")
        what, key = known[same]
        key += each.init if each.form is None and not each.parts else ""
        found.setdefault(key, (what, []))[1].append(each)
    return found


def _then(change: Change) -> tuple[float, float]:
    return change.factor, change.shift


def agreed(change: Change) -> bool:
    """Whether a layer that stands for several begins in the way in which each of them does."""
    ways = {str(_said_change(part)) for part in change.parts}
    fan_out = any(
        isinstance(node, Fan) and node.name == "fan_out" for part in change.parts for node in _nodes(part)
    )
    return ways == {str(_said_change(change))} and not fan_out


def _nodes(change: Change) -> Iterator[Expr]:
    return (node for arg in _said_change(change).args for node in walk(arg))


def _said_change(change: Change) -> Said:
    if change.form is None:
        return Said("")
    ruled = change.by_shape()
    if ruled and not is_round(change.form):
        return RULES[ruled[0]][0]
    here = said(change.form)
    return Said(here.function, tuple(map(numbered, here.args)))


def _main(described: Mapping[str, tuple[Said, list[Change]]], total: int) -> str | None:
    """What holds for a kind of layer as a whole; None if most keep PyTorch's values."""
    changed = sum(len(members) for _, members in described.values())
    if changed < total:
        return None
    main = max(described, key=lambda key: len(described[key][1]))
    return main if described[main][0].function else None  # what a function computes is said by name


def _condition(members: Sequence[Change], everything: Sequence[str]) -> str:
    """A condition on `name` that holds for just these parameters, at other settings as well: it says the spec's rule."""
    paths = [each.path for each in members]
    wanted = set(paths)
    exact = {each.rule for each in members if "*" not in each.rule}
    if all(each.rule for each in members) and len(exact) == len({each.rule for each in members}):
        return f"name == {quoted(paths[0])}" if len(wanted) == 1 else f"name in {_set(paths)}"
    anchored = [_anchored(rule) for rule in dict.fromkeys(each.rule for each in members if each.rule)]
    if (
        len(anchored) == 1
        and anchored[0]
        and {path for path in everything if _fits(path, *anchored[0])} == wanted
    ):
        return _both_ends(*anchored[0])
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
    return f"name in {_set(paths)}"


def _set(paths: Sequence[str]) -> str:
    return f"{{{', '.join(map(quoted, paths))}}}"


def _anchored(rule: str) -> tuple[str, str] | None:
    """What a pattern's paths begin and end with: `h.` and `.c_proj.weight` for `h.*.*.c_proj.weight`."""
    first, last = rule.find("*"), rule.rfind("*")
    return (rule[:first], rule[last + 1 :]) if first >= 0 else None


def _fits(path: str, prefix: str, suffix: str) -> bool:
    return path.startswith(prefix) and path.endswith(suffix)


def _both_ends(prefix: str, suffix: str) -> str:
    parts = [f"name.startswith({quoted(prefix)})"] if prefix else []
    parts += [f"name.endswith({quoted(suffix)})"] if suffix else []
    return " and ".join(parts) or "True"


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
