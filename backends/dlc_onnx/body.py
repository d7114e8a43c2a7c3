"""One ONNX function or graph under construction: its nodes in order, and the dtypes of all values in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from dlc.ops.arrays import numpy_dtype
from dlc_onnx.graphs import every_node, rename_in
from dlc_onnx.naming import Numbered, constant_name
from dlc_onnx.rows import DTYPES, EIGHT_BITS, MOVES, NARROW_INTS, OPSET, TYPES, WIDER_IN
from dlc_onnx.template import Ref

if TYPE_CHECKING:
    import onnx

    from dlc.ir.nodes import Attr

Number = bool | int | float
Operand = str | Number | Sequence[int]
"""A value by its name ("" for one that is absent), or a number or list of ints that becomes a constant."""


@dataclass
class Body:
    """Appends nodes. `wider` are the dtypes that are computed in others (see `rows.WIDER`).

    Nodes are named by `scope`, the path of the instance at work, and their kind; results are called after their node,
    as long as they get no better name. Names of nodes and of values are unique."""

    wider: Mapping[str, str] = field(default_factory=dict)
    names: Numbered = field(default_factory=Numbered)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)
    scope: str = ""
    place: str = ""
    node_names: Numbered = field(default_factory=Numbered)
    outer: Body | None = None
    _shared: dict[Any, Ref] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)
    _makers: dict[str, onnx.NodeProto] = field(default_factory=dict)

    def nested(self) -> Body:
        """A graph inside this one, which sees its values: names are unique in both."""
        return replace(
            self, nodes=[], outer=self, _shared=dict(self._shared), _kept=set(self._kept), _makers={}
        )

    # Values

    def define(self, hint: str, dtype: str) -> Ref:
        """A new value's name."""
        name = Ref(self.names.fresh(hint))
        self.dtypes[name] = dtype
        return name

    def const(self, value: Attr, dtype: str, shape: Iterable[int] = (), hint: str = "") -> Ref:
        """A constant, one node for all its uses, those in graphs of nodes included. One that is too long to be called by its numbers
        is called `hint`."""
        if self.outer is not None:
            return self.outer.const(value, dtype, shape, hint)
        import numpy as np

        with np.errstate(all="ignore"):
            array = np.array(value, numpy_dtype(dtype)).reshape(tuple(shape))
        key = (dtype, array.shape, array.tobytes())
        if key not in self._shared:
            called = constant_name(array, dtype)
            with self.at(""):
                name = self.define(f"/{hint if hint and called == 'Constant' else called}", dtype)
                self._append(
                    "Constant", self.node_names.fresh(name), [], [name], {"value": tensor(array, dtype)}
                )
            self.share(key, name)
        return self._shared[key]

    def ints(self, values: Iterable[int]) -> Ref:
        """A list of i64, such as axes."""
        found = tuple(values)
        return self.const(found, "i64", (len(found),))

    def is_constant(self, name: str) -> bool:
        """Whether a value is one of these."""
        if self.outer is not None:
            return self.outer.is_constant(name)
        maker = self.maker(name)
        return maker is not None and maker.op_type == "Constant"

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node of this graph that makes a value."""
        return self._makers.get(name)

    def cast(self, value: str, dtype: str) -> Ref:
        """The value in a dtype; itself if it has that."""
        if self.dtypes[value] == dtype:
            return Ref(value)
        if dtype in EIGHT_BITS:  # past the largest number is infinity, or none, and not the largest
            return self.one("Cast", value, to=TYPES[dtype], saturate=0)
        return self.one("Cast", value, to=TYPES[dtype])

    # Nodes

    def node(self, kind: str, *operands: Operand, outputs: int = 1, dtype: str = "", **attrs: Any) -> Any:
        """Append a node. The name of its result, or of all of them if it has several that are always wanted (TopK).

        `dtype` is the result's where neither the operands nor the kind of node say it."""
        inputs = self._inputs(kind, operands)
        outputs = max(outputs, ALWAYS.get(kind, 1))
        dtypes = [dtype or each for each in self._result_dtypes(kind, inputs, attrs, outputs)]
        results = self._append_wide(kind, inputs, dtypes, attrs)
        return results[0] if len(results) == 1 else tuple(results)

    def one(self, kind: str, *operands: Operand, dtype: str = "", **attrs: Any) -> Ref:
        """The same for a node with one result."""
        result = self.node(kind, *operands, dtype=dtype, **attrs)
        assert isinstance(result, Ref)
        return result

    def call(
        self, function: str, domain: str, name: str, inputs: Sequence[str], outputs: Sequence[tuple[str, str]]
    ) -> list[Ref]:
        """Append a call of a function of the model, under a name; `outputs` are names to take, and dtypes."""
        results = [self.define(hint, dtype) for hint, dtype in outputs]
        self._append(function, self.node_names.fresh(name), list(inputs), results, {}, domain)
        return results

    def append(
        self, kind: str, inputs: Sequence[str], results: Sequence[str], attrs: Mapping[str, Any]
    ) -> None:
        """Append a node that holds graphs, whose results have names and dtypes already."""
        self._append(kind, self.node_names.fresh(f"{self.scope}/{kind}"), inputs, results, attrs)

    @contextmanager
    def at(self, scope: str, place: str = "") -> Iterator[None]:
        """Let nodes be named under another path, and say which place of the spec they come from."""
        before, self.scope, self.place = (self.scope, self.place), scope, place
        try:
            yield
        finally:
            self.scope, self.place = before

    def rename(self, old: str, new: str) -> Ref:
        """Let the result of the last node have another name. Nothing may have used it yet."""
        outputs = self.nodes[-1].output
        outputs[list(outputs).index(old)] = new
        self._renamed(old, new)
        return Ref(new)

    def _renamed(self, old: str, new: str) -> None:
        if old == new:
            return
        self.dtypes[new] = self.dtypes.pop(old)
        if old in self._makers:
            self._makers[new] = self._makers.pop(old)
        self.names.release(old)
        # Its copy in a wider dtype is that of the new name: the old one may be another value's.
        if (wide := self._shared.pop(("wide", old), None)) is not None:
            self._shared["wide", new] = wide

    def fresh_results(self, start: int) -> set[str]:
        """What the nodes from `start` on have made and nothing has taken yet: these may be renamed."""
        return {name for node in self.nodes[start:] for name in node.output if name not in self._kept}

    def settle(self, start: int, names: Mapping[str, str]) -> None:
        """Let results of the nodes from `start` on, which nothing else has read yet, have other names."""
        if not names:
            return
        for old, new in names.items():
            self._renamed(old, new)
        for node in every_node(self.nodes[start:]):
            rename_in(node, names)

    def gather(self, start: int, scope: Callable[[], str]) -> dict[str, str]:
        """Let the nodes from `start` on that are named by the path at work stand under a scope, if they are several: the new names of
        their results."""
        own = re.compile(re.escape(self.scope) + r"/\w+\Z")
        nodes = (node for node in every_node(self.nodes[start:]) if node.op_type != "Constant")
        found = [node for node in nodes if own.match(node.name)]
        if len(found) < 2:
            return {}
        names: dict[str, str] = {}
        for node in found:
            self.node_names.release(node.name)
        path = scope()
        for node in found:
            made = [name for name in node.output if own.match(name)]
            node.name = self.node_names.fresh(f"{path}/{node.op_type}")
            names |= {name: self.names.fresh(node.name) for name in made}
        self.settle(start, names)
        return names

    def share(self, key: Any, name: Ref) -> Ref:
        """Keep a value for further uses under a key."""
        self._shared[key] = self.keep(name)
        return name

    def keep(self, name: Ref) -> Ref:
        """Let the value keep its name."""
        self._kept.add(name)
        return name

    def shared(self, key: Any) -> Ref | None:
        return self._shared.get(key)

    # How nodes come about

    def _inputs(self, kind: str, operands: Sequence[Operand]) -> list[str]:
        given = [each if isinstance(each, str) else None for each in operands]
        return [
            each if isinstance(each, str) else self._literal(kind, i, each, given)
            for i, each in enumerate(operands)
        ]

    def _literal(
        self, kind: str, index: int, value: Number | Sequence[int], given: Sequence[str | None]
    ) -> Ref:
        """A number among a node's operands: of the dtype of the operands that must share its type; else an i64."""
        if not isinstance(value, bool | int | float):
            return self.ints(value)
        formals = schema(kind).inputs
        mine = _formal(formals, index).type_str
        for i, name in enumerate(given):
            if name and _formal(formals, i).type_str == mine:
                return self.const(value, self.dtypes[name])
        return self.const(value, "i64")

    def _result_dtypes(
        self, kind: str, inputs: Sequence[str], attrs: Mapping[str, Any], outputs: int
    ) -> list[str]:
        """The dtypes of a node's results, as ONNX's own definition of the kind says."""
        formals = schema(kind)
        known = {
            _formal(formals.inputs, i).type_str: self.dtypes[name] for i, name in enumerate(inputs) if name
        }
        if "to" in attrs:
            return [DTYPES[attrs["to"]]]
        wanted = [_formal(formals.outputs, i).type_str for i in range(outputs)]
        return [known.get(each) or _only_type(kind, each) for each in wanted]

    def _append_wide(
        self, kind: str, inputs: Sequence[str], dtypes: Sequence[str], attrs: Mapping[str, Any]
    ) -> list[Ref]:
        """A node, computed in wider dtypes where its own are only for storage."""
        wider = self.wider_for(kind)
        if not any(self.dtypes[name] in wider for name in inputs if name):
            return self._node(kind, inputs, dtypes, attrs)
        wide = [self._widened(name, wider) if name else name for name in inputs]
        results = self._node(kind, wide, [wider.get(dtype, dtype) for dtype in dtypes], attrs)
        return [self.cast(result, dtype) for result, dtype in zip(results, dtypes, strict=True)]

    def wider_for(self, kind: str) -> Mapping[str, str]:
        """The dtypes that a kind of node is not computed in, and what it is computed in instead."""
        if kind in MOVES:
            return WIDER_IN.get(kind, {})
        return {**self.wider, **undefined(kind), **WIDER_IN.get(kind, {})}

    def _widened(self, name: str, wider: Mapping[str, str]) -> Ref:
        wide = wider.get(self.dtypes[name])
        if wide is None:
            return Ref(name)
        known = self.shared(("wide", name))
        if known is not None:
            return known
        cast = self.rename(self.cast(name, wide), self.names.fresh(f"{name}:{wide}"))
        return self.share(("wide", name), cast)

    def _node(
        self, kind: str, inputs: Sequence[str], dtypes: Sequence[str], attrs: Mapping[str, Any]
    ) -> list[Ref]:
        name = self.node_names.fresh(f"{self.scope}/{kind}")
        results = [self.define(name, dtype) for dtype in dtypes]
        self._append(kind, name, inputs, results, attrs)
        return results

    def _append(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: Mapping[str, Any],
        domain: str = "",
    ) -> None:
        from onnx import helper

        # ONNX can't tell the type of an empty list; none there is means the same as its absence (`perm` of a scalar).
        attrs = {
            key: value for key, value in attrs.items() if not isinstance(value, list | tuple) or len(value)
        }
        node = helper.make_node(
            kind,
            list(inputs),
            list(outputs),
            name=name,
            doc_string=self.place or None,
            domain=domain,
            **attrs,
        )
        self.nodes.append(node)
        self._makers.update(dict.fromkeys(outputs, node))


# Kinds of node whose further results are always wanted.
ALWAYS: Mapping[str, int] = {"TopK": 2}


@cache
def schema(kind: str) -> Any:
    """ONNX's definition of a kind of node."""
    from onnx import defs

    return defs.get_schema(kind, OPSET, "")


@cache
def undefined(kind: str) -> Mapping[str, str]:
    """The narrow integers that ONNX does not define a kind of node for, and the dtype that it is computed in instead."""
    inputs = schema(kind).inputs
    defined = inputs[0].types if inputs else ()
    if "tensor(int32)" not in defined:
        return {}
    return {dtype: "i32" for dtype, name in NARROW_INTS.items() if name not in defined}


def _formal(formals: Any, index: int) -> Any:
    """The definition of an operand; the last one stands for all further ones."""
    return formals[min(index, len(formals) - 1)]


@cache
def _only_type(kind: str, type_str: str) -> str:
    """The dtype that a result always has: written out, or the only one that its type variable allows; else ""."""
    from onnx import TensorProto

    allowed = [
        each.allowed_type_strs for each in schema(kind).type_constraints if each.type_param_str == type_str
    ]
    names = list(allowed[0]) if allowed else [type_str]
    if len(names) != 1:
        return ""
    number = TensorProto.DataType.Value(names[0].removeprefix("tensor(").removesuffix(")").upper())
    return DTYPES[number]


def tensor(array: Any, dtype: str, name: str = "") -> onnx.TensorProto:
    """A NumPy array as ONNX's tensor, of any of our dtypes."""
    from onnx import helper

    data = array.tobytes()
    assert len(data) == math.prod(array.shape) * array.dtype.itemsize
    return helper.make_tensor(name, TYPES[dtype], array.shape, data, raw=True)
