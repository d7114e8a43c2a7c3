"""From a program to classes: functions that share an instance become the methods of one class, its static parameters
the arguments of the constructor."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dlc.emit.alike import origin_key
from dlc.emit.arguments import Argument, arguments, passed, reads, renamed
from dlc.emit.checks import checks, held
from dlc.emit.forms import method
from dlc.emit.initial import recognise
from dlc.emit.names import TURN, identifier, unique
from dlc.emit.origins import expression, numbered, size
from dlc.emit.own import Own
from dlc.emit.requirements import asked_of, words
from dlc.emit.sizes import readable
from dlc.emit.statements import Draft, Loop
from dlc.emit.tree import (
    Arg,
    Call,
    Dot,
    Expr,
    Keyword,
    Make,
    Num,
    Path,
    Seq,
    Size,
    Word,
    names_turns,
    transform,
    walk,
    without,
)
from dlc.ir.index import has_index
from dlc.ir.loops import turning
from dlc.ir.nodes import Child, Function, Op, Param, Program, callees_first
from dlc.ir.nodes import walk as walk_ops
from dlc.ir.paths import Paths, turn_paths
from dlc.ir.splice import prefixed
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.terms import names as names_in
from dlc_torch import initial, rows
from dlc_torch.drafter import Instance, TorchDrafter, stateful
from dlc_torch.fold import fold, whole_class
from dlc_torch.foreign import Divided, Placing
from dlc_torch.fused import hooks
from dlc_torch.holders import Holder, Holders, with_arguments
from dlc_torch.init_weights import InitWeights
from dlc_torch.lent import Lending
from dlc_torch.making import Making
from dlc_torch.methods import DIALECT
from dlc_torch.neural import native_layer
from dlc_torch.reach import reach
from dlc_torch.structure import CONSTANT, Builder, Init, Node, tree


@dataclass
class Class:
    """The functions of one instance: the methods of a class; or a single plain function. `root` is the tree
    of its paths, `inits` its constructor, `layers` what it holds if it is nothing but an `nn.Sequential`."""

    names: tuple[str, ...]
    drafts: list[Draft]
    root: Node
    inits: list[Init] = field(default_factory=list)
    layers: tuple[Expr, ...] | None = None
    late: dict[str, tuple[Expr, list[str]]] = field(default_factory=dict)
    """Parts that other classes put into this one's instances: as they are made, and by which functions' classes."""
    is_list: bool = False
    """It is a list of its parts, whose names are numbers."""
    is_holder: bool = False
    turns: Sequence[str] = ()
    """Of a holder, the variables of loops around it that are its arguments."""
    """It only holds parts: what they do stands in the methods of another class."""
    name: str = ""
    arguments: tuple[Argument, ...] = ()
    own: dict[str, Own] = field(default_factory=dict)
    """What methods take of an entry's own list, by function."""

    @property
    def function(self) -> Function:
        return self.drafts[0].function

    @property
    def is_class(self) -> bool:
        return stateful(self.function)

    def expressions(self) -> Iterator[Expr]:
        """All that is said in the class, in a fixed order."""
        for init in self.inits:
            yield init.expr
            yield from (each for each in (init.when, init.over) if each is not None)
        yield from self.layers or ()
        for draft in self.drafts:
            yield from draft.expressions()
        for own in self.own.values():
            yield from own.expressions()

    def asked(self) -> Iterator[Expr]:
        """What the constructor computes besides: defaults, and what the spec asks of the arguments."""
        yield from (each.computed for each in self.arguments if each.computed is not None)
        yield from map(
            expression, (*self.function.requires, *(each.condition for each in self.function.decisions))
        )

    def rewritten(
        self,
        change: Callable[[Expr], Expr],
        inside: Callable[[Function], Callable[[Expr], Expr]] | None = None,
    ) -> None:
        """Change every expression; those `inside` a method otherwise, where that is given."""

        def changed(expr: Expr | None) -> Expr | None:
            return None if expr is None else change(expr)

        self.inits = [
            replace(init, expr=change(init.expr), when=changed(init.when), over=changed(init.over))
            for init in self.inits
        ]
        self.layers = None if self.layers is None else tuple(map(change, self.layers))
        self.drafts = [
            draft.rewritten(change if inside is None else inside(draft.function)) for draft in self.drafts
        ]
        self.own = {name: own.rewritten(change) for name, own in self.own.items()}


@dataclass
class Grouping:
    """Drafts what a program needs and groups it. `order` lists the classes, callees first; `by_function` finds them."""

    program: Program
    precision: str
    copied: Sequence[str] = ()
    """Functions of initial values that the model calls by itself."""
    entries: Sequence[str] = ()
    """The functions by which the model is entered, which become methods of one class."""
    defaults: bool = True
    """Whether the settings of the model are defaults in the source, or what the spec has."""
    lending: Lending = field(init=False)
    drafts: dict[str, Draft] = field(default_factory=dict)
    below: dict[str, Sequence[str]] = field(default_factory=dict)
    """What each function needs that is emitted."""
    order: list[Class] = field(default_factory=list)
    by_function: dict[str, Class] = field(default_factory=dict)
    roots: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lending = Lending.of(self.program)
        self.program = self.lending.program

    @property
    def functions(self) -> Mapping[str, Function]:
        return self.program.functions

    def run(self) -> list[Class]:
        for made in self._units(self._needed()):
            self._add(made)
        return self.order

    def _add(self, made: Class) -> None:
        self.order.append(made)
        for name in made.names:
            self.by_function[name] = made
            self.roots[name] = made.root

    # --- what is needed -------------------------------------------------------------------------------------

    def draft(self, name: str) -> Draft:
        if name not in self.drafts:
            about = self.program, self.functions[name], DIALECT, self.precision, self.needs
            self.drafts[name] = TorchDrafter(*about, own=self.own).draft()
        return self.drafts[name]

    def needs(self, name: str) -> frozenset[str]:
        return self.draft(name).needs

    def own(self, name: str) -> Own:
        """What a method takes of an entry's own list."""
        function = self.functions[name]
        if not any(each.is_own for each in function.settings):
            return Own()
        main = self.defaults and name == self.program.entry
        read = None
        if function.kind != "model":
            words = _words(function, own=True)
            read = reads(numbered(each, words) for each in self.draft(name).expressions())
        return Own.of(function, rows.RESERVED, main=main, defaults=self.defaults, read=read)

    def _needed(self) -> list[str]:
        """The functions that are emitted, callees first: those called, and those of every instance."""
        return list(callees_first(self.entries or (self.program.entry,), self._callees))

    def _callees(self, name: str) -> Sequence[str]:
        if name not in self.below:
            self.below[name] = list(self._found(name))
        return self.below[name]

    def _found(self, name: str) -> Iterator[str]:
        function = self.functions[name]
        draft = self.draft(name)
        made = {node.function for node in draft.nodes() if isinstance(node, Make)}
        called = {
            op.callee for op in walk_ops(function.body) if op.callee and stateful(self.functions[op.callee])
        }
        for child in function.children:
            called.add(child.function)
        for param in function.params:
            init = self.functions.get(param.init)
            if init is not None and param.kind not in ("prepared", CONSTANT) and recognise(init) is None:
                made.add(param.init)
        if name == self.program.entry:
            made.update(self.copied)
        order = {each: i for i, each in enumerate(self.functions)}
        for each in sorted(made | called, key=lambda each: order[each]):
            if native_layer(self.functions[each]) is None:
                yield each

    # --- classes ----------------------------------------------------------------------------------------------

    def _units(self, names: Sequence[str]) -> Iterator[Class]:
        """Functions joined by a common instance, callees first."""
        joined = self._joined(names)
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(joined.find(name), []).append(name)

        def below(group: str) -> Iterator[str]:
            found = (joined.find(each) for name in groups[group] for each in self._callees(name))
            return (each for each in found if each != group)

        for group in callees_first(map(joined.find, names), below):
            while forms := dict(self._forms(groups[group])):
                known = {name: replace(self.functions[name], entry=way) for name, way in forms.items()}
                self.program = self.program.with_functions({**self.functions, **known})
                self.drafts.clear()  # they call the methods by their names
                self.below.clear()
        for group in callees_first(map(joined.find, names), below):
            yield self._unit(groups[group])

    def _joined(self, names: Sequence[str]) -> _Joined:
        joined = _Joined()
        methods = [name for name in self.entries if stateful(self.functions[name])]
        for name in methods[1:]:
            joined.join(methods[0], name)
        count = -1
        while count != len(
            joined.parents
        ):  # what one instance holds in two of its methods is one instance too
            count, at = len(joined.parents), dict[tuple[str, str], str]()
            for name in names:
                self._join(self.functions[name], names, joined, at)
        return joined

    def _forms(self, group: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Names for the further methods that a computation becomes which is another one from call to call of an instance: at another
        fixed size, without an optional input, with an entry's own static arguments that no argument says."""
        ways: dict[str, list[tuple[Any, str]]] = {}
        taken = {"forward", *(self.functions[name].entry for name in group)}
        for name in self._in_order(group) if len(group) > 1 else ():
            function = self.functions[name]
            if not stateful(function):
                continue
            static = tuple((key, origin_key(value)) for key, value in function.static if function.entry)
            value = static, self._unasked(name).rewritten(numbered).computation
            forms = ways.setdefault(function.entry, [])
            way = next((way for other, way in forms if other == value), None)
            if way is None:
                way = unique(function.entry or "forward", taken) if forms else function.entry
                forms.append((value, way))
                taken.add(way)
            if way != function.entry:
                yield name, way

    def _unasked(self, name: str) -> Draft:
        """The draft without what a model asks of sizes where it begins: a module's own call of it has proved that."""
        draft = self.draft(name)
        asked = set(checks(draft.function))
        return replace(draft, body=tuple(each for each in draft.body if each not in asked))

    def _methods(self, names: Iterable[str]) -> list[str]:
        """The methods of a class: the main computation, then entries as the spec has them. What an entry calls of its own module
        is the method that it is for others."""

        def order(name: str) -> tuple[bool, int, bool, int]:
            function = self.functions[name]
            lines = (op.span.line for op in function.body if op.span.file == function.span.file)
            last = max(lines, default=0)
            is_part = function.kind != "model"
            return bool(function.entry), last, is_part, list(self.functions).index(name)

        methods: dict[str, str] = {}
        for name in self._in_order(names):
            methods.setdefault(self.functions[name].entry, name)
        return sorted(methods.values(), key=order)

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """Those by which the model is entered first."""
        return sorted(names, key=lambda name: (self.functions[name].kind != "model", name))

    def _join(
        self, function: Function, names: Sequence[str], joined: _Joined, at: dict[tuple[str, str], str]
    ) -> None:
        held = ((path, child.function) for child in function.children for path in child.paths())
        for path, callee in (*_calls(function.body), *held):
            if callee not in names or not stateful(self.functions[callee]):
                continue
            key = joined.find(function.name), f"{self.functions[callee].source}:{path}"
            first = function.name if not path else at.setdefault(key, callee)
            joined.join(first, callee)

    def _unit(self, names: Sequence[str]) -> Class:
        methods = self._methods(names)
        functions = [self.functions[name] for name in methods]
        drafts = [self.draft(name) for name in methods]
        if not stateful(functions[0]):
            lent = self.lending.lent.get(names[0])
            root = Node() if lent is None else tree(lent.children, [(param, None) for param in lent.params])
            return Class(tuple(names), drafts, root)
        made = Making(self.functions, self.lending.calls, functions)
        children, params = self._parts(functions)
        parts = Divided.of(
            [each for each in children if not self._is_there(each.path, children, each.function)],
            [each for each in params if not self._is_there(each.name, children)],
        )
        root = tree(parts.children, [(param, None) for param in parts.params], made.child)
        layers = None
        if len(drafts) == 1:
            layers = whole_class(drafts[0], root)
            if layers is None:
                drafts = [fold(drafts[0], root)]
        root.layers = layers
        unit = Class(tuple(names), drafts, root, layers=layers)
        if layers is None:
            unit.inits = list(self._inits(functions[0], root, parts, made))
            unit.is_list = root.kind == "list"
        unit.inits += hooks((*parts.children, *parts.inside))
        return unit

    def _is_there(self, path: str, children: Sequence[Child], function: str = "") -> bool:
        """Whether a tensor, or all of an instance, is in another instance by itself: a method that computes with what an instance is
        made of reads it there."""
        around = [each for each in children if path.startswith(f"{each.path}.") and not has_index(path)]
        if not around:
            return False
        paths = Paths(self.functions)
        tensors = [prefixed(prefix, own.name) for prefix, own in paths.expand(function)] if function else [""]
        return bool(tensors) and any(
            all(paths.param(each.function, prefixed(path[len(each.path) + 1 :], own)) for own in tensors)
            for each in around
        )

    def _parts(self, functions: Sequence[Function]) -> tuple[list[Child], list[Param]]:
        """The instances and parameters of one class, whose methods are `functions`."""
        children: dict[str, Child] = {}
        params: dict[str, Param] = {}
        for function in functions:
            for child in (each for each in function.children if each.path):  # "" is the instance itself
                source = self.functions[child.function].source
                children.setdefault(f"{source}:{child.path}:{child.start}:{child.step}:{child.count}", child)
            for param in function.params:
                params.setdefault(param.name, param)
        return list(children.values()), list(params.values())

    def _inits(self, owner: Function, root: Node, parts: Divided, made: Making) -> Iterator[Init]:
        """The constructor. Parts inside others are put there at the end."""
        builder = Builder(self._tensor)
        holders = Holders(owner, builder, self._sources)

        def hold(root: Node) -> None:
            holders.settle(root)
            for each in holders.made:
                if each.function.name not in self.by_function:
                    self._add(_holding(each))

        hold(root)
        late = partial(self._late, owner.name)
        own = [*builder.statements(root)] if root.kind != "list" else [builder.whole(root)]
        own += Placing(root, self.roots, builder, hold, late).statements(parts, made.child)
        for param in parts.params:
            if param.sources and "." in param.name:
                read = {path.partition(".")[0] for path in (param.name, *param.sources)}
                last = max(i for i, each in enumerate(own) if each.label in read or each.annotation in read)
                own.insert(last + 1, Init("", _filled(param)))

        def reached(node: Expr) -> Expr:
            return reach(root, node.path, self.roots) if isinstance(node, Path) else node

        for each in own:
            yield replace(each, expr=transform(each.expr, reached))

    def _late(self, owner: str, function: str, label: str, made: Expr) -> None:
        if function in self.by_function:
            self.by_function[function].late.setdefault(label, (made, []))[1].append(owner)

    def _sources(self) -> Iterator[str]:
        yield from (each.source for each in self.functions.values())
        yield from (each.function.source for each in self.order if each.is_holder)

    def _tensor(self, param: Param) -> Expr:
        return initial.tensor(param, self.functions, self.precision)


def _filled(param: Param) -> Expr:
    """A parameter below a label with dots gets its value where all that this is computed of is made."""
    return method(Dot(Path(param.name, tensor=True), "data"), "copy_", initial.computed(param))


def _holding(holder: Holder) -> Class:
    draft = Draft(holder.function, (), (), ())
    return Class(
        (holder.function.name,), [draft], holder.root, list(holder.inits), is_holder=True, turns=holder.turns
    )


def _calls(body: Iterable[Op], loop: Op | None = None) -> Iterator[tuple[str, str]]:
    """The path and function of every call, in each turn of the loop around it."""
    for op in body:
        if op.callee:
            yield from ((path, op.callee) for path in turn_paths(op.path, loop))
        for region in op.regions:
            yield from _calls(region.body, loop if op.condition is not None else turning(op, loop))


class _Joined:
    """Union-find over function names."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}

    def find(self, name: str) -> str:
        while (parent := self.parents.get(name, name)) != name:
            name = parent
        return name

    def join(self, a: str, b: str) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parents[b] = a


# --- numbers ------------------------------------------------------------------------------------------------


def settle(grouping: Grouping, weights: InitWeights) -> InitWeights:
    """Say numbers by where they come from, and give each class its arguments, callees first: what a class takes is known
    before it is made. `weights` are initial values that the model's class sets besides, which are given back settled."""
    entry = grouping.program.entry
    for each in grouping.order:
        own = _words(each.function, own=False)
        each.rewritten(partial(_settled, grouping, own), partial(_inside, grouping))
        if each.is_holder:  # (what its parts are given is known now)
            each.rewritten(partial(with_arguments, turns=each.turns))
        main = entry in each.names
        for draft in each.drafts if not each.is_holder else ():
            each.own[draft.function.name] = grouping.own(draft.function.name)
        if main:
            weights = weights.rewritten(partial(_settled, grouping, own))
        else:
            _measure(each)
        exprs = [*each.expressions(), *(weights.reads() if main else ())]
        checked = set(reads(map(expression, each.function.requires)))
        used = {*reads(exprs), *(checked if main else checked & set(_passed(grouping.program, each.names)))}
        reserved = rows.RESERVED if main or _has_turns(each) else rows.RESERVED - {TURN}
        each.arguments = arguments(
            each.function, used, reserved, main=main, defaults=grouping.defaults, own=False
        )
        named = (*each.arguments, *(one for own_ in each.own.values() for one in own_.arguments))
        names = {argument.spec: argument.name for argument in named}
        each.rewritten(partial(_finished, names))
        if main:
            weights = weights.rewritten(partial(renamed, names))
    return weights


def _has_turns(made: Class) -> bool:
    """Whether something in a class is done in turns that may be counted."""
    loops = any(isinstance(stmt, Loop) for draft in made.drafts for stmt in draft.statements())
    return loops or any(each.over is not None for each in made.inits) or names_turns(made.expressions())


def _measure(made: Class) -> None:
    """Methods read the sizes of their inputs there, as long as the constructor needs none: one instance may be called
    at several. What is asked of them is asked there too."""
    parts = (part for each in made.inits for part in (each.expr, each.when, each.over) if part is not None)
    needed = set(reads((*parts, *(made.layers or ()))))
    for i, draft in enumerate(made.drafts):
        function = draft.function
        free = {name for name, _ in function.sizes} - needed

        def measured(each: Dim, free: set[str] = free) -> Dim:
            told = size(each)
            return Dim.symbol(told.name) if isinstance(told, Arg) and told.name in free else each

        inputs = tuple(
            replace(each, type=replace(each.type, axes=tuple(map(measured, each.type.axes))))
            for each in function.inputs
        )
        found = readable(replace(function, inputs=inputs)).keys() & free
        if found:
            checks = (held(expression(each)) for each in asked_of(function) if names_in(each) & found)
            draft = replace(draft, body=(*dict.fromkeys(checks), *draft.body))
            draft = draft.rewritten(partial(_as_sizes, found))
            made.drafts[i] = replace(draft, function=replace(function, inputs=inputs))


def _as_sizes(names: Container[str], expr: Expr) -> Expr:
    return transform(
        expr, lambda node: Size(node.name) if isinstance(node, Arg) and node.name in names else node
    )


def _words(function: Function, *, own: bool) -> set[str]:
    """The static parameters of a function, of an entry with those of its `own` list or without."""
    settings = {each.name for each in function.settings if own or not each.is_own}
    return settings | {name for name, _ in function.sizes}


def _inside(grouping: Grouping, function: Function) -> Callable[[Expr], Expr]:
    return partial(_settled, grouping, _words(function, own=True))


def _passed(program: Program, callees: Container[str]) -> Iterator[str]:
    """The static parameters that calls of some functions give in words of their own: they are arguments even if the function
    does nothing but check them. What is only checked and given as a number decided what the class is; another one would be
    another class."""
    for function in program.functions.values():
        own = words(function)
        for op in walk_ops(function.body):
            if op.callee in callees:
                yield from (name for name, term in op.given if names_in(term) and names_in(term) <= own)


def _finished(names: Mapping[str, str], expr: Expr) -> Expr:
    return inferred(without_numbers(renamed(names, expr)))


def _settled(grouping: Grouping, own: set[str], expr: Expr) -> Expr:
    """An expression of a class that has `own` static parameters: numbers as these, instances and calls of classes of ours with
    the arguments that they take."""

    def change(node: Expr) -> Expr:
        match node:
            case Instance(name, op):
                return _constructed(grouping.by_function[name], (), op, own)
            case Make(name, args, op):
                return _constructed(grouping.by_function[name], args, op, own)
        return node

    return numbered(transform(expr, change), own)


def _constructed(made: Class, args: tuple[Expr, ...], op: Op | None, own: set[str]) -> Expr:
    more: list[Keyword] = []
    if made.function.kind == "init":  # (it may not read a length of what it fills)
        unread = {identifier(each.name) for each in made.function.settings} - {
            each.name for each in made.arguments
        }
        args = tuple(arg for arg in args if not isinstance(arg, Keyword) or arg.name not in unread)
    given = {arg.name for arg in args if isinstance(arg, Keyword)}
    for each in (each for each in made.arguments if each.name not in given):
        # An initial value is computed where its parameter is made, from the static parameters there.
        here = made.function.kind == "init" and each.spec in own
        more += (
            [Keyword(each.name, Arg(each.spec), each.default)] if here else passed((each,), made.function, op)
        )
    if not made.is_class:
        more = [replace(each, value=as_function(each.value)) for each in more]
    needs = tuple(arg for arg in args if isinstance(arg, Keyword))
    return Call(Word(made.name), (*args[: len(args) - len(needs)], *more, *needs))


def as_function(layer: Expr) -> Expr:
    """What makes a layer of a function, `nn.Tanh`, as the function."""
    return Word(rows.AS_FUNCTIONS.get(layer.text, layer.text)) if isinstance(layer, Word) else layer


def without_numbers(expr: Expr) -> Expr:
    """Keyword arguments that turned out to be the default are left out."""
    return without(expr, lambda each: _same_number(each.value, each.default))


def _same_number(a: Expr, b: Expr | None) -> bool:
    return isinstance(a, Num) and isinstance(b, Num) and a.value == b.value


def inferred(expr: Expr) -> Expr:
    """In `unflatten(-1, (3, heads, 64))` the size that follows from the others becomes -1."""

    def change(node: Expr) -> Expr:
        match node:
            case Call(Dot(base, "unflatten"), (axis, Seq(items))):
                return Call(Dot(base, "unflatten"), (axis, Seq(_one_inferred(items))))
        return node

    return transform(expr, change)


def _one_inferred(items: tuple[Expr, ...]) -> tuple[Expr, ...]:
    if not any(isinstance(node, Arg) for item in items for node in walk(item)):
        return items
    open_ = [i for i, item in enumerate(items) if not isinstance(item, Arg)]
    compound = [i for i in open_ if not isinstance(items[i], Num)]
    literal = [i for i in open_ if isinstance(items[i], Num)]
    if len(compound) > 1 or not open_:
        return items
    at = compound[0] if compound else max(literal, key=lambda i: items[i].value)  # type: ignore[attr-defined]
    return (*items[:at], Word("-1"), *items[at + 1 :])
