"""Moves that go element by element."""

from __future__ import annotations

from random_kinds import (
    added,
    is_bool,
    is_float,
    is_number,
    is_working,
    joined,
    pair,
    partner,
)
from random_text import Body, Type, Var

# --- element by element -------------------------------------------------------------------------------------

KEEPING = {"relu": 0, "abs": 0, "-": 0, "relu6": 0, "square": 1}
SMOOTH = {
    "tanh": 0, "sigmoid": 0, "sin": 0, "cos": 0, "gelu": None, "silu": None, "erf": 0, "softplus": None,
    "elu": None, "selu": None, "celu": None, "mish": None, "softsign": 0, "hardswish": None, "hardsigmoid": 0,
    "leaky_relu": None, "log_sigmoid": None, "atan": 1,
}  # fmt: skip


def unary(b: Body) -> bool:
    x = b.pick(is_working)
    if x is None:
        return False
    if b.chance(0.4):
        name = b.rng.choice(list(KEEPING))
        twice = name == "square"
        frac = None if x.type.frac is None else x.type.frac * (2 if twice else 1)
        type = Type(
            "float",
            x.axes,
            x.type.top * (2 if twice else 1) + (3 if name == "relu6" else 0),
            frac,
            x.type.plain,
        )
        b.made(f"-{x}" if name == "-" else f"{name}({x})", type)
        return True
    name = b.rng.choice(list(SMOOTH))
    top = SMOOTH[name]
    b.made(f"{name}({x})", x.type.rounded(x.type.top + 1 if top is None else top))
    return True


def steep(b: Body) -> bool:
    """Functions with poles, and those that grow fast, on what they take."""
    x = b.pick(lambda t: is_working(t) and t.top <= 3)
    if x is None:
        return False
    text = b.rng.choice(
        ["exp({x})", "expm1({x})", "log1p(abs({x}))", "sqrt(abs({x}))", "rsqrt(1 + square({x}))", "log(1 + {x} * {x})",
         "1 / (1 + abs({x}))", "2 ** {x}", "abs({x}) ** 0.5", "({x}) ** 2", "{x} ** 3", "tan(0.25 * tanh({x}))"]
    )  # fmt: skip
    twice = str(x) if "(" not in str(x) else ""
    if text.count("{x}") > 1 and not twice:
        return False
    b.made(text.format(x=x), x.type.rounded(10))
    return True


def stepped(b: Body) -> bool:
    x = b.pick(lambda t: t.is_float and t.exact)
    if x is None:
        return False
    name = b.rng.choice(["floor", "ceil", "round", "sign"])
    b.made(f"{name}({x})", Type(x.type.dtype, x.axes, x.type.top + 1, 0, x.type.plain))
    return True


def with_number(b: Body) -> bool:
    x = b.pick(is_number)
    if x is None:
        return False
    t = x.type
    n = b.rng.choice(sorted(b.minima)) if b.minima and b.chance(0.4) else ""
    forms = [
        f"{x} + {n or 1}",
        f"{n or 2} * {x}",
        f"{n or 3} - {x}",
        f"{x} - {n or 2}",
        f"maximum({x}, {n or 1})",
    ]
    if t.is_float:
        forms += [f"{x} / 2", f"{x} * 0.5", f"clamp({x}, -1, 1)", f"minimum({x}, 0.5)"]
    else:
        forms += [f"{x} // 2", f"{x} % 3", f"clamp({x}, 0, 2)", f"{x} ** 2" if t.top < 8 else f"{x} // 3"]
    text = b.rng.choice(forms)
    frac = None if t.frac is None else t.frac + (1 if t.is_float else 0)
    b.made(text, Type(t.dtype, t.axes, max(t.top * 2 if "**" in text else 0, t.top + 3), frac, t.plain))
    return True


def binary(b: Body) -> bool:
    found = pair(b, is_number)
    if found is None:
        return False
    x, y, axes = found
    form = b.rng.choice(["{} + {}", "{} - {}", "{} * {}", "maximum({}, {})", "minimum({}, {})"])
    top, frac = added(x.type, y.type)
    if "*" in form:
        top, frac = x.type.top + y.type.top, None if frac is None else (x.type.frac or 0) + (y.type.frac or 0)
    if x.type.is_int and top > 30:
        return False
    b.made(form.format(x, y), Type(x.type.dtype, axes, top, frac, x.type.plain and y.type.plain))
    return True


def division(b: Body) -> bool:
    found = pair(b, lambda t: is_number(t) and (t.exact or t.is_float))
    if found is None:
        return False
    x, y, axes = found
    if x.type.is_float and b.chance(0.6):
        b.made(
            f"{x} / (1 + abs({y}))", Type(x.type.dtype, axes, x.type.top, None, x.type.plain and y.type.plain)
        )
    elif x.type.exact and y.type.exact and x.type.plain and y.type.plain:
        form = b.rng.choice(["//", "%"])
        below = f"(1 + abs({y}))" if x.type.is_int or b.chance(0.5) else f"({y} - 0.25)"
        b.made(
            f"{x} {form} {below}",
            Type(x.type.dtype, axes, max(x.type.top, y.type.top) + 2, x.type.frac, True),
        )
    else:
        return False
    return True


def compared(b: Body) -> bool:
    found = pair(b, lambda t: is_number(t) and t.exact, lambda t: t.exact)
    if found is None:
        return False
    x, y, axes = found
    sign = b.rng.choice(["==", "!=", "<", "<=", ">", ">="])
    b.made(f"{x} {sign} {y}", Type("bool", axes, 1, 0))
    return True


def tested(b: Body) -> bool:
    x = b.pick(is_float)
    if x is None:
        return False
    b.made(f"{b.rng.choice(['isnan', 'isfinite', 'isinf'])}({x})", Type("bool", x.axes, 1, 0))
    return True


def logical(b: Body) -> bool:
    found = pair(b, is_bool)
    if found is None:
        return False
    x, y, axes = found
    b.made(b.rng.choice([f"({x} and {y})", f"({x} or {y})", f"(not {x} or {y})"]), Type("bool", axes, 1, 0))
    return True


def chosen(b: Body) -> bool:
    found = pair(b, is_number)
    if found is None:
        return False
    x, y, axes = found
    condition = partner(b, Var("", Type("bool", axes)), is_bool)
    if condition is None:
        return False
    whole = joined(axes, condition.axes)
    assert whole is not None
    top, frac = added(x.type, y.type)
    other = b.rng.choice([str(y), str(y), "0" if x.type.is_int else "0.0"])
    b.made(
        f"where({condition}, {x}, {other})",
        Type(
            x.type.dtype,
            whole if other == str(y) else joined(x.axes, condition.axes) or whole,
            top,
            frac,
            x.type.plain and y.type.plain,
        ),
    )
    return True


def converted(b: Body) -> bool:
    x = b.pick(lambda t: t.plain and t.exact)
    if x is None:
        return False
    goals = ["float", "i64", "bool", "i32", "f32"]
    if x.type.is_float:
        goals += ["f64", "f16"]
    goal = b.rng.choice([each for each in goals if each != x.type.dtype])
    if goal in ("i32", "i64") and x.type.top > 20:
        return False
    frac = 0 if goal in ("i64", "i32", "bool") else x.type.frac
    b.made(f"cast({x}, {goal})", Type(goal, x.axes, x.type.top, frac, True))
    return True
