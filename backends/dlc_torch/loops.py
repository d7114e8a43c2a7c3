"""What a loop over parts of a class runs over: `for block in self.h`, `for fc, ln in zip(self.fc, self.ln)`,
or an index where the parts have names of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest

from dlc.emit.names import plain, snake, unique
from dlc.emit.ranges import over
from dlc.emit.sides import collapsed, form_of
from dlc.emit.statements import NOWHERE, Assign, Draft, Loop, Stmt, Target, expressions, rewritten, targets
from dlc.emit.tree import (
    At,
    Binary,
    Call,
    Conditional,
    Cut,
    Dot,
    Expr,
    Keyword,
    Num,
    Path,
    Ref,
    Seq,
    Word,
    refs,
    text,
    transform,
    walk,
)
from dlc.ir.index import INDEX, at_turn, factor_of, has_index, mark, offset_of, upto_index
from dlc.records import dataclass, replace
from dlc.types.terms import origin_free
from dlc_torch import rows
from dlc_torch.classes import Class
from dlc_torch.reach import Roots, follow, locate, reach
from dlc_torch.structure import Node, is_attribute

_I = Word("i")
_RECOMPUTED = Word("recomputed")


@dataclass
class Looping:
    """Settles one loop of the class with the tree `root`."""

    loop: Loop
    root: Node
    roots: Roots
    classes: Mapping[str, Class]

    def run(self) -> Loop:
        if self.loop.source != NOWHERE:
            return self.loop
        if self.loop.recompute:
            body = tuple(rewritten(self.loop.body, self._again))
            return replace(self, loop=replace(self.loop, body=body, recompute=False)).run()
        paths = dict.fromkeys(
            node
            for expr in expressions(self.loop.body)
            for node in walk(expr)
            if isinstance(node, Path) and has_index(node.path)
        )
        if not paths:
            range_ = self._range()
            return replace(self.loop, count=NOWHERE, numbers=NOWHERE, source=range_)
        prefixes = dict.fromkeys(upto_index(node.path) for node in paths)
        if any(factor_of(each) != 1 for each in prefixes):  # a turn takes several of a list
            return self._indexed(paths)
        if (chain := self._chain(list(prefixes))) is not None:
            return chain
        sources = {prefix: self._elements(prefix) for prefix in prefixes}
        if all(sources.values()):
            return self._over({prefix: each for prefix, each in sources.items() if each is not None})
        return self._indexed(paths)

    def _again(self, expr: Expr) -> Expr:
        """A layer of the turn is computed again on the way back."""

        def change(node: Expr) -> Expr:
            if isinstance(node, Call) and isinstance(node.function, Path) and self._is_block(node.function):
                return Call(_RECOMPUTED, (node.function, *node.args, Keyword("use_reentrant", Word("False"))))
            return node

        return transform(expr, change)

    def _is_block(self, path: Path) -> bool:
        """Whether a part is an instance of a class of the file, and no layer of PyTorch's."""
        part = locate(self.root, path.path.split("."), self.roots)
        return part is not None and part.function in self.classes

    def _chain(self, prefixes: Sequence[str]) -> Loop | None:
        """A loop whose turns apply several parts of one list, all in order and each to what the last one gave, goes over
        the parts one by one."""
        first, last = self.loop.body[0], self.loop.body[-1]
        held = self.loop.args[0].name if len(self.loop.args) == 1 else ""
        for prefix, stmt in zip_longest(prefixes, self.loop.body):
            if not isinstance(stmt, Assign) or stmt.layer != Path(prefix or "") or stmt.through != held:
                return None
            held = stmt.targets[0].name
        steps = [self.loop.start + offset_of(prefix) for prefix in prefixes]
        together = steps == list(range(self.loop.start, self.loop.start + self.loop.step))
        alike = len({INDEX.sub(mark(), prefix) for prefix in prefixes}) == 1
        if (
            len(prefixes) < 2
            or not (together and alike)
            or self.loop.kept
            or self.loop.results != (Ref(held),)
        ):
            return None
        count = Num(int(self.loop.count.value) * self.loop.step) if isinstance(self.loop.count, Num) else None
        assert isinstance(first, Assign) and isinstance(last, Assign)
        body = replace(first, targets=last.targets)
        turns = None if self.loop.turns is None else self.loop.turns * self.loop.step
        whole = replace(self.loop, count=count or self.loop.count, step=1, body=(body,), turns=turns)
        return replace(self, loop=whole).run()

    def _elements(self, prefix: str) -> Expr | None:
        """The container that holds the parts at `prefix`, cut to this loop's turns."""
        container, _, label = prefix.rpartition(".")
        node = locate(self.root, container.split("."), self.roots) if container else self.root
        mine = [each for each in node.items.values() if each.label == label] if node is not None else []
        if len(mine) == 1 and not self._all_turns(mine[0]):
            return None
        if (
            node is None
            or not INDEX.fullmatch(label)
            or node.kind not in ("list", "parameters", "sequential")
        ):
            return self._named_elements(node, container, label)
        if not container:  # a slice of a class of its own would be made anew, without arguments
            cut = self._cut(Call(Word("list"), (Word("self"),)), node, label)
            return Word("self") if isinstance(cut, Call) else cut
        base = reach(self.root, container, self.roots)
        if not isinstance(
            base, Dot | Word
        ):  # a part of a container: that it is a list is not known to a type checker
            parts = Call(Dot(base, "parameters" if node.kind == "parameters" else "children"))
            whole = self._cut(base, node, label) is base
            base = parts if whole else Call(Word("list"), (parts,))
            return base if whole else self._cut(base, node, label)
        return self._cut(base, node, label)

    def _cut(self, base: Expr, node: Node, label: str) -> Expr:
        """All elements of a list, or those that `label` stands for in the loop's turns."""
        return _cut(base, self.loop, node, offset_of(label))

    def _named_elements(self, node: Node | None, container: str, label: str) -> Expr | None:
        """`self.layers.values()` where a container holds just this loop's parts under names; `(self.down0, self.down1)`."""
        if node is self.root:
            return self._attributes(label)
        if (
            node is None
            or len(node.items) != 1
            or next(iter(node.items.values())).label != label
            or not node.is_container
        ):
            return None
        base = reach(self.root, container, self.roots)
        return Call(Dot(base, "values"))

    def _all_turns(self, node: Node) -> bool:
        """Whether all turns of the loop have a part, not only some."""
        return node.turns is None or self.loop.turns is None or int(node.turns[0]) == int(self.loop.turns)

    def _attributes(self, label: str) -> Expr | None:
        """The attributes of the class that the turns of the loop take, one by one."""
        count = self._held(label)
        if count is None or count > 8:
            return None
        indices = (self.loop.start + self.loop.step * turn for turn in range(count))
        labels = [at_turn(label, index) for index in indices]
        if not labels or not all(map(is_attribute, labels)):
            return None
        return Seq(tuple(Dot(Word("self"), each) for each in labels))

    def _held(self, label: str) -> int | None:
        """How many attributes of that label the class has, which is fixed: each is made by a line of its own."""
        place = self.loop.start + offset_of(label), self.loop.step
        nodes = [node for node in self.root.items.values() if node.label == label and not node.is_open]
        held = [node.turns for node in nodes if node.turns]
        return next((int(turns[0]) for turns in held if turns[1:] == place), None)

    def _over(self, sources: Mapping[str, Expr]) -> Loop:
        variables: dict[str, str] = {}
        for prefix in sources:
            variables[prefix] = unique(self._variable(prefix), set(variables.values()))
        body = tuple(
            rewritten(
                self.loop.body, lambda expr: self._replaced(expr, lambda path: self._below(path, variables))
            )
        )
        if len(sources) == 1:
            source = next(iter(sources.values()))
        else:
            source = Call(Word("zip"), (*sources.values(), Keyword("strict", Word("True"))))
        variable = ", ".join(variables.values())
        body = collapsed(body)
        if self._is_counted(body):
            variable = f"{self.loop.variable}, {f'({variable})' if len(sources) > 1 else variable}"
            source = self._counted(source)
        return replace(self.loop, count=NOWHERE, numbers=NOWHERE, body=body, variable=variable, source=source)

    def _is_counted(self, body: Sequence[Stmt]) -> bool:
        """Whether it matters which turn it is."""
        turn = Word(self.loop.variable)
        exprs = (*expressions(body), *self.loop.results)
        return turn != Word("_") and any(node == turn for expr in exprs for node in walk(expr))

    def _counted(self, source: Expr) -> Expr:
        """What the loop goes over, with the numbers of its turns."""
        first, step = self.loop.start, self.loop.step
        if step != 1 or not origin_free(first):
            return Call(Word("zip"), (self._range(), source, Keyword("strict", Word("True"))))
        return Call(Word("enumerate"), (source, *([Keyword("start", Num(first))] if first else [])))

    def _below(self, path: Path, variables: Mapping[str, str]) -> Expr:
        prefix = upto_index(path.path)
        rest = path.path[len(prefix) + 1 :]
        part = locate(self.root, prefix.split("."), self.roots) or Node()
        variable = Word(variables[prefix])
        return follow(variable, part, rest.split("."), self.roots) if rest else variable

    def _indexed(self, paths: Iterable[Path]) -> Loop:
        def reached(path: Path) -> Expr:
            return reach(self.root, path.path, self.roots)

        body = tuple(rewritten(self.loop.body, lambda expr: self._replaced(expr, reached)))
        held = {self._held(upto_index(path.path)) for path in paths}
        count = self.loop.count if None in held else Num(min(map(int, filter(None, held))), "count")
        source = self._range() if None in held else over(count, self.loop.start, self.loop.step)
        turn = Word(self.loop.variable)
        body = tuple(rewritten(body, lambda expr: transform(expr, lambda node: _I if node == turn else node)))
        return replace(self.loop, count=NOWHERE, numbers=NOWHERE, body=body, variable="i", source=source)

    def _range(self) -> Expr:
        """The numbers of all turns."""
        told = self.loop.numbers
        return over(self.loop.count, self.loop.start, self.loop.step) if told == NOWHERE else told

    def _replaced(self, expr: Expr, change: Callable[[Path], Expr]) -> Expr:
        return transform(
            expr, lambda node: change(node) if isinstance(node, Path) and has_index(node.path) else node
        )

    def _variable(self, prefix: str) -> str:
        """`block` for instances of Block; the singular of the container's name for PyTorch's own layers, and where it depends on an
        argument of which class they are."""
        labels = prefix.split(".")
        node = locate(self.root, labels, self.roots)
        made = self.classes.get(node.function) if node is not None else None
        is_one = node is not None and not isinstance(node.made, Conditional)
        if made is not None and is_one and not made.is_holder:
            return plain(snake(made.function.source), rows.RESERVED)
        told = [INDEX.sub("", each).strip("_") for each in reversed(labels) if not each.isdigit()]
        label = next(filter(None, told), "part").rstrip("_0123456789") or "part"
        word = label[:-1] if label.endswith("s") and len(label) > 3 else label
        return plain(word, rows.RESERVED)


def _cut(base: Expr, loop: Loop, node: Node, offset: int) -> Expr:
    """All elements of a list, or those of the loop's turns; `offset` is how far ahead of its index a turn takes its own."""
    start = Word(str(loop.start + offset)) if loop.start + offset else None
    stop = _stop(replace(loop, start=loop.start + offset // loop.step * loop.step), node)
    if start is None and stop is None and loop.step == 1:
        return base
    return At(base, (Cut(start, stop, Word(str(loop.step)) if loop.step != 1 else None),))


def _stop(loop: Loop, node: Node) -> Expr | None:
    """Where the loop's turns end in a list, whichever elements of a turn are meant; None where that is its end."""
    length = len(node.indices())
    end = loop.start + loop.step * loop.turns if loop.turns is not None else length
    rest = [each for each in node.items.values() if _first(each) >= end]
    if not rest:
        return None
    if isinstance(loop.count, Num):
        return Word(str(end))
    if not any(each.turns for each in rest):  # so many parts of their own, however often the loop turns
        return Word(str(-len(rest)))
    turned = loop.count if loop.step == 1 else Binary("*", Num(loop.step), loop.count)
    return Binary("+", Num(loop.start), turned) if loop.start else turned


def _first(node: Node) -> int:
    """The first index of a list that a part takes."""
    return node.turns[1] if node.turns else int(node.label)


# --- loops behind one another --------------------------------------------------------------------------------


def joined(body: Iterable[Stmt]) -> tuple[Stmt, ...]:
    """The statements with one loop where two do the same to the parts of a list, one to those up to a place and the other to the rest:
    parts of two classes that are applied alike."""
    done: list[Stmt] = []
    for stmt in body:
        last = done[-1] if done else None
        if isinstance(last, Loop) and isinstance(stmt, Loop) and (one := _joined(last, stmt)) is not None:
            done[-1] = one
        else:
            done.append(stmt)
    return tuple(done)


def _joined(first: Loop, second: Loop) -> Loop | None:
    match first.source, second.source:
        case At(base, (Cut(start, stop, None),)), At(other, (Cut(Word(begin), end, None),)):
            place = int(start.text) if isinstance(start, Word) else 0
            follows = stop is not None and first.turns is not None and place + first.turns == int(begin)
            takes = second.inputs == tuple(Ref(each.name) for each in first.outputs)
            if base != other or not follows or not takes or first.kept or _turn(first) != _turn(second):
                return None
            whole = base if start is None and end is None else At(base, (Cut(start, end, None),))
            turns = None if first.turns is None or second.turns is None else first.turns + second.turns
            return replace(second, inputs=first.inputs, start=first.start, turns=turns, source=whole)
    return None


def _turn(loop: Loop) -> object:
    """What a turn does, whichever part it is about."""
    alone = replace(loop, inputs=(), start=0, turns=None, count=NOWHERE, source=NOWHERE, outputs=())
    return form_of((alone,), ())


def led(draft: Draft, reached: Callable[[Expr], Expr]) -> Draft:
    """The draft with one loop over all parts of a list where the first of them is applied by a statement of its own, as it takes
    another size than the others. `reached` says how an expression reads parts."""
    reads = Counter(name for expr in draft.expressions() for name in refs(expr))
    known = {each.name: each for each in draft.inputs}
    done: list[Stmt] = []
    for stmt in draft.body:
        last = done[-1] if done else None
        if (
            isinstance(last, Assign)
            and isinstance(stmt, Loop)
            and (one := _led(last, stmt, known, reads, reached))
        ):
            done[-1] = one
        else:
            done.append(stmt)
        known.update((each.name, each) for each in targets((stmt,)))
    return replace(draft, body=tuple(done))


def _led(
    first: Assign,
    loop: Loop,
    known: Mapping[str, Target],
    reads: Mapping[str, int],
    reached: Callable[[Expr], Expr],
) -> Loop | None:
    """The loop with the statement before it as its first turn."""
    match loop:
        case Loop(
            source=At(base, (Cut(Word(begin), None, None),)), args=(arg,), inputs=(Ref(taken),), slices=()
        ):
            element = At(base, (Num(int(begin) - 1),))
        case _:
            return None
    if (
        [each.name for each in first.targets] != [taken]
        or reads[taken] != 1
        or loop.kept
        or loop.variable == "_"
    ):
        return None
    match loop.body, loop.results:
        case (), (turn,):
            pass
        case (Assign(targets=(made,), expr=turn),), (Ref(given),) if made.name == given:
            pass
        case _:
            return None
    carried, here = Ref(arg.name), text(reached(first.expr))
    for name in dict.fromkeys(refs(first.expr)):

        def change(node: Expr, name: str = name) -> Expr:
            return element if node == Word(loop.variable) else Ref(name) if node == carried else node

        if name in known and text(reached(transform(turn, change))) == here:
            start = None if int(begin) == 1 else Word(str(int(begin) - 1))
            source = base if start is None else At(base, (Cut(start, None, None),))
            turns = None if loop.turns is None else loop.turns + 1
            arg = replace(arg, axes=known[name].axes)
            note = "\n".join(filter(None, (first.note, loop.note)))
            return replace(
                loop,
                source=source,
                args=(arg,),
                inputs=(Ref(name),),
                start=loop.start - 1,
                turns=turns,
                note=note,
            )
    return None
