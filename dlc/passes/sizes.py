"""A program at known sizes: one function, in whose types stand numbers, and none of whose loops is left.

Before:

    fn double(%x: [T, 4]) -> (y: %y) {
        %y: [T, 4] = add(%x, %x)
    }
    model Net(%x: [T, 4]) -> (y: %y) {
        %n: i64[] = size() {dim=T}
        %m: float[] = cast(%n) {dtype="float"}
        %d: [T, 4] = call(%x) -> double [T=T]
        %y: [T, 4] = mul(%d, %m)
    }

After, where T is 3:

    model Net(%x: [3, 4]) -> (y: %y) {
        %n: i64[] = size() {dim=3}
        %m: float[] = cast(%n) {dtype="float"}
        %d: [3, 4] = add(%x, %x)
        %y: [3, 4] = mul(%d, %m)
    }

Derivatives are taken of such a program: a loop over a size has none before its turns are known.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ir.nodes import Function, Program, Value
from dlc.ir.splice import Draws, Names, Splice
from dlc.passes.lower import inline, unroll_function
from dlc.records import replace
from dlc.types.dims import Dim


def at_sizes(program: Program, sizes: Mapping[str, int]) -> Program:
    """The program for inputs of these `sizes`, one for each dim of the entry. Sizes that were inputs are none any more."""
    sized = with_sizes(program, sizes)
    main = unroll_function(sized.main)
    return sized.with_functions({**sized.functions, main.name: main})


def with_sizes(program: Program, sizes: Mapping[str, int]) -> Program:
    """The same with its loops."""
    flat = inline(program, lambda op: False)
    main = _sized(flat.main, {name: Dim.of(size) for name, size in sizes.items()})
    return flat.with_functions({**flat.functions, main.name: main})


def _sized(function: Function, dims: Mapping[str, Dim]) -> Function:
    """A flat function with numbers for its dims: what it assumed of them holds, or they would not be its sizes."""
    values = {value.name: value.name for value in function.inputs}
    splice = Splice(Names(values), Draws(), values, dims, str)
    body = tuple(splice.body(function.body))
    return replace(
        function,
        inputs=tuple(Value(value.name, value.type.substitute(dims)) for value in function.inputs),
        outputs=tuple((name, values[value]) for name, value in function.outputs),
        body=body,
        static=(),  # a size that was given stands there
        facts=(),
    )
