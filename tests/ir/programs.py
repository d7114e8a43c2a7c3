"""Programs to test on: some written out, and a generator of small ones. And running them on random values."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from dlc.ir.builder import Builder
from dlc.ir.nodes import Child, Function, Op, Param, Program, Region, Value
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc.ir.text import parse_program
from dlc.runtime.interpret import run
from dlc.runtime.prepare import prepare
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

LIBRARY = """
fn double_1(%x: [N]) -> (y: %y)
    source double
    library
{
    %two: [] = const() {value=2.0}
    %y: [N] = mul(%x, %two)
}

fn pass_1(%x: [N]) -> (y: %x)
    source pass
    library
{
}

module linear_1(%x: [N, 4]) -> (y: %y)
    source linear
    static {out=4, bias=true}
    library
    param weight: [4, 4]
    param bias: [4]
{
    %weight: [4, 4] = param() {path="weight"}
    %turned: [4, 4] = permute(%weight) {axes=[1, 0]}
    %product: [N, 4] = matmul(%x, %turned)
    %bias: [4] = param() {path="bias"}
    %y: [N, 4] = add(%product, %bias)
}

module plain_linear_1(%x: [N, 4]) -> (y: %y)
    source linear
    static {out=4, bias=false}
    library
    param weight: [4, 4]
{
    %weight: [4, 4] = param() {path="weight"}
    %turned: [4, 4] = permute(%weight) {axes=[1, 0]}
    %y: [N, 4] = matmul(%x, %turned)
}

module conv2d_1(%x: [N, 3, H, W]) -> (y: %y)
    source conv2d
    library
    param weight: [4, 3, 3, 3]
    param bias: [4]
{
    %weight: [4, 3, 3, 3] = param() {path="weight"}
    %c: [N, 4, H, W] = conv(%x, %weight)
        {stride=[1, 1], padding=[[1, 1], [1, 1]], dilation=[1, 1], groups=1}
    %bias: [4] = param() {path="bias"}
    %shaped: [4, 1, 1] = reshape(%bias) {shape=[4, 1, 1]}
    %y: [N, 4, H, W] = add(%c, %shaped)
}

module conv2d_2(%x: [N, 4, H, W]) -> (y: %y)
    source conv2d
    library
    param weight: [4, 2, 1, 1]
{
    %weight: [4, 2, 1, 1] = param() {path="weight"}
    %y: [N, 4, H, W] = conv(%x, %weight)
        {stride=[1, 1], padding=[[0, 0], [0, 0]], dilation=[1, 1], groups=2}
}

module batch_norm_1(%x: [N, 4, H, W]) -> (y: %y)
    source batch_norm
    library
    buffer running_mean: [4]
    buffer running_var: [4]
    buffer num_batches_tracked: i64[]
    param weight: [4]
    param bias: [4]
{
    %mean: [4] = param() {path="running_mean"}
    %var: [4] = param() {path="running_var"}
    %m: [4, 1, 1] = reshape(%mean) {shape=[4, 1, 1]}
    %v: [4, 1, 1] = reshape(%var) {shape=[4, 1, 1]}
    %centred: [N, 4, H, W] = sub(%x, %m)
    %eps: [] = const() {value=1e-05}
    %padded: [4, 1, 1] = add(%v, %eps)
    %scale: [4, 1, 1] = rsqrt(%padded)
    %normal: [N, 4, H, W] = mul(%centred, %scale)
    %weight: [4] = param() {path="weight"}
    %w: [4, 1, 1] = reshape(%weight) {shape=[4, 1, 1]}
    %scaled: [N, 4, H, W] = mul(%normal, %w)
    %bias: [4] = param() {path="bias"}
    %b: [4, 1, 1] = reshape(%bias) {shape=[4, 1, 1]}
    %y: [N, 4, H, W] = add(%scaled, %b)
}

fn softmax_1(%x: [B, T, U]) -> (y: %y)
    source softmax
    library
{
    %top: [B, T, 1] = max(%x) {axis=[2], keepdims=true}
    %low: [B, T, U] = sub(%x, %top)
    %e: [B, T, U] = exp(%low)
    %total: [B, T, 1] = sum(%e) {axis=[2], keepdims=true}
    %y: [B, T, U] = div(%e, %total)
}
"""

# Layers in a repeat, an instance called twice, a repeat inside a function that a repeat calls, a parameter of
# a child.
NESTED = """
entry Net

module Inner(%x: [N, 4]) -> (y: %out)
    param scale: [4]
    child fc.{i}: linear_1 times 2 from 0 by 1
{
    %out: [N, 4] = loop(%x) {count=2, start=0, step=1} do (%h: [N, 4]) {
        %scale: [4] = param() {path="scale"}
        %a: [N, 4] = mul(%h, %scale)
        %y: [N, 4] = linear(%a) {out=4, bias=true} @ fc.{i} -> linear_1 [N=N]
        yield %y
    }
}

model Net(%x: [B, 4]) -> (y: %y, same: %s)
    where B <= 64
    param shift: [4]
    child first: Inner
    child layers.{i}: Inner times 3 from 1 by 2
    child unused: linear_1
{
    %f: [B, 4] = call(%x) @ first -> Inner [N=B]
    %g: [B, 4] = call(%f) @ first -> Inner [N=B]
    %h: [B, 4] = loop(%g) {count=3, start=1, step=2} do (%z: [B, 4]) {
        %y_1: [B, 4] = call(%z) @ layers.{i} -> Inner [N=B]
        %w: [4, 4] = param() {path="layers.{i}.fc.1.weight"}
        %a: [B, 4] = matmul(%y_1, %w)
        %shift: [4] = param() {path="shift"}
        %b: [B, 4] = add(%a, %shift)
        yield %b
    }
    %row: [4] = param() {path="first.fc.0.bias"}
    %d: [4] = double(%row) -> double_1 [N=4]
    %s: [4] = pass(%d) -> pass_1 [N=4]
    %y: [B, 4] = add(%h, %s)
}
"""

FOLDABLE = """
entry Net

model Net(%x: [B, 3, H, W]) -> (y: %y)
    child stem: conv2d_1
    child norm: batch_norm_1
    child conv.{i}: conv2d_2 times 2 from 0 by 1
    child bn.{i}: batch_norm_1 times 2 from 0 by 1
{
    %a: [B, 4, H, W] = conv2d(%x) @ stem -> conv2d_1 [N=B, H=H, W=W]
    %b: [B, 4, H, W] = batch_norm(%a) {eps=1e-05, momentum=0.1, affine=true} @ norm -> batch_norm_1 [N=B, H=H,
    W=W] %y: [B, 4, H, W] = loop(%b) {count=2, start=0, step=1} do (%h: [B, 4, H, W]) {
        %c: [B, 4, H, W] = conv2d(%h) @ conv.{i} -> conv2d_2 [N=B, H=H, W=W]
        %d: [B, 4, H, W] = batch_norm(%c) {eps=1e-05, momentum=0.1, affine=true}
            @ bn.{i} -> batch_norm_1 [N=B, H=H, W=W]
        %e: [B, 4, H, W] = tanh(%d)
        yield %e
    }
}
"""

PARALLEL = """
entry Net

model Net(%x: [B, 4]) -> (y: %y, other: %k0)
    child k0: linear_1
    child h.{i}.q: linear_1 times 3 from 0 by 1
    child h.{i}.k: linear_1 times 3 from 0 by 1
    child h.{i}.v: linear_1 times 3 from 0 by 1
    child h.{i}.plain: plain_linear_1 times 3 from 0 by 1
{
    %k0: [B, 4] = linear(%x) {out=4, bias=true} @ k0 -> linear_1 [N=B]
    %y: [B, 4] = loop(%x) {count=3, start=0, step=1} do (%h: [B, 4]) {
        %q: [B, 4] = linear(%h) {out=4, bias=true} @ h.{i}.q -> linear_1 [N=B]
        %t: [B, 4] = tanh(%q)
        %k: [B, 4] = linear(%h) {out=4, bias=true} @ h.{i}.k -> linear_1 [N=B]
        %v: [B, 4] = linear(%t) {out=4, bias=true} @ h.{i}.v -> linear_1 [N=B]
        %p: [B, 4] = linear(%h) {out=4, bias=false} @ h.{i}.plain -> plain_linear_1 [N=B]
        %a: [B, 4] = add(%t, %k)
        %b: [B, 4] = add(%v, %p)
        %c: [B, 4] = mul(%a, %b)
        yield %c
    }
}
"""

RANDOM = """
entry Net

fn dropout_1(%x: [N]) -> (y: %y)
    source dropout
    library
    training
{
    %u: [N] = uniform() {shape=[N], dtype="float", draw=1}
    %half: [] = const() {value=0.5}
    %kept: bool[N] = lt(%u, %half)
    %zero: [] = const() {value=0.0}
    %y: [N] = where(%kept, %x, %zero)
}

module Part(%x: [M]) -> (y: %y)
    training
    buffer seen: [4]
{
    %a: [M] = dropout(%x) -> dropout_1 [N=M]
    %y: [M] = dropout(%a) -> dropout_1 [N=M]
}

model Net(%x: [B]) -> (y: %y)
    training
    child part: Part
    child parts.{i}: Part times 2 from 0 by 1
{
    %noise: [B] = normal() {shape=[B], dtype="float", draw=1}
    %a: [B] = add(%x, %noise)
    %b: [B] = call(%a) @ part -> Part [M=B]
    %c: [B] = loop(%b) {count=2, start=0, step=1} do (%h: [B]) {
        %d: [B] = call(%h) @ parts.{i} -> Part [M=B]
        %e: [B] = normal() {shape=[B], dtype="float", draw=2}
        %f: [B] = add(%d, %e)
        yield %f
    }
    %seen: [4] = param() {path="part.seen"}
    %one: [] = const() {value=1.0}
    %more: [4] = add(%seen, %one)
    update(%more) {path="part.seen"}
    %true: bool[] = const() {value=true}
    require(%true) {message="never"}
    %y: [B] = add(%c, %noise)
}
"""


def program(text: str) -> Program:
    """A program in text, with those library functions that it mentions in front."""
    made = parse_program(textwrap.dedent(text))
    library = parse_program("entry none\n" + LIBRARY).functions
    used = {name: each for name, each in library.items() if f"-> {name}" in text or f": {name}" in text}
    return made.with_functions({**used, **made.functions})


EXAMPLES = {
    "nested": program(NESTED),
    "foldable": program(FOLDABLE),
    "parallel": program(PARALLEL),
    "random": program(RANDOM),
}

SIZES = {"B": 3, "H": 5, "W": 4, "T": 3, "U": 4, "N": 3, "M": 3}


def random_array(type: TensorType, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(axis.evaluate(SIZES) for axis in type.axes)
    if type.dtype == "bool":
        return rng.random(shape) < 0.5
    if type.dtype == "i64":
        return rng.integers(-3, 4, shape)
    return rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else rng.normal(size=shape)


def random_weights(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """A value for every parameter and buffer, the same for the same path whatever else there is."""
    found: dict[str, np.ndarray] = {}
    for prefix, param in Paths(program.functions).expand(program.entry):
        path = prefixed(prefix, param.name)
        if param.kind != "prepared":
            found[path] = random_array(param.type, np.random.default_rng([seed, *path.encode()]))
    return found


def random_inputs(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {value.name: random_array(value.type, rng) for value in program.main.inputs}


def outputs(program: Program, seed: int = 0, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The program's outputs on random weights and inputs, in f64."""
    weights = prepare(program, random_weights(program, seed))
    return run(program, weights, {**random_inputs(program, seed), **inputs}, precision="f64")


def assert_same(before: Program, after: Program, seed: int = 0, **tolerance: float) -> None:
    """Both programs have the same parameters and give the same outputs."""
    assert random_weights(before).keys() == random_weights(after).keys()
    wanted, found = outputs(before, seed), outputs(after, seed)
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


# Generated programs: every step takes values of type [B, 4] and gives one.

ROW = TensorType.of("float", (Dim.symbol("B"), 4))
VECTOR = TensorType.of("float", (4,))
MATRIX = TensorType.of("float", (4, 4))


@dataclass
class Maker:
    """Fills one function by what hypothesis draws."""

    data: st.DataObject
    callees: list[Function]
    builder: Builder = field(default_factory=Builder)
    params: dict[str, Param] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    turns: int = 0

    def choose(self, items: list[Any]) -> Any:
        return self.data.draw(st.sampled_from(items))

    def body(self, b: Builder, pool: list[Value], steps: int, depth: int = 0) -> Value:
        for _ in range(steps):
            step: Callable[[Maker, Builder, list[Value]], Value] = self.choose(
                STEPS if depth == 0 else STEPS[1:]
            )
            pool.append(step(self, b, pool))
        return pool[-1]

    def param(self, b: Builder, name: str, type: TensorType) -> Value:
        indexed = f"{name}.{{i}}" if self.turns else name
        for path in [f"{name}.{turn}" for turn in range(self.turns)] or [name]:
            self.params[path] = Param(path, type)
        out = Value(b.fresh(name), type)
        b.append(Op("param", (), (out,), (("path", indexed),)))
        return out

    def repeat(self, b: Builder, pool: list[Value]) -> Value:
        self.turns = 2
        args = (Value(b.fresh("carried"), ROW), Value(b.fresh("carried"), ROW))
        inner = Builder(names=b.fresh)
        result = self.body(inner, [*pool, *args], 3, depth=1)
        self.turns = 0
        outs = (Value(b.fresh("out"), ROW), Value(b.fresh("out"), ROW))
        region = Region(args, tuple(inner.body), (result.name, args[0].name))
        attrs = (("count", 2), ("start", 0), ("step", 1))
        names = (self.choose(pool).name, self.choose(pool).name)
        b.append(Op("loop", names, outs, attrs, region=region))
        return outs[self.choose([0, 1])]

    def call(self, b: Builder, pool: list[Value]) -> Value:
        if not self.callees:
            return b.neg(self.choose(pool))
        callee = self.choose(self.callees)
        path = f"part{len(self.children)}"
        if self.turns:
            path += ".{i}"
        self.children.append(Child(path, callee.name, self.turns))
        out = Value(b.fresh("called"), ROW)
        dims = (("B", ROW.axes[0]),)
        op = "call" if not callee.library else callee.source
        b.append(Op(op, (self.choose(pool).name,), (out,), (), callee.name, path, dims))
        return out


def _unary(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    return b.op(maker.choose(["neg", "abs", "tanh", "sin"]), maker.choose(pool))


def _binary(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    return b.op(maker.choose(["add", "sub", "mul", "maximum"]), maker.choose(pool), maker.choose(pool))


def _number(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    number = maker.choose([0.0, -0.0, 1.0, -1.0, 2.0, -1.5])
    return b.op(maker.choose(["add", "sub", "mul"]), maker.choose(pool), number)


def _constants(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    a = b.const((1.0, 2.0, 3.0, 4.0), "float", (4,))
    return b.add(maker.choose(pool), b.mul(b.neg(a), 0.5))


def _permute(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    return b.permute(b.permute(maker.choose(pool), (1, 0)), (1, 0))


def _reshape(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    return b.reshape(b.reshape(maker.choose(pool), (ROW.axes[0], 2, 2)), ROW.axes)


def _broadcast(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    vector = maker.param(b, "v", VECTOR)
    return b.add(b.broadcast(vector, ROW.axes), maker.choose(pool))


def _project(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    return b.op("tanh", b.matmul(maker.choose(pool), maker.param(b, "w", MATRIX)))


def _cast(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    return b.cast(b.cast(b.cast(maker.choose(pool), "f64"), "f64"), "float")


def _slices(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    x = maker.choose(pool)
    parts = [
        b.op("slice", x, start=(0, at), stop=(ROW.axes[0], at + 2), step=(1, 1))
        for at in maker.choose([(0, 2), (1, 1)])
    ]
    return b.op("concat", *parts, axis=1)


def _where(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    x, y = maker.choose(pool), maker.choose(pool)
    return b.where(b.op("logical_not", b.op("lt", x, y)), x, maker.choose([x, y]))


def _mean(maker: Maker, b: Builder, pool: list[Value]) -> Value:
    x = maker.choose(pool)
    return b.sub(x, b.sum(x, (1,), keepdims=True))


STEPS: list[Callable[[Maker, Builder, list[Value]], Value]] = [
    Maker.repeat, Maker.call, _unary, _binary, _number, _constants, _permute, _reshape, _broadcast, _project,
    _cast, _slices, _where, _mean,
]  # fmt: skip


@st.composite
def programs(draw: Callable[..., Any]) -> Program:
    """A program of up to three functions, each calling the ones before it."""
    data = draw(st.data())
    functions: dict[str, Function] = {}
    for index in range(draw(st.integers(1, 3))):
        name = f"F{index}"
        x = Value("x", ROW)
        maker = Maker(data, list(functions.values()))
        maker.builder.fresh("x")
        result = maker.body(maker.builder, [x], draw(st.integers(1, 6)))
        library = draw(st.booleans())
        functions[name] = Function(
            name=name, source=f"source{index}", kind="module", inputs=(x,), outputs=(("y", result.name),),
            body=tuple(maker.builder.body), params=tuple(maker.params.values()),
            children=tuple(maker.children), library=library,
        )  # fmt: skip
    return Program(functions, name)
