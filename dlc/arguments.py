"""What the functions of the Python API take, told at the call: a wrong argument by its name, and what is wanted in its place.

    @takes(seed=NATURAL, path=PATH)
    def read(path, *, seed=0): ...

Each kind gives the argument back as it is used inside: a NumPy integer as an int. What is of the right kind and still wrong (a
backend that is not there, weights that do not fit) is a diagnostic, raised where that is found out.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

Kind = Callable[[str, Any], Any]
SHOWN = 60


def takes(**kinds: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments of these names are of these kinds. Raises TypeError or ValueError for others."""

    def made(function: Callable[P, R]) -> Callable[P, R]:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        collected = code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if code.co_flags & 4 else ""

        @wraps(function)
        def called(*values: Any, **named: Any) -> R:
            given = [
                _seen(kinds, names[i] if i < len(names) else collected, each) for i, each in enumerate(values)
            ]
            return function(*given, **{name: _seen(kinds, name, each) for name, each in named.items()})

        called.__kinds__ = kinds  # type: ignore[attr-defined]
        return called

    return made


def _seen(kinds: Mapping[str, Kind], name: str, value: Any) -> Any:
    return kinds[name](name, value) if name in kinds else value


def wrong(name: str, wanted: str, value: Any, error: type[Exception] = TypeError) -> NoReturn:
    """Raises the error: `seed` must be …, not …."""
    raise error(f"`{name}` must be {wanted}, not {shown(value)}")


def shown(value: Any) -> str:
    """A value in a message: in full where it is short and plain, else by its type."""
    text = repr(value) if value is None or isinstance(value, bool | int | float | str | bytes | type) else ""
    return text if text and len(text) <= SHOWN else f"an object of type {type(value).__qualname__}"


# --- kinds


def text(wanted: str) -> Kind:
    """A str."""

    def kind(name: str, value: Any) -> str:
        return value if isinstance(value, str) else wrong(name, wanted, value)

    return kind


def flag(name: str, value: Any) -> bool:
    """True or False, NumPy's included: what is merely true or false is more often a mistake than meant."""
    if isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ == "bool"):
        return bool(value)
    return wrong(name, "True or False", value)


def natural(name: str, value: Any) -> int:
    """An integer from 0 on."""
    found = _integer(name, "an integer", value)
    return found if found >= 0 else wrong(name, "zero or more", value, ValueError)


def count(name: str, value: Any) -> int:
    """An integer from 1 on."""
    found = _integer(name, "an integer", value)
    return found if found > 0 else wrong(name, "one or more", value, ValueError)


def positive(name: str, value: Any) -> float:
    """A number above 0."""
    found = number(name, value)
    return found if found > 0 else wrong(name, "more than 0", value, ValueError)


def _integer(name: str, wanted: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or _has_axes(value):
        wrong(name, wanted, value)
    try:
        return operator.index(value)
    except TypeError:
        wrong(name, wanted, value)


def _has_axes(value: object) -> bool:
    return bool(getattr(value, "ndim", False))


def number(name: str, value: Any) -> float:
    """A number from 0 on."""
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__") or _has_axes(value):
        wrong(name, "a number", value)
    try:
        found = float(value)
    except OverflowError:
        found = float("inf")
    return found if found >= 0 else wrong(name, "zero or more", value, ValueError)


def path(name: str, value: Any) -> Any:
    """A file or a folder by its path."""
    return _path(name, "a path (a str or a Path)", value)


def _path(name: str, wanted: str, value: Any) -> Any:
    try:
        written = os.fspath(value)
    except TypeError:
        wrong(name, wanted, value)
    if not isinstance(written, str):
        wrong(name, wanted, value)
    if not written or "\0" in written:
        raise ValueError(f"`{name}` must be {wanted}, and {written!r} names no file")
    return value


def arrays(what: str) -> Kind:
    """A mapping from names to arrays, or what stands for them."""
    wanted = f"a mapping from {what} to arrays"

    def kind(name: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            wrong(name, wanted, value)
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"`{name}` must be {wanted}; {shown(key)} is no name")
            if each is None or isinstance(each, str | bytes | Mapping | set | type):
                raise TypeError(f"`{name}` must be {wanted}; at {key!r} is {shown(each)}")
            if type(each).__name__ == "MaskedArray" and each.mask.any():
                raise ValueError(f"{key!r} of `{name}` has masked elements: fill them, `array.filled(0)`")
        return value

    return kind


def tensors(what: str) -> Kind:
    """A file of tensors by its path, or a mapping from names to arrays."""
    inside = arrays(what)

    def kind(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return inside(name, value)
        return _path(name, f"the path of a file, or a mapping from {what} to arrays", value)

    return kind


def sizes(name: str, value: Any) -> dict[str, int]:
    """A mapping from names of dims to sizes."""
    wanted = "a mapping from dims to sizes"
    if not isinstance(value, Mapping):
        wrong(name, wanted, value)
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"`{name}` must be {wanted}; {shown(key)} is no name of a dim")
    return {key: natural(key, each) for key, each in value.items()}


def files(name: str, value: Any) -> tuple[str, ...]:
    """Several files or texts, in a list or the like; a single one is not taken apart."""
    wanted = "a list or tuple of files or texts"
    if isinstance(value, str | bytes | os.PathLike | Mapping) or not hasattr(value, "__iter__"):
        wrong(name, wanted, value)
    try:
        found = tuple(value)
    except TypeError:  # an array without axes
        wrong(name, wanted, value)
    for each in found:
        if not isinstance(each, str | os.PathLike):
            raise TypeError(f"`{name}` must be {wanted}; {shown(each)} is in it")
        if "\0" in os.fspath(each):
            raise ValueError(f"`{name}` must be {wanted}, and {os.fspath(each)!r} is none")
    if not found:
        raise ValueError(f"`{name}` must be {wanted}, and there is none in it")
    return tuple(map(os.fspath, found))


def names(what: str) -> Kind:
    """Several names, in a list or the like; a single str is not taken apart into its letters."""
    wanted = f"a list or tuple of {what}"

    def kind(name: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            wrong(name, wanted, value)
        try:
            found = tuple(value)
        except TypeError:  # an array without axes
            wrong(name, wanted, value)
        for each in found:
            if not isinstance(each, str):
                raise TypeError(f"`{name}` must be {wanted}; {shown(each)} is in it")
        if not found:
            raise ValueError(f"`{name}` must be {wanted}, and there is none in it")
        return found

    return kind


def instance(wanted: str, *kinds: type) -> Kind:
    """A value of a class."""

    def kind(name: str, value: Any) -> Any:
        return value if isinstance(value, kinds) else wrong(name, wanted, value)

    return kind


def optional(inner: Kind) -> Kind:
    """The same, or None."""
    return lambda name, value: None if value is None else inner(name, value)


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for static parameters. Whether they fit is the spec's to say; what no spec can take is refused here."""
    return {name: _setting(name, value) for name, value in given.items()}


def _setting(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        found = [_setting(name, each) for each in value]
        return tuple(found) if isinstance(value, tuple) else found
    if value is None or isinstance(value, bool | int | float | str) or _is_ours(value):
        return value
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 and value.dtype.kind in "biuf":
        return value.item()
    return wrong(name, "a number, a bool, a str, a list or tuple of such, or None", value)


def _is_ours(value: Any) -> bool:
    """A value of the language, as the command line reads them: a dtype, a config."""
    return type(value).__module__.startswith("dlc.")


BACKEND = text('the name of a backend, such as "torch"')
PRECISION = text('a precision, such as "f32"')
TARGET = text("the text of a target")
DEVICE = text('the name of a device, such as "cpu"')
THROUGH = optional(text("the name of a `weights` block"))
WEIGHTS = optional(tensors("the paths of parameters"))


def by_name(values: Sequence[Any], names: Iterable[str]) -> None:
    """TypeError for settings that are given by place."""
    if values:
        named = ", ".join(f"{name}=…" for name in names)
        raise TypeError(f"settings are given by name: {named}" if named else "there are no settings to give")
