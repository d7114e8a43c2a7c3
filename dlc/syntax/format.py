"""Writes a tree back as text in the one style of the language, with its comments: `format_file`.

Where the author chose, the choice stays: a pipe or bracket that was broken over lines, `4*d` without spaces,
parentheses around an operand, one blank line between statements, the column of a comment behind code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dlc.diagnostics import Span
from dlc.syntax import ast
from dlc.syntax.build_expressions import is_value_name
from dlc.syntax.format_expr import INDENT, ExpressionWriter, fill
from dlc.syntax.format_flat import ATOM, CONDITION, PIPE, POSTFIX, SUM, TUPLE, binding
from dlc.syntax.lalr import MAX_DEPTH
from dlc.syntax.source_map import MAX_WIDTH, Place, SourceMap, end
from dlc.syntax.tokens import ITEMS, STATEMENTS

_BLOCK_ITEMS = ast.ModuleDef | ast.FnDef | ast.Train | ast.Test | ast.Weights


def format_file(file: ast.File, text: str) -> str:
    """The file in the language's style. `text` is what it was parsed from, without errors."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEEPEST))
    try:
        return _Writer(SourceMap(text, file.comments)).file(file)
    finally:
        sys.setrecursionlimit(limit)


_DEEPEST = 20 * MAX_DEPTH  # calls inside each other, for a tree as deep as the parser lets it be


class _Writer:
    def __init__(self, source: SourceMap) -> None:
        self.source = source
        self.expressions = ExpressionWriter(source)
        self.flat = self.expressions.flat

    # --- sequences of items, statements and comments -------------------------------------------------------

    def file(self, file: ast.File) -> str:
        lines = self._sequence(file.items, 1, len(self.source.lines) + 1, 0)
        return "\n".join(lines) + "\n" if lines else ""

    def _sequence(self, nodes: Sequence[ast.Node], first: int, end: int, indent: int) -> list[str]:
        """The nodes that stand on lines `first` to `end` - 1 with the comments between them. Single blank
        lines stay; one stands on either side of an item with a body."""
        lines: list[str] = []
        last = 0  # the line of the text that what was written last ended on
        before: ast.Node | None = None
        for node in nodes:
            code = self._node(node, indent)
            head = [*self.source.take(first, node.span.line), *self._stray(node)]
            spaced = isinstance(before, _BLOCK_ITEMS) or (
                before is not None and isinstance(node, _BLOCK_ITEMS)
            )
            last = self._comments(lines, head, last, indent, spaced)
            self._gap(lines, last, node.span.line, spaced and not head)
            lines += code
            last, before = node.span.end_line, node
            first = last
        self._comments(lines, self.source.take(first, end), last, indent, isinstance(before, _BLOCK_ITEMS))
        return lines

    def _node(self, node: ast.Node, indent: int) -> list[str]:
        code = self.lines(node, indent)
        code[-1] = self.source.trailing(node.span.end_line, code[-1])
        return code

    def _stray(self, node: ast.Node) -> list[tuple[int, str]]:
        """Comments inside a node for which it has no place: they go above it."""
        return [
            (node.span.line, comment) for _, comment in self.source.take(node.span.line, node.span.end_line)
        ]

    def _comments(
        self, lines: list[str], comments: Iterable[tuple[int, str]], last: int, indent: int, spaced: bool
    ) -> int:
        """Adds comments that stand alone; returns the line that the last of them was on."""
        for line, comment in comments:
            self._gap(lines, last, line, spaced)
            lines.append(" " * indent + comment)
            last, spaced = line, False
        return last

    def _gap(self, lines: list[str], last: int, line: int, spaced: bool) -> None:
        if lines and (spaced or line > last + 1 > 1):
            lines.append("")

    def _block(self, body: Sequence[ast.Node], opened: int, closed: int, indent: int) -> list[str]:
        """The lines between the braces of a block."""
        return self._sequence(body, opened, closed, indent + INDENT)

    def _braces(
        self, head: list[str], body: Sequence[ast.Node], span: Span, after: Span, indent: int
    ) -> list[str]:
        """`head`, which ends before the `{`, and the block that it opens; `after` is where the head ends in
        the text and `span` ends with the block."""
        opened, _ = self.source.find("{", end(after))
        one_line = self._one_line(head, body, opened, span.end_line, indent)
        if one_line:
            return one_line
        head = [*head[:-1], head[-1] + " {"] if head[-1].strip() else [*head[:-1], " " * indent + "{"]
        if opened < (body[0].span.line if body else span.end_line):
            head[-1] = self.source.trailing(opened, head[-1])
        inner = self._block(body, opened, span.end_line, indent)
        return [*head, *inner, " " * indent + "}"]

    def _one_line(
        self, head: list[str], body: Sequence[ast.Node], opened: int, closed: int, indent: int
    ) -> list[str] | None:
        """`head { statement }` where it was written so and fits."""
        lead = head[-1] + " " if head[-1].strip() else " " * indent
        if opened == closed and not body:
            return [*head[:-1], f"{lead}{{ }}"]
        if opened != closed or len(head) > 1 or len(body) > 1:
            return None
        inner = self.lines(body[0], 0)
        line = f"{lead}{{ {inner[0]} }}"
        return [line] if len(inner) == 1 and len(line) <= MAX_WIDTH else None

    # --- nodes ---------------------------------------------------------------------------------------------

    def lines(self, node: ast.Node, indent: int) -> list[str]:
        method: Callable[[Any, int], list[str]] = getattr(self, f"_{type(node).__name__.lower()}")
        return method(node, indent)

    def _value(self, prefix: str, value: ast.Expr, indent: int, least: int, suffix: str = "") -> list[str]:
        """`prefix value suffix`, broken inside the value if it must be, or after the `=` of a long prefix."""
        start = indent + len(prefix)
        width = len(self.flat(value, least)) + len(suffix)
        pad = " " * (indent + INDENT)
        if prefix.endswith("= ") and start > MAX_WIDTH // 3 and start + width > MAX_WIDTH >= len(pad) + width:
            return [" " * indent + prefix.rstrip(), pad + self.flat(value, least) + suffix]
        lines = self.expressions.lay_out(value, indent, start, len(suffix), least)
        lines[0] = " " * indent + prefix + lines[0]
        lines[-1] += suffix
        return lines

    def _listed(self, prefix: str, items: Sequence[str], indent: int, suffix: str = "") -> list[str]:
        """`prefix a, b, c suffix`, as many items to a line as fit."""
        line = " " * indent + prefix + ", ".join(items) + suffix
        if len(line) <= MAX_WIDTH or len(items) < 2:
            return [line]
        opened = " " * indent + prefix
        return fill([opened], items, suffix, len(opened)) or self._column(opened, items, suffix, indent)

    def _column(self, opened: str, items: Sequence[str], suffix: str, indent: int) -> list[str]:
        pad = " " * (indent + INDENT)
        return [f"{opened}{items[0]},", *[f"{pad}{item}," for item in items[1:-1]], pad + items[-1] + suffix]

    # --- items ---------------------------------------------------------------------------------------------

    def _importmodule(self, item: ast.ImportModule, indent: int) -> list[str]:
        return [f'import "{item.path.raw}" as {item.name}']

    def _importfrom(self, item: ast.ImportFrom, indent: int) -> list[str]:
        names = [there if there == here else f"{there} as {here}" for there, here in item.names]
        return self._listed(f'from "{item.path.raw}" import ', names, indent)

    def _let(self, item: ast.Let, indent: int) -> list[str]:
        return self._value(f"let {item.name} = ", item.value, indent, TUPLE)

    def _preset(self, item: ast.Preset, indent: int) -> list[str]:
        return self._value(f"preset {item.name} = ", item.value, indent, TUPLE)

    def _groupdef(self, item: ast.GroupDef, indent: int) -> list[str]:
        axes = f"[{self.expressions.axes(item.axes)}]" if item.axes else ""
        return self._fields([f"type {item.name}{axes} = "], item.fields, item.span.line, item.span, indent)

    def _fndef(self, item: ast.FnDef, indent: int) -> list[str]:
        return self._definition(f"fn {item.name}", [item.params], item, indent)

    def _moduledef(self, item: ast.ModuleDef, indent: int) -> list[str]:
        word = "model" if item.is_model else "module"
        return self._definition(f"{word} {item.name}", [item.static, item.inputs], item, indent)

    def _entry(self, stmt: ast.Entry, indent: int) -> list[str]:
        lists = [stmt.inputs] if stmt.static is None else [stmt.static, stmt.inputs]
        return self._definition(f"entry {stmt.name}", lists, stmt, indent)

    def _definition(
        self,
        name: str,
        lists: Sequence[tuple[ast.Field, ...]],
        item: ast.FnDef | ast.ModuleDef | ast.Entry,
        indent: int,
    ) -> list[str]:
        head = self._header(" " * indent + name, lists, item, indent)
        if item.where:
            head += self._listed(
                "where ", [self.flat(fact, CONDITION) for fact in item.where], indent + INDENT
            )
        if len(head) > 1:
            head.append("")  # the brace stands alone
        return self._braces(head, item.body, item.span, self._header_end(item), indent)

    def _header_end(self, item: ast.FnDef | ast.ModuleDef | ast.Entry) -> Span:
        return item.where[-1].span if item.where else item.outputs[-1].span if item.outputs else item.span

    def _header(
        self,
        name: str,
        lists: Sequence[tuple[ast.Field, ...]],
        item: ast.FnDef | ast.ModuleDef | ast.Entry,
        indent: int,
    ) -> list[str]:
        """On one line, else with a line for each list and, if need be, the outputs. Of a list that was
        written with a line for each field, each field keeps its line."""
        arrow = "-> " + self._outputs(item.outputs)
        flat = name + "".join(f"({self._flat_fields(fields)})" for fields in lists) + f" {arrow}"
        broken = any(self._was_broken(fields, item.span) for fields in lists)
        if len(flat) + (0 if item.where else 2) <= MAX_WIDTH and not broken:
            return [flat]
        lines = [name]
        line = item.span.line
        for number, fields in enumerate(lists):
            if number and not lines[-1].strip().startswith(")"):
                lines.append(" " * len(name))
            lines = self._fields(lines, fields, line, item.span, indent)
            line = fields[-1].span.end_line if fields else line
        if len(lines[-1]) + 1 + len(arrow) <= MAX_WIDTH:
            return [*lines[:-1], f"{lines[-1]} {arrow}"]
        pad = " " * (len(name) if len(lists) > 1 else indent + INDENT)
        return [*lines, *self._long_outputs(item.outputs, pad)]

    def _long_outputs(self, outputs: tuple[ast.Field, ...], pad: str) -> list[str]:
        line = f"{pad}-> {self._outputs(outputs)}"
        if len(line) <= MAX_WIDTH or len(outputs) == 1:
            return [line]
        opened = f"{pad}-> ("
        return fill([opened], list(map(self._output, outputs)), ")", len(opened)) or [line]

    def _was_broken(self, fields: tuple[ast.Field, ...], span: Span) -> bool:
        """Whether the first field was written on a line of its own."""
        if not fields or not span.line < fields[0].span.line <= len(self.source.lines):
            return False
        return not self.source.lines[fields[0].span.line - 1][: fields[0].span.column - 1].strip()

    def _fields(
        self, head: list[str], fields: tuple[ast.Field, ...], line: int, span: Span, indent: int
    ) -> list[str]:
        """`head(field, field)`, as many fields to a line as fit, or a line for each if it was written so."""
        opened = [*head[:-1], head[-1] + "("]
        if not fields:
            return [*opened[:-1], opened[-1] + ")"]
        if not self._was_broken(fields, span):
            filled = fill(opened, [self._field(field) for field in fields], ")", len(opened[-1]))
            if filled is not None:
                return filled
        pad = " " * (indent + INDENT)
        for field in fields:
            opened += [pad + comment for _, comment in self.source.take(line + 1, field.span.line)]
            opened.append(self.source.trailing(field.span.end_line, f"{pad}{self._field(field)},"))
            line = field.span.end_line
        return [*opened, " " * indent + ")"]

    def _flat_fields(self, fields: tuple[ast.Field, ...]) -> str:
        return ", ".join(map(self._field, fields))

    def _field(self, field: ast.Field) -> str:
        parts = [field.name] if field.name else []
        if field.type is not None:
            parts.append(self.expressions.type(field.type))
        text = ": ".join(parts) or "_"
        return f"{text} = {self.flat(field.default, CONDITION)}" if field.default is not None else text

    def _outputs(self, outputs: tuple[ast.Field, ...]) -> str:
        text = ", ".join(map(self._output, outputs))
        return text if len(outputs) == 1 else f"({text})"

    def _output(self, field: ast.Field) -> str:
        """As a field, but a name alone that would be taken for a type says that its type is open."""
        if field.type is None and field.name and not is_value_name(field.name):
            default = f" = {self.flat(field.default, CONDITION)}" if field.default is not None else ""
            return f"{field.name}: _{default}"
        return self._field(field)

    def _train(self, item: ast.Train, indent: int) -> list[str]:
        static = f"({self._flat_fields(item.static)})" if item.static else ""
        after = item.static[-1].span if item.static else item.name_span
        head = [f"train {item.name}{static}"]
        broken = bool(static) and self._was_broken(item.static, item.span)
        if len(head[0]) + 2 > MAX_WIDTH or broken:
            head = self._fields([f"train {item.name}"], item.static, item.span.line, item.span, indent)
            head.append("")  # the brace stands alone
        return self._braces(head, item.body, item.span, after, indent)

    def _test(self, item: ast.Test, indent: int) -> list[str]:
        return self._braces([f'test "{item.name.raw}"'], item.body, item.span, item.name.span, indent)

    # --- weights -------------------------------------------------------------------------------------------

    def _weights(self, item: ast.Weights, indent: int) -> list[str]:
        head = f"weights {item.name} for {self.flat(item.model, POSTFIX)}"
        return self._braces([head], item.rules, item.span, item.model.span, indent)

    def _weightrule(self, rule: ast.WeightRule, indent: int) -> list[str]:
        options = "".join(f" {arg.name}={self.flat(arg.value, CONDITION)}" for arg in rule.options)
        sources = [f'"{each.raw}"' for each in rule.sources]
        if rule.action == "rearrange":
            return [f"{' ' * indent}rearrange {' '.join(sources)}{options}"]
        if not rule.targets:
            return self._listed(f"{rule.action} ", sources, indent, options)
        targets = [f'"{each.raw}"' for each in rule.targets]
        line = f"{' ' * indent}{rule.action} {', '.join(sources)} -> {', '.join(targets)}{options}"
        if len(line) <= MAX_WIDTH:
            return [line]
        head = self._listed(f"{rule.action} ", sources, indent)
        arrow = f"-> {', '.join(targets)}{options}"
        if len(head) > 1 and len(head[-1]) + 1 + len(arrow) <= MAX_WIDTH:
            return [*head[:-1], f"{head[-1]} {arrow}"]
        return [*head, *self._listed("-> ", targets, indent + INDENT, options)]

    # --- statements ----------------------------------------------------------------------------------------

    def _assign(self, stmt: ast.Assign, indent: int) -> list[str]:
        return self._value(f"{self.expressions.target(stmt.target)} = ", stmt.value, indent, TUPLE)

    def _exprstmt(self, stmt: ast.ExprStmt, indent: int) -> list[str]:
        text = self.flat(stmt.value)
        word = text[: len(text) - len(text.lstrip("abcdefghijklmnopqrstuvwxyz"))]
        least = ATOM + 1 if word in STATEMENTS | ITEMS else TUPLE  # in parentheses, it is no keyword
        return self._value("", stmt.value, indent, least)

    def _return(self, stmt: ast.Return, indent: int) -> list[str]:
        return self._value("return ", stmt.value, indent, TUPLE)

    def _if(self, stmt: ast.If, indent: int) -> list[str]:
        if stmt.span.line == stmt.span.end_line:
            line = " " * indent + self._flat_if(stmt)
            if len(line) <= MAX_WIDTH:
                return [line]
        return self._long_if(stmt, indent, " " * indent)

    def _flat_if(self, stmt: ast.If) -> str:
        """`if c { a } else { b }`; too long where a block holds more than one statement."""
        text = f"if {self.flat(stmt.condition, CONDITION)} {self._flat_block(stmt.then)}"
        if not self._has_else(stmt):
            return text
        if self._else_if(stmt):
            assert isinstance(stmt.otherwise[0], ast.If)
            return f"{text} else {self._flat_if(stmt.otherwise[0])}"
        return f"{text} else {self._flat_block(stmt.otherwise)}"

    def _flat_block(self, body: Sequence[ast.Stmt]) -> str:
        if not body:
            return "{ }"
        inner = self.lines(body[0], 0)
        return f"{{ {inner[0]} }}" if len(body) == len(inner) == 1 else "x" * MAX_WIDTH

    def _has_else(self, stmt: ast.If) -> bool:
        return bool(stmt.otherwise)

    def _else_if(self, stmt: ast.If) -> bool:
        """Whether `else if` was written, rather than a block with an `if` alone in it."""
        return len(stmt.otherwise) == 1 and isinstance(stmt.otherwise[0], ast.If)

    def _long_if(self, stmt: ast.If, indent: int, lead: str) -> list[str]:
        head = self._value("if ", stmt.condition, indent, CONDITION, " {")
        head[0] = lead + head[0][indent:]
        opened, column = self.source.find("{", end(stmt.condition.span))
        closed = self.source.find("}", end(stmt.then[-1].span) if stmt.then else (opened, column))
        if opened < (stmt.then[0].span.line if stmt.then else closed[0]):
            head[-1] = self.source.trailing(opened, head[-1])
        lines = [*head, *self._block(stmt.then, opened, closed[0], indent)]
        if not stmt.otherwise:
            return [*lines, " " * indent + "}"]
        return lines + self._otherwise(stmt, closed, indent)

    def _otherwise(self, stmt: ast.If, closed: Place, indent: int) -> list[str]:
        lead = " " * indent + "} else "
        inner = stmt.otherwise[0]
        if self._else_if(stmt) and isinstance(inner, ast.If):
            return self._long_if(inner, indent, lead)
        opened, _ = self.source.find("{", closed)
        head = lead + "{"
        if opened < inner.span.line:
            head = self.source.trailing(opened, head)
        return [head, *self._block(stmt.otherwise, opened, stmt.span.end_line, indent), " " * indent + "}"]

    def _for(self, stmt: ast.For, indent: int) -> list[str]:
        label = f" as {self.expressions.label(stmt.label)}" if stmt.label else ""
        prefix = f"for {self.expressions.target(stmt.target)} in "
        head = self._value(prefix, stmt.iterable, indent, self._labeled_level(stmt.iterable, label), label)
        after = stmt.label.span if stmt.label else stmt.iterable.span
        return self._braces(head, stmt.body, stmt.span, after, indent)

    def _labeled_level(self, value: ast.Expr, label: str, least: int = CONDITION) -> int:
        """How tightly an expression must bind so that a label after it belongs to all of it."""
        return SUM if label and binding(value) < SUM else least

    def _paramstmt(self, stmt: ast.ParamStmt, indent: int) -> list[str]:
        type = f": {self.expressions.type(stmt.type)}" if stmt.type else ""
        prefix = f"{stmt.kind} {stmt.name}{type}"
        suffix = " frozen" if stmt.frozen else ""
        suffix += f" as {self.expressions.label(stmt.label)}" if stmt.label else ""
        if stmt.initial is None:
            return [" " * indent + prefix + suffix]
        least = self._labeled_level(stmt.initial, suffix, PIPE)
        return self._value(f"{prefix} = ", stmt.initial, indent, least, suffix)

    def _update(self, stmt: ast.Update, indent: int) -> list[str]:
        return self._value(f"update {self.flat(stmt.target)} = ", stmt.value, indent, TUPLE)

    def _initrule(self, stmt: ast.InitRule, indent: int) -> list[str]:
        return self._selected("init ", stmt.selectors, stmt.initial, indent)

    def _selected(
        self, word: str, selectors: Sequence[ast.InitSelector], value: ast.Expr, indent: int
    ) -> list[str]:
        """`word a, b = value`."""
        names = list(map(self._selector, selectors))
        prefix = f"{word}{', '.join(names)} = "
        if indent + len(prefix) <= MAX_WIDTH or len(names) < 2:
            return self._value(prefix, value, indent, PIPE)
        head = self._listed(word, names, indent, " =")
        return [*head, *self._value("", value, indent + INDENT, PIPE)]

    def _selector(self, selector: ast.InitSelector) -> str:
        if selector.pattern is not None:
            return f'"{selector.pattern.raw}"'
        return f"{selector.kind}.{selector.param}" if selector.param else f"{selector.kind}"

    def _require(self, stmt: ast.Require, indent: int) -> list[str]:
        if stmt.message is None:
            return self._value("require ", stmt.condition, indent, CONDITION)
        message = f'"{stmt.message.raw}"'
        flat = f"{' ' * indent}require {self.flat(stmt.condition, CONDITION)}, {message}"
        if len(flat) <= MAX_WIDTH:
            return self._value("require ", stmt.condition, indent, CONDITION, f", {message}")
        lines = self._value("require ", stmt.condition, indent, CONDITION, ",")
        return [*lines, " " * (indent + INDENT) + message]

    def _scan(self, stmt: ast.Scan, indent: int) -> list[str]:
        target = (
            ast.TupleTarget(stmt.source.targets) if len(stmt.source.targets) > 1 else stmt.source.targets[0]
        )
        sequences = ", ".join(self.flat(each, CONDITION) for each in stmt.source.sequences)
        along = ""
        if stmt.along is not None:
            by_number = "axis " if stmt.along.by_number else ""
            along = f" along {by_number}{self.flat(stmt.along.axis, CONDITION)}"
        backwards = " backwards" if stmt.backwards else ""
        head = f"{' ' * indent}scan {self.expressions.target(target)} in {sequences}{along}{backwards}"
        return self._braces(
            self._carried(head, stmt, indent), stmt.body, stmt.span, self._scan_end(stmt), indent
        )

    def _carried(self, head: str, stmt: ast.Scan, indent: int) -> list[str]:
        carried = [self._carry(each) for each in stmt.carried]
        if not carried:
            return [head]
        flat = f"{head} with {', '.join(carried)}"
        if len(flat) + 2 <= MAX_WIDTH:
            return [flat]
        return [head, *self._listed("with ", carried, indent + INDENT), ""]

    def _carry(self, stmt: ast.Assign) -> str:
        target = self.expressions.target(stmt.target)
        if isinstance(stmt.target, ast.TupleTarget):
            target = f"({target})"
        return f"{target} = {self.flat(stmt.value, CONDITION)}"

    def _scan_end(self, stmt: ast.Scan) -> Span:
        if stmt.carried:
            return stmt.carried[-1].span
        return stmt.along.span if stmt.along else stmt.source.span

    def _yield(self, stmt: ast.Yield, indent: int) -> list[str]:
        return self._value(f"yield {self.expressions.target(stmt.target)} = ", stmt.value, indent, TUPLE)

    # --- training ------------------------------------------------------------------------------------------

    def _batchstmt(self, stmt: ast.BatchStmt, indent: int) -> list[str]:
        prefix = f"batch ({self._flat_fields(stmt.fields)}) from "
        return self._value(prefix, stmt.source, indent, PIPE)

    def _evaluate(self, stmt: ast.Evaluate, indent: int) -> list[str]:
        fields = f"({self._flat_fields(stmt.fields)}) " if stmt.fields else ""
        return self._value(f"evaluate {fields}from ", stmt.source, indent, PIPE)

    def _minimize(self, stmt: ast.Minimize, indent: int) -> list[str]:
        return self._value("minimize ", stmt.value, indent, TUPLE)

    def _metric(self, stmt: ast.Metric, indent: int) -> list[str]:
        return self._value(f"metric {stmt.name} = ", stmt.value, indent, TUPLE)

    def _sample(self, stmt: ast.Sample, indent: int) -> list[str]:
        return self._value(f"sample {stmt.name} = ", stmt.value, indent, TUPLE)

    def _optimizer(self, stmt: ast.Optimizer, indent: int) -> list[str]:
        if not stmt.selectors:
            return self._value("optimizer = ", stmt.value, indent, TUPLE)
        return self._selected("optimizer ", stmt.selectors, stmt.value, indent)

    def _loadstmt(self, stmt: ast.LoadStmt, indent: int) -> list[str]:
        weights = f" with {stmt.weights}" if stmt.weights else ""
        prefix = f"load {self.flat(stmt.target)} from {self.flat(stmt.path)}{weights}"
        if not stmt.excluded:
            return [" " * indent + prefix]
        return self._listed(f"{prefix} except ", [f'"{each.raw}"' for each in stmt.excluded], indent)

    def _freeze(self, stmt: ast.Freeze, indent: int) -> list[str]:
        return self._listed("freeze ", [f'"{each.raw}"' for each in stmt.patterns], indent)

    def _settings(self, stmt: ast.Settings, indent: int) -> list[str]:
        items = ", ".join(f"{arg.name} = {self.flat(arg.value, CONDITION)}" for arg in stmt.items)
        flat = f"{' ' * indent}settings {{ {items} }}" if items else f"{' ' * indent}settings {{ }}"
        if stmt.span.line == stmt.span.end_line and len(flat) <= MAX_WIDTH:
            return [flat]
        return self._braces([" " * indent + "settings"], stmt.items, stmt.span, _start(stmt.span), indent)

    def _arg(self, arg: ast.Arg, indent: int) -> list[str]:
        """A setting."""
        return self._value(f"{arg.name} = ", arg.value, indent, CONDITION)

    def _stepstmt(self, stmt: ast.StepStmt, indent: int) -> list[str]:
        updates = ", ".join(self.flat(each, POSTFIX) for each in stmt.updates)
        every = f" every {self.flat(stmt.every, CONDITION)}" if stmt.every else ""
        repeat = f" repeat {self.flat(stmt.repeat, CONDITION)}" if stmt.repeat else ""
        prefix = f"step {stmt.name} updates {updates} with "
        head = self._value(prefix, stmt.optimizer, indent, PIPE, every + repeat)
        last = max((each.span for each in (stmt.optimizer, stmt.every, stmt.repeat) if each), key=end)
        return self._braces(head, stmt.body, stmt.span, last, indent)


def _start(span: Span) -> Span:
    return Span(span.file, span.line, span.column, span.line, span.column)
