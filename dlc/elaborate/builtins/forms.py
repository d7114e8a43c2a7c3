"""Call forms applied: an op's arguments matched and read, its operands brought together, the op appended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, GroupValue, Tensor, show
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.builtins.reads import ATTRIBUTES, OPERANDS, paired, tensors
from dlc.elaborate.builtins.windows import window
from dlc.elaborate.tensors.failures import helped
from dlc.elaborate.tensors.operators import cast, emit_all
from dlc.ops.calls import Form
from dlc.ops.definition import OpDef
from dlc.ops.forms import call_form
from dlc.types.dims import Dim
from dlc.types.terms import called, said

First = Callable[[Call], Any]


def op_builtin(op: OpDef, first: First | None = None) -> Builtin | None:
    """An op as specs call it; None if they don't by its name. `first` is asked first: NotImplemented leaves the call to
    the form."""
    form = call_form(op)
    if form is None:
        return None
    spec = {arg.name: arg.default for arg in form.args}
    return builtin(op.name, spec, lambda call: _expand(call, op, form, first))


def _expand(call: Call, op: OpDef, form: Form, first: First | None) -> Any:
    for special in (first, form.number and (lambda call: _of_number(call, form))):
        found = special(call) if special else NotImplemented
        if found is not NotImplemented:
            return found
    value = call[form.args[0].name]
    if form.whole and isinstance(value, Dim):
        return value
    if form.members and isinstance(value, GroupValue):
        parts = tuple(
            (key, _one(emit_all(call.body, call.node, op.name, each))) for key, each in value.members
        )
        return GroupValue(value.definition, parts)
    return _appended(call, op, form)


def _of_number(call: Call, form: Form) -> Any:
    """The op on a Python number."""
    (name, *more), number = (arg.name for arg in form.args), form.number
    value = call[name]
    if number is None or not isinstance(value, int | float) or isinstance(value, bool):
        return NotImplemented
    others = {arg.name: _attribute(call, arg, ()) for arg in form.args if arg.name in more}
    try:
        result = number(value, **others) if others else number(value)
        given = (value, *(each for each in others.values() if each is not None))
        return result if result is NotImplemented else called(call.name, result, *given)
    except (ValueError, OverflowError):
        message = f"{call.name}({show(value)}) has no value"
        call.body.report.fail(problems.STATIC_ERROR, call.node.span, message=message)


def _appended(call: Call, op: OpDef, form: Form) -> Any:
    operands = _operands(call, form)
    present = [each for each in operands if each is not None]
    attrs = _attributes(call, form, operands)
    types = [each.type for each in present]
    if form.same is not None and form.same(types, attrs):
        return present[0]
    operands = [_prepared(call, form, each, attrs) for each in operands]
    if form.along:
        operands = _aligned(call, present, attrs[form.along], grows=op.name == "take_along")
    final = attrs if form.attrs is None else dict(form.attrs(types, attrs))
    help = "" if form.help is None else form.help(call.body.emission.facts, types, attrs)
    return _one(helped(lambda: emit_all(call.body, call.node, op.name, *operands, **final), help))


def _one(results: tuple[Tensor, ...]) -> Any:
    return results[0] if len(results) == 1 else results


def _operands(call: Call, form: Form) -> list[Tensor | None]:
    together = [arg for arg in form.args if arg.read in ("pair", "choice")]
    met: dict[str, Tensor] | None = None
    found: list[Tensor | None] = []
    for arg in form.args:
        if not arg.is_operand:
            continue
        if arg.default is None and call[arg.name] is None:
            found.append(None)
        elif arg.read == "tensors":
            found += tensors(call, arg.name)
        elif arg in together:
            met = paired(call, together) if met is None else met
            found.append(met[arg.name])
        else:
            found.append(OPERANDS[arg.read](call, arg.name, found))
    return found


def _attributes(call: Call, form: Form, operands: list[Tensor | None]) -> dict[str, Any]:
    """What the arguments say, under the op's names for it."""
    slides = any(arg.read == "spatial" for arg in form.args)
    found = window(call, form, operands) if slides else {}
    return {
        arg.target: found[arg.name] if arg.name in found else _attribute(call, arg, operands)
        for arg in form.args
        if not arg.is_operand
    }


def _attribute(call: Call, arg: Any, operands: Any) -> Any:
    value = call[arg.name]
    if value is None and arg.read == "dtype":
        return call.body.context.float_dtype
    if value is None and arg.default is None and arg.read != "axes":
        return None
    return ATTRIBUTES[arg.read](call, arg.name, operands)


def _aligned(call: Call, operands: list[Tensor], axis: int, grows: bool) -> list[Tensor | None]:
    """The operands of a gather or scatter, an axis of 1 made as long as that of the others; along `axis`, index and values alone.
    What is scattered into keeps its shape."""
    x, *rest = (each.type.axes for each in operands)
    if any(len(each) != len(x) for each in rest):
        return [*operands]
    across = [_longest(sizes) for sizes in zip(x, *rest, strict=True)]
    along = _longest([each[axis] for each in rest])
    found: list[Tensor | None] = []
    for i, each in enumerate(operands):
        wanted = list(across if i or grows else x)
        wanted[axis] = along if i else x[axis]
        axes = each.type.axes
        shape = tuple(new if old.constant == 1 else old for old, new in zip(axes, wanted, strict=True))
        found.append(each if _told(shape) == _told(axes) else call.emit("broadcast", each, shape=shape))
    return found


def _longest(sizes: Sequence[Dim]) -> Dim:
    """The size that the others, of 1, are made as long as; one that is called `heads` rather than 1."""
    return max(sizes, key=lambda each: (each.constant != 1, said(each).constant != 1))


def _told(axes: Iterable[Dim]) -> tuple[Dim, ...]:
    return tuple(map(said, axes))


def _prepared(call: Call, form: Form, operand: Tensor | None, attrs: dict[str, Any]) -> Tensor | None:
    """An operand as the op takes it: counted where it is of bools, flat where no axis is given."""
    if operand is None:
        return None
    if form.bools and operand.type.dtype == "bool":
        operand = cast(call.body, call.node, operand, form.bools)
    if any(arg.read == "flat" and attrs[arg.target] is None for arg in form.args):
        operand = call.emit("reshape", operand, shape=(operand.type.size,))
    return operand
