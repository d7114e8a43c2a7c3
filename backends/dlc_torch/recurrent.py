"""PyTorch's own recurrent layers, where the spec's says what they say: without a mask of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlc.emit.draft import DONE
from dlc.emit.statements import Assign
from dlc.emit.tree import Call, Expr, Keyword, Num, Path, Seq, Text, Word, size
from dlc.ir.nodes import Function, Op
from dlc_torch.drafter import TorchDrafter

KINDS: Mapping[str, str] = {"rnn": "nn.RNN", "gru": "nn.GRU", "lstm": "nn.LSTM"}


def layer(f: Function) -> Expr | None:
    """The constructor; None where steps may be left out (`keep`), which PyTorch says by packed sequences only."""
    if any(value.name == "keep" for value in f.inputs):
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
            *((Keyword("nonlinearity", Text("relu")),) if static.get("nonlinearity") == "relu" else ()),
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


def _number(value: object) -> int | float:
    assert isinstance(value, int | float)
    return value


def call(d: TorchDrafter, op: Op) -> Expr:
    """`y, h = self.gru(x, h)`; the states of an LSTM are a pair: `y, (h, c) = self.lstm(x)`."""
    given = d.operands(op)
    states = tuple(d.tensor(given[name]) for name in ("h", "c") if name in given)
    more = (Seq(states),) if len(states) > 1 else states
    whole = Call(Path(op.path), (d.tensor(given["x"]), *more))
    if op.op != "lstm":
        return whole
    d.body.append(Assign(tuple(map(d.target, op.outputs)), whole, pattern="{}, ({}, {})"))
    return DONE


LAYERS: Mapping[str, Callable[[Function], Expr | None]] = dict.fromkeys(KINDS, layer)
