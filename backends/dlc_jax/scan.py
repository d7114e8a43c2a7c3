"""The statements of a function of JAX: loops as `lax.scan` over stacked parameters, buffers as parts of the state.

x, _ = lax.scan(lambda x, layer: (block(layer, x), None), x, params["h"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.emit.checks import Check
from dlc.emit.layout import INDENT, fits, layout
from dlc.emit.names import Variables
from dlc.emit.statements import Assign, Loop, Target, expressions
from dlc.emit.tree import Call, Expr, Ref, Seq, refs
from dlc.emit.write import Writer, shape_text
from dlc.records import dataclass, replace
from dlc_jax.drafter import STATE


@dataclass(frozen=True, slots=True)
class Turn:
    """The body of a scan: the variables that it carries, those of one turn, its lines, what it gives besides what it carries."""

    carried: tuple[str, ...]
    slices: tuple[str, ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]
    given: tuple[str, ...]


@dataclass
class Statements(Writer):
    """A function that `updates` the state gives it behind its results. `outputs` is the type of a model's results, where they are
    several, `fields` their names, `usual` those that there always are."""

    updates: bool = False
    outputs: str = ""
    fields: Sequence[str] = ()
    usual: Sequence[str] = ()

    def check(self, stmt: Check) -> None:
        if isinstance(stmt.condition, Call):  # of the library's `require`
            self.line(self.text(stmt.condition))
        else:
            super().check(stmt)

    def named(self, target: Target, stmt: Assign, goals: Mapping[str, str]) -> str:
        return self.text(target.axes[0]) if target.dtype == STATE else super().named(target, stmt, goals)

    def hints(self, target: Target, stmt: Assign) -> list[str]:
        if not target.dtype:
            return list(self.variables.hints[target.name])
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
        if not isinstance(loop.source, Seq):  # one of Python's
            super().loop(loop)
            return
        over, places, kept, copied = (part.items for part in loop.source.items if isinstance(part, Seq))
        turn = self._turn(loop, [self.text(each) for each in kept], [self.text(each) for each in copied])
        first = [self.text(expr) for expr in loop.inputs]
        function = self._inline(turn) or self._defined(turn)
        names = [self.named(target, Assign(loop.outputs, loop.source), {}) for target in loop.outputs]
        new = _tuple([self.text(each) for each in places]) if places else "_"
        xs = _tuple([self.text(each) for each in over]) if over else f"length={self.text(loop.count)}"
        statement = f"{_tuple(names)}, {new} = lax.scan({function}, {_tuple(first)}, {xs})"
        self.line(statement, self.comment(loop.outputs, names, ""))

    def _turn(self, loop: Loop, kept: Sequence[str], copied: Sequence[str]) -> Turn:
        """The body, in a scope of its own: only what it reads from outside keeps its names."""
        outside = self.variables
        read = {outside.names[name] for name in _reads(loop) if name in outside.names}
        slices = tuple(loop.variable.split(", ")) if loop.variable != "_" else ()
        taken = {*outside.taken, *read, *slices, "carry", "inputs"}
        variables = Variables(outside.last, outside.hints, outside.reserved, taken, dict(outside.names))
        writer = replace(self, variables=variables, indent=self.indent + 1, lines=[], shapes={}, told="")
        carried = tuple(map(writer.argument, loop.args, loop.inputs))
        for name in copied:
            writer.line(f"{name} = jax.tree.map(lambda leaf: leaf, {name})")
        writer.write(loop.body)
        results = tuple(writer.text(expr) for expr in loop.results)
        self.at = writer.at + 1
        return Turn(carried, slices, tuple(writer.lines), results, tuple(kept))

    def argument(self, target: Target, value: Expr) -> str:
        """The variable of a carried value: what it is called outside, where the loop's body doesn't read that."""
        hints = [*([self.variables.names[value.value]] if isinstance(value, Ref) else ())]
        hints += self.variables.hints.get(target.name, ("y",))
        self.variables.last.setdefault(target.name, self.at)
        name = self.variables.give(target.name, hints, self.at)
        self.shapes[name] = shape_text(target)
        self.dtypes[target.name] = target.dtype
        return name

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

    def _defined(self, turn: Turn) -> str:
        """The body as a function of its own, written here."""
        name = self.variables.keep("turn", self.at)
        margin = INDENT * (self.indent + 1)
        slices = turn.slices[0] if len(turn.slices) == 1 else "inputs" if turn.slices else "_"
        carry = turn.carried[0] if len(turn.carried) == 1 else "carry"
        kinds = "Array" if len(turn.carried) == 1 else f"tuple[{', '.join(['Array'] * len(turn.carried))}]"
        taken = "None" if slices == "_" else "Any" if slices == "inputs" else "Params"
        given = "None" if not turn.given else "State" if len(turn.given) == 1 else "Any"
        self.lines.append("")
        self.line(f"def {name}({carry}: {kinds}, {slices}: {taken}) -> tuple[{kinds}, {given}]:")
        if len(turn.carried) > 1:
            self.lines.append(f"{margin}{', '.join(turn.carried)} = carry")
        if slices == "inputs":
            self.lines.append(f"{margin}{', '.join(turn.slices)} = inputs")
        self.lines += turn.lines
        results = turn.results
        if len(results) == 1 and not fits(f"return {results[0]}, {_given(turn)}", self.indent + 1):
            self.lines += layout(f"{turn.carried[0]} = {results[0]}", self.indent + 1)
            results = turn.carried
        self.lines += [*layout(f"return {_tuple(results)}, {_given(turn)}", self.indent + 1), ""]
        return name


def _given(turn: Turn) -> str:
    return _tuple(turn.given) if turn.given else "None"


def _tuple(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"({', '.join(items)})"


def _reads(loop: Loop) -> set[str]:
    exprs = (*expressions(loop.body), *loop.results)
    return {name for expr in exprs for name in refs(expr)}
