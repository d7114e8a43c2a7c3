"""Every name of the language works on every backend, as whatever it stands for, and paths of checkpoints hold it as it is written."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

import dlc
from dlc.api import Model

WORDS = """
    class def lambda is yield match print list super self key params state config apply jnp torch nn F math training forward to type
    requires_grad_ output index count items __class__ __hidden _x x_ x forward_ class_ l
"""  # Python's, and those of the frameworks and of emitted files
NAMES = WORDS.split()


FEW = [
    "class",
    "key",
    "main",
    "self",
    "vm",
    "__class__",
    "x_",
]  # for TVM, which compiles long and sees one flat program


def _sum(terms: list[str]) -> str:
    """Their sum, nested as little as can be."""
    half = len(terms) // 2
    return terms[0] if len(terms) == 1 else f"({_sum(terms[:half])} + {_sum(terms[half:])})"


def _inputs(names: list[str]) -> str:
    listed = ", ".join(f"{name}: [2]" for name in names)
    results = ", ".join(f"{name} + {k}.0" for k, name in enumerate(names))
    return f"model Net()({listed}) -> ({listed}) {{\n    return {results}\n}}\n"


def _parts(names: list[str]) -> str:
    modules = [
        f"module {each}(d0: int)(x0: [B0, d0]) -> _ {{ return x0 |> linear(d0) as fc }}" for each in names
    ]
    uses = [f"y0 = y0 + ({each}(2)(x0) as {each}) * {k}.0" for k, each in enumerate(names)]
    loops = [
        f"for i0 in range(2) as inner.{each} {{ x0 = x0 |> linear(2) as {each} }}" for each in names[::2]
    ]
    body = "\n    ".join(["y0 = x0", *uses, *loops, "return y0 + x0"])
    return "\n".join([*modules, f"model Net()(x0: [B0, 2]) -> _ {{\n    {body}\n}}", ""])


def _values(names: list[str]) -> str:
    """Static parameters, parameters, inputs of a module, and variables."""
    total, tensors = _sum(names), ", ".join(f"{name}: [B0, 2]" for name in names)
    held = "\n    ".join(f"param {name}: [2] = {k}.0" for k, name in enumerate(names))
    bound = "\n    ".join(f"{name} = x0 + {k}.0" for k, name in enumerate(names))
    return f"""
module Part({", ".join(f"{name}: float" for name in names)})(x0: [B0, 2]) -> [B0, 2] {{
    return x0 * {total}
}}
module Held()(x0: [B0, 2]) -> [B0, 2] {{
    {held}
    return x0 * {total}
}}
module Seen()({tensors}) -> [B0, 2] {{
    return {total}
}}
module Bound()(x0: [B0, 2]) -> [B0, 2] {{
    {bound}
    return {total}
}}
model Net({", ".join(f"{name}: float = {k}.0" for k, name in enumerate(names))})(x0: [B0, 2]) -> [B0, 2] {{
    held = Held()
    entry run(x0: [B0, 2]) -> [B0, 2] {{ return held(x0) }}
    return Part(...)(x0) + held(x0) + Seen()({", ".join("x0" for _ in names)}) + Bound()(x0)
}}
"""


def _sizes(names: list[str]) -> str:
    inputs = ", ".join(f"in{k}: [{name}]" for k, name in enumerate(names))
    joined = ", ".join(f"in{k}, zeros([2 * {name} - {name}])" for k, name in enumerate(names))
    return f"model Net()({inputs}) -> _ {{\n    return concat([{joined}], axis=0)\n}}\n"


def _held_sizes(names: list[str]) -> str:
    """Sizes beside parameters, buffers, static parameters and entries, in which `self` is the model."""
    names = [name for name in names if name != "self"]
    inputs = ", ".join(f"in{k}: [{name}]" for k, name in enumerate(names))
    joined = ", ".join(f"in{k}, zeros([2 * {name} - {name}])" for k, name in enumerate(names))
    return f"""
model Net(d0: int = 2, p0: float = 0.5)(x0: [B0, d0], {inputs}) -> _ {{
    fc = linear(d0)
    bn = batch_norm()
    entry run(x0: [B0, d0], {inputs}) -> _ {{ return bn(fc(x0)), concat([{joined}], axis=0) }}
    return bn(dropout(p0)(fc(x0))), concat([{joined}], axis=0)
}}
"""


def _functions(names: list[str]) -> str:
    made = [f"fn {each}(x0: [B0, 2]) -> [B0, 2] {{ return x0 + {k}.0 }}" for k, each in enumerate(names)]
    body = "\n    ".join(f"x0 = {each}(x0) * 0.9" for each in names)
    return "\n".join([*made, f"model Net()(x0: [B0, 2]) -> [B0, 2] {{\n    {body}\n    return x0\n}}", ""])


SPECS = {
    "inputs": _inputs,
    "parts": _parts,
    "values": _values,
    "sizes": _sizes,
    "held_sizes": _held_sizes,
    "functions": _functions,
}


@cache
def _model(kind: str, few: bool) -> Model:
    spec = dlc.loads(SPECS[kind](FEW if few else NAMES))
    assert spec.check() == ()
    model = spec["Net"]
    assert isinstance(model, Model)
    return model


@pytest.mark.parametrize(
    ("backend", "kind"),
    [*product(["torch", "jax", "onnx"], SPECS), ("tvm", "inputs"), ("tvm", "parts")],
)
def test_every_name_works(backend: str, kind: str) -> None:
    report = dlc.verify(_model(kind, backend == "tvm"), backends=(backend,))
    assert report.agree, report


def test_paths_are_as_written() -> None:
    """What an attribute is called changes no path: a state dict of PyTorch and a tree of JAX know the spec's own."""
    model = _model("parts", False)
    wanted = {each.path for each in model.parameters}
    assert {f"{name}.fc.weight" for name in NAMES} | {
        f"inner.{name}.1.{name}.bias" for name in NAMES[::2]
    } <= wanted
    assert set(model.compile("torch").native.state_dict()) == wanted
    jax = model.compile("jax")
    assert set(jax.module.to_flat(jax.native[0])) == wanted


def test_a_header_may_say_self() -> None:
    """In an entry `self` is the model; a parameter or input of that name is what its header says."""
    text = """
    model Net(self: float = 2.0)(x: [B, 2]) -> [B, 2] {
        fc = linear(2)
        entry other(self: [B, 2]) -> [B, 2] { return fc(self) }
        return fc(x) * self
    }
    """
    spec = dlc.loads(text)
    assert dlc.verify(spec["Net"], backends=("torch",)).agree
    assert dlc.verify(spec["Net.other"], backends=("torch",)).agree


def test_results_of_names_that_differ_in_case_alone() -> None:
    """PyTorch's classes of results are `VaeOutput` for both, if nobody takes care."""
    text = """
    module Vae()(x: [B, 2]) -> (y: [B, 2], kl: [B]) { return x |> linear(2) as fc, sum(x, axis=1) }
    model vae()(x: [B, 2]) -> (a: [B, 2], b: [B], c: [B]) {
        y, kl = x |> Vae as net
        return y, kl, kl + 1.0
    }
    """
    report = dlc.verify(dlc.loads(text)["vae"], backends=["torch"])
    assert report.agree, str(report)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("condition", ["", "if i % 2 == 0 { y0 = relu(y0) }"])
def test_a_part_and_a_loop_of_one_label(backend: str, condition: str) -> None:
    """The loop's parts lie below the part, as numbers beside its parameters."""
    text = f"""
    model Net(n: int = 3)(x0: [B, 4]) -> [B, 4] {{
        y0 = x0 |> linear(4) as block
        for i in range(n) as block {{
            y0 = y0 |> linear(4) as up
            {condition}
        }}
        return y0
    }}
    """
    model = dlc.loads(text)["Net"]
    assert {"block.weight", "block.2.up.bias"} <= {each.path for each in model.parameters}
    assert dlc.verify(model, backends=(backend,)).agree
