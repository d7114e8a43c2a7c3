"""The statements of a function of JAX: loops as `lax.scan` over stacked parameters or along an axis, buffers as parts of the state.

x, _ = lax.scan(lambda x, layer: (block(layer, x), None), x, params["h"])

def step(h: Array, xt: Array) -> tuple[Array, Array]:
    h = cell(params["cell"], xt, h)
    return h, h

h, hs = lax.scan(step, h, x)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.emit.checks import Check
from dlc.emit.layout import INDENT, fits, layout
from dlc.emit.names import Variables
from dlc.emit.statements import Assign, Loop, Stmt, Target, expressions
from dlc.emit.tree import At, Call, Expr, Ref, Seq, Word, refs, text, walk
from dlc.emit.write import Writer, shape_text
from dlc.records import dataclass, field, replace
from dlc_jax.drafter import STATE, is_stacked
from dlc_jax.settling import may_be_none
from dlc_jax.steps import Scan

BRIEF = 20
"""So long may a first value be that stands in the call of a scan."""

MANY = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """The body of a scan: the variables that it carries, those of one turn, its lines, what it gives besides what it carries.
    `taken` and `kind` are the types of what it takes and gives besides."""

    carried: tuple[str, ...]
    slices: tuple[str, ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]
    given: tuple[str, ...]
    kinds: tuple[str, ...]
    taken: str
    kind: str
    guard: str = ""
    """What says whether the turn has anything to do; where it has not, what it gives is 0."""


@dataclass
class Statements(Writer):
    """A function that `updates` the state gives it behind its results. `outputs` is the type of a model's results, where they are
    several, `fields` their names, `usual` those that there always are."""

    updates: bool = False
    outputs: str = ""
    fields: Sequence[str] = ()
    usual: Sequence[str] = ()
    is_step: bool = False
    """Whether this is the body of a step, within which another is."""
    goals: Mapping[str, str] = field(default_factory=dict)
    """The variables that values are to end up in."""

    def write(self, body: Sequence[Stmt], goals: Mapping[str, str] | None = None) -> None:
        before, self.goals = self.goals, goals or {}
        super().write(body, goals)
        self.goals = before

    def check(self, stmt: Check) -> None:
        if isinstance(stmt.condition, Call):  # of the library's `require`
            self.line(self.text(stmt.condition))
        else:
            super().check(stmt)

    def store(self, path: Expr, value: Expr) -> None:
        """Arrays don't change: one layer of a stack gets its value in a new stack."""
        match self.final(path):
            case At(stack, (Word(number),)) if number.isdecimal():
                given, held = self.text(value), text(stack)
                name = self.variables.give(f"stack {len(self.lines)}", ("stack",), self.at)
                self.line(f"{name} = {held}")
                self.line(f"{held} = {name}.at[{number}].set({given})")
            case _:
                super().store(path, value)

    def named(self, target: Target, stmt: Assign, goals: Mapping[str, str]) -> str:
        return self.text(target.axes[0]) if target.dtype == STATE else super().named(target, stmt, goals)

    def hints(self, target: Target, stmt: Assign) -> list[str]:
        if not target.dtype:
            return list(self.variables.hints[target.name])
        if is_stacked(target.name):  # as with its axis in its place; its own name is none
            return list(self.variables.hints[target.name][:-1])
        values = tuple(each for each in stmt.targets if each.dtype != STATE)
        return super().hints(target, replace(stmt, targets=values))

    def _turn_over(self, carried: Sequence[str], results: Sequence[str]) -> None:
        """A result that a call gives beside new state goes where it is to be without a detour."""
        if len(carried) == 1 and carried[0] != results[0]:
            head = f"{INDENT * self.indent}{results[0]}, state["
            at = next((k for k in reversed(range(len(self.lines))) if self.lines[k].startswith(head)), None)
            if at is not None and all(
                line.startswith(INDENT * self.indent + " ") or line.strip() in (")", "}")
                for line in self.lines[at + 1 :]
            ):
                self.lines[at] = self.lines[at].replace(results[0], carried[0], 1)
                return
        super()._turn_over(carried, results)

    def comment(self, targets: Sequence[Target], names: Sequence[str], leading: str) -> str:
        """Keys and buffers have no shapes to tell, and one that is not known says nothing."""
        pairs = zip(targets, names, strict=True)
        kept = [(target, name) for target, name in pairs if target.dtype not in ("", STATE)]
        found = super().comment([each for each, _ in kept], [name for _, name in kept], leading)
        return "" if found.count("_,") + found.count("_]") > 1 else found

    def returned(self, results: Sequence[Expr]) -> str:
        found = ", ".join(map(self.text, results))
        if self.outputs:
            names = self.fields if len(results) == len(self.fields) else self.usual
            named = zip(names, results, strict=True)
            found = f"{self.outputs}({', '.join(f'{name}={self.text(each)}' for name, each in named)})"
        return f"{found}, state" if self.updates else found

    # --- loops

    def loop(self, loop: Loop) -> None:
        if isinstance(loop, Scan):
            self._steps(loop)
        elif isinstance(loop.source, Seq):
            self._layers(loop, loop.source)
        else:  # one of Python's
            super().loop(loop)

    def _layers(self, loop: Loop, source: Seq) -> None:
        over, places, kept, copied = (part.items for part in source.items if isinstance(part, Seq))
        # Keys that there are in training only say no length.
        optional = len(over) == 1 and may_be_none(over[0])
        turn = self._turn(loop, [self.text(each) for each in kept], [self.text(each) for each in copied])
        turn = replace(turn, taken="Array | None") if optional else turn
        first = [self.text(expr) for expr in loop.inputs]
        function = self._inline(turn) or self._defined(turn, self.variables.keep("turn", self.at))
        if loop.recompute:  # within a scan nothing merges what is computed again with what was
            function = f"jax.checkpoint({function}, prevent_cse=False)"
        names = [self.named(target, Assign(loop.outputs, loop.source), {}) for target in loop.outputs]
        names, stacks = names[: len(first)], names[len(first) :]
        given = [*(self.text(each) for each in places), *stacks]
        new = _tuple(given) if given else "_"
        xs = [_tuple([self.text(each) for each in over])] if over else []
        if not over or optional:
            xs.append(f"length={self.text(loop.count)}")
        statement = f"{_tuple(names)}, {new} = lax.scan({function}, {_tuple(first)}, {', '.join(xs)})"
        self.line(statement, self.comment(loop.outputs, [*names, *stacks], ""))

    def _turn(self, loop: Loop, kept: Sequence[str], copied: Sequence[str]) -> Turn:
        slices = tuple(loop.variable.split(", ")) if loop.variable != "_" else ()
        writer = self._inside(loop, slices)
        carried = tuple(
            writer.argument(target, [*self._called(value), *writer.own_hints(target)])
            for target, value in zip(loop.args, loop.inputs, strict=True)
        )
        writer.copied(copied)
        writer.write(loop.body)
        results = tuple(writer.text(expr) for expr in loop.results)
        self.at = writer.at + 1
        taken = ("None", "Params", "Any")[min(len(slices), 2)]
        results, items = results[: len(carried)], results[len(carried) :]
        kind = ("None", "State", "Any")[min(len(kept), 2)]
        if items:
            kind = _type(["State"] * len(kept) + ["Array"] * len(items))
        kinds = ("Array",) * len(carried)
        return Turn(carried, slices, tuple(writer.lines), results, (*kept, *items), kinds, taken, kind)

    def _inside(self, loop: Loop, slices: Sequence[str] = ()) -> Statements:
        """The writer of a body, which has a scope of its own: only what it reads from outside keeps its names."""
        outside = self.variables
        read = {outside.names[name] for name in _reads(loop) if name in outside.names}
        taken = {*outside.taken, *read, *slices, "carry", "inputs"}
        variables = Variables(outside.last, outside.hints, outside.reserved, taken, dict(outside.names))
        return replace(self, variables=variables, indent=self.indent + 1, lines=[], shapes={}, told="")

    def copied(self, trees: Sequence[str]) -> None:
        """State is copied before it gets new values."""
        for name in trees:
            self.line(f"{name} = jax.tree.map(lambda leaf: leaf, {name})")

    def _called(self, value: Expr) -> list[str]:
        return [self.variables.names[value.value]] if isinstance(value, Ref) else []

    def own_hints(self, target: Target) -> list[str]:
        return list(self.variables.hints.get(target.name, ("y",)))

    def argument(self, target: Target, hints: Sequence[str]) -> str:
        """The variable of a carried value or a slice: of the hints the first that the body doesn't read from outside."""
        self.variables.last.setdefault(target.name, self.at)
        name = self.variables.give(target.name, hints, self.at)
        self.shapes[name] = shape_text(target)
        self.dtypes[target.name] = target.dtype
        return name

    # --- steps along an axis

    def _steps(self, scan: Scan) -> None:
        assert isinstance(scan.source, Call)
        first = [*map(self._first, scan.args, scan.inputs), *scan.carried_state]
        function = self.variables.keep("inner_step" if self.is_step else "step", self.at)
        self._defined(self._step(scan), function)
        names = [self.named(target, Assign(scan.outputs, scan.source), self.goals) for target in scan.outputs]
        comment = self.comment(scan.outputs, names, "")
        carried, given = [*names[: len(scan.args)], *scan.carried_state], names[len(scan.args) :]
        start = Word(_tuple(first) if first else "None")
        made = Call(scan.source.function, (Word(function), start, *scan.source.args))
        self.line(f"{_targets(carried)}, {_targets(given)} = {self.text(made)}", comment)

    def _first(self, target: Target, value: Expr) -> str:
        """The first value of what is carried; one that is made here gets a line."""
        read = self.text(value)
        if len(read) <= BRIEF:
            return read
        key = f"{target.name} first"
        self.variables.last[key] = self.at + 1
        name = self.variables.give(key, self.own_hints(target), self.at)
        self.line(f"{name} = {read}", shape_text(target))
        return name

    def _step(self, scan: Scan) -> Turn:
        writer = self._inside(scan)
        writer.is_step = True
        carried = [writer.argument(target, writer.own_hints(target)) for target in scan.args]
        slices = [
            writer.argument(each, writer.own_hints(each)) if each.name in self.variables.last else "_"
            for each in scan.slices
        ]
        kinds = ["Array"] * len(slices)
        if scan.variable != "_":
            slices.append(scan.variable)
            kinds.append("Array | None" if Word("step_keys") in walk(scan.source) else "Array")
        writer.copied(scan.carried_state)
        goals = {
            expr.value: name
            for expr, name in zip(scan.results, carried, strict=False)
            if isinstance(expr, Ref)
        }
        writer.write(scan.body, goals)
        results = [writer.text(expr) for expr in scan.results]
        guard = results.pop() if scan.guarded else ""
        self.at = writer.at + 1
        after, given = results[: len(carried)], results[len(carried) :]
        return Turn(
            carried=(*carried, *scan.carried_state),
            slices=tuple(slices),
            lines=tuple(writer.lines),
            results=(*after, *scan.carried_state),
            given=tuple(given),
            kinds=("Array",) * len(carried) + ("State",) * len(scan.carried_state),
            taken=_type(kinds),
            kind=_type(["Array"] * len(given)),
            guard=guard,
        )

    # --- the body of a scan

    def _inline(self, turn: Turn) -> str:
        """The body as a lambda, where it is one short expression: what is carried and what is given, or a call that gives
        both."""
        if len(turn.lines) > 1 or len(turn.carried) != 1 or len(turn.slices) > 2:
            return ""
        given, call = f"{turn.results[0]}, {_given(turn)}", ""
        if turn.lines:
            target, _, call = turn.lines[0].partition("  # ")[0].strip().partition(" = ")
            if target != given:
                return ""
        body = call or f"({given})"
        slices = (*turn.slices, "_")[0]
        if len(turn.slices) == 2:
            if body.count(f"({turn.slices[0]}, {turn.slices[1]}, ") != 1:
                return ""
            slices = turn.slices[0]
            body = body.replace(f"({turn.slices[0]}, {turn.slices[1]}, ", f"(*{slices}, ")
            if turn.slices[1] in body:
                return ""
        function = f"lambda {turn.carried[0]}, {slices}: {body}"
        return function if fits(function, self.indent + 5) else ""

    def _defined(self, turn: Turn, name: str) -> str:
        """The body as a function of its own, written here."""
        margin = INDENT * (self.indent + 1)
        slices = turn.slices[0] if len(turn.slices) == 1 else "inputs" if turn.slices else "_"
        nothing = not turn.carried and slices != "_"  # two arguments can't both be called so
        carry = turn.carried[0] if len(turn.carried) == 1 else "_" if nothing else "carry"
        kinds = _type(turn.kinds)
        self.lines.append("")
        head = f"def {name}({carry}: {kinds}, {slices}: {turn.taken}) -> tuple[{kinds}, {turn.kind}]:"
        self.lines += layout(head, self.indent)
        if len(turn.carried) > 1:
            self.lines.append(f"{margin}{', '.join(turn.carried)} = carry")
        if slices == "inputs":
            self.lines.append(f"{margin}{', '.join(turn.slices)} = inputs")
        if turn.guard:
            turn = self._guarded(turn)
        self.lines += turn.lines
        results = turn.results
        if len(results) == 1 and not fits(f"return {results[0]}, {_given(turn)}", self.indent + 1):
            self.lines += layout(f"{turn.carried[0]} = {results[0]}", self.indent + 1)
            results = turn.carried
        after = _tuple(results) if results else "None"
        self.lines += [*layout(f"return {after}, {_given(turn)}", self.indent + 1), ""]
        return name

    def _guarded(self, turn: Turn) -> Turn:
        """The body as a function of its own, which is called only where there is anything to do."""
        margin = INDENT * (self.indent + 1)
        (given,) = turn.given
        name = self.variables.keep("made", self.at)
        head = ["", f"{margin}def {name}() -> {turn.kind}:"]
        end = layout(f"return {given}", self.indent + 2)
        body = [f"{INDENT}{line}" if line else line for line in turn.lines]
        nothing = f"lambda: jnp.zeros_like(jax.eval_shape({name}))"
        call = f"lax.cond({turn.guard}, {name}, {nothing})"
        return replace(turn, lines=(*head, *body, *end, ""), given=(call,))


def _given(turn: Turn) -> str:
    return _tuple(turn.given) if turn.given else "None"


def _type(kinds: Sequence[str]) -> str:
    """The type of one value, of several, or of none; of many that are alike nobody counts how many."""
    if len(kinds) > MANY and len(set(kinds)) == 1:
        return f"tuple[{kinds[0]}, ...]"
    return kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]" if kinds else "None"


def _tuple(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"({', '.join(items)})"


def _targets(names: Sequence[str]) -> str:
    """Names to the left of `=`; one `_` for all that nobody reads."""
    return "_" if set(names) <= {"_"} else _tuple(names)


def _reads(loop: Loop) -> set[str]:
    exprs = (*expressions(loop.body), *loop.results)
    return {name for expr in exprs for name in refs(expr)}
