"""`init(key, config)`: the initial parameters and buffers, by the structure of the modules.

    def init_mlp(key: Array, *, d: int, layers: int, dtype: DTypeLike) -> Params:
        keys = jax.random.split(key, 2)
        return {
            "c_fc": init_linear(keys[0], d, 4 * d, dtype, std=0.02),
            "c_proj": init_linear(keys[1], 4 * d, d, dtype, std=0.02 / math.sqrt(2 * layers)),
        }

A module's function takes the static parameters that its shapes speak of, and those of a module around it that one of the spec's
`init` rules there speaks of. Instances that begin otherwise than others of their module have a function of their own.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from dlc.emit.arguments import argument_name, by_name
from dlc.emit.forms import call
from dlc.emit.initial import Form, in_sizes, recognise
from dlc.emit.layout import INDENT, layout
from dlc.emit.names import Told, identifier, snake, unique
from dlc.emit.origins import expression, numbered, size
from dlc.emit.python import docstring
from dlc.emit.ranges import numbers
from dlc.emit.requirements import words
from dlc.emit.settled import ForOneSetting
from dlc.emit.tree import (
    Arg,
    Binary,
    Call,
    Conditional,
    DictGen,
    Expr,
    Keyword,
    Num,
    Seq,
    Word,
    text,
    the,
    transform,
    walk,
)
from dlc.ir.index import upto_index
from dlc.ir.nodes import Child, Function, Op, Param
from dlc.ir.splice import prefixed
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.terms import names, origin_free, untraced
from dlc_jax import rows
from dlc_jax.distributions import SCALES, drawn, draws, number, scale_of
from dlc_jax.init_source import Item, result_type, trees_of, written
from dlc_jax.parts import by_turn, calling, condition, given_to, kind_of, turn_variable
from dlc_jax.places import Counted, Layout, Stack, at, in_words, turn_key
from dlc_jax.units import RESERVED, Units

Lines = list[str]
Extra = tuple[str, str]
"""A static parameter of a module around: the module's name in the spec, the parameter's."""
Inits = dict[str, str]
"""The functions of initial values by path in an instance; "" where turns of a loop differ."""

# What the library calls the sizes of its inputs, as arguments.
WORDS = {"i": "inputs", "C": "channels"}
DTYPE = Word("dtype")


@dataclass
class Maker:
    """A function that makes initial values. `words` are its own static parameters that it takes, `numbers` those that the call
    gives for a distribution, `extras` those of modules around."""

    name: str
    function: str
    trees: tuple[str, ...]
    draws: bool
    words: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    extras: dict[Extra, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    """What its words are called as arguments."""
    plain: bool = False
    """Whether it takes them by place, but for those that have defaults."""
    defaults: dict[str, Expr] = field(default_factory=dict)


@dataclass
class Init:
    """`init` of a program, and the functions that it calls. `main` says how the model's static parameters are read."""

    units: Units
    config: bool
    precision: str
    names: set[str] = field(default_factory=set)
    made: dict[tuple[str, str], Maker] = field(default_factory=dict)
    makers: dict[str, list[tuple[Inits, Maker]]] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    apart: set[str] = field(default_factory=set)
    """The names that tell one function from another."""
    functions: list[Lines] = field(default_factory=list)
    read: list[Expr] = field(default_factory=list)
    """The model's static parameters that it reads."""

    def __post_init__(self) -> None:
        self.program = self.units.program
        self.places = self.units.places
        self.final = {each.path: each.init for each in self.program.parameters}

    def lines(self) -> Lines:
        """The function `init`; those that it calls are in `functions`."""
        main = self.program.main
        body = _Body(self, main, self._inits(main.name, ""), "")
        items = list(body.items())
        body.check_extras()
        trees = trees_of(items) or ("params",)
        trees = ("params", *trees) if trees == ("state",) else trees  # `apply` takes both
        arguments = ["key: Array", *(["config: Config = CONFIG"] if self.config else [])]
        arguments.append(f"dtype: DTypeLike = {rows.DTYPES[self.precision]}")
        what = "Initial parameters and state" if "state" in trees else "Initial parameters"
        own = {name: f"config.{argument_name(name, RESERVED)}" for name in words(main)}
        self.read += [item.made for item in items] + [each.when for each in items if each.when is not None]
        return [
            *layout(f"def init({', '.join(arguments)}) -> {result_type(trees)}:"),
            f'{INDENT}"""{what}."""',
            *written(items, trees, own),
        ]

    # --- which function gives the initial value of what

    def _inits(self, name: str, prefix: str) -> Inits:
        """The functions of initial values of an instance, by path in it: with `{i}` where the turns of a loop agree."""
        found: Inits = {}

        def enter(path: str, init: str) -> None:
            found[path] = init if found.get(path, init) == init else ""

        for param, (_, child) in _parts(self.places.layout(name), self.units):
            if param is not None:
                final = self.final.get(prefixed(prefix, param.name))
                if final is not None:
                    enter(param.name, final)
            elif child is not None:
                for path in child.paths():
                    inner = self._inits(child.function, prefixed(prefix, path))
                    for rest, init in inner.items():
                        enter(f"{child.path}.{rest}", init)
        return found

    def is_own(self, form: Form, init: Function, owner: Function) -> bool:
        """Whether the numbers of a distribution are in the words of the parameter's owner, not of the module around that has the
        rule: those of a rule for shapes (`kaiming_normal`, `fan_in`) are."""
        read = names(scale_of(form))
        if init.scope in ("", owner.source) or (form.by_shape and read & words(owner)):
            return True
        around = (each for each in self.program.functions.values() if each.source == init.scope)
        return bool(read) and not read & words(next(around, owner))

    def is_gone(self, scope: str) -> bool:
        """Whether the module that has a rule is written out where it was called: nothing has its words then."""
        return bool(scope) and not any(each.source == scope for each in self.program.functions.values())

    def maker(self, name: str, inits: Inits, prefix: str) -> Maker:
        """The function that makes an instance with these initial values."""
        known = self.makers.setdefault(self.places.groups[name][0].name, [])
        for own, maker in known:
            if all(own.get(path, init) == init for path, init in inits.items()) and "" not in inits.values():
                return maker
        function = self.program.functions[name]
        for parameter in self._all(name, ""):
            inits.setdefault(parameter[0], parameter[1])
        maker = self._written(function, inits, prefix)
        known.append((inits, maker))
        return maker

    def _all(self, name: str, prefix: str) -> Iterator[tuple[str, str]]:
        """The paths of all parameters of an instance, with their modules' own initial values."""
        for param, (_, child) in _parts(self.places.layout(name), self.units):
            if param is not None:
                yield prefixed(prefix, param.name), param.init
            elif child is not None:
                yield from self._all(child.function, prefixed(prefix, child.path))

    # --- functions

    def _written(self, function: Function, inits: Inits, prefix: str) -> Maker:
        body = _Body(self, function, inits, prefix)
        items = list(body.items())
        trees = trees_of(items)
        exprs = [*(each.made for each in items), *(each.when for each in items if each.when is not None)]
        exprs += body.locals.values()
        read = {node.name for expr in exprs for node in walk(expr) if isinstance(node, Arg)}
        own = [name for name, _ in function.sizes] + [setting.name for setting in function.settings]
        words = tuple(name for name in own if name in read)
        said = {name: _word(name, function, own) for name in words}
        numbers = tuple(body.numbers)
        plain = function.library and not function.children
        maker = Maker(
            "",
            function.name,
            trees,
            any(item.draws for item in items),
            words,
            numbers,
            body.extras,
            said,
            plain,
        )
        lines = [f"{INDENT}{name} = {text(by_name(expr, said))}" for name, expr in body.locals.items()]
        lines += written(items, trees, {**said, **{name: name for name in (*numbers, *body.extras.values())}})
        keywords = [f"{said[name]}: {kind_of(function, name)}" for name in words]
        more = [f"{each}: float" for each in numbers] + [
            f"{name}: {self._kind(*each)}" for each, name in body.extras.items()
        ]
        first = ["key: Array"] if maker.draws else []
        if plain:
            maker.defaults = _defaults(function, words)
            placed = [each for name, each in zip(words, keywords, strict=True) if name not in maker.defaults]
            named = [
                f"{each} = {text(maker.defaults[name])}"
                for name, each in zip(words, keywords, strict=True)
                if name in maker.defaults
            ]
            more += named
            arguments = [*first, *placed, "dtype: DTypeLike", *(["*", *more] if more else [])]
        else:
            arguments = [*first, "*", *keywords, *more, "dtype: DTypeLike"]
        head = f"({', '.join(arguments)}) -> {result_type(trees)}:"
        base = f"init_{snake(function.source.strip('_'))}"
        shared = self.made.get((base, "\n".join((head, *lines))))
        if shared is not None:
            return replace(maker, name=shared.name)
        maker.name = self._named(base, items, numbers)
        self.names.add(maker.name)
        self.made[base, "\n".join((head, *lines))] = maker
        what = (
            "Initial parameters and state"
            if len(trees) > 1
            else f"Initial {trees[0] if trees else 'nothing'}"
        )
        what = what.replace("params", "parameters")
        doc = docstring(f"{what} of `{function.source}`.", 4)
        self.functions.append([*layout(f"def {maker.name}{head}"), *doc, *lines])
        return maker

    def _named(self, base: str, items: Sequence[Item], numbers: Sequence[str]) -> str:
        taken = {*self.names, *(each.name for each in self.units.by_name.values())}
        made = [node.function for item in items for node in walk(item.made) if isinstance(node, Call)]
        called = [each.text for each in made if isinstance(each, Word)]
        parts = [key for item in items for key in item.keys if not isinstance(key, Counted)]
        own = [*(["key"] if any(item.draws for item in items) else []), *parts, *numbers]
        own += (each.removeprefix("init_") for each in called if each not in self.apart)
        name = self.told.name(base, own, taken)
        self.apart |= {name} - {base}
        return name

    def _kind(self, source: str, name: str) -> str:
        found = (each for each in self.program.functions.values() if each.source == source)
        return next((kind_of(each, name) for each in found), "int")


def _defaults(function: Function, words: Sequence[str]) -> dict[str, Expr]:
    """The words of a layer that have a default."""
    settings = {each.name: each.default for each in function.settings}
    found = {name: default for name in words if (default := settings.get(name)) is not None}
    return {name: expression(default) for name, default in found.items() if default.op == "const"}


def _word(name: str, function: Function, own: Sequence[str]) -> str:
    usual = "d" if name[0] == "S" and name[1:].isdigit() else name
    word = WORDS.get(name, usual) if function.library else name
    return argument_name(name if word in own and word != name else word, RESERVED)


def _parts(layout: Layout, units: Units) -> Iterator[tuple[Param | None, tuple[str, Child | None]]]:
    """The parameters and instances of a layout, each once; instances that stand in a layer of a loop are its own."""
    for param in layout.params.values():
        if param.kind != "prepared":
            yield param, ("", None)
    for path, same in layout.children.items():
        if units.places._is_layer(layout, path):
            continue
        seen: set[str] = set()
        for child in same:
            group = units.places.groups[child.function][0].name
            if group not in seen:
                seen.add(group)
                yield None, (path, child)


# --- one function ------------------------------------------------------------------------------------------------


@dataclass
class _Body:
    """What makes the parts of one function's instances."""

    init: Init
    function: Function
    inits: Inits
    prefix: str
    extras: dict[Extra, str] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    """What the call gives for a distribution, and the parameter that is drawn from it."""
    locals: dict[str, Expr] = field(default_factory=dict)
    """Numbers that are computed before the parts are made, by variable."""

    def items(self) -> Iterator[Item]:
        layout = self.init.places.layout(self.function.name)
        parts = list(_parts(layout, self.init.units))
        own = words(self.function)
        for param, (path, child) in parts:
            if param is not None:
                keys = self._keys(layout, param)
                made, does_draw = self._value(param, self.inits.get(param.name) or param.init)
                tree = "state" if param.kind == "buffer" else "params"
                when = condition(param.when)
                yield Item(
                    keys, (tree,), numbered(made, own), does_draw, when, reads=bool(self._sources(param))
                )
            elif child is not None:
                keys = in_words(self.init.places.keys(layout, path))
                for item in self._child(child, keys):
                    inside = {tree: self._containers(child, keys, item, tree) for tree in item.trees}
                    made = numbered(item.made, own)
                    yield replace(
                        item,
                        made=made,
                        when=None if by_turn(child) else condition(child.when),
                        containers=inside,
                    )

    def _containers(self, child: Child, keys: tuple[str, ...], item: Item, tree: str) -> set[tuple[str, ...]]:
        below = self.init.places.containers(child.function, tree) if item.keys == keys else set()
        return {(*keys, *each) for each in below} | {keys[:n] for n in range(len(keys))}

    def _keys(self, layout: Layout, param: Param) -> tuple[str, ...]:
        moved = layout.moved.get(param.name)
        return (moved,) if moved else tuple(param.name.split("."))

    # --- parameters

    def _sources(self, param: Param) -> tuple[str, ...]:
        """The parameters that its initial value is computed of, where no rule gives another."""
        return param.sources if self.inits.get(param.name, param.init) == param.init else ()

    def _source(self, path: str) -> Expr:
        layout = self.init.places.layout(self.function.name)
        param = layout.params[path]
        tree = Word("state" if param.kind == "buffer" else "params")
        return at(tree, self._keys(layout, param))

    def _value(self, param: Param, name: str) -> tuple[Expr, bool]:
        """The initial value of a parameter of this function, and whether it is drawn."""
        function = self.init.program.functions[name]
        form = told(function, param)
        dtype = DTYPE if param.type.dtype == "float" else Word(rows.DTYPES[param.type.dtype])
        if form is None:
            return self._computed(param, function)
        shape = Seq(tuple(size(axis) for axis in param.type.axes))
        whole = not param.type.is_float
        if whole:
            form = replace(form, shift=int(form.shift))
        scale = self._scale(param, form, function)
        return drawn(form, Word("KEY"), shape, dtype, scale), draws(form)

    def _scale(self, param: Param, form: Form, function: Function) -> Expr:
        value = scale_of(form)
        if self.init.is_gone(function.scope) and not form.by_shape:
            value = untraced(value)
        plain = not names(value)
        here = self.init.is_own(form, function, self.function)
        if not here and self.function.library and not self.function.children and form.draw != "constant":
            hint = SCALES[form.draw]
            several = hint in self.numbers or hint in self.locals
            found = f"{identifier(param.name)}_{hint}" if several else hint
            self.numbers[found] = param.name
            return Arg(found)
        if form.draw == "constant" and isinstance(value, int) and not isinstance(value, bool) and plain:
            return Num(int(value))
        if self.function.library and here and not plain:
            expr = number(value)
            if function.scope:
                expr = self._outer(expr, function.scope, words(self.function))
            return self._local(param, SCALES[form.draw], numbered(expr, words(self.function)))
        return number(value) if plain or here else self._outer(number(value), function.scope)

    def _local(self, param: Param, hint: str, expr: Expr) -> Expr:
        """A variable for a number that is computed from sizes."""
        match expr:
            case Conditional(condition, then) if then in self.locals.values() and _asks_for(condition, then):
                expr = then  # which has failed before where the condition does not hold
        free = hint not in self.numbers and self.locals.get(hint, expr) == expr
        name = hint if free else f"{identifier(param.name)}_{hint}"
        self.locals[name] = expr
        return Word(name)

    def _outer(self, expr: Expr, scope: str, own: Container[str] = ()) -> Expr:
        """An expression over static parameters of a module around, and `own` ones of this one: `fan_in` beside `layers`."""

        def change(node: Expr) -> Expr:
            match node:
                case Arg(name) if name not in own:
                    return Arg(self.extra((scope, name)))
            return node

        return transform(numbered(expr), change)

    def extra(self, wanted: Extra) -> str:
        """The argument for a static parameter of a module around this one."""
        if wanted[0] == self.function.source:
            return wanted[1]
        if wanted not in self.extras:
            taken = {*words(self.function), *self.extras.values(), *RESERVED, *self.numbers}
            name = wanted[1] if wanted[1] not in taken else f"{snake(wanted[0])}_{wanted[1]}"
            self.extras[wanted] = unique(name, taken)
        return self.extras[wanted]

    def check_extras(self) -> None:
        """What no module around has can't be said."""
        if self.extras:
            raise ForOneSetting(f"initial values of {', '.join(map(str, self.extras))}")

    def _computed(self, param: Param, function: Function) -> tuple[Expr, bool]:
        """An initial value that is no known distribution: a function's."""
        unit = self.init.units.add(function.name, f"initial_{snake(param.name.rpartition('.')[2])}")
        own = words(self.function)
        args: list[Expr] = [
            Keyword(
                each.name, Arg(each.spec if each.spec in own else self.extra((function.scope, each.spec)))
            )
            for each in unit.arguments
        ]
        if the("dtype") in unit.draft.needs:
            args.append(Keyword("dtype", DTYPE))
        key = [Keyword("key", Word("KEY"))] if unit.traits.key else []
        sources = map(self._source, self._sources(param))
        return call(unit.name, *sources, *args, *key), bool(unit.traits.key)

    # --- instances

    def _child(self, child: Child, keys: tuple[str, ...]) -> Iterator[Item]:
        inits = _below(self.inits, child.path)
        function = self.init.program.functions[child.function]
        group = self.init.places.groups[self.function.name]
        op = calling(group, child)
        stack = self.init.places.layout(self.function.name).stacks.get(upto_index(child.path))
        if by_turn(child) and stack is not None:
            yield from self._either(child, keys, stack)
            return
        if child.count and stack is not None and stack.apart:
            yield self._apart(child, keys, function, op, stack)
            return
        if child.count and "" in inits.values():
            yield self._turns(child, keys, function, op)
            return
        maker = self.init.maker(child.function, inits, prefixed(self.prefix, next(child.paths())))
        if op is not None and any(term.holds("each") for name, term in op.given if name in maker.words):
            raise ForOneSetting("layers that begin otherwise by their number")
        arguments = self._arguments(maker, function, inits, op)
        if not child.count:
            first = [Word("KEY")] if maker.draws else []
            yield Item(keys, maker.trees, call(maker.name, *first, *arguments), maker.draws)
            return
        count = Num(child.count, "count")
        if maker.draws:
            # What is given by place would stand where the key belongs.
            named = self._arguments(maker, function, inits, op, by_name=True)
            made = call("init_layers", call("partial", Word(maker.name), *named), Word("KEY"), count)
        else:
            made = call("repeated", call(maker.name, *arguments), count)
        yield Item(keys, maker.trees, made, maker.draws)

    def _arguments(
        self, maker: Maker, function: Function, inits: Inits, op: Op | None, *, by_name: bool = False
    ) -> list[Expr]:
        """What a function that makes an instance is given."""
        owner = self.init.program.functions[maker.function]
        values: list[tuple[str, Expr]] = [
            (maker.said[name], given_to(name, function if name in words(function) else owner, op))
            for name in maker.words
        ]
        usual = {maker.said[name]: default for name, default in maker.defaults.items()}
        named = [
            Keyword(name, value)
            for name, value in values
            if (by_name or not maker.plain or name in usual) and usual.get(name) != value
        ]
        args: list[Expr] = list(named)
        if maker.plain and not by_name:
            args = [*(value for name, value in values if name not in usual), DTYPE, *named]
        if maker.numbers:
            inner = _Body(self.init, function, inits, self.prefix)
            list(inner.items())
            args += [Keyword(name, value) for name, value in self._numbers(inner, function, inits).items()]
        args += [Keyword(name, Arg(self.extra(wanted))) for wanted, name in maker.extras.items()]
        if not maker.plain or by_name:
            args.append(Keyword("dtype", DTYPE))
        return args

    def _numbers(self, inner: _Body, function: Function, inits: Inits) -> dict[str, Expr]:
        """The numbers that a layer of the library is given for its distributions, in this function's words."""
        found: dict[str, Expr] = {}
        argument = {param: name for name, param in inner.numbers.items()}
        for param in function.params:
            init = self.init.program.functions[inits.get(param.name) or param.init]
            form = told(init, param)
            if form is None or form.draw == "constant" or self.init.is_own(form, init, function):
                continue
            name, value = argument[param.name], scale_of(form)
            if init.scope == self.function.source or not names(value):
                found[name] = number(value)
            else:
                found[name] = self._outer(number(value), init.scope)
        return found

    def _apart(
        self, child: Child, keys: tuple[str, ...], function: Function, op: Op | None, stack: Stack
    ) -> Item:
        """The layers of a loop that have other parts by their number, each under its own; or what is put into some of them."""
        inits = _below(self.inits, child.path)
        rest = keys[len(stack.keys) :]
        if "" in inits.values():
            raise ForOneSetting("layers of other parts that do not begin alike")
        maker = self.init.maker(child.function, inits, prefixed(self.prefix, next(child.paths())))
        if rest and (len(maker.trees) > 1 or not child.path.startswith(f"{stack.stem}.")):
            raise ForOneSetting("parts in two trees that are put into layers")
        arguments = self._arguments(maker, function, inits, op)
        number = turn_variable(op, child)
        made = call(maker.name, *([Word("each")] if maker.draws else []), *arguments)
        turns, source = number, numbers(child.count, child.start, child.step)
        if maker.draws:
            turns = f"{turns}, each"
            each = call("jax.random.split", Word("KEY"), size(child.count, "count"))
            plain = child.step == 1 and not child.start and origin_free(child.start)
            strict = Keyword("strict", Word("True"))
            source = call("enumerate", each) if plain else call("zip", source, each, strict)
        key = turn_key(stack.stem.rpartition(".")[2], number)
        if rest:
            place = (*stack.keys, Counted.of(stack.labels[0], key), *rest)
            span = Dim.of(child.count), Dim.of(child.start), child.step
            return Item(place, maker.trees, made, maker.draws, turns=turns, over=source, span=span)
        layers: Expr = DictGen(key, made, turns, source)
        if len(maker.trees) > 1:
            layers = call("in_two_trees", layers)
        return Item(keys, maker.trees, layers, maker.draws, layers=frozenset(stack.labels))

    def _either(self, child: Child, keys: tuple[str, ...], stack: Stack) -> Iterator[Item]:
        """The layers of a loop of which each is one of two by its number; said with the first of these."""
        layout, group = (
            self.init.places.layout(self.function.name),
            self.init.places.groups[self.function.name],
        )
        one, other = layout.children[child.path]
        if child is not one or one.when is None:
            return
        made: list[tuple[Item, DictGen]] = []
        for each in (one, other):
            function = self.init.program.functions[each.function]
            item = self._apart(each, keys, function, calling(group, each), stack)
            if not isinstance(item.made, DictGen):
                raise ForOneSetting("layers of two kinds in two trees")
            made.append((item, item.made))
        drawn, layers = next((each for each in made if each[0].draws), made[0])
        element = Conditional(expression(one.when), *(each.element for _, each in made))
        yield replace(drawn, made=replace(layers, element=element))

    def _turns(self, child: Child, keys: tuple[str, ...], function: Function, op: Op | None) -> Item:
        """The layers of a loop that do not begin alike, one by one."""
        layers: list[Expr] = []
        makers: list[Maker] = []
        for path in child.paths():
            here = prefixed(self.prefix, path)
            inits = self.init._inits(child.function, here)
            maker = self.init.maker(child.function, inits, here)
            makers.append(maker)
            key = call("jax.random.fold_in", Word("KEY"), Word(str(len(layers))))
            arguments = self._arguments(maker, function, inits, op)
            layers.append(call(maker.name, *([key] if maker.draws else []), *arguments))
        made = call("stack_layers", Seq(tuple(layers), "[]"))
        return Item(keys, makers[0].trees, made, any(each.draws for each in makers))


def _below(inits: Inits, path: str) -> Inits:
    return {each[len(path) + 1 :]: init for each, init in inits.items() if each.startswith(f"{path}.")}


def _asks_for(condition: Expr, value: Expr) -> bool:
    """Whether a condition is that a value's divisor is not 0: `i > 0` of `1 / math.sqrt(i)`."""
    divisors = [node.right for node in walk(value) if isinstance(node, Binary) and node.operator == "/"]
    roots = [each.args[0] for each in divisors if isinstance(each, Call) and len(each.args) == 1]
    return any(text(condition) == f"{text(each)} > 0" for each in (*divisors, *roots))


def told(function: Function, param: Param) -> Form | None:
    """The distribution that a parameter is drawn from, its numbers in sizes."""
    form = recognise(function)
    return None if form is None else in_sizes(form, param.type)
