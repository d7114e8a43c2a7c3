"""What an expression of the language may stand for while it is elaborated.

Static values are plain Python values (int, float, bool, str, None, list, tuple), `Dim` for sizes known by name only,
and the classes here. Tensors are handles of IR values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.diagnostics import NO_SPAN, Span
from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.units import Definition, entries
from dlc.ir.nodes import Value
from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import DTYPES, TensorType

if TYPE_CHECKING:
    from dlc.ops.npz import NpzFile


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: an IR value, and where and by what it was made (for help texts)."""

    value: Value
    made_at: Span = NO_SPAN
    made_by: str = ""

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def name(self) -> str:
        return self.value.name


@dataclass(frozen=True, slots=True)
class Turns:
    """What the turns of a loop have added to a list, one each: along a first axis. Only `stack` is given such a list."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class GroupValue:
    """A group: named tensors that belong together."""

    definition: Definition
    members: tuple[tuple[str, Any], ...]

    def get(self, name: str) -> Any:
        return dict(self.members).get(name)


@dataclass(frozen=True, slots=True)
class Dtype:
    """A dtype as a static value."""

    name: str


class Poison:
    """The value of something that was in error: whatever it touches says nothing more."""

    def __repr__(self) -> str:
        return "<error>"


POISON = Poison()


@dataclass(frozen=True, eq=False)
class Builtin:
    """An op that the elaborator expands itself: `expand(call)` gives its value."""

    name: str
    expand: Any
    signature: str = ""

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class PresetRef:
    """A model at given settings, as a static value."""

    definition: Definition
    static: tuple[tuple[str, Any], ...] = ()
    name: str = ""

    @property
    def given(self) -> dict[str, Any]:
        """The settings that others may override: a part that a default makes of them is none."""
        static = dict(self.static)
        parts = default_parts(self.definition, static)
        return {name: value for name, value in static.items() if name not in parts}


@dataclass(eq=False)
class Instance:
    """A part made by calling a module with its static arguments. `path` is set when it is bound or applied; `function` is the
    name of the IR function of its latest application. `owner` is the body in which it lives. `label` is set by `as`, and means what it does in
    the `scope` where it was made."""

    definition: Definition
    static: dict[str, Any]
    span: Span
    label: ast.Label | None = None
    name: str = ""
    path: str | None = None
    owner: Any = None
    loops: tuple[Any, ...] = ()
    scope: Any = None
    functions: dict[str, str] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)  # of the static arguments that were written
    terms: dict[str, Any] = field(
        default_factory=dict
    )  # what those stand for, over the owner's static parameters
    is_default: bool = False  # the default of a static parameter made it
    is_outline: bool = False  # a module while its main body runs for what it declares: calls give types alone
    standing: str = ""  # in a train block: "frozen", "eval" or "ema" `of` another one
    of: Instance | None = None
    decay: float | None = None  # of a moving average
    trains: bool = True  # whether it is applied in training mode where the block trains

    @property
    def is_bound(self) -> bool:
        """Whether it has a name where it was made: passed as an argument, it stays that one instance."""
        return bool(self.name)

    def __repr__(self) -> str:
        return f"{self.definition.name} made at {self.span}"


def default_parts(definition: Definition, static: Mapping[str, Any]) -> dict[str, ast.Expr]:
    """The static parameters whose value is a part that their default makes, such as `head: module = linear(classes)`, and that
    default."""
    return {
        str(item.name): item.default
        for item in static_fields(definition.node)
        if item.default is not None
        and isinstance(own := static.get(str(item.name)), Instance)
        and own.is_default
    }


@dataclass(frozen=True, eq=False)
class Archive:
    """`npz("table.npz")`: the NumPy arrays of a file, by name."""

    path: str
    arrays: NpzFile


@dataclass(frozen=True, eq=False)
class Method:
    """`vae.encode`: an entry of an instance, or `self`. `static` are the static arguments of an entry that has a list of such,
    `vae.sample(steps=20)`; None before they are given. `places` and `terms` are as in `Instance`."""

    instance: Instance
    entry: str
    static: dict[str, Any] | None = None
    places: dict[str, Span] = field(default_factory=dict)
    terms: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.instance.definition.name}.{self.entry}"

    @property
    def written(self) -> str:
        """How a text calls it, before its tensors."""
        owner = self.instance.name or ("self" if self.instance.path == "" else self.instance.definition.name)
        has_list = entries(self.instance.definition)[self.entry].static is not None
        return f"{owner}.{self.entry}" + ("(…)" if has_list else "")

    @property
    def is_recipe(self) -> bool:
        """Whether a call gives static arguments: `vae.sample`, where tensors come in a second call."""
        return self.static is None and entries(self.instance.definition)[self.entry].static is not None


@dataclass(frozen=True, slots=True)
class PathRef:
    """`net.bert` where `bert` is a part inside an instance: a path that leads to a parameter."""

    instance: Instance
    path: str


def frozen(value: Any) -> Any:
    """A hashable key of a static value. Instances written inline are known by what they are made of."""
    match value:
        case list() | tuple():
            return (type(value).__name__, *(frozen(each) for each in value))
        case dict():
            return tuple((key, frozen(value[key])) for key in sorted(value))
        case Instance():
            return ("instance", value.definition, frozen(value.static), value.is_bound)
        case Method():
            return ("entry", value.instance, value.entry, frozen(value.static))
        case bool() | str():
            return (type(value).__name__, value)
        case int() | float():  # traced or not
            return ("int" if isinstance(value, int) else "float", value)
    return value


def attribute(value: Any) -> Any:
    """A static value as an attribute of the IR: modules and functions by their names."""
    match value:
        case list() | tuple():
            return tuple(attribute(each) for each in value)
        case Dtype(name) | Definition(name=name) | Builtin(name=name) | PresetRef(name=name):
            return name
        case Instance():
            return show(value)
        case bool() | int() | float() | str() | None | Dim():
            return value
    return str(value)


def show(value: Any) -> str:
    """A value as the language would write it, for messages."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"' if len(value) <= 80 else f'"{value[:80]}…"'
        case list():
            return _limited("[", value, "]")
        case tuple():
            return _limited("(", value, ")")
        case Tensor():
            return str(value.type)
        case GroupValue():
            return f"{value.definition.name}({', '.join(name for name, _ in value.members)})"
        case Instance():
            return f"{value.definition.name}({settings(value.static)})"
        case Dtype(name):
            return name
    return str(value)


def _limited(left: str, items: Any, right: str) -> str:
    shown = [show(each) for each in items[:8]]
    if len(items) > 8:
        shown.append(f"… {len(items)} in all")
    return left + ", ".join(shown) + right


def settings(static: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={show(value)}" for name, value in static.items())


def type_name(value: Any) -> str:
    """What kind of value this is, for messages."""
    match value:
        case None:
            return "none"
        case bool():
            return "a bool"
        case int():
            return "an int"
        case float():
            return "a float"
        case str():
            return "a string"
        case list():
            return "a list"
        case tuple():
            return "a tuple"
        case Dim():
            return f"a dim ({value})"
        case Tensor():
            return f"a tensor {value.type}"
        case GroupValue():
            return f"a {value.definition.name}"
        case Dtype():
            return "a dtype"
        case Archive(path):
            return f'the file "{path}"'
        case Instance():
            return f"an instance of {value.definition.name}"
        case Definition(node=ast.ModuleDef()):
            return f"the module `{value.name}`"
        case Definition() | Builtin():
            return f"the function `{value.name}`"
        case PresetRef():
            return f"the model `{value.name}`"
        case Method():
            return f"the entry `{value.name}`"
    return "a value"


def is_callable(value: Any) -> bool:
    return isinstance(value, Definition | Builtin | Instance | Method | PresetRef | Poison)


DTYPE_VALUES = {name: Dtype(name) for name in DTYPES}


def unapplied(value: Any) -> str:
    """Help where a part stands in the place of what it computes, or text in the place of a tensor."""
    if isinstance(value, Instance):
        name = value.name or value.definition.name
        return f"apply it first: `{name}(x)`" if value.name else f"apply it: `x |> {name}(…)`"
    if isinstance(value, Definition) and not isinstance(value.node, ast.GroupDef):
        return (
            f"apply it: `x |> {value.name}(…)`"
            if isinstance(value.node, ast.ModuleDef)
            else f"call it: `{value.name}(x)`"
        )
    if isinstance(value, Builtin):
        return f"call it: `{value.name}(x)`"
    if isinstance(value, Method):
        return f"apply it: `{value.written}(x)`"
    if isinstance(value, tuple) and len(value) > 1:
        rest = "_, " * (len(value) - 2) + "_"
        return f"these are {len(value)} values: take them apart, `y, {rest} = …`"
    return "tensors come first, patterns and sizes after them" if isinstance(value, str) else ""


def is_plain(value: Any) -> bool:
    """Whether a static value is a number, a bool, a text, or a list of such."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return isinstance(value, bool | int | float | str)
