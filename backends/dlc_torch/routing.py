"""Rows through the experts that are chosen for them: sorted by expert, so that each expert runs once, on its own rows.

chosen = choice.flatten()
order = chosen.argsort(stable=True)
counts = chosen.bincount(minlength=experts).tolist()
steps = [
    expert(rows, gate_proj, down_proj)
    for rows, gate_proj, down_proj in zip(x[order // k].split(counts), self.gate_proj, self.down_proj, strict=True)
]
y = torch.cat(steps)[order.argsort()].unflatten(0, (R, k))
"""

from __future__ import annotations

from dlc.emit.forms import call, method, sizes
from dlc.emit.names import unique
from dlc.emit.origins import size
from dlc.emit.statements import Assign, Loop, Target
from dlc.emit.tree import At, Binary, Call, Dot, Expr, Keyword, Num, Ref, Seq, Word
from dlc.ir.nodes import Op, Value
from dlc.ir.routing import expert_call
from dlc.ir.splice import Draws, Names, Splice, dims_of, statics_of
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc_torch.drafter import TorchDrafter
from dlc_torch.shapes import taken_back


def routed(d: TorchDrafter, op: Op) -> Expr:
    """The loop over experts, and the results in the order of `choice`."""
    x, choice, *stacks = op.inputs
    taken = {*d.types, *d.better}
    type = TensorType("i64", (d.types[choice].size,))
    chosen, order = (Value(unique(name, taken), type) for name in ("chosen", "order"))
    counts = Target(unique("counts", taken), "", ())
    d.better |= {chosen.name: "chosen", order.name: "order", counts.name: "counts"}
    d.assign(op, method(_before_flattened(d, choice), "flatten"), (chosen,))
    d.assign(op, method(Ref(chosen.name), "argsort", Keyword("stable", Word("True"))), (order,))
    experts = d.attribute(op, "experts", op.attr("experts"))
    counted = method(Ref(chosen.name), "bincount", Keyword("minlength", experts))
    d.body.append(Assign((counts,), method(counted, "tolist"), temporary=False))
    rows = At(d.tensor(x), (Binary("//", Ref(order.name), size(d.types[choice].axes[-1])),))
    one, args = _one(d, op)
    inside = d.drafted((one,))
    held = Target(f"{d.target(op.out).name} steps", d.dtype_of(op.out.name), ())
    d.body.append(
        Loop(
            count=Num(0),
            start=0,
            step=1,
            args=(),
            inputs=(),
            body=inside,
            results=(),
            outputs=(),
            source=call(
                "zip",
                method(rows, "split", Ref(counts.name)),
                *map(d.tensor, stacks),
                Keyword("strict", Word("True")),
            ),
            slices=tuple(map(d.target, args)),
            kept=((held, d.tensor(one.out.name)),),
        )
    )
    whole = At(call("torch.cat", Ref(held.name)), (method(Ref(order.name), "argsort"),))
    return method(whole, "unflatten", Num(0), Seq(sizes(d.types[choice].axes, "part")))


def _before_flattened(d: TorchDrafter, name: str) -> Expr:
    """A tensor whose elements are read in order: what it was flattened from, where it is made for this alone."""
    match taken_back(d, name):
        case Call(Dot(whole, "flatten")):
            return whole
        case None:
            return d.tensor(name)
        case other:
            return other


def _one(d: TorchDrafter, op: Op) -> tuple[Op, list[Value]]:
    """The call of an expert on its rows, in the caller's words, and what the loop gives it."""
    callee = d.program.functions[op.callee]
    inner = expert_call(callee)
    names = Names({*d.types, *d.better})
    splice = Splice(names, Draws(), {}, dims_of(op), str, statics=statics_of(op))
    made = splice.op(inner)
    rows = Dim.symbol("N")
    types = {each.name: each.type for each in d.program.functions[inner.callee].inputs}
    args: list[Value] = []
    for hint, type in types.items():
        args.append(Value(names.fresh(hint if args else "rows"), type))
        d.types[args[-1].name] = type
        d.better[args[-1].name] = hint if len(args) > 1 else "rows"
    out = Value(made.out.name, made.out.type.with_axes((rows, *made.out.type.axes[1:])))
    d.types[out.name] = out.type
    return (
        Op(
            "call",
            tuple(each.name for each in args),
            (out,),
            made.attrs,
            made.callee,
            dims=made.dims,
            span=op.span,
            given=made.given,
            names=made.names,
            known=made.known,
        ),
        args,
    )
