"""Normal forms are checked against Python's own integers."""

import json
import pickle
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import examples

from dlc.types.dims import Dim, DimTooLarge, dim_max, dim_min, parse_dim

NAMES = ("B", "T", "heads")
B, T, heads = map(Dim.symbol, NAMES)

# An expression is a name, an int, or (op, left, right); it is computed once with Dims, once with ints.
OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def expressions(leaves: int = 8):
    leaf = st.sampled_from(NAMES) | st.integers(-9, 9)
    op = st.sampled_from([*OPERATIONS, "//", "%", "min", "max", "**"])
    return st.recursive(leaf, lambda inner: st.tuples(op, inner, inner), max_leaves=leaves)


def compute(expression, leaf, smallest, largest):
    """The expression's value, with `leaf` for names and ints; `**` takes a small exponent from its right."""
    if not isinstance(expression, tuple):
        return leaf(expression)
    op, left, right = expression
    a = compute(left, leaf, smallest, largest)
    if op == "**":
        return a ** (right % 3 if isinstance(right, int) else 2)
    b = compute(right, leaf, smallest, largest)
    if op in OPERATIONS:
        return OPERATIONS[op](a, b)
    return smallest(a, b) if op == "min" else largest(a, b)


def as_dim(expression) -> Dim:
    try:
        return compute(
            expression, lambda x: Dim.symbol(x) if isinstance(x, str) else Dim.of(x), dim_min, dim_max
        )
    except ZeroDivisionError:
        assume(False)
        raise


def as_int(expression, values) -> int:
    try:
        return compute(expression, lambda x: values.get(x, x), min, max)
    except ZeroDivisionError:
        assume(False)
        raise


values = st.fixed_dictionaries({name: st.integers(0, 12) for name in NAMES})


@given(expressions(), values)
@examples(600)
def test_normal_form_evaluates_as_python_does(expression, env):
    expected = as_int(expression, env)
    assert as_dim(expression).evaluate(env) == expected


@given(expressions(), values)
@examples(300)
def test_text_and_json_read_back(expression, env):
    dim = as_dim(expression)
    assert parse_dim(str(dim)) == dim
    assert str(parse_dim(str(dim))) == str(dim)
    assert Dim.from_json(json.loads(json.dumps(dim.to_json()))) == dim
    expected = as_int(expression, env)
    assert eval(str(dim), {"__builtins__": {}, "min": min, "max": max}, dict(env)) == expected


@given(expressions(), expressions(4), expressions(4), values)
@examples(300)
def test_substitution_is_simultaneous(outer, first, second, env):
    inner = {"B": as_int(first, env), "T": as_int(second, env), "heads": env["heads"]}
    assume(min(inner.values()) >= 0)
    expected = as_int(outer, inner)
    try:
        replaced = as_dim(outer).substitute({"B": as_dim(first), "T": as_dim(second)})
    except ZeroDivisionError:  # the substituted divisor is 0 everywhere; Python's value must not exist
        raise AssertionError("a division by zero that Python does not see") from None
    assert replaced.evaluate(env) == expected


@given(expressions(), st.sampled_from(NAMES), values)
@examples(200)
def test_linear_in_takes_apart_and_puts_together(expression, name, env):
    dim = as_dim(expression)
    parts = dim.linear_in(name)
    if parts is None:
        return
    slope, rest = parts
    assert name not in slope.symbols | rest.symbols
    assert slope * Dim.symbol(name) + rest == dim


@given(expressions(5), expressions(5))
@examples(200)
def test_equal_forms_have_equal_hashes(left, right):
    a, b = as_dim(left), as_dim(right)
    assert (a + b) == (b + a) and hash(a + b) == hash(b + a)
    assert a - a == 0 and a * b == b * a and (a + b) - b == a
    assert pickle.loads(pickle.dumps(a)) == a


EQUAL = [
    ("heads*T//heads", "T"),
    ("(heads*T + B)//heads", "T + B//heads"),
    ("(heads*T + B) % heads", "B % heads"),
    ("(T//2)//3", "T//6"),
    ("(T//heads)//B", "T//(B*heads)"),
    ("(4*T)//6", "(2*T)//3"),
    ("(4*T) % 6", "2*((2*T) % 3)"),
    ("(2*T + 1)//2", "T"),
    ("(2*T + 1)//4", "T//2"),
    ("(T + 2*1 - 3)//2 + 1", "(T - 1)//2 + 1"),
    ("((T - 1)//2)//2", "(T - 1)//4"),
    ("((T + 1)//2 + 1)//2", "(T + 3)//4"),
    ("(T % 4) % 2", "T % 2"),
    ("(T % 4)//4", "0"),
    ("(T % 4) % 8", "T % 4"),
    ("(T + 3) % 1", "0"),
    ("T//-2", "(-T)//2"),
    ("T % -2", "-((-T) % 2)"),
    ("(B*T)//(B*heads)", "T//heads"),
    ("(B*T) % (B*heads)", "B*(T % heads)"),
    ("B//(B*(B + B))", "0"),
    ("B % (B*(T + T))", "B"),
    ("(-B)//(3*B*T)", "(-1)//T"),
    ("((T + 1)*B)//(T + 1)", "B"),
    ("((T + 1)*B + heads) % (T + 1)", "heads % (T + 1)"),
    ("min(T, min(B, 8))", "min(8, B, T)"),
    ("min(T + 1, B + 1)", "min(T, B) + 1"),
    ("min(T, T + 3)", "T"),
    ("max(T, T + B)", "T + B"),
    ("min(3, 5)", "3"),
    ("(T + B)**2", "T**2 + 2*T*B + B**2"),
    ("-T**2", "-(T**2)"),
    ("2**3**2", "512"),
    ("T**0", "1"),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_normal_forms_agree(left, right):
    assert parse_dim(left) == parse_dim(right)


PRINTED = [
    (4 * T, "4*T"),
    (T // 2 + 1, "T//2 + 1"),
    (dim_min(T, 8), "min(T, 8)"),
    (2 * (T // 2), "2*(T//2)"),
    (T % heads, "T % heads"),
    (3 * (T % 2), "3*(T % 2)"),
    ((T - 1) // 2, "(T - 1)//2"),
    ((T - 3) // 2 + 1, "(T - 1)//2"),
    (1 - T, "1 - T"),
    (-T, "-T"),
    (-(T // 2), "-(T//2)"),
    (T**2 * B - 5, "B*T**2 - 5"),
    (Dim.of(0), "0"),
    (Dim.of(-7), "-7"),
    (4 * T // 3, "T + T//3"),
    (2 * T // 3, "(2*T)//3"),
    (B - 1 - T // 2, "B - T//2 - 1"),
    (T // (B + 1), "T//(B + 1)"),
    (dim_max(dim_min(T, 8), B - 1), "max(B - 1, min(T, 8))"),
]


@pytest.mark.parametrize(("dim", "text"), PRINTED)
def test_is_printed_as_the_language_writes_it(dim, text):
    assert str(dim) == text
    assert parse_dim(text) == dim


@pytest.mark.parametrize(
    "text", ["", "T +", "(T", "T T", "T)", "min(", "2 $ 3", "T**B", "()", "(" * 5000, "1.5"]
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError):
        parse_dim(text)


@pytest.mark.parametrize("data", [None, [], ["+", 3], ["//", 1], ["?", 1, 2], 1.5, True, ["+", [1, ["T"]]]])
def test_other_json_is_refused(data):
    with pytest.raises(ValueError):
        Dim.from_json(data)


def test_symbols_are_found_everywhere():
    assert (dim_min(T // heads, B) % 7).symbols == {"T", "heads", "B"}
    assert (T - T).symbols == frozenset()


def test_constants():
    assert Dim.of(3).constant == 3 and Dim.of(3).is_constant
    assert T.constant is None and not T.is_constant
    assert Dim.of(3) == 3 and hash(Dim.of(3)) == hash(3) and T != 3
    assert 7 // Dim.of(2) == 3 and 7 % Dim.of(2) == 1 and 10 - T == -(T - 10)


def test_linear_in():
    assert (T * B + 3).linear_in("T") == (B, 3)
    assert (T // 2).linear_in("T") is None and (T * T).linear_in("T") is None
    assert B.linear_in("T") == (0, B)


@pytest.mark.parametrize("divide", [lambda: T // 0, lambda: T % 0, lambda: T // (B - B)])
def test_division_by_zero(divide):
    with pytest.raises(ZeroDivisionError):
        divide()


def test_huge_integers_are_exact():
    big = 10**300
    assert (T * big).evaluate({"T": big}) == 10**600
    assert parse_dim(str(T * big + 1)) == T * big + 1


def too_deep() -> Dim:
    dim = T
    for i in range(400):
        dim = (dim % (B + i)) // (heads + i) + dim
    return dim


@pytest.mark.parametrize(
    "make",
    [
        lambda: (B + T + heads) ** 200,
        lambda: Dim.of(2) ** 10**9,
        lambda: (T + 1) ** 10**9,
        lambda: (T + 1) ** 3000,
        lambda: (10**4000 * T) * 10**4000,
        too_deep,
    ],
)
def test_too_large_is_said_soon(make):
    start = time.process_time()
    with pytest.raises(DimTooLarge):
        make()
    assert time.process_time() - start < 2.0


def test_negative_powers_are_refused():
    with pytest.raises(ValueError):
        T**-1
