"""PyTorch's own recurrent layers, where the spec's says what they say: without a mask of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlc.emit.draft import DONE
from dlc.emit.origins import size
from dlc.emit.statements import Assign
from dlc.emit.tree import Call, Expr, Keyword, Num, Path, Seq, Text, Word
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.splice import within
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.terms import said
from dlc_torch.drafter import TorchDrafter

KINDS: Mapping[str, str] = {"rnn": "nn.RNN", "gru": "nn.GRU", "lstm": "nn.LSTM"}
CELLS: Mapping[str, str] = {"rnn_cell": "nn.RNNCell", "gru_cell": "nn.GRUCell", "lstm_cell": "nn.LSTMCell"}


def layer(f: Function) -> Expr | None:
    """The constructor; None where steps may be left out (`keep`), which PyTorch says by packed sequences only, and where there may be
    none: its layers refuse that."""
    steps = f.inputs[0].type.axes[1]
    if any(value.name == "keep" for value in f.inputs) or not Facts(f.facts).prove_ge(steps, 1):
        return None
    static = dict(f.static)
    weight = next(param.type.axes for param in f.params if param.name == "weight_ih_l0")
    bias = any(param.name == "bias_ih_l0" for param in f.params)
    return Call(
        Word(KINDS[f.source]),
        (
            size(weight[1], "input_size"),
            Num(_number(static["hidden"]), "hidden_size"),
            Keyword("num_layers", Num(_number(static["layers"]), "num_layers"), Num(1)),
            *_nonlinearity(static),
            *(() if bias else (Keyword("bias", Word("False")),)),
            Keyword("batch_first", Word("True")),
            Keyword("dropout", Num(_number(static["dropout"]), "dropout"), Num(0.0)),
            *((Keyword("bidirectional", Word("True")),) if static["bidirectional"] else ()),
            *(
                (Keyword("proj_size", Num(_number(static["proj"]), "proj_size")),)
                if static.get("proj")
                else ()
            ),
        ),
    )


def _nonlinearity(static: Mapping[str, object]) -> tuple[Expr, ...]:
    """Of plain recurrence."""
    if "nonlinearity" not in static:
        return ()
    return (Keyword("nonlinearity", Text(str(static["nonlinearity"])), Text("tanh")),)


def _number(value: object) -> int | float:
    assert isinstance(value, int | float)
    return value


def call(d: TorchDrafter, op: Op) -> Expr:
    """`y, h = self.gru(x, h)`; the states of an LSTM are a pair: `y, (h, c) = self.lstm(x)`."""
    if op.op in CELLS:
        return step(d, op)
    given = d.operands(op)
    states = tuple(d.tensor(given[name]) for name in ("h", "c") if name in given)
    more = (Seq(states),) if len(states) > 1 else states
    whole = Call(Path(op.path), (d.tensor(given["x"]), *more))
    if op.op != "lstm":
        return whole
    d.body.append(Assign(tuple(map(d.target, op.outputs)), whole, pattern="{}, ({}, {})"))
    return DONE


def with_states(program: Program) -> Program:
    """The program with the number of a layer's states in the words of its settings: `h: [layers, B, hidden]`."""
    changed = {
        name: replace(each, body=tuple(map(_counted, each.body)))
        for name, each in program.functions.items()
        if any(op.op in KINDS for op in walk(each.body))
    }
    return program.with_functions({**program.functions, **changed}) if changed else program


def _counted(op: Op) -> Op:
    op = within(op, _counted)
    if op.op not in KINDS:
        return op
    layers, both = op.attr("layers"), 2 if op.attr("bidirectional") else 1
    assert isinstance(layers, int)
    count = Dim.of(layers) * both
    y, *states = op.outputs
    told = (
        replace(each, type=each.type.with_axes((each.type.axes[0].said(said(count)), *each.type.axes[1:])))
        for each in states
    )
    return replace(op, outputs=(y, *told))


def cell(f: Function) -> Expr:
    """The constructor of one step."""
    weight = next(param.type.axes for param in f.params if param.name == "weight_ih")
    bias = any(param.name == "bias_ih" for param in f.params)
    static = dict(f.static)
    return Call(
        Word(CELLS[f.source]),
        (
            size(weight[1], "input_size"),
            Num(_number(static["hidden"]), "hidden_size"),
            *(() if bias else (Keyword("bias", Word("False")),)),
            *_nonlinearity(static),
        ),
    )


def step(d: TorchDrafter, op: Op) -> Expr:
    """`h = self.cell(x, h)`; the states of an LSTM are a pair: `h, c = self.cell(x, (h, c))`."""
    x, *states = map(d.tensor, op.inputs)
    return Call(Path(op.path), (x, Seq(tuple(states)) if len(states) > 1 else states[0]))


LAYERS: Mapping[str, Callable[[Function], Expr | None]] = {
    **dict.fromkeys(KINDS, layer),
    **dict.fromkeys(CELLS, cell),
}
