"""Statements with others inside, layers, and calls of a program's own fns and modules; and whole programs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from random_kinds import Move, is_bool, is_index, is_number, is_working, joined
from random_moves import MOVES
from random_text import Body, Input, Item, Line, Program, Type, Var

from dlc.types.dims import Dim

# --- layers -------------------------------------------------------------------------------------------------


def layered(b: Body) -> bool:
    """A layer on the last axis, or a few of the ones for images."""
    if not b.layers:
        return False
    x = b.pick(lambda t: is_working(t) and t.rank >= 1 and t.axes[-1].is_constant and t.top < 12)
    if x is None:
        return False
    label = f"l{b.count()}"
    d = int(x.axes[-1].constant or 0)
    small = b.rng.choice([1, 2, 3])
    t = x.type.rounded(x.type.top + 3)
    options: list[tuple[str, Type]] = []
    if d:
        options += [(f"linear({small})", t.at([*x.axes[:-1], Dim.of(small)]))] * 3
        options += [(f"linear({small}, bias=false)", t.at([*x.axes[:-1], Dim.of(small)]))]
        options += [
            ("layer_norm", t.rounded()),
            ("rms_norm", t.rounded()),
            ("layer_norm(bias=false)", t.rounded()),
        ]
    if d and d % 2 == 0:
        options += [("glu", t.at([*x.axes[:-1], Dim.of(d // 2)]))]
    if x.rank == 3 and x.axes[1].is_constant and x.axes[1].constant:
        options += [
            ("batch_norm", t.rounded()),
            ("instance_norm", t.rounded()),
            (f"group_norm({x.axes[1]})", t.rounded()),
        ]
        options += [(f"conv1d({small}, 1)", t.at([x.axes[0], Dim.of(small), x.axes[2]]))]
    text, type = b.rng.choice(options) if options else ("dropout(0.3)", x.type)
    if not b.fits(type):
        return False
    label = "" if text in ("glu", "dropout(0.3)") else f" as {label}"
    b.bind(f"{x} |> {text}{label}", type)
    return True


def convolved(b: Body) -> bool:
    x = b.pick(
        lambda t: (
            is_working(t)
            and t.plain
            and t.rank in (3, 4)
            and t.top < 12
            and all(b.low(n) for n in t.axes[1:])
        )
    )
    if x is None or not b.layers:
        return False
    spatial = x.axes[2:]
    channels = x.axes[1].constant
    t = x.type.rounded(x.type.top + 3)
    half = [(n + 1) // 2 for n in spatial]
    pools = [
        (f"avg_pool({x}, 3, stride=1, padding=1)", t), (f"max_pool({x}, 3, stride=1, padding=1)", x.type),
        (f'max_pool({x}, 2, stride=2, padding="same")', x.type.at([*x.axes[:2], *half])), (f"max_pool({x}, 1, stride=2)", x.type.at([*x.axes[:2], *half])),
        (f"global_avg_pool({x})", t.at(x.axes[:2])), (f"avg_pool({x}, 3, stride=1, padding=1, count_padding=false)", t),
        (f"resize({x}, scale=2)", x.type.at([*x.axes[:2], *(n * 2 for n in spatial)])), (f"adaptive_avg_pool({x}, 2)", t.at([*x.axes[:2], *[Dim.of(2)] * len(spatial)])),
    ]  # fmt: skip
    if channels and b.chance(0.6):
        rank, label = len(spatial), f"l{b.count()}"
        out = b.rng.choice([1, 2])
        layer, sizes = b.rng.choice([
            (f'conv{rank}d({out}, 3, padding="same")', spatial), (f"conv{rank}d({out}, 3, stride=2, padding=1)", half),
            (f"conv{rank}d({out}, 1)", spatial), (f"conv_transpose{rank}d({out}, 2, stride=2)", [n * 2 for n in spatial]),
            (f"conv{rank}d({channels}, 3, padding=1, groups={channels})", spatial),
        ])  # fmt: skip
        made = channels if "groups" in layer else out
        type = t.at([x.axes[0], Dim.of(made), *sizes])
        if not b.fits(type):
            return False
        b.bind(f"{x} |> {layer} as {label}", type)
        return True
    text, type = b.rng.choice(pools)
    if not b.fits(type):
        return False
    b.made(text, type)
    return True


def embedded(b: Body) -> bool:
    x = b.pick(lambda t: is_index(t) and t.rank < 3 and t.top < 30)
    if x is None or not b.layers:
        return False
    label, rows, d = f"l{b.count()}", b.rng.choice([1, 2, 3]), b.rng.choice([1, 2])
    b.bind(f"{x} % {rows} |> embedding({rows}, {d}) as {label}", Type("float", (*x.axes, Dim.of(d)), 3, None))
    return True


def attended(b: Body) -> bool:
    q = b.pick(
        lambda t: is_working(t) and t.plain and t.rank in (2, 3) and t.top < 8 and b.low(t.axes[-1]) >= 1
    )
    k = q and b.pick(
        lambda t: (
            is_working(t)
            and t.plain
            and t.rank == q.rank
            and t.axes[-1] == q.axes[-1]
            and t.axes[:-2] == q.axes[:-2]
            and t.top < 8
            and b.low(t.axes[-2]) >= 1
        )
    )
    v = k and b.pick(lambda t: is_working(t) and t.plain and t.axes[:-1] == k.axes[:-1])
    if not q or not k or not v:
        return False
    extra = b.rng.choice(["", ", causal=true", ", scale=0.5", ", softcap=2.0"])
    mask = b.pick(lambda t: is_bool(t) and t.axes == (q.axes[-2], k.axes[-2]))
    if "causal" in extra and b.low(k.axes[-2] - q.axes[-2]) < 0:
        extra = ""
    if mask is not None and not extra:
        extra = f", mask={mask}"
    b.made(f"attention({q}, {k}, {v}{extra})", v.type.rounded(v.type.top).at([*q.axes[:-1], v.axes[-1]]))
    return True


def lost(b: Body) -> bool:
    """A loss, or another of the library's functions of two."""
    x = b.pick(lambda t: is_working(t) and t.rank >= 1 and t.top < 10)
    if x is None:
        return False
    n = x.axes[-1]
    labels = b.pick(lambda t: is_index(t) and t.axes == x.axes[:-1] and t.top < 30)
    if labels is not None and b.low(n) >= 1 and b.chance(0.5):
        how = b.rng.choice(["", ', reduction="none"', ', reduction="sum"', ", ignore=0", ", smoothing=0.25"])
        axes = x.axes[:-1] if "none" in how else ()
        name = "cross_entropy" if how.startswith((", ignore", ", smooth")) or b.chance(0.6) else "nll"
        b.made(f"{name}({x}, {labels} % ({n}){how})", x.type.rounded(8).at(axes))
        return True
    y = b.pick(lambda t: is_working(t) and t.axes == x.axes and t.top < 10)
    if y is None:
        return False
    name, keeps = b.rng.choice([("mse", False), ("l1", False), ("huber", False), ("smooth_l1", False), ("bce_with_logits", False), ("kl_div", False), ("cosine_similarity", True)])  # fmt: skip
    if keeps:
        b.made(f"{name}({x}, {y})", x.type.rounded().at(x.axes[:-1]))
        return True
    how = b.rng.choice(["", ', reduction="none"', ', reduction="sum"'])
    b.made(f"{name}({x}, {y}{how})", x.type.rounded(12).at(x.axes if "none" in how else ()))
    return True


def recurrent(b: Body) -> bool:
    x = b.pick(
        lambda t: is_working(t) and t.rank == 3 and t.axes[2].is_constant and t.axes[2].constant and t.top < 8
    )
    if x is None or not b.layers:
        return False
    name = b.rng.choice(["rnn", "gru", "lstm"])
    label, d = f"l{b.count()}", b.rng.choice([1, 2])
    both = b.chance(0.3)
    wide = 2 if both else 1
    t = x.type.rounded(1)
    y = t.at([x.axes[0], x.axes[1], Dim.of(d * wide)])
    state = t.at([Dim.of(wide), x.axes[0], Dim.of(d)])
    states = [state, state] if name == "lstm" else [state]
    b.bind(f"{x} |> {name}({d}{', bidirectional=true' if both else ''}) as {label}", y, *states)
    return True


# --- what keeps a type ----------------------------------------------------------------------------------------


def same(b: Body, x: Var, names: list[str], turn: str = "") -> str:
    """An expression of x's type. `names` are values that may be read besides."""
    t = x.type
    options = [f"({x} + {x})"] if t.dtype != "bool" else [f"not {x}"]
    if is_number(t):
        options += [f"maximum({x}, 1)", f"({x} * 2 - {x})", f"clamp({x}, -1, 1)"]
    if is_working(t):
        options += [f"tanh({x})", f"sigmoid({x}) * 0.5", f"({x} * 0.5 + 1)", f"sin({x})", f"relu({x})"]
    if turn and is_number(t):
        options += [f"({x} + {turn})", f"({x} * ({turn} + 1))"] if is_working(t) else [f"({x} + {turn}) % 5"]
    for name in names:
        options += (
            [f"({x} + {name})", f"({name} - {x} * 0.5)" if is_working(t) else f"maximum({x}, {name})"]
            if is_number(t)
            else [f"({x} or {name})"]
        )
    if t.rank:
        i = b.rng.randrange(t.rank)
        n = t.axes[i]
        options += [f"flip({x}, {i})"]
        if is_number(t):
            options += [
                f"({x} - sum({x}, axis={i}, keepdims=true) * 0.5)"
                if is_working(t)
                else f"cumsum({x}, axis={i}) % 7"
            ]
        before = ":, " * i
        if b.low(n) >= 1:
            options += [f"concat([{x}[{before}1:], {x}[{before}:1]], axis={i})", f"roll({x}, 1, {i})"]
        if is_working(t) and b.low(n) >= 1:
            options += [f"softmax({x}, axis={i})"]
        d = t.axes[-1].constant
        if is_working(t) and b.layers and d:
            options += [f"({x} |> linear({d}) as fc{b.count()})", f"({x} |> layer_norm as ln{b.count()})"] * 2
    return b.rng.choice(options)


def kept_type(t: Type) -> Type:
    """After turns that may make it grow."""
    return replace(t, top=12, frac=None if t.is_float else 0)


def inner(b: Body, x: Var, target: str, names: list[str], turn: str = "") -> list[Line]:
    """One to three statements that give `target` a new value of its type."""
    lines = [Line((target,), f"{target} = {same(b, x, names, turn)}") for _ in range(b.rng.choice([1, 2, 3]))]
    return lines


def looped(b: Body) -> bool:
    """`for`: turns that are the same, or go by their number."""
    x = b.pick(lambda t: t.plain and t.top <= 8)
    if x is None or b.depth > 1:
        return False
    (y,) = b.bind(str(x), x.type)
    others = [
        each.text
        for each in b.scope[:-1]
        if each.type.dtype == y.type.dtype
        and joined(each.axes, y.axes) == y.axes
        and each.type.plain
        and each.type.top < 8
    ]
    turn = b.rng.choice(["", "i"])
    times = b.rng.choice(["0", "1", "2", "3", "4", *b.statics])
    block = inner(b, y, y.text, others[-2:], turn)
    if b.chance(0.3) and turn:
        block = [Line((), "if i % 2 == 0", (tuple(block), tuple(inner(b, y, y.text, others[-1:], turn))))]
    b.lines.append(Line((y.text,), f"for i in range({times}) as h{b.count()}", (tuple(block),)))
    b.scope[-1] = Var(y.text, kept_type(y.type))
    return True


def scanned(b: Body) -> bool:
    """`scan` along an axis, or over a counter."""
    if b.depth > 1:
        return False
    x = b.pick(lambda t: t.rank >= 1 and t.plain and is_number(t) and t.top <= 8)
    if x is None:
        return False
    i = b.rng.randrange(x.rank)
    item = x.type.at([*x.axes[:i], *x.axes[i + 1 :]])
    n = x.axes[i]
    (h,) = b.bind(
        f"sum({x}, axis={i})"
        if b.chance(0.5)
        else f"zeros([{', '.join(map(str, item.axes))}]{'' if item.dtype == 'float' else f', dtype={item.dtype}'})",
        kept_type(item),
    )
    own, out = f"s{b.count()}", f"v{b.count()}"
    kind = b.rng.randrange(4)
    backwards = " backwards" if b.chance(0.3) else ""
    turn = ""
    layers, b.layers = b.layers, b.layers and b.chance(0.5)
    if kind == 0:
        head, turn = (
            f"scan t, {own} in enumerate({x}) along axis {i}{backwards}",
            "cast(t, float)" if is_working(item) else "t" if item.dtype == "i64" else "",
        )
    elif kind == 1 and (n.is_constant or plain_symbol(n)):
        head, own = f"scan t in range({n})", ""
        turn = "cast(t, float)" if is_working(item) else "t" if item.dtype == "i64" else ""
        i = 0
    else:
        head = f"scan {own} in {x} along axis {i}{backwards}"
    block = [
        Line((h.text,), f"{h} = {same(b, h, [own] if own else [], turn)}")
        for _ in range(b.rng.choice([1, 2]))
    ]
    handed = b.rng.choice([h.text, same(b, h, [own] if own else [])])
    block.append(Line((), f"yield {out} = {handed}"))
    b.layers = layers
    at = min(i, item.rank)
    b.lines.append(Line((h.text, out), f"{head} with {h} = {h}", (tuple(block),)))
    b.scope[-1] = Var(h.text, kept_type(item))
    b.scope.append(Var(out, kept_type(item.at([*item.axes[:at], n, *item.axes[at:]]))))
    return True


def plain_symbol(n: Dim) -> bool:
    return len(n.symbols) == 1 and n == Dim.symbol(next(iter(n.symbols)))


def branched(b: Body) -> bool:
    x = b.pick(lambda t: t.plain and t.top <= 8)
    if x is None or not b.statics:
        return False
    (y,) = b.bind(str(x), x.type)
    name = b.rng.choice(list(b.statics))
    blocks = (tuple(inner(b, y, y.text, [])), tuple(inner(b, y, y.text, [])))
    b.lines.append(Line((y.text,), f"if {name} {b.rng.choice(['> 1', '== 0', '% 2 == 1'])}", blocks))
    b.scope[-1] = Var(y.text, kept_type(y.type))
    return True


# --- fns and modules --------------------------------------------------------------------------------------------


def called(b: Body) -> bool:
    """A fn or module of the program's own, made here, and called once or twice."""
    if b.depth:
        return False
    given = [x for _ in range(b.rng.choice([1, 1, 2])) if (x := b.pick(lambda t: t.plain))]
    if not given:
        return False
    module = b.chance(0.5)
    name = f"{'F' if module else 'f'}{b.count()}"
    inside, theirs, binding = callee(b, given, module)
    steps(inside, b.rng.choice([2, 3, 4]))
    inside.flush()
    new = inside.scope[len(given) :] or inside.scope
    results = new[-b.rng.choice([1, 1, 2]) :]
    types = [each.type.at([n.substitute(binding) for n in each.axes]) for each in results]
    if not all(map(b.fits, types)):
        return False
    head = ", ".join(f"{each}: {each.type}" for each in theirs)
    static = "k: int" if module else ""
    text = f"module {name}({static})({head})" if module else f"fn {name}({head}, k: int = 2)"
    b.items.append(Item(name, text, tuple(inside.lines), tuple(each.text for each in results)))
    arguments = ", ".join(map(str, given))
    k = b.rng.choice([1, 2, 3, *b.statics])
    if module:
        first, rest = str(given[0]), ", ".join(map(str, given[1:]))
        call = f"{first} |> {name}({k}){f'({rest})' if rest else ''} as m{b.count()}"
    else:
        call = f"{name}({arguments}, k={k})" if b.chance(0.7) else f"{name}({arguments})"
    b.bind(call, *types)
    return True


def callee(b: Body, given: list[Var], module: bool) -> tuple[Body, list[Var], dict[str, Dim]]:
    """A body with inputs of its own, whose sizes have names of its own where the caller's are the same or not."""
    letters = iter("PQRSUVWYZ")
    known: dict[Dim, Dim] = {}
    minima: dict[str, int] = {}
    binding: dict[str, Dim] = {}
    theirs = []
    for j, x in enumerate(given):
        axes = []
        for n in x.axes:
            if n.is_constant and b.chance(0.6):
                axes.append(n)
                continue
            if n not in known:
                name = next(letters)
                known[n] = Dim.symbol(name)
                minima[name] = min(b.low(n), 1)
                binding[name] = n
            axes.append(known[n])
        theirs.append(Var(f"x{j}", x.type.at(axes)))
    statics = {"k": 1}
    inside = Body(b.rng, minima, list(theirs), b.count, depth=b.depth + 1, statics=statics, layers=module)
    return inside, theirs, binding


# --- programs ---------------------------------------------------------------------------------------------------

BLOCKS: dict[Move, int] = {
    layered: 6, convolved: 4, embedded: 2, attended: 3, lost: 3, recurrent: 1, looped: 4, scanned: 4, branched: 2, called: 5,
}  # fmt: skip


def steps(b: Body, wanted: int) -> None:
    moves = {**MOVES, **BLOCKS}
    for _ in range(wanted * 6):
        (move,) = b.rng.choices(list(moves), list(moves.values()))
        waiting = list(b.pending)
        if move(b):
            wanted -= 1
        else:
            b.pending = waiting
        if not wanted:
            break


def inputs(rng: random.Random, minima: dict[str, int], spoiled: bool) -> Iterator[Input]:
    """A float one with open sizes, integers, and others."""
    names = [Dim.symbol(each) for each in minima]

    def size() -> Dim:
        return rng.choice(names) if names and rng.random() < 0.6 else Dim.of(rng.choice([0, 1, 2, 2, 3, 3]))

    yield Input("x0", Type("float", (*names, Dim.of(rng.choice([1, 2, 3]))), 3, 2, not spoiled), spoiled)
    yield Input("x1", Type("i64", tuple(size() for _ in range(rng.choice([0, 1, 1, 2]))), 2, 0))
    for i in range(2, rng.choice([3, 4])):
        dtype = rng.choice(["float", "float", "bool", "i64"])
        axes = tuple(size() for _ in range(rng.choice([0, 1, 2, 3])))
        yield Input(f"x{i}", Type(dtype, axes, 3, 2 if dtype == "float" else 0))


def program(seed: int, length: int = 10) -> Program:
    """The program of a seed."""
    rng = random.Random(seed)
    numbers = count()
    minima = {name: rng.choice([0, 0, 1]) for name in rng.choice(["N", "N", "NM", "NM", "NMK"])}
    given = tuple(inputs(rng, minima, spoiled=rng.random() < 0.2))
    statics = {"k": rng.choice([1, 2, 3])}
    b = Body(
        rng, minima, [Var(each.name, each.type) for each in given], lambda: next(numbers), statics=statics
    )
    gain = f"v{b.count()}"
    b.lines.append(Line((gain,), f"param {gain}: [{given[0].type.axes[-1]}] = normal"))
    b.scope.append(Var(gain, Type("float", given[0].type.axes[-1:], 2, 2)))
    b.bind(f"x0 * {gain}", replace(given[0].type, top=4, frac=4))
    steps(b, rng.choice([length // 2, length, length + length // 2]))
    b.flush()
    read = set().union(*(line.reads() for line in b.lines))
    made = [
        each.text
        for each in b.scope
        if each.text not in {*read, *(x.name for x in given)} or rng.random() < 0.15
    ]
    heads = ", ".join(f"{each.name}: {each.type}" for each in given)
    head = f"model M(k: int = {statics['k']})({heads})"
    facts = tuple(f"0 <= {name}" for name, low in minima.items() if not low)
    outputs = tuple(dict.fromkeys(made[-6:])) or (b.scope[-1].text,)
    model = Item("M", head, tuple(b.lines), outputs, named=True, facts=facts)
    return Program(seed, (*b.items, model), given, minima)
