"""Paths, keys and calls of a draft as JAX's source has them: parts of `params` and `state`, keys split from `key`, loops over
stacked parameters.

    Path("h.{i}.attn")  ->  layer["attn"]  in a loop over  params["h"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from dlc.emit.checks import Check
from dlc.emit.draft import plain_name
from dlc.emit.forms import call
from dlc.emit.names import plain, snake, unique
from dlc.emit.origins import expression
from dlc.emit.ranges import over
from dlc.emit.settled import ForOneSetting
from dlc.emit.statements import NOWHERE, Assign, Draft, If, Loop, Stmt, Store, Target, expressions, rewritten
from dlc.emit.tree import (
    At,
    Binary,
    Call,
    Conditional,
    Dot,
    Expr,
    Flag,
    Keyword,
    Make,
    Num,
    Path,
    Ref,
    Seq,
    Text,
    Unary,
    Word,
    text,
    transform,
    walk,
)  # fmt: skip
from dlc.emit.write import is_done
from dlc.ir.index import has_index, upto_index, without_index
from dlc.ir.nodes import Function
from dlc.records import dataclass, field, replace
from dlc.types.terms import term, turned
from dlc_jax import rows
from dlc_jax.drafter import STATE, Held, Key, Traits, Working, working_input
from dlc_jax.places import Found, Keys, Places, Stack, at, turn_key
from dlc_jax.steps import STACK, Scan

Parts = dict[tuple[str, str], Expr]
"""What holds the parameters ("params") or the state of a layer, by its stem, in the loops around."""


@dataclass
class Settling:
    """Settles the draft of a function. Calls of other functions are left to be made when their arguments are known."""

    function: Function
    places: Places
    traits: Traits
    taken: frozenset[str] = frozenset()
    called: Callable[[Make], Expr] = lambda made: made
    """A call as it is made in the end: with the static arguments that the function takes."""
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, draft: Draft) -> Draft:
        body, results = self._body(draft.body, draft.results, {}, "key")
        return replace(draft, body=body, results=results, roles={**draft.roles, **self.roles})

    def _body(
        self, body: Sequence[Stmt], results: Sequence[Expr], parts: Parts, key: str
    ) -> tuple[tuple[Stmt, ...], tuple[Expr, ...]]:
        """The statements of a function, or of one turn of a loop; `key` is the variable of its key."""
        draws = [index for stmt in body for index in _draws(stmt)]
        held = [stmt for stmt in body if _draws(stmt)]
        keys: dict[int, Expr] = {}
        split: list[Stmt] = []
        if not (len(held) == 1 and isinstance(held[0], If) and len(draws) > 1):
            keys, split = self._keys(draws, key)
        done = self._settled(body, parts, keys, key)
        lead = next((i for i, stmt in enumerate(done) if not isinstance(stmt, Check)), len(done))
        change = self._change(parts, keys)
        return (*done[:lead], *split, *done[lead:]), tuple(map(change, results))

    def _settled(self, body: Sequence[Stmt], parts: Parts, keys: dict[int, Expr], key: str) -> list[Stmt]:
        change = self._change(parts, keys)
        done: list[Stmt] = []
        for stmt in body:
            match stmt:
                case Scan():
                    done.append(self._scan(stmt, parts, keys, change))
                case Loop():
                    done.append(self._loop(stmt, parts, keys, change))
                case Assign((target,), whole) if (held := _list_stacked(whole)) and (
                    found := next((k for k, each in enumerate(done) if _hands_out(each, held)), None)
                ) is not None:
                    done[found] = _handing_out(done[found], held, target)
                case If():
                    done.append(self._choice(stmt, parts, keys, key))
                case Assign(targets=targets):
                    (changed,) = rewritten((stmt,), change)
                    assert isinstance(changed, Assign)
                    moved = tuple(
                        replace(each, axes=tuple(map(change, each.axes))) if each.dtype == STATE else each
                        for each in targets
                    )
                    done.append(replace(changed, targets=moved))
                case _:
                    done += rewritten((stmt,), change)
        return done

    def _choice(self, stmt: If, parts: Parts, keys: dict[int, Expr], key: str) -> If:
        sides = []
        change = self._change(parts, keys)
        for body, results in ((stmt.then, stmt.results), (stmt.otherwise, stmt.others)):
            there = [each for each in results if each is not None]
            draws = [index for each in body for index in _draws(each)]
            if draws and not keys.keys() & set(draws):  # all draws of the function are here
                inside, found = self._body(body, there, parts, key)
            else:
                inside, found = tuple(self._settled(body, parts, keys, key)), tuple(map(change, there))
            given = iter(found)
            sides.append((inside, tuple(None if each is None else next(given) for each in results)))
        condition = self._present(stmt) or change(stmt.condition)
        return If(condition, *sides[0], *sides[1], stmt.outputs, stmt.note)

    def _present(self, stmt: If) -> Expr | None:
        """A choice on what decides whether there is a part asks for that: `if "downsample" in params`."""
        read = {node.path for node in _nodes(stmt.then) if isinstance(node, Path | Held)}
        parts = [(each.path, each.when) for each in self.function.children if not each.count]
        parts += [(each.name, each.when) for each in self.function.params]
        for path, when in parts:
            if when is None or path not in read or expression(when) != stmt.condition:
                continue
            if any(
                _overlap(path, other) and condition != when for other, condition in parts
            ):  # the other side has a part there, too
                continue
            found = self._found(path)
            kept = found.param is None and self._keeps_parameters(found.function)
            tree = "params" if kept or (found.param is not None and found.param.kind != "buffer") else STATE
            *around, key = found.keys
            if isinstance(key, str) and path not in self.places.layout(self.function.name).moved:
                return Binary("in", Text(key), at(Word(tree), tuple(around)))
        return None

    def _keeps_parameters(self, name: str) -> bool:
        layout = self.places.layout(name)
        if any(param.kind != "buffer" for param in layout.params.values()):
            return True
        return any(
            self._keeps_parameters(each.function) for same in layout.children.values() for each in same
        )

    # --- keys

    def _keys(self, wanted: Sequence[int], key: str) -> tuple[dict[int, Expr], list[Stmt]]:
        """`key` itself for a single draw, else one of several keys that it is split into."""
        if len(wanted) < 2:
            return {index: Word(key) for index in wanted}, []
        keys = Target(f"keys {wanted[0]}", "", ())
        self.roles[keys.name] = ("keys",)
        function = "jax.random.split" if self.traits.key == "always" else "split"
        split = Assign((keys,), call(function, Word(key), Word(str(len(wanted)))))
        return {index: At(Ref(keys.name), (Word(str(i)),)) for i, index in enumerate(wanted)}, [split]

    # --- loops

    def _scan(self, scan: Scan, parts: Parts, keys: dict[int, Expr], change: Callable[[Expr], Expr]) -> Scan:
        """The steps along an axis, each with a key of its own, and with the buffers that the one before left."""
        drawn = _inner_draws(scan)
        source = change(scan.source)
        if drawn:
            function = "jax.random.split" if self.traits.key == "always" else "step_keys"
            source = _also_over(source, call(function, keys[drawn[0]], change(scan.count)))
        trees = [parts.get((upto_index(path), STATE), Word(STATE)) for path in _stored(scan.body)]
        body, results = self._body(scan.body, scan.results, parts, "key")
        return replace(
            scan,
            count=NOWHERE,
            inputs=tuple(map(change, scan.inputs)),
            body=body,
            results=results,
            variable="key" if drawn else "_",
            source=source,
            carried_state=tuple(dict.fromkeys(map(text, trees))),
        )

    def _loop(self, loop: Loop, parts: Parts, keys: dict[int, Expr], change: Callable[[Expr], Expr]) -> Loop:
        """The loop over what `lax.scan` gives its turns one by one: parameters and state of a layer, a key. One whose turns
        differ by a static value, or change a state that all of them share, is Python's."""
        held = self._held(loop.body)
        shared = any(not has_index(path) for path in _stored(loop.body))
        drawn = _inner_draws(loop)
        selected = self._selected(loop)
        if selected is None or shared or any(self._stack(stem).apart for stem, _ in held):
            return self._unrolled(loop, held, parts, keys, change)
        read = any(self._reads(stmt, Word(loop.variable)) for stmt in loop.body)
        turn, loop = loop.variable if read else "_", selected
        variables = self._variables(held)
        inner = {each: Word(name) for each, name in variables.items()}
        over = [change(self._layers(stem, tree)) for stem, tree in held]
        if drawn:
            function = "jax.random.split" if self.traits.key == "always" else "layer_keys"
            over.append(call(function, keys[drawn[0]], change(loop.count)))
        if turn != "_":
            over.append(call("jnp.arange", *_range(loop, change)))
        given = (*loop.results, *(item for _, item in loop.kept))
        body, results = self._body(loop.body, given, {**parts, **inner}, "key")
        results, items = results[: len(loop.results)], results[len(loop.results) :]
        lists = zip((target for target, _ in loop.kept), items, strict=True)
        inputs = tuple(map(change, loop.inputs))
        kept = dict.fromkeys((upto_index(path), STATE) for path in _stored(loop.body))
        places = tuple(change(self._layers(stem, tree)) for stem, tree in kept)
        own = _stored(
            stmt for stmt in loop.body if not isinstance(stmt, Scan)
        )  # a scan copies what it updates
        copied = dict.fromkeys(upto_index(path) for path in own if path != upto_index(path))
        further = (*(["key"] if drawn else ()), *([turn] if turn != "_" else ()))
        variable = ", ".join((*variables.values(), *further)) or "_"
        source = Seq(
            (
                Seq(tuple(over)),
                Seq(places),
                Seq(tuple(Word(variables[each]) for each in kept)),
                Seq(tuple(Word(variables[stem, STATE]) for stem in copied)),
            )
        )
        return replace(
            loop,
            count=change(loop.count),
            inputs=inputs,
            body=body,
            results=results,
            kept=tuple(lists),
            variable=variable,
            source=source,
            numbers=NOWHERE,
        )

    def _selected(self, loop: Loop) -> Loop | None:
        """The loop with `jnp.where` for choices among values by the number of the turn; None where the number decides on more than
        that."""
        if any(_is_of_list(stmt) for stmt in _flat(loop.body)):
            return None
        turn, body = Word(loop.variable), list[Stmt]()
        given = (*loop.results, *(item for _, item in loop.kept))
        if any(_speaks_of(node, turn) for each in given for node in walk(each)):
            return None
        for stmt in loop.body:
            if not self._reads(stmt, turn):
                body.append(stmt)
            elif isinstance(stmt, If) and not (stmt.then or stmt.otherwise) and _is_computed(stmt.condition):
                sides = zip(stmt.outputs, stmt.results, stmt.others, strict=True)
                self.roles.update((each.name, (plain_name(each.name),)) for each in stmt.outputs)
                body += (
                    Assign((target,), call("jnp.where", stmt.condition, yes, no))
                    for target, yes, no in sides
                    if yes is not None and no is not None
                )
            else:
                return None
        return replace(loop, body=tuple(body))

    def _reads(self, stmt: Stmt, turn: Word) -> bool:
        """Whether a statement reads the number of a turn, itself or for what it calls."""
        nodes = list(_nodes((stmt,)))
        calls = (walk(self.called(node)) for node in nodes if isinstance(node, Make))
        return any(_speaks_of(node, turn) for node in nodes) or any(turn in each for each in calls)

    def _unrolled(
        self,
        loop: Loop,
        held: Sequence[tuple[str, str]],
        parts: Parts,
        keys: dict[int, Expr],
        change: Callable[[Expr], Expr],
    ) -> Loop:
        """A loop of Python, which takes the layers one by one."""
        if any(has_index(path) and not self._stack(upto_index(path)).apart for path in _stored(loop.body)):
            raise ForOneSetting("turns that differ by a static value have state of their own")
        name = loop.variable if loop.variable != "_" else "i"
        inner: Parts = {
            (stem, tree): self._one(stem, self._layers(stem, tree), Word(name)) for stem, tree in held
        }
        for index in [index for stmt in loop.body for index in _draws(stmt)]:
            keys = {**keys, index: call("fold_in", keys[_inner_draws(loop)[0]], Word(name))}
        body = tuple(self._settled(loop.body, {**parts, **inner}, keys, "key"))
        inside = self._change({**parts, **inner}, keys)
        return replace(
            loop,
            count=NOWHERE,
            inputs=tuple(map(change, loop.inputs)),
            body=body,
            results=tuple(map(inside, loop.results)),
            kept=tuple((held, inside(item)) for held, item in loop.kept),
            variable=name,
            source=call("range", *_range(loop, change)),
            numbers=NOWHERE,
        )

    def _held(self, body: Sequence[Stmt]) -> list[tuple[str, str]]:
        """The stems whose parameters or state a loop's body reads or changes, parameters first."""
        found: dict[tuple[str, str], None] = {}
        for node in _nodes(body):
            if isinstance(node, Path | Held) and has_index(node.path):
                found.setdefault((upto_index(node.path), self._tree(node)))
        return sorted(found, key=lambda each: each[1] == STATE)

    def _variables(self, held: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        names: dict[tuple[str, str], str] = {}
        alone = len({stem for stem, _ in held}) == 1
        for stem, tree in held:
            word = without_index(stem).rpartition(".")[2]
            plainly = "one" if "layer" in self.taken else "layer"  # a module of the spec may be called so
            hint = plainly if alone or not word.isidentifier() else plain(snake(word), rows.RESERVED)
            hint = hint if tree == "params" else f"{hint}_state"
            names[stem, tree] = unique(hint, {*names.values(), *self.taken})
        return names

    def _layers(self, stem: str, tree: str) -> Expr:
        """All layers of a stem."""
        return at(Word(tree), self._stack(stem).keys)

    def _one(self, stem: str, layers: Expr, number: Expr) -> Expr:
        """One of the layers."""
        stack = self._stack(stem)
        if not stack.apart:
            return call("one_layer", layers, _place_of(number, stack))
        return At(layers, (turn_key(stem.rpartition(".")[2], text(number)),))

    def _stack(self, stem: str) -> Stack:
        return self.places.layout(self.function.name).stacks[stem]

    # --- leaves

    def _change(self, parts: Parts, keys: dict[int, Expr]) -> Callable[[Expr], Expr]:
        def leaf(node: Expr) -> Expr:
            match node:
                case Path(path) | Held(_, path):
                    reached = self._reached(path, self._tree(node), parts)
                    param = self._found(path).param
                    is_fixed = param is not None and param.kind == "param" and param.frozen
                    return call("lax.stop_gradient", reached) if is_fixed else reached
                case Key(index):
                    return keys[index]
                case Working():
                    return self._working()
                case Flag(name):
                    return Word(name)
            return node

        return lambda expr: transform(expr, leaf)

    def _tree(self, node: Path | Held) -> str:
        if isinstance(node, Held):
            return node.tree
        param = self._found(node.path).param
        return STATE if param is not None and param.kind == "buffer" else "params"

    def _found(self, path: str) -> Found:
        found = self.places.find(self.function.name, path)
        return found if found is not None else Found(tuple(path.split(".")))

    def _reached(self, path: str, tree: str, parts: Parts) -> Expr:
        """`params["attn"]["weight"]`."""
        found = self._found(path)
        stem = upto_index(path) if has_index(path) else ""
        if (stem, tree) in parts:
            cut = len(self._stack(stem).keys)
            return at(parts[stem, tree], found.keys[cut:])
        return at(Word(tree), found.keys, tensor=found.param is not None)

    def _working(self) -> Expr:
        name = working_input(self.function)
        if name:
            return Dot(Ref(name), "dtype")
        path = self._working_parameter(self.function.name)
        return Word("dtype") if path is None else Dot(at(Word(str(path[0])), path[1:], tensor=True), "dtype")

    def _working_parameter(self, name: str) -> Keys | None:
        """The tree and keys of the first parameter of the working precision; without one, the first buffer."""
        layout = self.places.layout(name)
        for kind, tree in (("param", "params"), ("buffer", STATE)):
            if not getattr(self.traits, tree):
                continue
            for param in layout.params.values():
                if param.kind == kind and param.type.dtype == "float" and param.when is None:
                    found = self.places.find(name, param.name)
                    return None if found is None else (tree, *found.keys)
            for path, (child, *_) in layout.children.items():
                below = self._working_parameter(child.function) if child.when is None else None
                if below is not None and below[0] == tree:
                    return (tree, *self.places.keys(layout, path), *below[1:])
        return None


def _also_over(source: Expr, keys: Expr) -> Expr:
    """The call of `lax.scan` over keys as well. Where there may be no keys, and nothing else is gone over, the length is still to be said."""
    assert isinstance(source, Call)
    over = [each for each in source.args if not isinstance(each, Keyword)]
    named = [each for each in source.args if isinstance(each, Keyword)]
    if over or not may_be_none(keys):
        named = [each for each in named if each.name != "length"]
    parts = over[0].items if over and isinstance(over[0], Seq) else tuple(over)
    return Call(source.function, (Seq((*parts, keys)) if parts else keys, *named))


def may_be_none(keys: Expr) -> bool:
    """Whether there are keys only where one is given: in training."""
    return isinstance(keys, Call) and keys.function in (Word("layer_keys"), Word("step_keys"))


def _overlap(one: str, other: str) -> bool:
    """Whether two paths stand at one place, or one within the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _nodes(body: Iterable[Stmt]) -> Iterator[Expr]:
    yield from (node for expr in expressions(body) for node in walk(expr))
    yield from (node for target in _places(body) for node in walk(target))


def _places(body: Iterable[Stmt]) -> Iterator[Expr]:
    """The places of the state that statements set."""
    for stmt in body:
        match stmt:
            case Assign(targets=targets):
                yield from (axis for each in targets if each.dtype == STATE for axis in each.axes)
            case Store(path=path):
                yield path
            case Loop():
                yield from _places(stmt.body)
            case If():
                yield from _places((*stmt.then, *stmt.otherwise))


def _stored(body: Iterable[Stmt]) -> list[str]:
    return list(dict.fromkeys(each.path for each in _places(body) if isinstance(each, Path | Held)))


def _draws(stmt: Stmt) -> list[int]:
    """The keys that a statement takes in its own scope; a loop takes one for all of its turns."""
    match stmt:
        case Loop():
            own = [node.index for expr in stmt.inputs for node in walk(expr) if isinstance(node, Key)]
            return own + _inner_draws(stmt)
        case If():
            return [index for each in (*stmt.then, *stmt.otherwise) for index in _draws(each)]
    return [node.index for expr in expressions((stmt,)) for node in walk(expr) if isinstance(node, Key)]


def _list_stacked(whole: Expr) -> str:
    """The list that an expression stacks."""
    if isinstance(whole, Conditional):  # there may be no layers
        whole = whole.then
    match whole:
        case Call(Word(function), (Ref(held),)) if function == STACK:
            return held
    return ""


def _hands_out(stmt: Stmt, held: str) -> bool:
    """Whether a loop is a `lax.scan` that keeps this list: it stacks by itself."""
    return (
        isinstance(stmt, Loop)
        and isinstance(stmt.source, Seq)
        and any(target.name == held for target, _ in stmt.kept)
    )


def _handing_out(stmt: Stmt, held: str, whole: Target) -> Loop:
    assert isinstance(stmt, Loop)
    item = next(item for target, item in stmt.kept if target.name == held)
    kept = tuple(each for each in stmt.kept if each[0].name != held)
    return replace(stmt, results=(*stmt.results, item), outputs=(*stmt.outputs, whole), kept=kept)


def _is_of_list(stmt: Stmt) -> bool:
    """Whether a statement adds to a list of Python, or takes from one."""
    if isinstance(stmt, Check):
        return is_done(stmt.condition)
    match stmt:
        case Assign(expr=Call(Dot(_, "pop"), ())):
            return True
    return False


def _flat(body: Iterable[Stmt]) -> Iterator[Stmt]:
    for stmt in body:
        yield stmt
        if isinstance(stmt, If):
            yield from _flat((*stmt.then, *stmt.otherwise))


def _speaks_of(node: Expr, turn: Word) -> bool:
    """Whether an expression is the number of a turn, or a number that is made of it."""
    return node == turn or (isinstance(node, Num) and turn.text in turned(term(node.value)))


def _inner_draws(loop: Loop) -> list[int]:
    return [index for stmt in loop.body for index in _draws(stmt)][:1]


def _is_computed(condition: Expr) -> bool:
    """Whether an array may stand in a condition: `and` and `in` want numbers of Python."""
    return not any(
        isinstance(node, Conditional | Unary | Call) or (isinstance(node, Binary) and node.operator in _WORDS)
        for node in walk(condition)
    )


_WORDS = ("and", "or", "in", "not in", "is", "is not")


def _range(loop: Loop, change: Callable[[Expr], Expr]) -> tuple[Expr, ...]:
    """What Python's `range` is given for the numbers of a loop's turns."""
    told = loop.numbers if loop.numbers != NOWHERE else over(loop.count, loop.start, loop.step)
    made = change(told)
    assert isinstance(made, Call)
    return made.args


def _place_of(number: Expr, stack: Stack) -> Expr:
    """The place of a layer among those that stand along an axis."""
    place = Binary("-", number, Num(stack.start)) if stack.start else number
    return place if stack.step == 1 else Binary("//", place, Num(stack.step))
