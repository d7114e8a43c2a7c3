"""Dataclasses that are cheap to make: `from dlc.records import dataclass` in the place of `from dataclasses import dataclass`.

The standard one writes source for `__init__`, `__eq__`, `__hash__`, `__repr__`, `__setattr__` and `__delattr__` of each class and
compiles it: close to half a millisecond a class. A check meets 140 classes and is over in 200 ms, most of them never made an
instance of. So here the standard one only collects fields, and each method is one closure over their names. What a class can
do stays the same: `replace`, `fields`, patterns by position, comparing, hashing, printing, copying, pickling.

Making an instance takes about a fifth longer than with code of its own. A class of which a file of text makes tens of thousands
(`Span`, `Token`) stays a standard one, and so does one in a part that a check does not import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # all that a type checker needs to know
else:
    import dataclasses
    from operator import attrgetter
    from reprlib import recursive_repr

    _MISSING = dataclasses.MISSING
    _put = object.__setattr__  # past a frozen class's own

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True, kw_only=False):
        """As `dataclasses.dataclass`, with the options that are used here."""

        def make(cls):
            return _made(cls, frozen, slots, eq, repr, kw_only)

        return make if cls is None else make(cls)

    def _made(cls, frozen, slots, eq, repr, kw_only):
        own = cls.__dict__
        # Without a text the standard one makes one from the signature, at half the price of the class.
        cls.__doc__ = cls.__doc__ or f"{cls.__name__}({', '.join(own.get('__annotations__', ()))})"
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
        fields = tuple(dataclasses.fields(made))
        methods = {"__init__": _init(made, fields)}
        if repr:
            methods["__repr__"] = _repr(fields)
        if eq:
            methods["__eq__"], hashes = _comparing([each.name for each in fields if each.compare])
            # As in the standard one: what compares by value and can change has no hash.
            methods["__hash__"] = hashes if frozen else None
        if frozen:
            methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
        if frozen and slots:  # else copying sets attributes one by one, which is refused
            methods["__getstate__"], methods["__setstate__"] = _state([each.name for each in fields])
        for name, method in methods.items():
            if own.get(name) is None:  # a class with an `__eq__` of its own has None for `__hash__`
                setattr(made, name, method)
        return made

    def _init(cls, fields):
        names = [each.name for each in fields if not each.kw_only]
        named_only = [each for each in fields if each.kw_only]
        by_place = [each for each in fields if not each.kw_only]
        # For each number of values given by position: the fields that are left, with their defaults.
        left = [
            [(each.name, each.default) for each in (*by_place[n:], *named_only)]
            for n in range(len(names) + 1)
        ]
        after = hasattr(cls, "__post_init__")

        def __init__(self, /, *values, **named):
            if len(values) > len(names):
                raise TypeError(f"{cls.__name__}() takes {len(names)} values by position, not {len(values)}")
            for name, value in zip(names, values):  # noqa: B905 - the rest follows
                _put(self, name, value)
            for name, default in left[len(values)]:
                value = named.pop(name, default)
                _put(self, name, _made_default(cls, name) if value is _MISSING else value)
            if named:
                raise TypeError(f"{cls.__name__}() has no place for {', '.join(named)}")
            if after:
                self.__post_init__()

        return __init__

    def _made_default(cls, name):
        make = cls.__dataclass_fields__[name].default_factory
        if make is _MISSING:
            raise TypeError(f"{cls.__name__}() needs {name}")
        return make()

    def _comparing(names):
        values = attrgetter(*names) if names else lambda self: ()

        def __eq__(self, other):
            return values(self) == values(other) if type(self) is type(other) else NotImplemented

        def __hash__(self):
            return hash(values(self))

        return __eq__, __hash__

    def _repr(fields):
        names = [each.name for each in fields if each.repr]

        @recursive_repr()
        def __repr__(self):
            shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            return f"{type(self).__qualname__}({shown})"

        return __repr__

    def _state(names):
        def __getstate__(self):
            return [getattr(self, name) for name in names]

        def __setstate__(self, state):
            for name, value in zip(names, state, strict=True):
                _put(self, name, value)

        return __getstate__, __setstate__

    def _refuse(self, name, *value):
        raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")
