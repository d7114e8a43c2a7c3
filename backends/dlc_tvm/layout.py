"""Layouts that make a module fast on a CPU, decided before legalization.

Specs say NCHW images, OIHW kernels and [out, in] matrices. This CPU wants images with channels last, and weights cut
into panels: one panel holds the columns of one register tile, row after row, so that the innermost loop of a matrix
product reads memory strictly forwards. What is computed from weights alone (transposes, panels, folded norms) is
lifted into a function of its own, which runs once when weights are loaded:

    main(x, w)      y = x @ w.T              main(x, p)           y[m, n] = sum_k x[m, k] * p[n / 48, k, n % 48]
                                    =>       main_transform_params((w,)) -> (p,)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import IRModule, relax, te, tirx, topi
from tvm.ir.transform import Sequential
from tvm.sym import Analyzer

from dlc_tvm.schedule.machine import Machine

OUT_FUSABLE = 4  # TVM's kOutEWiseFusable: later elementwise operations may join this kernel
FLOATS = ("float16", "bfloat16", "float32", "float64")


def cpu_layouts(mod: IRModule, machine: Machine) -> IRModule:
    """Channels last, packed weights, and all work on weights alone moved to the `prepare` function."""
    if _calls(
        mod, "relax.nn.conv2d"
    ):  # TVM's pass takes the square of a function's length, whatever it finds
        mod = relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]})(mod)
    return lift_weights(pack_weights(mod, machine))


def _calls(mod: IRModule, name: str) -> bool:
    """Whether a function of the module calls an operator."""
    values = (
        binding.value
        for _, function in relax_functions(mod)
        for block in function.body.blocks
        for binding in block.bindings
    )
    return any(isinstance(each, relax.Call) and getattr(each.op, "name", "") == name for each in values)


def lift_weights(mod: IRModule) -> IRModule:
    """Move what depends on weights alone into `<name>_transform_params` (one `transform_params` if shared)."""
    users = [function for _, function in relax_functions(mod) if weight_parameters(function)]
    if not users:
        return mod
    names = {tuple(str(weight.name) for weight in weight_parameters(function)) for function in users}
    shared = len(users) > 1 and len(names) == 1
    lift = relax.transform.LiftTransformParams(shared_transform=shared)
    return Sequential([lift, relax.transform.DeadCodeElimination()])(mod)


def relax_functions(mod: IRModule) -> list[tuple[Any, Any]]:
    return [(var, f) for var, f in mod.functions_items() if isinstance(f, relax.Function)]


def weight_parameters(function: Any) -> list[Any]:
    """The parameters after the first `num_input` ones; none where the function doesn't say."""
    if function.attrs is None or "num_input" not in function.attrs:
        return []
    return list(function.params)[int(function.attrs["num_input"]) :]


def pack_weights(mod: IRModule, machine: Machine) -> IRModule:
    """Replace products with weights by products with panels of weights, wherever the weights have static shapes."""
    for var, function in relax_functions(mod):
        packer = _Packer(mod, machine, _weights_only(function))
        packer.builder_.update_func(var, packer.visit_expr(function))
        mod = packer.builder_.get()
    return mod


def _weights_only(function: Any) -> set[Any]:
    """The variables of `function` that are computed from its weights alone."""
    known = set(weight_parameters(function))
    if not known or not isinstance(function.body, relax.SeqExpr):
        return set()
    for block in function.body.blocks:
        for binding in block.bindings:
            operands = (
                relax.analysis.free_vars(binding.value) if isinstance(binding, relax.VarBinding) else []
            )
            if operands and all(v in known or isinstance(v.ty, relax.ShapeType) for v in operands):
                known.add(binding.var)
    return known


def _static(shape: Any) -> list[int] | None:
    """The sizes of a shape that has no symbolic ones."""
    if shape is None or not all(isinstance(dim, tirx.IntImm) for dim in shape):
        return None
    return [int(dim) for dim in shape]


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites calls whose second operand is among `weights`."""

    def __init__(self, mod: IRModule, machine: Machine, weights: set[Any]) -> None:
        super().__init__(mod)
        self.machine = machine
        self.weights = weights

    def visit_call_(self, call: Any) -> Any:
        handlers: dict[str, Callable[[Any], Any]] = {
            "relax.matmul": self._matmul,
            "relax.nn.conv2d": self._conv2d,
        }
        handler = handlers.get(getattr(call.op, "name", ""))
        packed = handler(call) if handler is not None and call.args[1] in self.weights else None
        return super().visit_call_(call) if packed is None else packed

    def _matmul(self, call: Any) -> Any:
        data, weight = call.args
        shape = _static(weight.ty.shape)
        plain = _computes_in_operand_dtype(call)
        if shape is None or len(shape) != 2 or data.ty.ndim < 2 or shape[0] == 0 or shape[1] < 2 or not plain:
            return None
        width = self.machine.panel(shape[1], weight.ty.dtype)
        return self._product(_packed_matmul(shape[1]), data, self._panels(weight, width), "matmul")

    def _conv2d(self, call: Any) -> Any:
        data, weight = call.args
        shape = _static(weight.ty.shape)
        attrs = call.attrs
        layouts = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout)
        plain = _computes_in_operand_dtype(call) and int(attrs.groups) == 1
        if shape is None or layouts != ("NHWC", "HWIO", "NHWC") or 0 in shape or not plain:
            return None
        width = self.machine.panel(shape[3], weight.ty.dtype)
        return self._product(_packed_conv2d(shape, attrs), data, self._panels(weight, width), "conv2d")

    def _product(self, compute: Callable[..., Any], data: Any, panels: Any, name: str) -> Any:
        attributes = {"op_pattern": OUT_FUSABLE}
        operands = (self.visit_expr(data), panels)
        return self.builder_.call_te(
            compute, *operands, primfunc_name_hint=f"packed_{name}", primfunc_attrs=attributes
        )

    def _panels(self, weight: Any, width: int) -> Any:
        return self.builder_.emit_te(_panels, self.visit_expr(weight), width, primfunc_name_hint="panels")


def _computes_in_operand_dtype(call: Any) -> bool:
    dtypes = {str(operand.ty.dtype) for operand in call.args} | {str(call.ty.dtype)}
    return len(dtypes) == 1 and dtypes.pop() in FLOATS


def _panels(weight: te.Tensor, width: int) -> te.Tensor:
    """[*K, N] -> [panels, *K, width], with zeros after the last column."""
    *depth, columns = weight.shape
    count = (int(columns) + width - 1) // width

    def value(panel: Any, *index: Any) -> Any:
        *k, j = index
        column = panel * width + j
        if int(columns) % width == 0:
            return weight(*k, column)
        return tirx.if_then_else(column < columns, weight(*k, column), tirx.const(0, weight.dtype))

    return te.compute((count, *depth, width), value, name="panels")


def _columns(product: te.Tensor, columns: int) -> te.Tensor:
    """The product without the columns that pad its last panel."""
    if int(product.shape[-1]) == columns:
        return product
    return te.compute((*product.shape[:-1], columns), lambda *index: product(*index), name="columns")


def _packed_matmul(columns: int) -> Callable[[te.Tensor, te.Tensor], te.Tensor]:
    def compute(data: te.Tensor, panels: te.Tensor) -> te.Tensor:
        count, depth, width = panels.shape
        k = te.reduce_axis((0, depth), name="k")

        def value(*index: Any) -> Any:
            *rows, n = index
            return te.sum(data(*rows, k) * panels(n // width, k, n % width), axis=k)

        return _columns(te.compute((*data.shape[:-1], count * width), value, name="product"), columns)

    return compute


def _packed_conv2d(kernel: list[int], attrs: Any) -> Callable[[te.Tensor, te.Tensor], te.Tensor]:
    top, left, bottom, right = (int(p) for p in attrs.padding)
    (down, across), (step_y, step_x) = attrs.strides, attrs.dilation

    def compute(data: te.Tensor, panels: te.Tensor) -> te.Tensor:
        count, height, width, depth, tile = panels.shape
        padded = data
        if top or left or bottom or right:
            padded = topi.nn.pad(data, [0, top, left, 0], [0, bottom, right, 0], name="padded")
        batch, rows, cols, _ = padded.shape
        y, x, k = (te.reduce_axis((0, n), name=s) for n, s in ((height, "y"), (width, "x"), (depth, "k")))
        simplify = Analyzer().simplify  # or else kernels that are equal look different
        out_rows = simplify((rows - (height - 1) * step_y - 1) // down + 1)
        out_cols = simplify((cols - (width - 1) * step_x - 1) // across + 1)

        def value(b: Any, i: Any, j: Any, n: Any) -> Any:
            pixel = padded(b, i * down + y * step_y, j * across + x * step_x, k)
            return te.sum(pixel * panels(n // tile, y, x, k, n % tile), axis=[y, x, k])

        product = te.compute((batch, out_rows, out_cols, count * tile), value, name="product")
        return _columns(product, kernel[3])

    return compute
