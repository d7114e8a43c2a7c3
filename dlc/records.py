"""Dataclasses that are cheap to make: `from dlc.records import dataclass` in the place of `from dataclasses import dataclass`.

The standard one writes source for `__init__`, `__eq__`, `__hash__`, `__repr__`, `__setattr__` and `__delattr__` of each class and
compiles it: close to half a millisecond a class, and its module loads `inspect`, which takes as long as a dozen of ours. A check
meets 150 classes and is over in 200 ms, most of them never made an instance of. So here each method is one closure over the names
of the fields, and only a class of which a hundredth instance is made gets an `__init__` of its own. What a class can do stays the
same: `replace`, `fields`, patterns by position, comparing, hashing, printing, copying, pickling; those of `dataclasses` work too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

OFTEN = 100
"""Of a class of which so many are made, code of its own pays."""

if TYPE_CHECKING:  # all that a type checker needs to know
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    import operator
    from operator import attrgetter
    from reprlib import recursive_repr

    _MISSING = object()
    _put = object.__setattr__  # past a frozen class's own
    _ORDER = {f"__{name}__": getattr(operator, name) for name in ("lt", "le", "gt", "ge")}

    class _Field:
        """What `field` says of a field, as the standard one's."""

        __slots__ = ("compare", "default", "default_factory", "init", "kw_only", "name", "repr", "type")

        def __init__(
            self, default, default_factory=_MISSING, repr=True, compare=True, kw_only=False, init=True
        ):
            self.name = self.type = ""
            self.default, self.default_factory = default, default_factory
            self.repr, self.compare, self.kw_only, self.init = repr, compare, kw_only, init

        @property
        def is_required(self):
            return self.default is _MISSING and self.default_factory is _MISSING

    def field(
        *, default=_MISSING, default_factory=_MISSING, repr=True, compare=True, kw_only=False, init=True
    ):
        """As `dataclasses.field`, with the options that are used here."""
        return _Field(default, default_factory, repr, compare, kw_only, init)

    def fields(kind):
        """As `dataclasses.fields`, of a class or an instance."""
        return kind.__record__

    def replace(value, /, **changes):
        """As `dataclasses.replace`, of a standard dataclass too."""
        kind = type(value)
        own = kind.__dict__
        names = own.get("__all_fields__")
        if names is None:
            from dataclasses import replace as standard

            return standard(value, **changes)
        places = own["__places__"]
        if len(places) < len(names):  # some are given by name alone
            return kind(**{name: getattr(value, name) for name in names} | changes)
        values = own["__values__"](value)
        for name, new in changes.items():
            if name not in places:
                raise TypeError(f"{kind.__name__}() has no place for {name}")
            values[places[name]] = new
        return kind(*values)

    class _Params:
        """What the standard decorator asks of the bases of a class."""

        def __init__(self, frozen):
            self.frozen = frozen

    class _Standard:
        """`__dataclass_fields__`, made when `dataclasses` asks for it."""

        def __get__(self, instance, owner):
            import dataclasses

            body = {"__annotations__": {}}
            for each in owner.__record__:
                body["__annotations__"][each.name] = each.type
                given = {} if each.default is _MISSING else {"default": each.default}
                given |= {} if each.default_factory is _MISSING else {"default_factory": each.default_factory}
                body[each.name] = dataclasses.field(
                    repr=each.repr, compare=each.compare, kw_only=each.kw_only, init=each.init, **given
                )
            plain = dataclasses.dataclass(init=False, repr=False, eq=False)(type(owner.__name__, (), body))
            found = plain.__dataclass_fields__
            owner.__dataclass_fields__ = found
            return found

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True, kw_only=False, order=False):
        """As `dataclasses.dataclass`, with the options that are used here."""

        def make(cls):
            return _made(cls, frozen, slots, eq, repr, kw_only, order)

        return make if cls is None else make(cls)

    def _made(cls, frozen, slots, eq, repr, kw_only, order):
        own = cls.__dict__
        found = _collected(cls, kw_only)
        given = [each for each in found if each.init]
        by_place = tuple(each.name for each in given if not each.kw_only)
        methods = {
            "__record__": found,
            "__all_fields__": tuple(each.name for each in given),
            "__match_args__": by_place,
            "__values__": _listing(by_place),
            "__places__": {name: i for i, name in enumerate(by_place)},
            "__dataclass_fields__": _Standard(),
            "__dataclass_params__": _Params(frozen),
            "__doc__": cls.__doc__ or f"{cls.__name__}({', '.join(own.get('__annotations__', ()))})",
        }
        if repr:
            methods["__repr__"] = _repr([each.name for each in found if each.repr], frozen)
        if eq:
            methods |= _comparing([each.name for each in found if each.compare], frozen, order)
        if frozen:
            methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
        if frozen and slots:  # else copying sets attributes one by one, which is refused
            methods["__getstate__"], methods["__setstate__"] = _state([each.name for each in found])
        made = _slotted(cls, found) if slots else cls
        methods["__init__"] = _init(made, given, by_place, frozen)
        for name, method in methods.items():
            if own.get(name) is None:  # a class with an `__eq__` of its own has None for `__hash__`
                setattr(made, name, method)
        return made

    def _collected(cls, kw_only):
        """The fields of a class, those of its bases first."""
        found = {}
        for base in reversed(cls.__mro__[1:]):
            found.update((each.name, each) for each in base.__dict__.get("__record__", ()))
        for name, type in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 - without `inspect`
            if type.startswith("ClassVar"):
                continue
            given = cls.__dict__.get(name, _MISSING)
            each = _field(given)
            each.name, each.type, each.kw_only = name, type, kw_only or each.kw_only
            found[name] = each
            if each.default is not _MISSING:
                setattr(cls, name, each.default)
            elif given is not _MISSING:
                delattr(cls, name)
        return tuple(found.values())

    def _field(given):
        """What stands behind the annotation, as a field: a default, ours, or the standard one."""
        if isinstance(given, _Field):
            return given
        if type(given).__module__ != "dataclasses" or type(given).__name__ != "Field":
            return _Field(given)
        import dataclasses

        default, factory = (
            _MISSING if each is dataclasses.MISSING else each
            for each in (given.default, given.default_factory)
        )
        return _Field(default, factory, given.repr, given.compare, given.kw_only is True, given.init)

    def _slotted(cls, found):
        """The class again, with a slot for each field: slots can't be added to one that is there."""
        inherited = {name for base in cls.__mro__[1:] for name in base.__dict__.get("__slots__", ())}
        names = [each.name for each in found]
        body = {name: value for name, value in cls.__dict__.items() if name not in names}
        body.pop("__dict__", None)
        body.pop("__weakref__", None)
        body["__slots__"] = tuple(name for name in names if name not in inherited)
        body["__qualname__"] = cls.__qualname__
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _init(cls, found, names, frozen):
        named_only = [each for each in found if each.kw_only]
        by_place = [each for each in found if not each.kw_only]
        # For each number of values given by position: the fields that are left.
        left = [(*by_place[n:], *named_only) for n in range(len(names) + 1)]
        after = hasattr(cls, "__post_init__")
        count = 0

        def __init__(self, /, *values, **named):
            nonlocal count
            count += 1
            if count == OFTEN and cls.__dict__["__init__"] is __init__:
                cls.__init__ = _compiled(cls, found, frozen, after)
            if len(values) > len(names):
                raise TypeError(f"{cls.__name__}() takes {len(names)} values by position, not {len(values)}")
            for name, value in zip(names, values):  # noqa: B905 - the rest follows
                _put(self, name, value)
            for each in left[len(values)]:
                value = named.pop(each.name, each.default)
                _put(self, each.name, _made_default(cls, each) if value is _MISSING else value)
            if named:
                raise TypeError(f"{cls.__name__}() has no place for {', '.join(named)}")
            if after:
                self.__post_init__()

        return __init__

    def _compiled(cls, found, frozen, after):
        """An `__init__` as one would write it by hand."""
        scope = {"_missing": _MISSING, "_put": _put}
        heads, lines = {False: ["self"], True: []}, []
        for i, each in enumerate(found):
            name, value = each.name, each.name
            if not each.is_required:
                scope[f"_default{i}"] = each.default
                if each.default_factory is not _MISSING:
                    scope[f"_make{i}"] = each.default_factory
                    value = f"_make{i}() if {name} is _missing else {name}"
            heads[each.kw_only].append(name if each.is_required else f"{name}=_default{i}")
            slot = getattr(cls, name, None)
            if not frozen:
                lines.append(f"self.{name} = {value}")
            elif type(slot).__name__ == "member_descriptor":
                scope[f"_set{i}"] = slot.__set__
                lines.append(f"_set{i}(self, {value})")
            else:
                lines.append(f"_put(self, '{name}', {value})")
        lines += ["self.__post_init__()"] if after else []
        head = ", ".join(heads[False] + (["*", *heads[True]] if heads[True] else []))
        exec(f"def __init__({head}):\n " + "\n ".join(lines or ["pass"]), scope)
        return scope["__init__"]

    def _made_default(cls, each):
        if each.default_factory is _MISSING:
            raise TypeError(f"{cls.__name__}() needs {each.name}")
        return each.default_factory()

    def _listing(names):
        """The values of a record's fields as a list."""
        if len(names) < 2:
            return lambda self: [getattr(self, name) for name in names]
        values = attrgetter(*names)
        return lambda self: [*values(self)]

    def _comparing(names, frozen, order):
        values = attrgetter(*names) if names else lambda self: ()

        def __eq__(self, other):
            return values(self) == values(other) if type(self) is type(other) else NotImplemented

        def __hash__(self):
            return hash(values(self))

        def ordering(compare):
            return lambda self, other: (
                compare(values(self), values(other)) if type(self) is type(other) else NotImplemented
            )

        # As in the standard one: what compares by value and can change has no hash.
        found = {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}
        return found | ({name: ordering(each) for name, each in _ORDER.items()} if order else {})

    def _repr(names, frozen):
        def __repr__(self):
            shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
            return f"{type(self).__qualname__}({shown})"

        # Into what is frozen a circle comes by a list or the like alone, which sees it itself.
        return __repr__ if frozen else recursive_repr()(__repr__)

    def _state(names):
        def __getstate__(self):
            return [getattr(self, name) for name in names]

        def __setstate__(self, state):
            for name, value in zip(names, state, strict=True):
                _put(self, name, value)

        return __getstate__, __setstate__

    def _refuse(self, name, *value):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot change field {name!r}")
