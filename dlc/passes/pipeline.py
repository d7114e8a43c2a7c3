"""The passes of each level, and running them.

-O0 emits what the spec says. -O1 takes away what does nothing: emitted code only gets shorter. -O2 also
computes what it can in advance, for inference with prepared weights, and joins operations that backends have
in one piece.

Not here: joining a bias with the activation behind it. No library composite says that, so nothing could be
emitted for it but a call of a kernel; the tvm backend fuses elementwise ops in its own pipeline, which sees
the loops, and torch and jax compilers do the same.
"""

from __future__ import annotations

from collections.abc import Callable

from dlc.ir.nodes import Program
from dlc.ir.verify import verify as check
from dlc.passes.attention import FusedAttention
from dlc.passes.base import Instantiate, Pass, no_library
from dlc.passes.constants import Constants
from dlc.passes.dead_code import DeadCode
from dlc.passes.hoisting import Hoisting
from dlc.passes.identities import Identities
from dlc.passes.lengths import EqualLengths
from dlc.passes.norm_folding import NormFolding
from dlc.passes.parallel_linears import ParallelLinears
from dlc.passes.pieces import Pieces
from dlc.passes.recompute import Recompute
from dlc.passes.subexpressions import Subexpressions
from dlc.records import replace

O0: tuple[Pass, ...] = ()
O1: tuple[Pass, ...] = (Identities(), DeadCode())
O2: tuple[Pass, ...] = (
    Constants(),
    Identities(),
    Subexpressions(),
    FusedAttention(),
    NormFolding(),
    ParallelLinears(),
    DeadCode(),
)
LEVELS: tuple[tuple[Pass, ...], ...] = (O0, O1, O2, O2)

# From level 1 on, on a program that is lowered for a backend: what a backend has in one piece is not taken apart, so only
# then is it seen what all layers would compute alike. Results stay the same to the bit, and no line is computed twice.
LOWERED: tuple[Pass, ...] = (EqualLengths(), Pieces(), Identities(), DeadCode(), Hoisting())

# What a train block asks for.
TRAINING: tuple[Pass, ...] = (Recompute(),)


def passes(level: int, library: Instantiate = no_library, *, as_layers: bool = False) -> tuple[Pass, ...]:
    """The passes of a level, those that put composites of the library somewhere with `library`, those that prepare weights
    `as_layers` where what is emitted holds layers. Raises ValueError for a level that does not exist."""
    if not 0 <= level < len(LEVELS):
        raise ValueError(f"there is no level -O{level}: the levels are 0 to {len(LEVELS) - 1}")

    def given(each: Pass) -> Pass:
        if isinstance(each, FusedAttention):
            return replace(each, instantiate=library)
        return replace(each, as_layers=as_layers) if isinstance(each, NormFolding | ParallelLinears) else each

    return tuple(map(given, LEVELS[level]))


def pass_names(level: int) -> tuple[str, ...]:
    """The names of a level's passes, in order: what `--after` and `--before` take."""
    return tuple(each.name for each in passes(level))


def finish(program: Program, level: int) -> Program:
    """A lowered program after the passes of a level that come last."""
    for each in LOWERED if level else ():
        program = each.run(program)
    return program


def optimize(
    program: Program,
    level: int,
    *,
    library: Instantiate = no_library,
    as_layers: bool = False,
    verify: bool = False,
    after: Callable[[str, Program], None] | None = None,
) -> Program:
    """The program after the passes of a level, for which `library` and `as_layers` are as in `passes`. With `verify`
    the IR's rules are checked before the first and after each (IRError); `after` is called with each pass's name and its
    result."""
    if verify:
        check(program)
    for each in passes(level, library, as_layers=as_layers):
        program = each.run(program)
        if verify:
            check(program)
        if after is not None:
            after(each.name, program)
    return program
