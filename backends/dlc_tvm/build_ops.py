"""Operations that are said in terms of others before compiling, where TVM's own way is slow, unsafe or missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tvm import IRModule, relax, te, tirx
from tvm.relax import op

from dlc_tvm.layout import relax_functions

Expansion = Callable[[Any, Any], Any]


def expand(mod: IRModule, further: Mapping[str, Expansion] = MappingProxyType({})) -> IRModule:
    """Rewrite every call that `EXPANSIONS` names, or `further` ones of a target."""
    for var, function in relax_functions(mod):
        expander = _Expander(mod, {**EXPANSIONS, **further})
        expander.builder_.update_func(var, expander.visit_expr(function))
        mod = expander.builder_.get()
    return mod


@relax.expr_functor.mutator
class _Expander(relax.PyExprMutator):  # type: ignore[misc]
    """Applies expansions, operands first."""

    def __init__(self, mod: IRModule, expansions: Mapping[str, Expansion]) -> None:
        super().__init__(mod)
        self.expansions = expansions

    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        expansion = self.expansions.get(getattr(call.op, "name", ""))
        return call if expansion is None else expansion(self.builder_, call)


def _attention(builder: Any, call: Any) -> Any:
    """softmax(q k^T * scale + bias) v, on [batch, position, head, channel], as products that are scheduled well."""
    query, key, value, *bias = call.args
    if call.attrs.window_size is not None:
        return call
    q, v = (builder.emit(op.permute_dims(x, [0, 2, 1, 3])) for x in (query, value))
    k = builder.emit(op.permute_dims(key, [0, 2, 3, 1]))
    scale = float(call.attrs.scale) if call.attrs.scale is not None else int(query.ty.shape[3]) ** -0.5
    scores = builder.emit(op.matmul(q, k))
    scores = builder.emit(op.multiply(scores, relax.const(scale, str(query.ty.dtype))))
    for term in bias:
        scores = builder.emit(op.add(scores, term))
    if call.attrs.causal_mask is not None:
        bottom_right = str(call.attrs.causal_mask) == "BottomRight"
        scores = builder.emit_te(_causal, scores, bottom_right, primfunc_name_hint="causal")
    mixed = builder.emit(op.matmul(builder.emit(op.nn.softmax(scores, -1)), v))
    return op.permute_dims(mixed, [0, 2, 1, 3])


def _causal(scores: te.Tensor, bottom_right: bool) -> te.Tensor:
    """Scores of keys that a query may not see become -inf; the last query, or else the first, aligns with the keys."""
    *_, queries, keys = scores.shape
    offset = keys - queries if bottom_right else 0
    hidden = tirx.const(float("-inf"), scores.dtype)
    return te.compute(
        scores.shape,
        lambda b, h, i, j: tirx.Select(j <= i + offset, scores[b, h, i, j], hidden),
        name="causal",
    )


def _conv1d(builder: Any, call: Any) -> Any:
    """A convolution of images one pixel high, for which there are layouts and schedules."""
    data, kernel = call.args
    attrs = call.attrs
    if (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) != ("NCW", "OIW", "NCW"):
        return call
    image, window = (builder.emit(op.expand_dims(x, 2)) for x in (data, kernel))
    left, right = attrs.padding
    result = op.nn.conv2d(
        image,
        window,
        strides=[1, *attrs.strides],
        padding=[0, left, 0, right],
        dilation=[1, *attrs.dilation],
        groups=attrs.groups,
        out_dtype=attrs.out_dtype or None,
    )
    return op.squeeze(builder.emit(result), [2])


def _take(builder: Any, call: Any) -> Any:
    """TVM's default reads out of bounds when an index is; clipping costs nothing beside the copy."""
    if str(call.attrs.mode) != "fast":
        return call
    return op.take(*call.args, axis=call.attrs.axis, mode="clip")


EXPANSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "relax.nn.attention": _attention,
    "relax.nn.attention_bias": _attention,
    "relax.nn.conv1d": _conv1d,
    "relax.take": _take,
}
