"""Initial values of parameters: creation ops without their shape, numbers, or tensor expressions without inputs.

Each becomes a function of the program without inputs, so that the same values can be computed for every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, GroupValue, Tensor, frozen, show, type_name
from dlc.elaborate.calls.arguments import Given, match_arguments
from dlc.elaborate.reports.report import ElabError, Report
from dlc.elaborate.state.body import Body, Context, Session
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.state.kept import Initial
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.tensors.operators import cast, emit, emit_all, lift, tensor_binary
from dlc.elaborate.types.static import in_range
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Setting, Value
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc.types.terms import called, names, origin_of, remembered, untraced
from dlc.types.traced import Term, as_float

# sqrt(2 / (1 + a**2)) and the like: torch.nn.init.calculate_gain.
_GAINS: dict[str, Callable[[float], float]] = {
    "linear": lambda a: 1.0,
    "conv2d": lambda a: 1.0,
    "sigmoid": lambda a: 1.0,
    "tanh": lambda a: 5.0 / 3.0,
    "relu": lambda a: math.sqrt(2.0),
    "leaky_relu": lambda a: math.sqrt(2.0 / (1.0 + a * a)),
    "selu": lambda a: 0.75,
}


def initial_function(
    body: Body, node: ast.Expr, type: TensorType, span: Span, scope: Scope, earlier: tuple[str, ...] = ()
) -> str:
    """The name of a function that computes the initial value `node` for a parameter of `type`, of the parameters that the names
    in `earlier` are: its inputs, in this order."""
    session = body.context.session
    inner = _initial_body(body, scope, type, earlier)
    inputs = tuple(inner.scope.names[name].value for name in earlier)
    value = _value(inner, node, type, span)
    function = Function(
        name="",
        source="init",
        kind="init",
        inputs=inputs,
        outputs=(("value", value.name),),
        body=tuple(inner.emission.builder.body),
        span=span,
        scope=_owner(body) if session.traced else "",
        recipe=_recipe(node),
    )
    if session.traced:
        function = with_settings(function, inner.scope)
    origins = [origin_of(value) for op in function.body for _, value in op.attrs] if session.traced else []
    key = repr((inputs, function.body, function.outputs, str(type), function.scope, origins))
    name = session.initials.get(key)
    if name is None:
        name = session.unique("init")
        session.initials[key] = name
        session.functions[name] = replace(function, name=name)
        if session.traced:
            session.functions[name] = _known(session, session.functions[name], key)
    session.asked(Initial(key, session.functions[name]))
    return name


def _known(session: Session, function: Function, key: str) -> Function:
    """The function as another session has made it: what is equal in several programs is one object."""
    origins = [origin_of(each.type.axes) for op in function.body for each in op.outputs]
    told = repr((function.settings, function.static, function.recipe, function.span, origins))
    known: Function = session.project.kept.setdefault(("initial", function.name, key, told), function)
    return known


def _owner(body: Body) -> str:
    """The module whose static parameters an initial value reads; an entry's are its model's."""
    definition = body.context.definition
    return body.context.name if definition is None else definition.name


def with_settings(function: Function, scope: Scope) -> Function:
    """With the static values around it that its numbers come from as parameters of its own."""
    read: set[str] = set()
    read |= names([each.type.axes for each in function.inputs])
    for op in function.body:
        read |= names([value for _, value in op.attrs]) | names([each.type.axes for each in op.outputs])
    found = {name: _setting(scope, name) for name in sorted(read)}
    settings = tuple(Setting(name, kind) for name, (kind, _) in found.items())
    return replace(
        function, settings=settings, static=tuple((name, value) for name, (_, value) in found.items())
    )


def plain_initial(session: Session, one: str) -> str:
    """The function of an initial value with plain numbers, where its parameter lies in a body of other static values than those
    that its numbers come from."""
    found = session.functions.get(one)
    if found is None or not found.settings:
        return one
    body = tuple(
        replace(
            op,
            attrs=tuple((key, _plain(value)) for key, value in op.attrs),
            outputs=tuple(
                replace(each, type=each.type.with_axes(_plain(each.type.axes))) for each in op.outputs
            ),
            given=(),
        )
        for op in found.body
    )
    key = repr(("plain", found.inputs, body, found.outputs))
    if key not in session.initials:
        name = session.initials[key] = session.unique("init")
        session.functions[name] = replace(found, name=name, body=body, settings=(), static=(), scope="")
    session.asked(Initial(key, session.functions[session.initials[key]]))
    return session.initials[key]


def _plain(value: Any) -> Any:
    """A number, a size or several of them, without where they come from."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return Dim(value.terms) if isinstance(value, Dim) else untraced(value)


def _setting(scope: Scope, name: str) -> tuple[str, Any]:
    value = scope.static.get(name, scope.dims.get(name))
    if isinstance(value, list | tuple):
        return "list[int]", frozen(untraced(value))
    if isinstance(value, float):
        return "float", float(value)
    return "int", value.constant if isinstance(value, Dim) else untraced(value)


def _recipe(node: ast.Expr) -> str:
    called = node.callee if isinstance(node, ast.Call) else node
    return called.id if isinstance(called, ast.Name) and called.id in INITIALS else ""


def _initial_body(body: Body, scope: Scope, type: TensorType, earlier: tuple[str, ...]) -> Body:
    """A body for an initial value: it sees the static values of the one around it, and of its tensors `earlier` parameters."""
    context = Context(
        body.context.session,
        body.context.unit,
        body.context.name,
        "init",
        library=body.context.library,
        float_dtype=type.dtype if type.is_float else "float",
        init_shape=type.axes,
    )
    body.context.session.spend(len(scope.names) // 8, body.report.place, body.report)
    hidden = frozenset(name for name, value in scope.names.items() if isinstance(value, Tensor | GroupValue))
    names = {name: value for name, value in scope.names.items() if name not in hidden}
    builder = Builder(Facts())
    for name in earlier:
        value = Value(builder.fresh(name), scope.names[name].type)
        names[name] = Tensor(value, scope.names[name].made_at, f"param {name}")
    inner = Scope(
        {**names, **(_told_fans(type) if body.context.session.traced else _fans(type))},
        scope.dims,
        scope.static,
        places=scope.places,
        hidden=hidden - {*earlier},
        origins=scope.origins,
    )
    outer = body.report
    report = Report(outer.findings, outer.callables, outer.chain, outer.origin, calls=outer.calls)
    return Body(context, inner, Emission(builder), report)


def _value(inner: Body, node: ast.Expr, type: TensorType, span: Span) -> Tensor:
    value = inner.evaluate(node)
    if isinstance(value, Builtin):
        value = value.expand(inner, node, Given())
    if isinstance(value, bool | int | float):
        return _full(inner, node, _of_dtype(inner.report, node, value, type.dtype), type)
    if not isinstance(value, Tensor):
        inner.report.fail(
            problems.BAD_INITIAL,
            span,
            message=f"this is {type_name(value)}, no initial value",
            help=_meant(value),
        )
    value = cast(inner, node, value, type.dtype)
    if value.type.axes == type.axes:
        return value
    try:
        return emit(inner, node, "broadcast", value, shape=type.axes)
    except ElabError as error:
        message = f"the initial value is {value.type}, the parameter {type}"
        told = inner.report.told(problems.BAD_INITIAL, span, {"message": message})
        raise ElabError(told) from error


def _meant(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "a constant of these numbers is `tensor([…])`"
    return f"write `{value}`, without quotes" if isinstance(value, str) and value in INITIALS else ""


def _of_dtype(report: Report, node: ast.Expr, value: Any, dtype: str) -> Any:
    """A number that starts a parameter, as one of its dtype."""
    whole = dtype.startswith(("i", "u"))
    if isinstance(value, bool) != (dtype == "bool") or (whole and value != value // 1):
        wanted = "true or false" if dtype == "bool" else "a whole number" if whole else "a number"
        report.fail(
            problems.BAD_INITIAL,
            node.span,
            message=f"a parameter of {dtype} starts with {wanted}, not {show(value)}",
        )
    in_range(report, node.span, value, dtype)
    return (value if isinstance(value, int) else int(value)) if whole else value


def _full(body: Body, node: ast.Node, value: Any, type: TensorType) -> Tensor:
    return emit(body, node, "full", shape=type.axes, value=value, dtype=type.dtype)


def _fans(type: TensorType) -> dict[str, int]:
    """PyTorch's fan_in and fan_out: axes 1 and 0 times the receptive field."""
    shape = [axis.constant or 0 for axis in type.axes]
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return {"fan_in": size, "fan_out": size}
    field = math.prod(shape[2:])
    return {"fan_in": shape[1] * field, "fan_out": shape[0] * field}


def _told_fans(type: TensorType) -> dict[str, int]:
    """The same as what they are: a rule for many parameters is said by the fan of each."""
    return {name: remembered(int(value), Term("fan", (name,))) for name, value in _fans(type).items()}


def _parameters(
    report: Report, node: ast.Node, name: str, args: Given, defaults: dict[str, Any]
) -> dict[str, Any]:
    bound = match_arguments(report, name, list(defaults), args, node.span)
    values = {key: bound[key][0] if key in bound else default for key, default in defaults.items()}
    for key, value in values.items():
        if value is _REQUIRED:
            report.fail(problems.MISSING_ARGUMENT, node.span, callee=name, name=key)
        wanted = str if isinstance(defaults[key], str) else (int, float)
        if not isinstance(value, wanted) or isinstance(value, bool):
            expected = "a string" if wanted is str else "a number"
            message = f"`{key}` of `{name}` must be {expected}, not {type_name(value)}"
            report.fail(problems.BAD_INITIAL, bound[key][1], message=message)
        if not isinstance(value, str):
            in_range(report, bound[key][1] if key in bound else node.span, value, "float")
    return values


_REQUIRED = object()


def _dtype(context: Context) -> str:
    return context.float_dtype


def _shape(context: Context) -> Any:
    return context.init_shape


def _without(node: ast.Node) -> str:
    """Help with an initial value as it is written without a shape."""
    called = isinstance(node, ast.Call) and isinstance(node.callee, ast.Name)
    return f"the parameter's type says it: write `{node.callee.id}`" if called else ""  # type: ignore[attr-defined]


def _number(value: float) -> Callable[[Body, ast.Node, Given], Tensor]:
    def expand(body: Body, node: ast.Node, args: Given) -> Tensor:
        if args.positional or args.named:
            body.report.fail(
                problems.BAD_INITIAL,
                node.span,
                message="an initial value leaves the shape out",
                help=_without(node),
            )
        return emit(body, node, "full", shape=_shape(body.context), value=value, dtype=_dtype(body.context))

    return expand


def _constant(body: Body, node: ast.Node, args: Given) -> Tensor:
    value = _parameters(body.report, node, "constant", args, {"value": _REQUIRED})["value"]
    return emit(
        body, node, "full", shape=_shape(body.context), value=as_float(value), dtype=_dtype(body.context)
    )


def _scaled(body: Body, node: ast.Node, draw: Tensor, scale: float, shift: float) -> Tensor:
    """draw * scale + shift, without the steps that change nothing."""
    if scale != 1.0 or origin_of(scale) is not None:  # at other settings it is another number
        draw = emit(body, node, "mul", draw, lift(body, node, as_float(scale), draw.type.dtype))
    if shift != 0.0 or origin_of(shift) is not None:
        draw = emit(body, node, "add", draw, lift(body, node, as_float(shift), draw.type.dtype))
    return draw


def _normal(body: Body, node: ast.Node, args: Given) -> Tensor:
    given = _parameters(body.report, node, "normal", args, {"std": 1.0, "mean": 0.0})
    draw = emit_all(body, node, "normal", shape=_shape(body.context), dtype=_dtype(body.context))[0]
    return _scaled(body, node, draw, given["std"], given["mean"])


def _uniform(body: Body, node: ast.Node, args: Given) -> Tensor:
    given = _parameters(body.report, node, "uniform", args, {"low": 0.0, "high": 1.0})
    return _between(body, node, given["low"], given["high"])


def _between(body: Body, node: ast.Node, low: float, high: float) -> Tensor:
    draw = emit_all(body, node, "uniform", shape=_shape(body.context), dtype=_dtype(body.context))[0]
    return _scaled(body, node, draw, high - low, low)


def _truncated_normal(body: Body, node: ast.Node, args: Given) -> Tensor:
    given = _parameters(
        body.report, node, "truncated_normal", args, {"std": 1.0, "mean": 0.0, "low": -2.0, "high": 2.0}
    )
    draw = emit_all(
        body,
        node,
        "truncated_normal",
        shape=_shape(body.context),
        low=as_float(given["low"]),
        high=as_float(given["high"]),
        dtype=_dtype(body.context),
    )[0]
    return _scaled(body, node, draw, given["std"], given["mean"])


def _sqrt(value: float) -> Any:
    return called("sqrt", math.sqrt(value), value)


def _fan(scope: Scope, mode: str = "fan_in") -> float:
    return as_float(max(scope.names[mode], 1))


def _xavier(body: Body, node: ast.Node, args: Given, name: str) -> float:
    """Glorot and Bengio (2010): variance 2 / (fan_in + fan_out)."""
    gain = _parameters(body.report, node, name, args, {"gain": 1.0})["gain"]
    return as_float(gain * _sqrt(2.0 / (_fan(body.scope) + _fan(body.scope, "fan_out"))))


def _xavier_uniform(body: Body, node: ast.Node, args: Given) -> Tensor:
    bound = math.sqrt(3.0) * _xavier(body, node, args, "xavier_uniform")
    return _between(body, node, -bound, bound)


def _xavier_normal(body: Body, node: ast.Node, args: Given) -> Tensor:
    std = _xavier(body, node, args, "xavier_normal")
    draw = emit_all(body, node, "normal", shape=_shape(body.context), dtype=_dtype(body.context))[0]
    return _scaled(body, node, draw, std, 0.0)


def _kaiming(body: Body, node: ast.Node, args: Given, name: str) -> float:
    """He et al. (2015): gain / sqrt(fan)."""
    defaults = {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"}
    given = _parameters(body.report, node, name, args, defaults)
    for key, known in (("mode", ("fan_in", "fan_out")), ("nonlinearity", tuple(_GAINS))):
        if given[key] not in known:
            place = args.named[key][1] if key in args.named else node.span
            message = f"`{key}` of `{name}` is {' or '.join(known)}, not {given[key]}"
            help = did_you_mean(given[key], known).replace("`", '"')
            body.report.fail(problems.BAD_INITIAL, place, message=message, help=help)
    gain = _GAINS[given["nonlinearity"]]
    bound: float = gain(float(given["a"])) / _sqrt(_fan(body.scope, given["mode"]))
    return bound


def _kaiming_uniform(body: Body, node: ast.Node, args: Given) -> Tensor:
    bound = math.sqrt(3.0) * _kaiming(body, node, args, "kaiming_uniform")
    return _between(body, node, -bound, bound)


def _kaiming_normal(body: Body, node: ast.Node, args: Given) -> Tensor:
    std = _kaiming(body, node, args, "kaiming_normal")
    draw = emit_all(body, node, "normal", shape=_shape(body.context), dtype=_dtype(body.context))[0]
    return _scaled(body, node, draw, std, 0.0)


def _orthogonal(body: Body, node: ast.Node, args: Given) -> Tensor:
    gain = _parameters(body.report, node, "orthogonal", args, {"gain": 1.0})["gain"]
    draw = emit_all(body, node, "orthogonal", shape=_shape(body.context), dtype=_dtype(body.context))[0]
    return _scaled(body, node, draw, gain, 0.0)


def _identity(body: Body, node: ast.Node, args: Given) -> Tensor:
    shape = body.context.init_shape or ()
    if len(shape) != 2:
        body.report.fail(problems.BAD_INITIAL, node.span, message="`identity` needs a matrix")
    rows = emit(body, node, "arange", start=0, stop=shape[0])
    rows = emit(body, node, "reshape", rows, shape=(shape[0], 1))
    columns = emit(body, node, "arange", start=0, stop=shape[1])
    return cast(body, node, tensor_binary(body, ast.Name("=="), "==", rows, columns), _dtype(body.context))


INITIALS: dict[str, Builtin] = {
    name: Builtin(name, expand)
    for name, expand in {
        "zeros": _number(0.0),
        "ones": _number(1.0),
        "constant": _constant,
        "normal": _normal,
        "uniform": _uniform,
        "truncated_normal": _truncated_normal,
        "xavier_uniform": _xavier_uniform,
        "xavier_normal": _xavier_normal,
        "kaiming_uniform": _kaiming_uniform,
        "kaiming_normal": _kaiming_normal,
        "orthogonal": _orthogonal,
        "identity": _identity,
    }.items()
}
