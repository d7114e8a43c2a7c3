"""What is known of a name at a place: its type, its definition, its uses."""

from __future__ import annotations

from dlc.elaborate.base.knowledge import Known
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.file import check_unit

SPEC = """\
type Pair[*S] = (a: [*S], b: [*S])

let width = 8

module Block(d: int, wide: int = 2 * d)(x: [B, T, d]) -> [B, T, d] {
    h = x |> linear(wide) as up |> relu
    return x + (h |> linear(d) as down)
}

model Net(d: int = width, layers: int = 3)(x: [B, T, d]) -> y: [B, T, d] {
    for i in range(layers) as layer {
        x = x * (i + 1) |> Block(d, wide=4 * d)
    }
    param scale: [d] = ones
    return x * scale
}
"""
LINES = SPEC.split("\n")


def known(line: int, word: str, nth: int = 0) -> Known | None:
    """What is known of the nth occurrence of a word in a line."""
    project = Project()
    unit = project.loads(SPEC, "net.dl")
    assert check_unit(project, unit) == ()
    column = -1
    for _ in range(nth + 1):
        column = LINES[line - 1].index(word, column + 1)
    return project.knowledge.at("net.dl", line, column + 1)


def places(found: Known | None) -> tuple[str, list[str]]:
    assert found is not None
    return str(found.definition), [str(each) for each in found.uses]


def test_the_type_of_a_binding() -> None:
    found = known(6, "h")
    assert found is not None and (found.name, found.type) == ("h", "[B, T, 32]")
    parameter = known(14, "scale")
    assert parameter is not None and parameter.type == "[8]" and places(parameter) == ("14:11", ["15:16"])


def test_a_module_is_defined_once_and_used_elsewhere() -> None:
    assert places(known(12, "Block")) == places(known(5, "Block")) == ("5:8", ["12:28"])


def test_a_static_parameter_with_its_value() -> None:
    """Its default, the header's types, the body, and the name of an argument at a call all speak of it."""
    found = known(5, "wide")
    assert found is not None and (found.type, found.text) == ("an int", "32")
    assert places(found) == ("5:22", ["6:21", "12:37"])
    assert places(known(7, "linear(d)", 0) or known(7, "d) as")) == ("5:14", ["5:38", "5:51", "5:65", "7:29"])


def test_a_loop_variable() -> None:
    found = known(12, "i + 1")
    assert found is not None and (found.name, found.text) == ("i", "0")
    assert places(found) == ("11:9", ["12:18"])


def test_a_size_begins_where_it_is_first_named() -> None:
    found = known(5, "T", 1)
    assert found is not None and found.type == "a dim (T)"
    assert places(found) == ("5:48", ["5:62"])


def test_a_let_of_the_file_has_its_value() -> None:
    found = known(10, "width")
    assert found is not None and found.text == "8" and places(found) == ("3:5", ["10:20"])


def test_a_name_that_is_bound_again_is_renamed_everywhere() -> None:
    found = known(15, "x")
    assert places(found) == ("12:9", ["15:12"])
    assert found is not None and [*map(str, found.everywhere)] == ["10:44", "12:9", "12:13", "15:12"]


def test_nothing_is_known_of_what_is_no_name_of_the_user() -> None:
    assert known(6, "linear") is None
    assert known(6, "|>") is None
