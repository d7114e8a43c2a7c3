"""exp, log, tanh, erf and sigmoid as arithmetic, so that they run in vector lanes.

LLVM calls the C library once per lane for these, which costs more than a whole matrix product's epilogue should.
Errors stay within a few units in the last place of float32; infinities, NaNs, overflow and gradual underflow come
out as the C library's would. Halves are computed in float32. float64 keeps the C library.

The functions are written as LLVM code and linked into each kernel that calls them, where LLVM inlines them. (As TVM
expressions they would need `Let`, whose nesting TVM's code generator expands, in time exponential in the depth.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi
from tvm import DataType, IRModule, tirx
from tvm.ir import Call, StringImm
from tvm.ir.transform import Sequential, module_pass
from tvm.s_tir.pipeline import default_s_tir_pipeline
from tvm.tirx.compilation_pipeline import register_tir_pipeline
from tvm.tirx.transform import SkipAssert

from dlc_tvm.marks import PART, WHOLE

PIPELINE = "dlc_cpu"  # the name under which TVM knows its lowering passes with this one among them

CPU = 1  # DLPack's number

ROUND = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits of the sum
ROUND_BITS = 0x4B400000

# Coefficients, highest power first. exp and log are Cephes' (Moshier, 1989); tanh and erf are Eigen's rationals.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
TANH_OVER = (
    *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
    *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
)
TANH_UNDER = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
ERF_OVER = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
ERF_UNDER = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)


@dataclass
class Function:
    """LLVM code for one function of vectors with `lanes` lanes, in the making."""

    lanes: int
    lines: list[str] = field(default_factory=list)

    def type(self, element: str) -> str:
        return element if self.lanes == 1 else f"<{self.lanes} x {element}>"

    def literal(self, element: str, text: str) -> str:
        return text if self.lanes == 1 else "<" + ", ".join([f"{element} {text}"] * self.lanes) + ">"

    def emit(self, element: str, text: str) -> Value:
        name = f"%t{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return Value(self, element, name)

    def float(self, value: float) -> Value:
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
        (bits,) = struct.unpack("<Q", struct.pack("<d", rounded))
        return Value(self, "float", self.literal("float", f"0x{bits:016X}"))

    def int(self, value: int) -> Value:
        return Value(self, "i32", self.literal("i32", str(value)))


@dataclass(frozen=True)
class Value:
    """An operand: a register or a constant."""

    function: Function
    element: str
    text: str

    def _binary(self, instruction: str, other: Value | float) -> Value:
        make = self.function.float if self.element == "float" else self.function.int
        right = other if isinstance(other, Value) else make(other)  # type: ignore[arg-type]
        operands = f"{self.function.type(self.element)} {self.text}, {right.text}"
        return self.function.emit(self.element, f"{instruction} {operands}")

    def __add__(self, other: Value | float) -> Value:
        return self._binary("fadd" if self.element == "float" else "add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._binary("fsub" if self.element == "float" else "sub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self._binary("fmul", other)

    def __truediv__(self, other: Value) -> Value:
        return self._binary("fdiv", other)

    def __rshift__(self, bits: int) -> Value:
        return self._binary("ashr", bits)

    def __lshift__(self, bits: int) -> Value:
        return self._binary("shl", bits)

    def compare(self, order: str, other: float) -> Value:
        """Lanes where the comparison holds; it never does for NaN."""
        operands = f"{self.function.type('float')} {self.text}, {self.function.float(other).text}"
        return self.function.emit("i1", f"fcmp {order} {operands}")

    def choose(self, yes: Value, no: Value) -> Value:
        kind = self.function.type(yes.element)
        condition = f"{self.function.type('i1')} {self.text}"
        return self.function.emit(yes.element, f"select {condition}, {kind} {yes.text}, {kind} {no.text}")

    def cast(self, instruction: str, element: str) -> Value:
        source, target = self.function.type(self.element), self.function.type(element)
        return self.function.emit(element, f"{instruction} {source} {self.text} to {target}")


def _horner(x: Value, coefficients: Sequence[float]) -> Value:
    total = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


def _clamp(x: Value, low: float, high: float) -> Value:
    """`x` between two bounds; written so that NaN stays NaN."""
    x = x.compare("olt", low).choose(x.function.float(low), x)
    return x.compare("ogt", high).choose(x.function.float(high), x)


def _power_of_two(exponent: Value) -> Value:
    return ((exponent + 127) << 23).cast("bitcast", "float")


def _exp(x: Value) -> Value:
    """2**n * e**r with |r| <= log(2) / 2. The scale is applied in halves: 2**n alone may overflow or underflow."""
    x = _clamp(x, -104.0, 89.0)
    shifted = x * 1.44269504088896341 + ROUND
    whole = shifted - ROUND
    n = shifted.cast("bitcast", "i32") - ROUND_BITS
    r = x - whole * 0.693359375 - whole * -2.12194440e-4
    half = n >> 1
    series = _horner(r, EXP) * (r * r) + r + 1.0
    return series * _power_of_two(half) * _power_of_two(n - half)


def _log(x: Value) -> Value:
    """e * log(2) + log(m), x = 2**e * m, m between sqrt(1/2) and sqrt(2)."""
    make = x.function.float
    tiny = x.compare("olt", 1.17549435e-38)
    bits = tiny.choose(x * 8388608.0, x).cast("bitcast", "i32")
    exponent = (bits - 0x3F3504F3) >> 23
    f = (bits - (exponent << 23)).cast("bitcast", "float") - 1.0
    power = exponent.cast("sitofp", "float") - tiny.choose(make(23.0), make(0.0))
    rest = _horner(f, LOG) * (f * f * f) + power * -2.12194440e-4 - f * f * 0.5
    finite = f + rest + power * 0.693359375
    finite = x.compare("oeq", float("inf")).choose(x, finite)
    edge = x.compare("oeq", 0.0).choose(make(float("-inf")), make(float("nan")))
    return x.compare("ogt", 0.0).choose(finite, edge)


def _rational(
    bound: float, saturated: float, over: Sequence[float], under: Sequence[float]
) -> Callable[[Value], Value]:
    """Up to `bound` a rational; from `saturated` on 1 to the last bit, without which x * (f(x) + 1) would be far from 0 for a large -x."""

    def formula(x: Value) -> Value:
        inner = _clamp(x, -bound, bound)
        square = inner * inner
        y = inner * _horner(square, over) / _horner(square, under)
        y = x.compare("olt", -saturated).choose(x.function.float(-1.0), y)
        return x.compare("ogt", saturated).choose(x.function.float(1.0), y)

    return formula


def _sigmoid(x: Value) -> Value:
    return x.function.float(1.0) / (_exp(x * -1.0) + 1.0)


FORMULAS: dict[str, Callable[[Value], Value]] = {
    "tirx.exp": _exp,
    "tirx.log": _log,
    "tirx.tanh": _rational(7.90531110763549805, 9.02, TANH_OVER, TANH_UNDER),
    "tirx.erf": _rational(4.0, 4.0, ERF_OVER, ERF_UNDER),
    "tirx.sigmoid": _sigmoid,
}


def _define(op: str, lanes: int) -> str:
    """LLVM code of one function; many kernels may bring the same one, so the linker keeps any."""
    function = Function(lanes)
    result = FORMULAS[op](Value(function, "float", "%x"))
    kind = function.type("float")
    head = f"define linkonce_odr hidden {kind} @{_symbol(op, lanes)}({kind} %x) alwaysinline nounwind memory(none)"
    return "\n".join([f"{head} {{", *function.lines, f"  ret {kind} {result.text}", "}"])


def _symbol(op: str, lanes: int) -> str:
    return f"dlc_{op.removeprefix('tirx.')}_f32x{lanes}"


@module_pass(opt_level=0, name="dlc.VectorMath")
def vector_math(mod: IRModule, _: Any) -> IRModule:
    """Calls of the functions above become calls of the LLVM code, in kernels that are already in vectors."""
    functions = {
        var: _rewrite(func) if isinstance(func, tirx.PrimFunc) else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _rewrite(func: Any) -> Any:
    used: set[tuple[str, int]] = set()

    def replace(call: Any) -> Any:
        op = getattr(call.op, "name", "")
        if op not in FORMULAS or not str(call.ty).startswith(("float32", "float16")):
            return call
        dtype = DataType(str(call.ty))
        used.add((op, dtype.lanes))
        single = f"float32x{dtype.lanes}" if dtype.lanes > 1 else "float32"
        result = tirx.call_pure_extern(single, _symbol(op, dtype.lanes), tirx.Cast(single, call.args[0]))
        return tirx.Cast(str(dtype), result)

    body = tvm_ffi.structural_map(func.body, (Call, replace))
    code = "\n".join(_define(op, lanes) for op, lanes in sorted(used))
    if not used:
        return func
    return func.with_body(tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", StringImm(code), body))


@module_pass(opt_level=0, name="dlc.TilesOnStack")
def tiles_on_stack(mod: IRModule, _: Any) -> IRModule:
    """Tiles stay where LLVM can keep them in registers: TVM would ask its runtime for room from 1,024 bytes on, and LLVM then
    writes each element back in every turn of the innermost loop, as it could lie anywhere."""

    def kept(room: Any) -> Any:
        local = room.buffer.ty.storage_scope == "local"
        return (
            tirx.AllocBuffer(room.buffer, {"disable_lower_builtin": tirx.const(True, "bool")})
            if local
            else room
        )

    functions = {
        var: func.with_body(tvm_ffi.structural_map(func.body, (tirx.AllocBuffer, kept)))
        if isinstance(func, tirx.PrimFunc)
        else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


@module_pass(opt_level=0, name="dlc.TrustingLoops")
def trusting_loops(mod: IRModule, _: Any) -> IRModule:
    """A loop of many kernels takes hundreds of tensors, which the virtual machine has made: it does not ask each for its dtype and
    sizes. TVM's code generator bears all that was asked in mind, and takes time with the square of it."""
    functions = {
        var: SkipAssert()(IRModule({var: func}))[var] if func.attrs and WHOLE in func.attrs else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


@module_pass(opt_level=0, name="dlc.RoomForParts")
def room_for_parts(mod: IRModule, _: Any) -> IRModule:
    """What only loops call is told on which device its temporary memory lies; others are by their arguments."""

    def told(func: Any) -> Any:
        body = func.body
        for key, value in (("device_id", 0), ("device_type", CPU)):
            body = tirx.AttrStmt(tirx.const(0), key, tirx.const(value, "int32"), body)
        return func.with_body(body)

    functions = {
        var: told(func) if func.attrs and PART in func.attrs else func for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _pipeline() -> tuple[Any, Callable[[], Any], Callable[[], Any]]:
    """TVM's passes for scheduled kernels, with `vector_math` where vectors exist and intrinsics aren't lowered yet."""
    lower, host, device = default_s_tir_pipeline()
    return (
        lower,
        lambda: Sequential([vector_math, tiles_on_stack, trusting_loops, room_for_parts, host()]),
        device,
    )


register_tir_pipeline(PIPELINE, _pipeline)
