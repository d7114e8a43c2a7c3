"""What each form of the language becomes in the tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from dlc.diagnostics import Span, render_all
from dlc.syntax import ast
from dlc.syntax.parser import parse, parse_expression

Binary, Call, Name, Int, Str = ast.Binary, ast.Call, ast.Name, ast.Int, ast.Str


def items(text: str) -> tuple[ast.Item, ...]:
    result = parse(text, "t.dl")
    assert not result.diagnostics, render_all(result.diagnostics, {"t.dl": text})
    return result.file.items


def item(text: str) -> ast.Item:
    (only,) = items(text)
    return only


def body(text: str, head: str = "module A(d: int)(x: [B, d]) -> [B, d]") -> tuple[ast.Stmt, ...]:
    found = item(f"{head} {{\n{text}\n}}\n")
    assert isinstance(found, ast.ModuleDef | ast.Train | ast.FnDef | ast.Test)
    return found.body


def stmt(text: str, head: str = "module A(d: int)(x: [B, d]) -> [B, d]") -> ast.Stmt:
    (only,) = body(text, head)
    return only


def expr(text: str) -> ast.Expr:
    result = parse_expression(text, "t.dl")
    assert not result.diagnostics, render_all(result.diagnostics, {"t.dl": text})
    assert result.expression is not None
    return result.expression


def call(name: str, *args: ast.Expr, **named: ast.Expr) -> ast.Call:
    keywords = tuple(ast.Arg(value, key) for key, value in named.items())
    return Call(Name(name), tuple(map(ast.Arg, args)) + keywords)


def text_of(value: str) -> ast.Str:
    return Str(value, value)


A, B, C, D = map(Name, "abcd")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", A),
        ("5_000", Int(5000)),
        ("0x1F", Int(31)),
        ("0b101", Int(5)),
        ("6e-4", ast.Float(6e-4, "6e-4")),
        ("1_0.5", ast.Float(10.5, "1_0.5")),
        ("true", ast.Bool(True)),
        ("none", ast.NoneLit()),
        ("_", ast.Wildcard()),
        ('"a\\n\\"b\\u{e9}"', Str('a\n"bé', '\\n\\"b\\u{e9}'.replace("\\n", "a\\n", 1))),
        ("-a ** -b", ast.Unary("-", Binary("**", A, ast.Unary("-", B)))),
        ("a ** b ** c", Binary("**", A, Binary("**", B, C))),
        ("a + b * c", Binary("+", A, Binary("*", B, C))),
        ("a - b - c", Binary("-", Binary("-", A, B), C)),
        ("a @ b.T", Binary("@", A, ast.Attribute(B, "T"))),
        ("a // b % c", Binary("%", Binary("//", A, B), C)),
        ("(a + b) * c", Binary("*", Binary("+", A, B), C)),
        ("a < b <= c", ast.Compare((A, B, C), ("<", "<="))),
        ("a not in b", ast.Compare((A, B), ("not in",))),
        ("not a == b", ast.Unary("not", ast.Compare((A, B), ("==",)))),
        ("not a and b or c", Binary("or", Binary("and", ast.Unary("not", A), B), C)),
        ("a if b else c if d else a", ast.Conditional(B, A, ast.Conditional(D, C, A))),
        ("a |> b |> c", ast.Pipe(ast.Pipe(A, B), C)),
        ("a + b |> c", ast.Pipe(Binary("+", A, B), C)),
        ("a, b |> c", ast.TupleExpr((A, ast.Pipe(B, C)))),
        ("a,", ast.TupleExpr((A,))),
        ("()", ast.TupleExpr(())),
        ("(a, b,)", ast.TupleExpr((A, B))),
        ("[a, *S, b]", ast.ListExpr((A, ast.Star("S"), B))),
        ("[]", ast.ListExpr(())),
        ("[a for b in c if d]", ast.ListComp(A, ast.NameTarget("b"), C, D)),
        (
            "[a for b, (c, _) in d]",
            ast.ListComp(
                A,
                ast.TupleTarget(
                    (
                        ast.NameTarget("b"),
                        ast.TupleTarget((ast.NameTarget("c"), ast.NameTarget("_"))),
                    )
                ),
                D,
                None,
            ),
        ),
        ("f(a, b=c)", call("f", A, b=C)),
        ("f(...)", call("f", ast.Ellipsis_())),
        ("f(..., b=c,)", call("f", ast.Ellipsis_(), b=C)),
        ("f(a |> b)", call("f", ast.Pipe(A, B))),
        ("f(a |> b, c)", call("f", ast.Pipe(A, B), C)),
        ("[a |> b, a, b |> c]", ast.ListExpr((ast.Pipe(A, B), A, ast.Pipe(B, C)))),
        ("[a |> b]", ast.ListExpr((ast.Pipe(A, B),))),
        ("f()(a)", Call(call("f"), (ast.Arg(A),))),
        ("a[b, ..., none]", ast.Index(A, (B, ast.Ellipsis_(), ast.NoneLit()))),
        ("a[:, b:c:d]", ast.Index(A, (ast.Slice(None, None, None), ast.Slice(B, C, D)))),
        ("a[:-b, ::c]", ast.Index(A, (ast.Slice(None, ast.Unary("-", B), None), ast.Slice(None, None, C)))),
        ("a[b |> c]", ast.Index(A, (ast.Pipe(B, C),))),
        ("a[b |> c, a]", ast.Index(A, (ast.Pipe(B, C), A))),
        ("f(a) as b.0.c", ast.Labeled(call("f", A), ast.Label(("b.0.c",)))),
        ('f(a) as "b{c}d"', ast.Labeled(call("f", A), ast.Label(("b", C, "d"), True))),
        ("a |> f(b) as c |> d", ast.Pipe(ast.Pipe(A, ast.Labeled(call("f", B), ast.Label(("c",)))), D)),
        ("f(a) as else.none", ast.Labeled(call("f", A), ast.Label(("else.none",)))),
    ],
)
def test_expressions(text: str, tree: ast.Expr) -> None:
    assert expr(text) == tree


def test_labels_interpolate() -> None:
    (part, between, other) = expr('f() as "{a + 1}.{{x}}{b}"').label.parts  # type: ignore[attr-defined]
    assert part == Binary("+", A, Int(1))
    assert between == ".{x}"
    assert other == B


def test_only_labels_and_messages_interpolate() -> None:
    assert expr('f("{")') == call("f", text_of("{"))
    found = stmt('require d > 1, "d is {d}"')
    assert isinstance(found, ast.Require) and found.message is not None
    assert found.message.parts == ("d is ", Name("d"))


@pytest.mark.parametrize(
    ("text", "type"),
    [
        ("[B, T]", ast.TensorTypeExpr(None, (Name("B"), Name("T")))),
        ("[]", ast.TensorTypeExpr(None, ())),
        ("i64[B, _, *S]", ast.TensorTypeExpr("i64", (Name("B"), ast.Wildcard(), ast.Star("S")))),
        (
            "float[2*d + 1]",
            ast.TensorTypeExpr("float", (Binary("+", Binary("*", Int(2), Name("d")), Int(1)),)),
        ),
        ("[min(a, b)]", ast.TensorTypeExpr(None, (call("min", A, B),))),
        ("int", ast.NamedTypeExpr("int")),
        ("module", ast.NamedTypeExpr("module")),
        ("fn", ast.NamedTypeExpr("fn")),
        ("list[int]", ast.NamedTypeExpr("list", (ast.NamedTypeExpr("int"),))),
        (
            "tuple[int, list[str], i64[B], [d]]",
            ast.NamedTypeExpr(
                "tuple",
                (
                    ast.NamedTypeExpr("int"),
                    ast.NamedTypeExpr("list", (ast.NamedTypeExpr("str"),)),
                    ast.TensorTypeExpr("i64", (Name("B"),)),
                    ast.TensorTypeExpr(None, (Name("d"),)),
                ),
            ),
        ),
        ("Frame", ast.NamedTypeExpr("Frame")),
        ("Frame[B, N]", ast.GroupTypeExpr("Frame", (Name("B"), Name("N")))),
        ("geo.Frame[B]", ast.GroupTypeExpr("geo.Frame", (Name("B"),))),
    ],
)
def test_types(text: str, type: ast.TypeExpr) -> None:
    assert stmt(f"y: {text} = x") == ast.Assign(ast.NameTarget("y", type), Name("x"))


TENSOR = ast.TensorTypeExpr(None, (Name("B"),))


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("[B]", (ast.Field(None, TENSOR),)),
        ("y: [B]", (ast.Field("y", TENSOR),)),
        ("(y: [B], z: [B] = none)", (ast.Field("y", TENSOR), ast.Field("z", TENSOR, ast.NoneLit()))),
        ("([B], [B],)", (ast.Field(None, TENSOR), ast.Field(None, TENSOR))),
        ("y", (ast.Field("y", None),)),
        ("(h, c)", (ast.Field("h", None), ast.Field("c", None))),
        ("int", (ast.Field(None, ast.NamedTypeExpr("int")),)),
        ("Frame", (ast.Field(None, ast.NamedTypeExpr("Frame")),)),
        ("_", (ast.Field(None, None),)),
        ("(y: _, _)", (ast.Field("y", None), ast.Field(None, None))),
    ],
)
def test_outputs(text: str, outputs: tuple[ast.Field, ...]) -> None:
    found = item(f"fn f(x) -> {text} {{ return x }}")
    assert isinstance(found, ast.FnDef)
    assert found.outputs == outputs


RETURN = ast.Return(Name("x"))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('import "a.dl" as b', ast.ImportModule(text_of("a.dl"), "b")),
        ('from "dlc:a/b" import A, B as C,', ast.ImportFrom(text_of("dlc:a/b"), (("A", "A"), ("B", "C")))),
        (
            'from "a.dl" import model, test',
            ast.ImportFrom(text_of("a.dl"), (("model", "model"), ("test", "test"))),
        ),
        ("let N = 3", ast.Let("N", Int(3))),
        ("let N = a,\n    b", ast.Let("N", ast.TupleExpr((A, B)))),
        (
            "type Frame[*S] = (r: [*S, 3], t: [*S])",
            ast.GroupDef(
                "Frame",
                (ast.Star("S"),),
                (
                    ast.Field("r", ast.TensorTypeExpr(None, (ast.Star("S"), Int(3)))),
                    ast.Field("t", ast.TensorTypeExpr(None, (ast.Star("S"),))),
                ),
            ),
        ),
        ("type Pair = (a: [B])", ast.GroupDef("Pair", (), (ast.Field("a", TENSOR),))),
        ("preset P = M(a=b)", ast.Preset("P", call("M", a=B))),
        (
            "fn f(x, n: int = 3) -> y where n > 0 { return x }",
            ast.FnDef(
                "f",
                (ast.Field("x", None), ast.Field("n", ast.NamedTypeExpr("int"), Int(3))),
                (ast.Field("y", None),),
                (ast.Compare((Name("n"), Int(0)), (">",)),),
                (RETURN,),
            ),
        ),
        (
            "module A(inner: module)(x: [B]) -> [B] { return x }",
            ast.ModuleDef(
                "A",
                (ast.Field("inner", ast.NamedTypeExpr("module")),),
                (ast.Field("x", TENSOR),),
                (ast.Field(None, TENSOR),),
                (),
                (RETURN,),
            ),
        ),
        (
            "model test()(x: [B]) -> [B]\n    where a, b,\n{ return x }",
            ast.ModuleDef(
                "test", (), (ast.Field("x", TENSOR),), (ast.Field(None, TENSOR),), (A, B), (RETURN,), True
            ),
        ),
        ('test "a {" { require a }', ast.Test(text_of("a {"), (ast.Require(A, None),))),
        ("train t { }", ast.Train("t", (), ())),
        (
            "train t(lr: float = 1e-3) {}",
            ast.Train("t", (ast.Field("lr", ast.NamedTypeExpr("float"), ast.Float(1e-3, "1e-3")),), ()),
        ),
    ],
)
def test_items(text: str, tree: ast.Item) -> None:
    assert item(text) == tree


def test_weights() -> None:
    found = item(
        """
weights hf for blocks.GPT {
    strip "a."
    transpose "b",
        "c"
    ignore "d"
    rename "e.*" -> "f.*"
    concat "q", "k" -> "qk" axis=0
    split "qk" -> "q", "k" axis=-1
    stack "x.{e}" -> "w"
    rearrange "w" "(h e) -> (e h)" h=32 e=2
}
"""
    )
    assert isinstance(found, ast.Weights)
    assert (found.name, found.model) == ("hf", ast.Attribute(Name("blocks"), "GPT"))
    s = text_of
    assert found.rules == (
        ast.WeightRule("strip", (s("a."),)),
        ast.WeightRule("transpose", (s("b"), s("c"))),
        ast.WeightRule("ignore", (s("d"),)),
        ast.WeightRule("rename", (s("e.*"),), (s("f.*"),)),
        ast.WeightRule("concat", (s("q"), s("k")), (s("qk"),), (ast.Arg(Int(0), "axis"),)),
        ast.WeightRule("split", (s("qk"),), (s("q"), s("k")), (ast.Arg(ast.Unary("-", Int(1)), "axis"),)),
        ast.WeightRule("stack", (s("x.{e}"),), (s("w"),)),
        ast.WeightRule(
            "rearrange", (s("w"), s("(h e) -> (e h)")), (), (ast.Arg(Int(32), "h"), ast.Arg(Int(2), "e"))
        ),
    )


X = Name("x")
WEIGHT = ast.InitSelector("linear", "weight", None)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("y = x", ast.Assign(ast.NameTarget("y"), X)),
        ("a, (b, _) = x", None),
        ("return a, b", ast.Return(ast.TupleExpr((A, B)))),
        ("x", ast.ExprStmt(X)),
        ("if a { y = x }", ast.If(A, (ast.Assign(ast.NameTarget("y"), X),), ())),
        ("if a { } else { return x }", ast.If(A, (), (RETURN,))),
        ("if a { }\nelse if b { }\nelse { return x }", ast.If(A, (), (ast.If(B, (), (RETURN,)),))),
        ("for i in range(d) as h { }", ast.For(ast.NameTarget("i"), call("range", D), ast.Label(("h",)), ())),
        (
            'for i, a in b as "d{i}" { }',
            ast.For(
                ast.TupleTarget((ast.NameTarget("i"), ast.NameTarget("a"))),
                B,
                ast.Label(("d", Name("i")), True),
                (),
            ),
        ),
        ("param w: [B] = zeros", ast.ParamStmt("param", "w", TENSOR, Name("zeros"))),
        ("param w: [B]", ast.ParamStmt("param", "w", TENSOR, None)),
        ("param w: [B] frozen", ast.ParamStmt("param", "w", TENSOR, None, True)),
        ("param w: [B] as a.b", ast.ParamStmt("param", "w", TENSOR, None, False, ast.Label(("a.b",)))),
        (
            "param w: [B] = a / b as c",
            ast.ParamStmt("param", "w", TENSOR, Binary("/", A, B), False, ast.Label(("c",))),
        ),
        ("param w: [B] = a frozen as c", ast.ParamStmt("param", "w", TENSOR, A, True, ast.Label(("c",)))),
        ("param w: [B] = a as c frozen", ast.ParamStmt("param", "w", TENSOR, A, True, ast.Label(("c",)))),
        ("buffer w: [B] = zeros", ast.ParamStmt("buffer", "w", TENSOR, Name("zeros"))),
        ("update w = x", ast.Update(Name("w"), X)),
        (
            'init linear.weight, "h.*" = a',
            ast.InitRule((WEIGHT, ast.InitSelector(None, None, text_of("h.*"))), A),
        ),
        ('require a, "b"', ast.Require(A, text_of("b"))),
        (
            "scan a in x along axis -1 { }",
            ast.Scan(
                ast.ScanSource((ast.NameTarget("a"),), (X,)),
                ast.Along(ast.Unary("-", ast.Int(1)), by_number=True),
                False,
                (),
                (),
            ),
        ),
        (
            "scan a in x along axis { }",
            ast.Scan(ast.ScanSource((ast.NameTarget("a"),), (X,)), ast.Along(Name("axis")), False, (), ()),
        ),
        (
            "scan a in x along T with h = b { yield c = h }",
            ast.Scan(
                ast.ScanSource((ast.NameTarget("a"),), (X,)),
                ast.Along(Name("T")),
                False,
                (ast.Assign(ast.NameTarget("h"), B),),
                (ast.Yield(ast.NameTarget("c"), Name("h")),),
            ),
        ),
        (
            "scan a, b in x, c along T backwards { }",
            ast.Scan(
                ast.ScanSource((ast.NameTarget("a"), ast.NameTarget("b")), (X, C)),
                ast.Along(Name("T")),
                True,
                (),
                (),
            ),
        ),
        (
            "scan i in range(d)\n    with h: [B] = a, c = b { }",
            ast.Scan(
                ast.ScanSource((ast.NameTarget("i"),), (call("range", D),)),
                None,
                False,
                (ast.Assign(ast.NameTarget("h", TENSOR), A), ast.Assign(ast.NameTarget("c"), B)),
                (),
            ),
        ),
        (
            "entry f(x: [B]) -> y: [B] where a { return x }",
            ast.Entry("f", None, (ast.Field("x", TENSOR),), (ast.Field("y", TENSOR),), (A,), (RETURN,)),
        ),
        (
            "entry f(n: int = 2)(x: [B]) -> [B] { return x }",
            ast.Entry(
                "f",
                (ast.Field("n", ast.NamedTypeExpr("int"), ast.Int(2)),),
                (ast.Field("x", TENSOR),),
                (ast.Field(None, TENSOR),),
                (),
                (RETURN,),
            ),
        ),
        (
            "entry f()(x: [B]) -> [B] { return x }",
            ast.Entry("f", (), (ast.Field("x", TENSOR),), (ast.Field(None, TENSOR),), (), (RETURN,)),
        ),
    ],
)
def test_statements(text: str, tree: ast.Stmt | None) -> None:
    found = stmt(text)
    if tree is not None:
        assert found == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("batch (x: [B],) from f(a)", ast.BatchStmt((ast.Field("x", TENSOR),), call("f", A))),
        ("evaluate from f(a)", ast.Evaluate((), call("f", A))),
        ("evaluate (x: [B])\n    from f(a)", ast.Evaluate((ast.Field("x", TENSOR),), call("f", A))),
        ("minimize a\n    + b", ast.Minimize(Binary("+", A, B))),
        ("metric m = a", ast.Metric("m", A)),
        ("optimizer = a", ast.Optimizer((), A)),
        (
            'optimizer layer_norm, linear.weight, "b.**" = a',
            ast.Optimizer(
                (
                    ast.InitSelector("layer_norm", None, None),
                    WEIGHT,
                    ast.InitSelector(None, None, text_of("b.**")),
                ),
                A,
            ),
        ),
        (
            'load a.b from "f" with hf except "c", "d"',
            ast.LoadStmt(ast.Attribute(A, "b"), text_of("f"), "hf", (text_of("c"), text_of("d"))),
        ),
        ('load a from "f"', ast.LoadStmt(A, text_of("f"), None, ())),
        ('freeze "a", "b"', ast.Freeze((text_of("a"), text_of("b")))),
        ("settings { }", ast.Settings(())),
        ("settings { steps = 5, seed = 1\n clip = a,\n}", None),
        ("step s updates a, b with c { }", ast.StepStmt("s", (A, B), C, None, None, ())),
        ("step s updates a with c every 2 repeat d { }", ast.StepStmt("s", (A,), C, Int(2), D, ())),
        ("step s updates a with c repeat d { }", ast.StepStmt("s", (A,), C, None, D, ())),
        ("buffer q = a", ast.ParamStmt("buffer", "q", None, A)),
        ("update a.b = c", ast.Update(ast.Attribute(A, "b"), C)),
        ("for i in a { optimizer = b }", ast.For(ast.NameTarget("i"), A, None, (ast.Optimizer((), B),))),
    ],
)
def test_training(text: str, tree: ast.Stmt | None) -> None:
    found = stmt(text, "train t")
    if tree is not None:
        assert found == tree


def test_settings_are_separated_by_commas_and_lines() -> None:
    found = stmt("settings { steps = 5, seed = 1\n clip = a,\n}", "train t")
    assert isinstance(found, ast.Settings)
    assert [arg.name for arg in found.items] == ["steps", "seed", "clip"]


def test_comments_document_what_they_stand_above() -> None:
    text = """# About the file.

# Doubles.
#  Twice.
fn f(x) -> y { return x }
# not above

module A()(x: [B]) -> [B] {
    # Encodes.
    entry e(x: [B]) -> [B] { return x }
    return x  # itself
}
"""
    double, module = items(text)
    assert double.doc == "Doubles.\n Twice."
    assert module.doc == ""
    assert isinstance(module, ast.ModuleDef) and isinstance(module.body[0], ast.Entry)
    assert module.body[0].doc == "Encodes."
    assert parse(text, "t").file.comments[-1] == (11, "# itself", False)


# --- spans -------------------------------------------------------------------------------------------------


def nodes(node: object) -> Iterator[ast.Node]:
    """A node and all below it."""
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, ast.Node):
            yield each
            todo += [getattr(each, field.name) for field in dataclasses.fields(each)]
        elif isinstance(each, tuple):
            todo += each


def at(text: str, span: Span) -> str:
    lines = text.split("\n")[span.line - 1 : span.end_line]
    assert lines, span
    lines[-1] = lines[-1][: span.end_column - 1]
    lines[0] = lines[0][span.column - 1 :]
    return "\n".join(lines)


SAMPLE = """# First.
let A = f(x |> g(1) as "l{n}", -(a + b) * c)
module M(d: int = 4*e)(x: [B, d], m: bool[*S] = none) -> (y: [B], _) where d % 2 == 0 {
    a, (b, _) = x[:, 1:-1, ...]
        |> linear(d) as fc.0
    if a < b <= c { return a } else { require a, "m {b}" }
    scan t in x along T with h = a { yield z = t }
    return [q for q in a if q], zeros([*S])
}
"""


def test_spans_hold_the_text_of_each_node() -> None:
    found = list(nodes(parse(SAMPLE, "t").file))
    assert len(found) > 80
    for node in found:
        text = at(SAMPLE, node.span)
        if isinstance(node, ast.Name):
            assert text == node.id
        elif isinstance(node, ast.Int | ast.Float):
            assert text == str(node.value)
        elif isinstance(node, ast.Str):
            assert text == f'"{node.raw}"'
        elif isinstance(node, ast.Attribute):
            assert at(SAMPLE, node.name_span) == node.name
        elif isinstance(node, ast.Expr) and not isinstance(node, ast.Ellipsis_ | ast.Wildcard):
            again = parse_expression(text, "t").expression
            assert again == node or isinstance(node, ast.Slice | ast.Star)


def test_spans_lie_inside_their_parents() -> None:
    for node in nodes(parse(SAMPLE, "t").file):
        start, end = (node.span.line, node.span.column), (node.span.end_line, node.span.end_column)
        for child in nodes(node):
            assert start <= (child.span.line, child.span.column), (node, child)
            assert (child.span.end_line, child.span.end_column) <= end, (node, child)
