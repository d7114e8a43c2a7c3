"""Specs that would eat the machine are refused where the budget is spent, whatever it is spent on: E0205 and its kin.

The limits are lowered here, so that each of the cases takes as long as a plain check. That what is counted is what takes the time was
measured at the full ones: 5 s and 500 MB."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

import dlc
from dlc import diagnostics
from dlc.diagnostics import Diagnostic, SpecError
from dlc.elaborate.base import budget, depth, name_patterns, project
from dlc.elaborate.bodies import loops
from dlc.elaborate.programs import instantiate
from dlc.records import replace
from dlc.syntax import parser, scanner

ROOT = Path(__file__).resolve().parents[2]
HEAD = "()(x: [B, 4]) -> [B, 4] {\n"
END = "    return x\n}\n"


def model(*lines: str, before: str = "") -> str:
    return f"{before}model M{HEAD}" + "".join(f"    {line}\n" for line in lines) + END


def chain(first: str, link: str, count: int, *, turned: bool = False) -> str:
    links = [link.format(i=i, j=i - 1) for i in range(1, count)]
    return "\n".join([first, *links][:: -1 if turned else 1]) + "\n"


def problems(text: str) -> tuple[Diagnostic, ...]:
    """What is wrong with a text, or what it means."""
    try:
        return tuple(dlc.loads(text).check())
    except SpecError as error:
        return error.diagnostics


MODULES = chain(
    f"module M0{HEAD}    param w: [4] = zeros\n    return x * w\n}}",
    f"module M{{i}}{HEAD[:-2]}{{{{\n    y = x |> M{{j}}()\n    return y |> M{{j}}()\n}}}}",
    25,
)
LEVELS = chain(
    "module M0(n: int)(x: [B, 4]) -> [B, 4] {\n    return x * n\n}",
    "module M{i}(n: int)(x: [B, 4]) -> [B, 4] {{\n    y = x |> M{j}(2*n)\n    return y |> M{j}(2*n + 1)\n}}",
    22,
)
FACTS = ", ".join(f"A % {p} == 0, B % {p + 1} == 1, C // {p} <= D % {p + 2}" for p in range(2, 25))
CASES: dict[str, tuple[str, str]] = {
    "paths": (model("return x |> M24()", before=MODULES), "the number of parameters"),
    "loops in loops": (model("for i in range(1000) { for j in range(1000) { x = x + i*j } }"), "writes out"),
    "layers that differ": (model("for i in range(20000) { x = x |> linear(i + 1) |> linear(4) }"), "writes out"),
    "static loops": (model("for i in range(99999) { for j in range(99999) { n = i + j } }"), "computes"),
    "static sums": (model("n = sum([sum([i*j for j in range(99999)]) for i in range(99999)])"), "computes"),
    "levels": (model("return x |> M21(1)", before=LEVELS), "writes out"),
    "parameters": (model(*(f"param w{i}: [4] = zeros" for i in range(2000))), "writes out"),
    "parts": (model("y = split(x, [1] * 20000, axis=1)"), "the number of parts"),
    "chunks": (model("y = chunk(x, 1000000, axis=1)"), "the number of parts"),
    "presets": (model() + chain("preset P0 = M()", "preset P{i} = P{j}()", 300), "a chain"),
    "lets": (chain("let L0 = 1", "let L{i} = L{j} + 1", 300), "a chain"),
    "lets, turned": (chain("let L0 = 1", "let L{i} = L{j} + 1", 300, turned=True), "a chain"),
    "squares": (chain("let L0 = 7", "let L{i} = L{j} * L{j}", 60), "this number"),
    "a power": ("let L = 2**(10**9)\n", "this number"),
    "a product": ("let L = prod([10**900] * 90)\n", "this number"),
    "strings": (chain('let L0 = "aaaa"', "let L{i} = L{j} + L{j}", 60), "this list"),
    "lists": (chain("let L0 = [1]", "let L{i} = L{j} + L{j}", 60), "computes"),
    "lists of lists": (chain("let L0 = [1]", "let L{i} = [L{j}, L{j}]", 60), "this list"),
    "lists that are read": (
        "let L = [i for i in range(900)]\nlet N = sum([sum(L) for i in range(900)])\n", "computes"
    ),
    "lists of parts": (
        f"module K{HEAD}    return x |> linear(4)\n}}\n"
        + model("layers = [[K() for i in range(1000)] for j in range(1000)]", "for each in layers[0] { x = each(x) }"),
        "computes",
    ),
    "a range": ("let L = sum(range(10**12))\n", "`sum`"),
    "facts": (
        f"model M()(x: [A, B, C, D]) -> [1] where {FACTS} {{\n    return zeros([A % 7 + B % 11])[:1]\n}}\n",
        "computes",
    ),
    "facts of one size": (
        "model M()(x: [B, A]) -> [B, A] where " + ", ".join(f"B <= {i}*A" for i in range(1, 900)) + " {\n" + END, "computes"
    ),
    "facts that hold": (
        "model M()(x: [B]) -> [B] where " + ", ".join(f"({i}*B + {i}) % {i + 2} == 0" for i in range(900)) + " {\n" + END,
        "computes",
    ),
    "faults": (model("for i in range(9999) as l { y = nowhere + i }"), "computes"),
    "presets with parameters": (
        "model P(n: int)(x: [B, 4]) -> [B, 4] {\n    for i in range(n) as h { x = x |> linear(4) as fc }\n    return x\n}\n"
        + "".join(f"preset P{i} = P(n={i + 300})\n" for i in range(40)),
        "computes",
    ),
    "powers of sizes": (
        "model M()(x: [A, B, C, D]) -> [] {\n"
        + "".join(f"    y{i} = zeros([(A + B + C + D + {i})**9])\n" for i in range(40))
        + "    return sum(x)\n}\n",
        "computes",
    ),
    "lists as arguments": (
        "module L(n: list[int])(x: [B, 4]) -> [B, 4] {\n    return x + sum(n)\n}\n"
        + model("for i in range(90) as l { x = x |> L([i] * 5000) as a }"),
        "computes",
    ),
    "names": (model(*(f"y{i} = x + {i}" for i in range(190)), *(f"z{i} = y{i}" for i in range(190))), "writes out"),
    "groups of groups": (
        "type G0[*S] = (a: [*S], b: [*S])\n"
        + "".join(f"type G{i}[*S] = (a: G{i - 1}[*S], b: G{i - 1}[*S])\n" for i in range(1, 24))
        + "model M()(x: G23[B]) -> [B] {\n    return x" + ".a" * 24 + "\n}\n",
        "what `G23` holds",
    ),
    "a long list beside a loop": (
        "model M(a: list[int] = [i for i in range(50000)])(x: [B, 4]) -> [B, 4] {\n    for i in a { x = x }\n" + END,
        "computes",
    ),
    "parameters of calls": (
        "module K(" + ", ".join(f"a{i}: int = {i}" for i in range(500)) + f"){HEAD[2:]}    return x * a0\n}}\n"
        + model(*(f"x = x |> K(a{i}={i + 1})" for i in range(300))),
        "computes",
    ),
    "models": ("".join(f"model M{i}{HEAD}    return x |> linear(4) |> relu\n}}\n" for i in range(1500)), "writes out"),
    "trainings": (
        f"model M{HEAD}    return x |> linear(4)\n}}\n"
        + "".join(
            f"train t{i} {{\n    net = M()\n    batch (x: [B, 4]) from synthetic(batch=4)\n    minimize mse(net(x), x)\n"
            "    optimizer = adam()\n    settings { steps = 1 }\n}\n"
            for i in range(900)
        ),
        "writes out",
    ),
    "sizes": (
        "model M()(x: [A, B, C, D]) -> [] {\n    y = zeros([(A + B + C + D + 1)**60])\n    return sum(y)\n}\n",
        "computes",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(budget, "STEP_LIMIT", 15_000)
    monkeypatch.setattr(budget, "OPERATION_LIMIT", 200)
    monkeypatch.setattr(instantiate, "PARAMETER_LIMIT", 2_000)
    yield


@pytest.mark.parametrize("name", CASES)
def test_what_runs_away_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, what = CASES[name]
    spent: list[budget.Budget] = []
    made = budget.Budget.excess
    monkeypatch.setattr(budget.Budget, "excess", lambda self: spent.append(self) or made(self))
    spec = dlc.loads(text)
    found = [each for each in spec.check() if each.code == "E0205"]
    assert found and what in found[0].message, found or spec.check()[:3]
    assert all(each.span.line for each in found)
    own = {id(each): each for each in spent}.values()
    # One budget, and nothing goes on behind its end.
    assert len(own) <= 1
    assert all(each.steps < 40_000 and each.operations < 300 for each in own)


@pytest.mark.parametrize("name", ["paths", "static sums", "loops in loops"])
def test_other_ways_in_are_refused_as_well(name: str) -> None:
    model = dlc.loads(CASES[name][0])["M"]
    for way in (
        lambda: model.program,
        lambda: model.training_program,
        model.summary,
        lambda: model.emit("torch"),
    ):
        with pytest.raises(SpecError) as raised:
            way()
        assert raised.value.diagnostics[0].code == "E0205"


def test_one_budget_for_all_models_of_a_file() -> None:
    one = "model M{i}()(x: [B, 4]) -> [B, 4] {{\n    return x + sum([j for j in range(2000)])\n}}\n"
    few, many = ("".join(one.format(i=i) for i in range(count)) for count in (2, 9))
    assert not dlc.loads(few).check()
    assert [each.code for each in dlc.loads(many).check()] == ["E0205"]
    assert dlc.loads(many)["M8"].program  # and none for all that one program is asked for, one after another


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let X = float(10**400)\n", "E0204"),
        ('import "a\\u{0}b" as a\n', "E0108"),
        (f"let X = {'-' * 3000}1\n", "E0006"),
        (f"let X = {'not ' * 30000}true\n", "E0006"),
        (f'let X = "{"a" * 2_000_000}"\n', "E0009"),
        ("#\n" * 900_000 + model(), "E0009"),  # no word was read
        (model(f"return reshape(x, [B, 4{', 1' * 9_000}])"), "E0302"),
        (model(f'return einsum({", ".join("x" * 4_000)}, "{", ".join(["a b"] * 4_000)} -> a b")'), "E0306"),
        (model(*['require true, "' + "{x}" * 400 + '"'] * 50), "E0009"),
        (f"let X = {'9' * 900_000}\n", "E0001"),
        (f'let X = "{chr(92)}q{chr(92)}q"\n', "E0005"),
        (f"let X = {'(' * 3000}1{')' * 3000}\n", "E0006"),
        (model("if true { " * 1000 + "x = x" + " }" * 1000), "E0006"),
    ],
)
def test_what_overflows_or_is_deep_is_a_diagnostic(text: str, code: str) -> None:
    assert problems(text)[0].code == code


def test_long_texts_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scanner, parser):
        monkeypatch.setattr(module, "WORD_LIMIT", 1_000)
    (found,) = problems(model(*["x = x + 1"] * 5_000))
    assert found.code == "E0009" and found.span.line < 400
    assert dlc.loads("# a word\n" * 5_000 + model()).check() == ()
    assert len(scanner.scan("$ " * 5_000, "t").diagnostics) == scanner.TOLD_LIMIT


def test_imports_share_the_limit_and_are_not_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(100):
        (tmp_path / f"f{i}.dl").write_text(f'import "f{i + 1}.dl" as next\n' if i < 99 else "let X = 1\n")
    with pytest.raises(SpecError, match="60 files deep"):
        dlc.load(tmp_path / "f0.dl")
    monkeypatch.setattr(project, "WORD_LIMIT", 100)
    (tmp_path / "g.dl").write_text(f'import "long.dl" as a\nimport "f99.dl" as b\n{model()}')
    (tmp_path / "long.dl").write_text(model(*["x = x + 1"] * 50))
    with pytest.raises(SpecError, match="100 words"):
        dlc.load(tmp_path / "g.dl")


def test_the_guide_says_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    text = (ROOT / "docs/language.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([\d,]+) \|$", text.partition("## Limits")[2], re.MULTILINE))
    assert {name: int(limit.replace(",", "")) for name, limit in rows.items()} == {
        "steps of static evaluation": budget.STEP_LIMIT,
        "operations that are written out": budget.OPERATION_LIMIT,
        "elements of a list, turns of a loop": loops.TURN_LIMIT,
        "turns that differ": loops.UNROLL_LIMIT,
        "bits of an integer": 4_096,
        "parameters and buffers of a program": budget.PARAMETER_LIMIT,
        "calls inside calls": instantiate.DEPTH_LIMIT,
        "tensors in a group, those of groups in it included": budget.GROUP_LIMIT,
        "`let`s and presets in a chain": budget.CHAIN_LIMIT,
        "words of a spec and all that it imports": scanner.WORD_LIMIT,
        "characters of a file": scanner.CHARACTER_LIMIT,
        "imports inside imports": project.IMPORT_DEPTH,
    }


def test_wildcards_do_not_explode() -> None:
    part = "a" * 60
    text = (
        f'model M{HEAD}    x = x |> linear(4) as {part}\n    init "{"*a" * 25}*b.weight" = zeros\n    return x\n}}\n'
        f'weights w for M {{\n    rename "{"*a" * 25}*b" -> "{"*a" * 25}*c"\n}}\n'
    )
    assert "E0505" in {each.code for each in problems(text)}
    assert name_patterns.match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b.c", f"{part}.b.c") is None


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("a.**", "a.b.c", True), ("a.**", "a", False), ("**", "a", True), ("**.b", "b", True), ("**.b", "a.a.b", True),
        ("**.b", "a.ab", False), ("a*b.*", "axxb.c", True), ("a*b.*", "a.b.c", False), ("**.a.**.b", "x.a.a.c.b", True),
        ("h.*.w*t", "h.11.weight", True), ("*.b.**", "a.b", False), ("a*a", "a", False), ("*a*", "bab", True),
    ],
)  # fmt: skip
def test_wildcards(pattern: str, path: str, fits: bool) -> None:
    assert name_patterns.matches(pattern, path) is fits


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("h.*.w", "h.3.w", {"0": "3"}), ("**.*", "a.b.c", {"0": "a.b", "1": "c"}), ("{e}.*", "a.", {"e": "a", "0": ""}),
        ("{e}x", "x", None), ("*a*", "aaa", {"0": "aa", "1": ""}), ("**a*", "a.a.ba", {"0": "a.a.b", "1": ""}),
        ("a", "ab", None), ("*", "a.b", None),
    ],
)  # fmt: skip
def test_what_wildcards_stand_for(pattern: str, name: str, found: dict[str, str] | None) -> None:
    assert name_patterns.match(pattern, name) == found


def test_of_very_many_problems_the_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    lines = [f"y{i} = nope{i} + 1" for i in range(130)]
    found = problems(model(*lines))
    assert len(found) == diagnostics.KEPT + 1 and found[-1].code == "E0010"
    assert found[-1].message == "30 more problems are not shown" and found[-1].severity == "error"
    assert found[-1].to_json()["line"] == 102
    warned = [replace(each, severity="warning") for each in problems(model(*lines[:90]))]
    errors = problems(model(*lines[:50]))
    kept = diagnostics.limited([*warned, *errors])
    assert sum(each.severity == "error" for each in kept) == 50 and kept[-1].severity == "warning"
    assert diagnostics.limited(kept) == kept


def test_deep_recursion_does_not_ask_for_memory_over_and_over() -> None:
    def up_and_down(frames: int) -> None:
        if frames:
            up_and_down(frames - 1)

    def below(frames: int) -> None:
        if frames:
            below(frames - 1)
        else:
            for _ in range(50):
                up_and_down(30)

    def work() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for frames in range(200):
            below(frames)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert depth.deep(work)() < 500  # without room in one piece some thousands
