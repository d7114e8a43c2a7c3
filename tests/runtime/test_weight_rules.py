"""Each kind of rule of a `weights` block, there and back, on tensors of which no two elements are equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.weight_map import _BACKWARD, _FORWARD, WeightMap
from dlc.syntax.tokens import WEIGHT_RULES

Tensors = dict[str, np.ndarray]


def block(*rules: str) -> WeightMap:
    text = "weights w for M {\n" + "".join(f"    {rule}\n" for rule in rules) + "}\n"
    return WeightMap.at(dlc.loads(text), "w", {"heads": 2})


def tensors(**shapes: tuple[int, ...]) -> Tensors:
    """Tensors by name (`__` for a dot), all their elements different."""
    found: Tensors = {}
    start = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        found[name.replace("__", ".")] = np.arange(start, start + size, dtype=np.float32).reshape(shape)
        start += size
    return found


def assert_equal(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@dataclass(frozen=True)
class Case:
    """A rule, the tensors of a file, and what it makes of them, in the names of both."""

    rule: str
    given: Tensors
    wanted: Callable[[Tensors], Tensors]
    lost: tuple[str, ...] = ()


AB = tensors(a=(2, 3), b=(1, 3))
CASES = {
    "strip": [Case('strip "model."', tensors(model__a=(2,), model__b=(2,)), lambda t: {"a": t["model.a"], "b": t["model.b"]})],
    "rename": [
        Case('rename "a" -> "x.y"', AB, lambda t: {"x.y": t["a"], "b": t["b"]}),
        Case(
            'rename "l.*.fc{n}.**" -> "m.{n}.*.**"',
            tensors(l__0__fc1__w__v=(2,), l__1__fc2__w=(2,), other=(1,)),
            lambda t: {"m.1.0.w.v": t["l.0.fc1.w.v"], "m.2.1.w": t["l.1.fc2.w"], "other": t["other"]},
        ),
    ],
    "transpose": [
        Case(
            'transpose "a", "deep.*"',
            tensors(a=(2, 3), deep__w=(2, 3, 4), b=(2, 3)),
            lambda t: {"a": t["a"].T, "deep.w": t["deep.w"].transpose(0, 2, 1), "b": t["b"]},
        )
    ],
    "ignore": [Case('ignore "a", "c.*"', tensors(a=(2,), b=(2,), c__d=(1,)), lambda t: {"b": t["b"]}, ("a", "c.d"))],
    "concat": [
        Case('concat "a", "b" -> "c" sizes=[2, 1]', AB, lambda t: {"c": np.concatenate([t["a"], t["b"]])}),
        Case(
            'concat "*.q", "*.k", "*.v" -> "*.qkv" axis=1',
            tensors(x__q=(2, 3), x__k=(2, 3), x__v=(2, 3), y__q=(2, 1), y__k=(2, 1), y__v=(2, 1)),
            lambda t: {f"{n}.qkv": np.concatenate([t[f"{n}.{p}"] for p in "qkv"], axis=1) for n in "xy"},
        ),
    ],
    "split": [
        Case('split "c" -> "a", "b"', tensors(c=(4, 3)), lambda t: {"a": t["c"][:2], "b": t["c"][2:]}),
        Case(
            'split "*.qkv" -> "*.q", "*.k", "*.v" axis=-1 sizes=[3, 1, 2]',
            tensors(x__qkv=(2, 6), y__qkv=(1, 6)),
            lambda t: {
                f"{n}.{p}": t[f"{n}.qkv"][:, low:high]
                for n in "xy"
                for p, low, high in (("q", 0, 3), ("k", 3, 4), ("v", 4, 6))
            },
        ),
    ],
    "stack": [
        Case(
            'stack "*.e.{i}.w" -> "*.w"',
            dict(reversed(tensors(x__e__0__w=(2, 3), x__e__1__w=(2, 3), x__e__2__w=(2, 3), y__e__0__w=(1,)).items())),
            lambda t: {"x.w": np.stack([t[f"x.e.{i}.w"] for i in range(3)]), "y.w": t["y.e.0.w"][None]},
        ),
        Case(
            'stack "l{l}.e.{i}.w" -> "l{l}.w"',  # along the piece that the right side lacks
            tensors(l0__e__0__w=(2,), l1__e__0__w=(2,), l1__e__1__w=(2,)),
            lambda t: {"l0.w": t["l0.e.0.w"][None], "l1.w": np.stack([t["l1.e.0.w"], t["l1.e.1.w"]])},
        ),
        Case(
            'stack "e{i}" -> "e"',  # by number, not by text: e10 comes after e9
            tensors(**{f"e{i}": (2,) for i in range(12)}),
            lambda t: {"e": np.stack([t[f"e{i}"] for i in range(12)])},
        ),
    ],
    "rearrange": [
        Case(
            'rearrange "*.w" "(h e two) d -> (h two e) d" h=2 two=2',
            tensors(a__w=(12, 2)),
            lambda t: {"a.w": t["a.w"].reshape(2, 3, 2, 2).transpose(0, 2, 1, 3).reshape(12, 2)},
        ),
        Case('rearrange "w" "1 a -> a"', tensors(w=(1, 3)), lambda t: {"w": t["w"][0]}),
        Case('rearrange "w" "a b c -> c (a b)" a=heads b=heads + 1', tensors(w=(2, 3, 4)), lambda t: {"w": t["w"].transpose(2, 0, 1).reshape(4, 6)}),
    ],
    "offset": [Case('offset "a", "c.*" by=1', tensors(a=(2,), b=(2,), c__d=(1,)), lambda t: {"a": t["a"] + 1, "b": t["b"], "c.d": t["c.d"] + 1})],
    "scale": [Case('scale "*.w" by=1 / heads', tensors(a__w=(2, 3), b=(2,)), lambda t: {"a.w": t["a.w"] / 2, "b": t["b"]})],
    "weight_norm": [
        Case(
            'weight_norm "*.weight_g", "*.weight_v" -> "*.weight"',
            {"a.weight_g": np.float32([[5], [10]]), "a.weight_v": np.float32([[3, 4], [6, 8]]), "b": np.float32([1])},
            lambda t: {"a.weight": t["a.weight_v"], "b": t["b"]},
        ),
        Case(
            'weight_norm "p.original0", "p.original1" -> "p" axis=-1',
            {"p.original0": np.float32([[[5]]]), "p.original1": np.float32([[[3], [4]]])},
            lambda t: {"p": t["p.original1"]},
        ),
    ],
}  # fmt: skip
EACH = [pytest.param(case, id=case.rule) for cases in CASES.values() for case in cases]


def test_every_kind_of_rule_has_a_case() -> None:
    assert CASES.keys() == set(WEIGHT_RULES) == _FORWARD.keys() == _BACKWARD.keys()
    assert all(each.rule.startswith(kind) for kind, cases in CASES.items() for each in cases)


@pytest.mark.parametrize("case", EACH)
def test_there_and_back(case: Case) -> None:
    mapped = block(case.rule)
    there = mapped.forward(case.given)
    assert_equal(there, case.wanted(case.given))
    kept = {name: array for name, array in case.given.items() if name not in case.lost}
    assert_equal(mapped.backward(there), kept)


WRONG = [
    ('stack "e.{i}" -> "e"', tensors(e__0=(2,), e__2=(2,)), "without a gap"),
    ('stack "e.{i}" -> "e"', tensors(e__0=(2,), e__x=(2,)), "no number"),
    ('stack "e.{i}" -> "e"', tensors(f__0=(2,)), "matches no tensor"),
    ('concat "a", "b" -> "c"', tensors(a=(2,)), "not there"),
    ('split "c" -> "a", "b"', tensors(c=(3, 2)), "equal parts"),
    ('transpose "a"', tensors(a=(3,)), "fewer than two axes"),
    ('rename "*.a" -> "a"', tensors(x__a=(1,), y__a=(1,)), "two tensors"),
    ('strip "m."', tensors(m__a=(1,), a=(1,)), "two tensors"),
    ('rearrange "a" "(h e) -> h e" h=2', tensors(a=(3,)), "do not fit"),
    ('rearrange "a" "x y -> y x"', tensors(a=(3,)), "axes"),
    ('concat "a", "b" -> "ab"', tensors(a=(3, 4), b=(3,)), "agree but for axis 0"),
    ('concat "a", "b" -> "ab"', tensors(a=(3, 4), b=(3, 5)), "agree but for axis 0"),
    ('concat "a", "b" -> "ab" axis=2', tensors(a=(3, 4), b=(3, 5)), "no axis 2"),
    ('concat "a", "a" -> "ab"', tensors(a=(3, 4)), "named twice"),
    ('split "a" -> "b", "c" axis=1', tensors(a=(3,)), "no axis 1"),
    ('split "a" -> "b", "c" sizes=[1, 1]', tensors(a=(3,)), "2 in sum"),
    ('split "a" -> "b", "b"', tensors(a=(4,)), "named twice"),
]


@pytest.mark.parametrize(
    ("rule", "given", "said"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_does_not_fit_is_said(rule: str, given: Tensors, said: str) -> None:
    with pytest.raises(SpecError) as raised:
        block(rule).forward(given)
    (found,) = raised.value.diagnostics
    assert found.code == "E0605" and said in str(found.message), found.message


def test_directions_of_any_length_give_the_same() -> None:
    """What is written again are those of PyTorch: the weight itself."""
    rule = block('weight_norm "g", "v" -> "w"')
    v = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    there = rule.forward({"g": np.float32([1, 2, 3]), "v": 7 * v})
    np.testing.assert_allclose(np.linalg.norm(there["w"].reshape(3, -1), axis=1), [1, 2, 3], rtol=1e-6)
    back = rule.backward(there)
    assert back["g"].shape == (3, 1, 1)
    np.testing.assert_allclose(rule.forward(back)["w"], there["w"], rtol=1e-6)


MODEL = """
model M(d: int = 4, k: int = 2)(x: [B, d]) -> [B, d + 2*k] {{
    q = linear(d, bias=false)
    kk = linear(k, bias=false)
    v = linear(k, bias=false)
    y = x |> rms_norm as norm
    return concat([q(y), kk(y), v(y)], axis=1)
}}

weights file for M {{
    {rule}
}}
"""
SPLIT = 'split "qkv" -> "q.weight", "kk.weight", "v.weight"'


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (SPLIT, "without `sizes` the parts are equal"),
        (f"{SPLIT} sizes=[d, k]", "a list of 3 sizes"),
        (f"{SPLIT} sizes=[d, d, k]", "`kk.weight` has 2 along axis 0, and `sizes` says 4"),
        (f"{SPLIT} axis=2", "it has no axis 2"),
        ('transpose "norm.weight"', "fewer than two axes"),
        ('concat "a", "b" -> "q.weight" sizes=[3, 2]', "`sizes` are 5 in sum"),
        ('offset "norm.weight"', "says by how much"),
        ('scale "norm.weight" by=0', "can't be undone"),
        ('scale "norm.weight" by="a"', "`by` is a number"),
        ('weight_norm "a" -> "q.weight"', "lengths and directions"),
        ('stack "e.{i}" -> "norm.weight"', ""),
    ],
)
def test_check_tells_what_does_not_fit_the_model(rule: str, said: str) -> None:
    found = dlc.loads(MODEL.format(rule=rule)).check()
    assert [each.code for each in found] == (["E0605"] if said else [])
    assert not said or said in found[0].message


def test_options_are_those_of_the_model_at_its_settings() -> None:
    spec = dlc.loads(MODEL.format(rule=f'{SPLIT} sizes=[d, k, k]\n    offset "norm.weight" by=1'))
    assert not spec.check()
    model = spec["M"](d=6, k=3)
    weights = model.initial_weights()
    from dlc.runtime.compile import weight_map

    rules = weight_map(model, "file")
    assert rules is not None
    file = rules.backward(weights)
    assert file["qkv"].shape == (12, 6) and (file["norm.weight"] == 0).all()
    assert_equal(rules.forward(file), weights)


NAMES = ("q", "k", "v", "up", "down")


@st.composite
def maps(draw: st.DrawFn) -> tuple[tuple[str, ...], Tensors]:
    """Rules that follow one another, and tensors that they fit: every rule takes names that are there."""
    shapes = {f"pre.{layer}.{name}.w": (2, 4) for layer in range(2) for name in NAMES}
    rules = []
    names = list(NAMES)
    if draw(st.booleans()):
        rules.append('strip "pre."')
    lead = "" if rules else "pre."
    for step in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["rename", "transpose", "concat", "split", "rearrange"]))
        name = draw(st.sampled_from(names))
        new = f"n{step}"
        if kind == "rename":
            rules.append(f'rename "{lead}{{l}}.{name}.**" -> "{lead}{{l}}.{new}.**"')
            names[names.index(name)] = new
        elif kind == "transpose":
            # and once more, so that shapes stay what the next rules expect
            rules += [f'transpose "{lead}*.{name}.w"'] + (
                [f'transpose "**.{name}.w"'] if draw(st.booleans()) else []
            )
            names.remove(name)
        elif kind == "concat" and len(names) > 1:
            other = draw(st.sampled_from([each for each in names if each != name]))
            axis = draw(st.sampled_from([0, 1, -1]))
            rules.append(f'concat "{lead}*.{name}.w", "{lead}*.{other}.w" -> "{lead}*.{new}.w" axis={axis}')
            names = [each for each in names if each not in (name, other)]
        elif kind == "split":
            size = draw(st.integers(1, 3))
            rules.append(
                f'split "{lead}*.{name}.w" -> "{lead}*.{new}.a", "{lead}*.{new}.b" axis=1 sizes=[{size}, {4 - size}]'
            )
            names.remove(name)
        elif kind == "rearrange":
            pattern = draw(st.sampled_from(["a (b c) -> (b a) c", "a (b c) -> c a b", "a (b c) -> (c b) a"]))
            rules.append(f'rearrange "{lead}*.{name}.w" "{pattern}" b=2')
            names.remove(name)
        if not names:
            break
    if names and draw(st.booleans()):
        name = draw(st.sampled_from(names))
        rules.append(f'stack "{lead}{{l}}.{name}.w" -> "stacked.{name}"')
    given = {
        name: 100.0 * i + np.arange(8.0).reshape(shape) for i, (name, shape) in enumerate(shapes.items())
    }
    return tuple(rules), given


@examples(60)
@given(maps())
def test_random_maps_there_and_back(made: tuple[tuple[str, ...], Tensors]) -> None:
    """Nothing is lost on the way, and back again it is the file that was read."""
    rules, given = made
    mapped = block(*rules)
    there = mapped.forward(given)
    assert sorted(x for each in there.values() for x in each.flat) == sorted(
        x for each in given.values() for x in each.flat
    )
    assert_equal(mapped.backward(there), given)
