"""einops patterns: `rearrange`, `reduce`, `repeat`, `einsum`.

Rogozhnikov (2022). A name that is a dim or a static int in scope is that size; a name given as an argument is that; loop
variables never count; other names are the pattern's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlc.diagnostics import Span, did_you_mean, suggestion
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.values import Tensor, show
from dlc.elaborate.calls.functions import call_library
from dlc.elaborate.names.static import let_dims
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.failures import described
from dlc.elaborate.tensors.operators import emit
from dlc.elaborate.types.static import plain
from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types.dims import Dim

_TOKEN = re.compile(r"\s*(\(|\)|\.\.\.|[A-Za-z_]\w*|\d+|\S)")


@dataclass(slots=True)
class Group:
    """One axis of a side: the names (or numbers) that it is made of, and where it stands in the string."""

    names: list[str]
    start: int
    end: int
    composed: bool


@dataclass(slots=True)
class Pattern:
    """A parsed pattern and the sizes of its names."""

    body: Body
    text: str
    span: Span
    sizes: dict[str, Dim] = field(default_factory=dict)
    given: Mapping[str, Dim] = field(default_factory=dict)

    def fail(self, message: str, start: int = 0, end: int = 0, **more: Any) -> Any:
        """Report something inside the string."""
        span = self.span.inside(1 + start, 1 + end) if end else self.span
        self.body.report.fail(problems.PATTERN, span, message=message, **more)

    def split(self) -> tuple[list[Group], list[Group]]:
        if self.text.count("->") != 1:
            self.fail(f'the pattern needs one `->`: "{self.text}"', help='write it as "B T d -> B d T"')
        arrow = self.text.index("->")
        return self.side(self.text[:arrow], 0), self.side(self.text[arrow + 2 :], arrow + 2)

    def side(self, text: str, offset: int) -> list[Group]:
        groups: list[Group] = []
        open_at: int | None = None
        for match in _TOKEN.finditer(text):
            token, start, end = match.group(1), offset + match.start(1), offset + match.end(1)
            if token == "(":
                if open_at is not None:
                    self.fail("parentheses in a pattern don't nest", start, end)
                open_at = start
                groups.append(Group([], start, end, True))
            elif token == ")":
                if open_at is None:
                    self.fail("`)` without `(` in the pattern", start, end)
                groups[-1].end, open_at = end, None
            elif token == "..." or token[0].isalnum() or token[0] == "_":
                if open_at is not None:
                    groups[-1].names.append(token)
                else:
                    groups.append(Group([token], start, end, False))
            else:
                self.fail(f"`{token}` has no meaning in a pattern", start, end)
        if open_at is not None:
            self.fail("`(` is not closed in the pattern", open_at, open_at + 1)
        return groups

    def known(self, name: str) -> Dim | None:
        """The size of a name: given as an argument, found already, or that of a dim or static int in scope."""
        if name.isdigit():
            return Dim.of(int(name))
        if name in self.given:
            return self.given[name]
        if name in self.sizes:
            return self.sizes[name]
        if name in self.body.scope.turning:
            return None
        value = self.body.scope.names.get(name)
        if isinstance(value, int | Dim) and not isinstance(value, bool):
            return Dim.of(value)
        size = self.body.scope.dims.get(name)
        if isinstance(size, Dim):
            return size
        return let_dims(self.body.context.session, self.body.context.unit)(name)  # type: ignore[return-value]

    def match(self, groups: list[Group], tensor: Tensor) -> list[Group]:
        """Give names their sizes from a tensor's axes; `...` becomes one group an axis."""
        axes = tensor.type.axes
        groups = self.expand(groups, len(axes), tensor)
        for axis, (group, size) in enumerate(zip(groups, axes, strict=True)):
            self.match_axis(group, size, axis, tensor)
        return groups

    def expand(self, groups: list[Group], rank: int, tensor: Tensor) -> list[Group]:
        dots = [i for i, group in enumerate(groups) if group.names == ["..."] and not group.composed]
        if not dots and len(groups) != rank:
            ends = (groups[0].start, groups[-1].end) if groups else (0, 0)
            message = f"the pattern has {_axes(len(groups))} here, the tensor {rank}"
            self.fail(message, *ends, notes=[described(self.body.context, tensor)])
        if not dots:
            return groups
        extra = rank - len(groups) + 1
        if extra < 0:
            self.fail(
                f"the pattern needs at least {len(groups) - 1} axes", notes=[f"{tensor.name}: {tensor.type}"]
            )
        place = groups[dots[0]]
        filled = [Group([f"...{i}"], place.start, place.end, False) for i in range(extra)]
        self.sizes["..."] = Dim.of(extra)
        return [*groups[: dots[0]], *filled, *groups[dots[0] + 1 :]]

    def match_axis(self, group: Group, size: Dim, axis: int, tensor: Tensor) -> None:
        unknown = [name for name in group.names if self.known(name) is None]
        product = Dim.of(1)
        for name in group.names:
            if name not in unknown:
                product = product * (self.known(name) or 1)
        facts = self.body.emission.facts
        notes = [described(self.body.context, tensor)]
        where = (group.start, group.end)
        if len(unknown) > 1:
            names = " and ".join(f"`{name}`" for name in unknown)
            self.fail(
                f"the sizes of {names} are not known", *where, notes=notes, help=f"give one: `{unknown[0]}=…`"
            )
        if not unknown:
            equal = facts.prove_eq(product, size)
            if equal is True:
                return
            shown = " ".join(group.names)
            told = f"`{shown}` is {product}" if str(product) != shown else f"the pattern says `{shown}`"
            unproved = "" if equal is False else ", and nothing says that they are equal"
            message = f"axis {axis} of the tensor is {size}, {told}{unproved}"
            self.fail(message, *where, notes=notes, help=self._mismatch_help(equal, group, product, size))
        if product.constant == 1 and product.origin is None:
            self.sizes[unknown[0]] = size
            return
        if product == Dim.of(0):
            self.fail(f"axis {axis}: a size in this pattern is 0", *where, notes=notes)
        divisible = facts.prove_divisible(size, product)
        if divisible is not True:
            verb = "is not" if divisible is False else "is not known to be"
            help = "" if divisible is False else f"state it: `where {size} % {_paren(product)} == 0`"
            self.fail(f"axis {axis}: {size} {verb} a multiple of {product}", *where, notes=notes, help=help)
        self.sizes[unknown[0]] = facts.simplify(size // product)

    def _mismatch_help(self, equal: bool | None, group: Group, product: Dim, size: Dim) -> str:
        if re.search(rf"\b{re.escape(str(size))}\b", self.text) and str(product) in self.body.scope.dims:
            return f"`{product}` and `{size}` are sizes of this body: are they swapped?"
        own = [name for name in group.names if name not in self.given]
        told = [
            f"`{name}` is a static parameter here, {product}"
            for name in own
            if name in self.body.scope.static
        ]
        told += [f"`{name}` is a size of this body" for name in own if name in self.body.scope.dims]
        other = f"{told[0]}: an axis of the pattern's own needs another name" if told else ""
        if equal is None:
            return f"state it: `where {product} == {size}`" + (f". {other}" if told else "")
        return other

    def order(self, groups: list[Group]) -> list[str]:
        return [name for group in groups for name in group.names]

    def size(self, name: str) -> Dim:
        return self.known(name) or Dim.of(1)

    def shape(self, groups: list[Group]) -> tuple[Dim, ...]:
        shape = []
        for group in groups:
            product = Dim.of(1)
            for name in group.names:
                product = product * self.size(name)
            shape.append(self.body.emission.facts.simplify(product))
        return tuple(shape)


def _axes(count: int) -> str:
    return f"{count} axis" if count == 1 else f"{count} axes"


def _paren(value: Dim) -> str:
    text = str(value)
    return f"({text})" if not text.replace("_", "").isalnum() else text


def _pattern(body: Body, text: Any, span: Span, given: Mapping[str, Any]) -> Pattern:
    if not isinstance(text, str):
        body.report.fail(problems.PATTERN, span, message='the pattern is a string, such as "B T d -> B d T"')
    sizes = {name: Dim.of(plain(value)) for name, value in given.items() if isinstance(value, int | Dim)}
    for name, size in sizes.items():
        if size.constant is not None and size.constant < 1:
            body.report.fail(problems.PATTERN, span, message=f"`{name}` can't be {size}: a size is 1 or more")
    return Pattern(body, text, span, given=sizes)


def _right(pattern: Pattern, left: list[Group], right: list[Group]) -> list[Group]:
    """The right side with `...` filled as on the left."""
    count = pattern.sizes.pop("...", None)
    filled: list[Group] = []
    for group in right:
        if group.names == ["..."]:
            if count is None:
                pattern.fail("`...` stands only on the right", group.start, group.end)
            extra = count.constant or 0 if count is not None else 0
            filled += [Group([f"...{i}"], group.start, group.end, False) for i in range(extra)]
        elif "..." in group.names and count is not None:
            names = [
                x
                for n in group.names
                for x in ([f"...{i}" for i in range(count.constant or 0)] if n == "..." else [n])
            ]
            filled.append(Group(names, group.start, group.end, True))
        else:
            filled.append(group)
    _check_once(pattern, left)
    _check_once(pattern, filled)
    return filled


def _check_once(pattern: Pattern, groups: list[Group]) -> None:
    seen: set[str] = set()
    for group in groups:
        for name in group.names:
            if name in seen and not name.isdigit():
                pattern.fail(f"`{name}` stands twice on one side", group.start, group.end)
            seen.add(name)


def rearrange(body: Body, node: ast.Node, x: Tensor, text: Any, span: Span, given: Mapping[str, Any]) -> Any:
    """`rearrange`. An axis on the right that is alone in front and given a number unpacks in a binding."""
    pattern = _pattern(body, text, span, given)
    left, right = pattern.split()
    left = pattern.match(left, x)
    right = _right(pattern, left, right)
    here, there = pattern.order(left), pattern.order(right)
    ones = {name for name in here if name == "1"}
    _same_names(pattern, right, [n for n in here if n not in ones], [n for n in there if n != "1"])
    x = _unfold(body, node, pattern, x, left)
    kept = [name for name in there if name != "1"]
    x = _permute(body, node, x, [name for name in here if name != "1"], kept)
    return _reshape(body, node, x, pattern.shape(right))


def _same_names(pattern: Pattern, right: list[Group], here: list[str], there: list[str]) -> None:
    for group in right:
        for name in group.names:
            if name not in here and name != "1":
                help = did_you_mean(name, here) or "`repeat` makes new axes"
                pattern.fail(f"`{name}` stands only on the right", group.start, group.end, help=help)
    for name in here:
        if name not in there:
            at = re.search(rf"\b{re.escape(name)}\b", pattern.text)
            start, end = at.span() if at else (0, len(pattern.text))
            pattern.fail(f"`{name}` is lost on the right", start, end, help="`reduce` takes axes away")


def _unfold(body: Body, node: ast.Node, pattern: Pattern, x: Tensor, left: list[Group]) -> Tensor:
    """One axis a name, axes written as 1 dropped."""
    shape = tuple(pattern.size(name) for name in pattern.order(left) if name != "1")
    return _reshape(body, node, x, shape)


def _reshape(body: Body, node: ast.Node, x: Tensor, shape: tuple[Dim, ...]) -> Tensor:
    return x if x.type.axes == shape else emit(body, node, "reshape", x, shape=shape)


def _permute(body: Body, node: ast.Node, x: Tensor, here: list[str], there: list[str]) -> Tensor:
    axes = tuple(here.index(name) for name in there)
    return x if axes == tuple(range(len(axes))) else emit(body, node, "permute", x, axes=axes)


REDUCTIONS = ("sum", "mean", "max", "min", "prod")


def reduce(
    body: Body,
    node: ast.Node,
    x: Tensor,
    text: Any,
    how: Any,
    span: Span,
    given: Mapping[str, Any],
    how_span: Span,
) -> Any:
    """`reduce(x, "B (h p) -> B h", "mean", p=2)`."""
    if how not in REDUCTIONS:
        near = habits.REDUCTIONS.get(how, "") if isinstance(how, str) else ""
        near = near or (suggestion(how, REDUCTIONS) if isinstance(how, str) else "")
        help = f'did you mean "{near}"?' if near else ""
        message = f"`reduce` goes by sum, mean, max, min or prod, not {show(how)}"
        body.report.fail(problems.PATTERN, how_span, message=message, help=help)
    pattern = _pattern(body, text, span, given)
    left, right = pattern.split()
    left = pattern.match(left, x)
    right = _right(pattern, left, right)
    here = [name for name in pattern.order(left) if name != "1"]
    there = [name for name in pattern.order(right) if name != "1"]
    _same_names(pattern, right, here, [*there, *here])
    x = _unfold(body, node, pattern, x, left)
    axes = tuple(i for i, name in enumerate(here) if name not in there)
    if axes:
        x = _reduced(body, node, x, how, axes)
    x = _permute(body, node, x, [name for name in here if name in there], there)
    return _reshape(body, node, x, pattern.shape(right))


def _reduced(body: Body, node: ast.Node, x: Tensor, how: str, axes: tuple[int, ...]) -> Tensor:
    if how == "mean":
        return call_library(body, node, "mean", x, axis=axes)
    return emit(body, node, how, x, axis=axes, keepdims=False)


def repeat(body: Body, node: ast.Node, x: Tensor, text: Any, span: Span, given: Mapping[str, Any]) -> Tensor:
    """`repeat(x, "B d -> B n d", n=4)`."""
    pattern = _pattern(body, text, span, given)
    left, right = pattern.split()
    left = pattern.match(left, x)
    right = _right(pattern, left, right)
    here = [name for name in pattern.order(left) if name != "1"]
    there = [name for name in pattern.order(right) if name != "1"]
    for group in right:
        for name in group.names:
            if name not in here and pattern.known(name) is None:
                pattern.fail(
                    f"the size of `{name}` is not known", group.start, group.end, help=f"give it: `{name}=…`"
                )
    x = _unfold(body, node, pattern, x, left)
    old = [name for name in there if name in here]
    _same_names(pattern, [], here, old)
    x = _permute(body, node, x, here, old)
    if len(old) != len(there):
        ones = tuple(pattern.size(name) if name in here else Dim.of(1) for name in there)
        x = _reshape(body, node, x, ones)
        x = emit(body, node, "broadcast", x, shape=tuple(pattern.size(name) for name in there))
    return _reshape(body, node, x, pattern.shape(right))


OPERANDS = 32
"""NumPy takes no more, and TVM's compiler ends at thousands."""


def einsum(body: Body, node: ast.Node, tensors: list[Tensor], text: Any, span: Span) -> Tensor:
    """`einsum(a, b, "B i j, B j k -> B i k")`, names as in einops; single letters run together are NumPy's form. What stands under
    `...` broadcasts."""
    pattern = _pattern(body, text, span, {})
    if pattern.text.count("->") != 1:
        pattern.fail("the pattern needs one `->`")
    arrow = pattern.text.index("->")
    texts = pattern.text[:arrow].split(",")
    if len(texts) != len(tensors):
        pattern.fail(f"the pattern has {len(texts)} operands, {len(tensors)} are given")
    if len(texts) > OPERANDS:
        pattern.fail(f"the pattern has {len(texts)} operands, over {OPERANDS}")
    *lefts, last = _read(texts, pattern.text[arrow + 2 :], [each.type.rank for each in tensors])
    sides, offset = [], 0
    for part, read in zip(texts, lefts, strict=True):
        sides.append(pattern.side(read, offset))
        offset += len(part) + 1
    right = pattern.side(last, arrow + 2)
    filled, operands = [], []
    under = [_under(pattern, side, tensor) for side, tensor in zip(sides, tensors, strict=True)]
    whole = _together(under)
    for side, tensor, axes in zip(sides, tensors, under, strict=True):
        if axes is not None:
            side, tensor = _without_ones(pattern, node, side, tensor, axes, whole)
        filled.append(pattern.match(side, tensor))
        operands.append(tensor)
    if any(axes is not None for axes in under):
        pattern.sizes["..."] = Dim.of(len(whole))
    result = _right(pattern, [], right)
    names = {name for side in [*filled, result] for name in pattern.order(side)}
    if len(names) > len(_LETTERS):
        pattern.fail(f"the pattern has {len(names)} names, over {len(_LETTERS)}")
    letters = _initials(name for side in [*filled, result] for name in pattern.order(side))
    for name in pattern.order(result):
        if not any(name in pattern.order(side) for side in filled):
            pattern.fail(f"`{name}` stands only on the right")
    spelled = ",".join("".join(letters[n] for n in pattern.order(side)) for side in filled)
    spelled += "->" + "".join(letters[n] for n in pattern.order(result))
    return emit(body, node, "einsum", *operands, pattern=spelled)


def _initials(names: Iterable[str]) -> dict[str, str]:
    """A letter for each name, no two alike: the name itself, one of its own, or any."""
    letters: dict[str, str] = {}
    for name in sorted(dict.fromkeys(names), key=len):
        own = [letter for letter in name if letter in _LETTERS]
        free = (each for each in (*own, *map(str.swapcase, own), *_LETTERS) if each not in letters.values())
        letters[name] = next(free)
    return letters


def _under(pattern: Pattern, side: list[Group], tensor: Tensor) -> tuple[Dim, ...] | None:
    """The axes of an operand that stand under `...`, if it has one."""
    dots = [i for i, group in enumerate(side) if group.names == ["..."] and not group.composed]
    if not dots:
        return None
    axes = tensor.type.axes
    if len(axes) < len(side) - 1:
        message = f"the pattern needs at least {len(side) - 1} axes"
        pattern.fail(message, side[0].start, side[-1].end, notes=[described(pattern.body.context, tensor)])
    return axes[dots[0] : len(axes) - (len(side) - 1 - dots[0])]


def _together(under: list[tuple[Dim, ...] | None]) -> list[Dim]:
    """What the axes under `...` broadcast to, the last ones against each other."""
    some = [axes for axes in under if axes is not None]
    rank = max(map(len, some), default=0)
    columns = ([axes[i - rank] for axes in some if rank - i <= len(axes)] for i in range(rank))
    return [next((each for each in column if each.constant != 1), Dim.of(1)) for column in columns]


def _without_ones(
    pattern: Pattern,
    node: ast.Node,
    side: list[Group],
    tensor: Tensor,
    axes: tuple[Dim, ...],
    whole: list[Dim],
) -> tuple[list[Group], Tensor]:
    """An operand without the axes of 1 under `...` that others are longer in, and its side with a name for each other one."""
    place = next(i for i, group in enumerate(side) if group.names == ["..."])
    first = len(whole) - len(axes)
    kept = [i for i, axis in enumerate(axes) if axis.constant != 1 or whole[first + i].constant == 1]
    dots = side[place]
    named = [Group([f"...{first + i}"], dots.start, dots.end, False) for i in kept]
    before, after = tensor.type.axes[:place], tensor.type.axes[place + len(axes) :]
    shape = (*before, *(axes[i] for i in kept), *after)
    return [*side[:place], *named, *side[place + 1 :]], _reshape(pattern.body, node, tensor, shape)


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _run_together(sides: list[str]) -> bool:
    """Whether a pattern is in NumPy's form, one letter an axis: `bij,bjk->bik`, without a space inside of a side."""
    stripped = [each.strip() for each in sides]
    return not any(" " in each or "(" in each for each in stripped)


def _read(lefts: Sequence[str], right: str, ranks: Sequence[int]) -> list[str]:
    """The sides of a pattern with spaces between their names. A word in NumPy's form is its letters, unless an operand of one axis says
    that it is the name of that."""
    if not _run_together([*lefts, right]):
        return [*lefts, right]
    words = {text.strip() for text, rank in zip(lefts, ranks, strict=True) if rank == 1}
    capital = {text.strip() for text, rank in zip(lefts, ranks, strict=True) if 1 < rank == len(text.strip())}
    letters = {letter for text in capital for letter in text}

    def spaced(text: str) -> str:
        word = text.strip()
        is_letters = word.isalpha() and (word.islower() or word in capital or set(word) <= letters)
        return " ".join(word) if is_letters and word not in words else text

    return list(map(spaced, (*lefts, right)))
