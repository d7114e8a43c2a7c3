"""Makes the tree: one method per rule of the grammar (or its alias), called with the span and the kept
children. Statements and items here, what they are made of in `build_expressions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlc.diagnostics import Span
from dlc.syntax import ast
from dlc.syntax.build_expressions import ExpressionBuilder, joined
from dlc.syntax.tokens import Token


class Broken:
    """Stands where an item or a statement was wrong."""


BROKEN = Broken()


def _stmts(body: Sequence[Any]) -> tuple[ast.Stmt, ...]:
    return tuple(each for each in body if each is not BROKEN)


class TreeBuilder(ExpressionBuilder):
    """Builds all nodes of a file."""

    # --- statements ----------------------------------------------------------------------------------------

    def on_error(self, span: Span, *_: object) -> Broken:
        return BROKEN

    def on_block(self, span: Span, *body: Any) -> tuple[ast.Stmt, ...]:
        return _stmts(body)

    def on_assign(self, span: Span, target: ast.Expr, value: ast.Expr) -> ast.Assign:
        return ast.Assign(self.target(target), value, span=span)

    def on_typed_assign(self, span: Span, name: Token, type: ast.TypeExpr, value: ast.Expr) -> ast.Assign:
        return ast.Assign(self._typed_target(name, type), value, span=span)

    def _typed_target(self, name: Token, type: ast.TypeExpr) -> ast.NameTarget:
        return ast.NameTarget(name.text, type, span=self.span(name).to(type.span))

    def on_expression_statement(self, span: Span, value: ast.Expr) -> ast.ExprStmt:
        return ast.ExprStmt(value, span=span)

    def on_return(self, span: Span, value: ast.Expr) -> ast.Return:
        return ast.Return(value, span=span)

    def on_if(
        self,
        span: Span,
        condition: ast.Expr,
        then: tuple[ast.Stmt, ...],
        otherwise: tuple[ast.Stmt, ...] | ast.If | None,
    ) -> ast.If:
        if isinstance(otherwise, ast.If):
            otherwise = (otherwise,)
        return ast.If(condition, then, otherwise or (), span=span)

    def on_for(
        self, span: Span, target: ast.Expr | ast.Target, iterable: ast.Expr, body: tuple[ast.Stmt, ...]
    ) -> ast.For:
        iterable, label = detach_label(iterable)
        return ast.For(self.target(target), iterable, label, body, span=span)

    def on_require(self, span: Span, condition: ast.Expr, message: Token | None) -> ast.Require:
        return ast.Require(condition, self.interpolated(message) if message else None, span=span)

    def on_param(
        self, span: Span, name: Token, type: ast.TypeExpr, frozen: Token | None, label: ast.Label | None
    ) -> ast.ParamStmt:
        return ast.ParamStmt("param", name.text, type, None, frozen is not None, label, span=span)

    def on_initial_param(
        self,
        span: Span,
        name: Token,
        type: ast.TypeExpr,
        initial: ast.Expr,
        frozen: Token | None,
        label: ast.Label | None = None,
    ) -> ast.ParamStmt:
        initial, inner = detach_label(initial)
        if label and inner:
            self.syntax(label.span, "this has a label already")
        return ast.ParamStmt("param", name.text, type, initial, frozen is not None, label or inner, span=span)

    def on_buffer(
        self, span: Span, name: Token, type: ast.TypeExpr | None, label: ast.Label | None
    ) -> ast.ParamStmt:
        return ast.ParamStmt("buffer", name.text, type, None, False, label, span=span)

    def on_initial_buffer(
        self, span: Span, name: Token, type: ast.TypeExpr | None, initial: ast.Expr
    ) -> ast.ParamStmt:
        initial, label = detach_label(initial)
        return ast.ParamStmt("buffer", name.text, type, initial, False, label, span=span)

    def on_update(self, span: Span, names: list[Token], value: ast.Expr) -> ast.Update:
        return ast.Update(self._path(names), value, span=span)

    def _path(self, names: list[Token]) -> ast.Expr:
        """A dotted name as an expression."""
        span = self.span(names[0])
        path: ast.Expr = ast.Name(names[0].text, span=span)
        for name in names[1:]:
            at = self.span(name)
            path = ast.Attribute(path, name.text, name_span=at, span=span.to(at))
        return path

    def on_init(self, span: Span, *parts: Any) -> ast.InitRule:
        return ast.InitRule(tuple(parts[:-1]), parts[-1], span=span)

    def on_kind_selector(self, span: Span, kind: Token, param: Token | None) -> ast.InitSelector:
        return ast.InitSelector(kind.text, param.text if param else None, None, span=span)

    def on_pattern_selector(self, span: Span, pattern: Token) -> ast.InitSelector:
        return ast.InitSelector(None, None, self.string(pattern), span=span)

    def on_entry(
        self,
        span: Span,
        name: Token,
        static: tuple[ast.Field, ...] | None,
        inputs: tuple[ast.Field, ...],
        outputs: tuple[ast.Field, ...],
        where: tuple[ast.Expr, ...],
        body: tuple[ast.Stmt, ...],
    ) -> ast.Entry:
        known = None if static is None else self.typed(static)
        return ast.Entry(name.text, known, self.typed(inputs), outputs, where, body, span=span)

    def on_sequences(self, span: Span, *sequences: ast.Expr) -> tuple[ast.Expr, ...]:
        return sequences

    def on_carried(self, span: Span, *carried: ast.Assign) -> tuple[ast.Assign, ...]:
        return carried

    def on_along(self, span: Span, axis: ast.Expr) -> ast.Along:
        return ast.Along(axis, span=span)

    def on_along_axis(self, span: Span, axis: ast.Expr) -> ast.Along:
        return ast.Along(axis, True, span=span)

    def on_scan(
        self,
        span: Span,
        target: ast.Expr | ast.Target,
        sequences: tuple[ast.Expr, ...],
        along: ast.Along | None,
        backwards: Token | None,
        carried: tuple[ast.Assign, ...],
        body: tuple[ast.Stmt, ...],
    ) -> ast.Scan:
        target = self.target(target)
        targets = target.items if len(sequences) > 1 and isinstance(target, ast.TupleTarget) else (target,)
        source = ast.ScanSource(targets, sequences, span=target.span.to(sequences[-1].span))
        if len(targets) != len(sequences):
            message = f"{len(targets)} name(s) for {len(sequences)} sequences"
            self.syntax(source.span, message, "write `scan a, b in x, y along T`")
        return ast.Scan(source, along, backwards is not None, carried, body, span=span)

    def on_yield(self, span: Span, target: ast.Expr | ast.Target, value: ast.Expr) -> ast.Yield:
        return ast.Yield(self.target(target), value, span=span)

    def on_typed_yield(self, span: Span, name: Token, type: ast.TypeExpr, value: ast.Expr) -> ast.Yield:
        return ast.Yield(self._typed_target(name, type), value, span=span)

    # --- training ------------------------------------------------------------------------------------------

    def on_batch(self, span: Span, fields: tuple[ast.Field, ...], source: ast.Expr) -> ast.BatchStmt:
        return ast.BatchStmt(self.typed(fields), source, span=span)

    def on_evaluate(self, span: Span, fields: tuple[ast.Field, ...] | None, source: ast.Expr) -> ast.Evaluate:
        return ast.Evaluate(self.typed(fields or ()), source, span=span)

    def on_minimize(self, span: Span, value: ast.Expr) -> ast.Minimize:
        return ast.Minimize(value, span=span)

    def on_metric(self, span: Span, name: Token, value: ast.Expr) -> ast.Metric:
        return ast.Metric(name.text, value, span=span)

    def on_sample(self, span: Span, name: Token, value: ast.Expr) -> ast.Sample:
        return ast.Sample(name.text, value, span=span)

    def on_optimizer(self, span: Span, *parts: Any) -> ast.Optimizer:
        return ast.Optimizer(tuple(parts[:-1]), parts[-1], span=span)

    def on_load(
        self,
        span: Span,
        target: list[Token],
        path: ast.Expr,
        weights: list[Token] | None,
        excluded: tuple[ast.Str, ...] | None,
    ) -> ast.LoadStmt:
        name = joined(weights) if weights else None
        return ast.LoadStmt(self._path(target), path, name, excluded or (), span=span)

    def on_freeze(self, span: Span, *patterns: Token) -> ast.Freeze:
        return ast.Freeze(tuple(map(self.string, patterns)), span=span)

    def on_settings(self, span: Span, *items: ast.Arg | Broken | None) -> ast.Settings:
        return ast.Settings(tuple(each for each in items if isinstance(each, ast.Arg)), span=span)

    def on_setting(self, span: Span, name: Token, value: ast.Expr) -> ast.Arg:
        return ast.Arg(value, name.text, span=span)

    def on_updated(self, span: Span, *networks: ast.Expr) -> tuple[ast.Expr, ...]:
        return networks

    def on_every(self, span: Span, count: ast.Expr) -> tuple[str, Span, ast.Expr]:
        return "every", span, count

    def on_repeat(self, span: Span, count: ast.Expr) -> tuple[str, Span, ast.Expr]:
        return "repeat", span, count

    def on_step(self, span: Span, name: Token, updates: tuple[ast.Expr, ...], *rest: Any) -> ast.StepStmt:
        optimizer, *paces, body = rest
        found: dict[str, ast.Expr] = {}
        for word, at, count in paces:
            if word in found:
                self.syntax(at, f"`{word}` is given already")
            found[word] = count
        return ast.StepStmt(
            name.text, updates, optimizer, found.get("every"), found.get("repeat"), body, span=span
        )

    # --- items ---------------------------------------------------------------------------------------------

    def on_file(self, span: Span, *items: Any) -> tuple[ast.Item, ...]:
        return tuple(each for each in items if each is not BROKEN)

    def on_import_module(self, span: Span, path: Token, name: Token) -> ast.ImportModule:
        return ast.ImportModule(self.string(path), self._imported_name(name), span=span)

    def _imported_name(self, label: Token) -> str:
        if not label.text.isidentifier():
            self.syntax(self.span(label), "an import is given a plain name")
        return label.text

    def on_imported(self, span: Span, name: Token, alias: Token | None) -> tuple[tuple[str, str], Span]:
        return (name.text, self._imported_name(alias) if alias else name.text), span

    def on_import_from(self, span: Span, path: Token, *names: Any) -> ast.ImportFrom:
        pairs, spans = zip(*names, strict=True)
        return ast.ImportFrom(self.string(path), pairs, spans, span=span)

    def on_let(self, span: Span, name: Token, value: ast.Expr) -> ast.Let:
        return ast.Let(name.text, value, span=span)

    def on_group(
        self, span: Span, name: Token, axes: tuple[ast.Expr, ...] | None, fields: tuple[ast.Field, ...]
    ) -> ast.GroupDef:
        return ast.GroupDef(name.text, axes or (), self.typed(fields), span=span)

    def on_preset(self, span: Span, name: Token, value: ast.Expr) -> ast.Preset:
        return ast.Preset(name.text, value, name_span=self.span(name), span=span)

    def on_fn(
        self,
        span: Span,
        name: Token,
        params: tuple[ast.Field, ...],
        outputs: tuple[ast.Field, ...],
        where: tuple[ast.Expr, ...],
        body: tuple[ast.Stmt, ...],
    ) -> ast.FnDef:
        return ast.FnDef(name.text, params, outputs, where, body, name_span=self.span(name), span=span)

    def on_module(self, span: Span, name: Token, *parts: Any) -> ast.ModuleDef:
        return self._module(span, name, *parts, is_model=False)

    def on_model(self, span: Span, name: Token, *parts: Any) -> ast.ModuleDef:
        return self._module(span, name, *parts, is_model=True)

    def _module(
        self,
        span: Span,
        name: Token,
        static: tuple[ast.Field, ...],
        inputs: tuple[ast.Field, ...],
        outputs: tuple[ast.Field, ...],
        where: tuple[ast.Expr, ...],
        body: tuple[ast.Stmt, ...],
        *,
        is_model: bool,
    ) -> ast.ModuleDef:
        return ast.ModuleDef(
            name.text,
            self.typed(static),
            self.typed(inputs),
            outputs,
            where,
            body,
            is_model,
            name_span=self.span(name),
            span=span,
        )

    def on_train(
        self, span: Span, name: Token, static: tuple[ast.Field, ...] | None, body: tuple[ast.Stmt, ...]
    ) -> ast.Train:
        return ast.Train(
            name.text, self.typed(static or ()), optimizers(body), name_span=self.span(name), span=span
        )

    def on_test(self, span: Span, name: Token, body: tuple[ast.Stmt, ...]) -> ast.Test:
        return ast.Test(self.string(name), body, span=span)

    # --- weights -------------------------------------------------------------------------------------------

    def on_weights(self, span: Span, name: Token, model: ast.Expr, *rules: Any) -> ast.Weights:
        kept = tuple(each for each in rules if each is not BROKEN)
        return ast.Weights(name.text, model, kept, name_span=self.span(name), span=span)

    def on_strings(self, span: Span, *strings: Token) -> tuple[ast.Str, ...]:
        return tuple(map(self.string, strings))

    def on_option(self, span: Span, name: Token, value: ast.Expr) -> ast.Arg:
        return ast.Arg(value, name.text, span=span)

    def _patterns(self, action: str, span: Span, patterns: Sequence[Token]) -> ast.WeightRule:
        return ast.WeightRule(action, tuple(map(self.string, patterns)), span=span)

    def on_strip(self, span: Span, *patterns: Token) -> ast.WeightRule:
        return self._patterns("strip", span, patterns)

    def on_ignore(self, span: Span, *patterns: Token) -> ast.WeightRule:
        return self._patterns("ignore", span, patterns)

    def on_transpose(self, span: Span, *patterns: Token) -> ast.WeightRule:
        return self._patterns("transpose", span, patterns)

    def on_rename(self, span: Span, source: Token, target: Token, *options: ast.Arg) -> ast.WeightRule:
        names = (self.string(source),), (self.string(target),)
        return ast.WeightRule("rename", *names, options, span=span)

    def on_concat(self, span: Span, *parts: Any) -> ast.WeightRule:
        return self._arrow("concat", span, *parts)

    def on_split(self, span: Span, *parts: Any) -> ast.WeightRule:
        return self._arrow("split", span, *parts)

    def on_offset(self, span: Span, *parts: Any) -> ast.WeightRule:
        return self._computed("offset", span, *parts)

    def on_scale(self, span: Span, *parts: Any) -> ast.WeightRule:
        return self._computed("scale", span, *parts)

    def _computed(
        self, action: str, span: Span, patterns: tuple[ast.Str, ...], *options: ast.Arg
    ) -> ast.WeightRule:
        return ast.WeightRule(action, patterns, (), options, span=span)

    def on_weight_norm(self, span: Span, *parts: Any) -> ast.WeightRule:
        return self._arrow("weight_norm", span, *parts)

    def on_stack(self, span: Span, *parts: Any) -> ast.WeightRule:
        return self._arrow("stack", span, *parts)

    def _arrow(
        self,
        action: str,
        span: Span,
        sources: tuple[ast.Str, ...],
        targets: tuple[ast.Str, ...],
        *options: ast.Arg,
    ) -> ast.WeightRule:
        return ast.WeightRule(action, sources, targets, options, span=span)

    def on_rearrange(self, span: Span, name: Token, pattern: Token, *options: ast.Arg) -> ast.WeightRule:
        sources = (self.string(name), self.string(pattern))
        return ast.WeightRule("rearrange", sources, (), options, span=span)


def detach_label(value: ast.Expr) -> tuple[ast.Expr, ast.Label | None]:
    """Takes off the label that stands at the right end of an expression: it belongs to the statement."""
    if isinstance(value, ast.Labeled):
        return value.value, value.label
    if isinstance(value, ast.Binary):
        right, label = detach_label(value.right)
        return ast.Binary(value.op, value.left, right, span=value.span) if label else value, label
    if isinstance(value, ast.Unary):
        operand, label = detach_label(value.operand)
        return ast.Unary(value.op, operand, span=value.span) if label else value, label
    return value, None


def optimizers(body: tuple[ast.Stmt, ...]) -> tuple[ast.Stmt, ...]:
    """A train block's body, where `optimizer = …` is no binding."""
    return tuple(map(_optimizer, body))


def _optimizer(stmt: ast.Stmt) -> ast.Stmt:
    if isinstance(stmt, ast.Assign) and stmt.target == ast.NameTarget("optimizer"):
        return ast.Optimizer((), stmt.value, span=stmt.span)
    if isinstance(stmt, ast.If):
        then, otherwise = optimizers(stmt.then), optimizers(stmt.otherwise)
        return ast.If(stmt.condition, then, otherwise, span=stmt.span)
    if isinstance(stmt, ast.For):
        return ast.For(stmt.target, stmt.iterable, stmt.label, optimizers(stmt.body), span=stmt.span)
    return stmt
