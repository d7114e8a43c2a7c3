"""Loops, labels and sizes: what names mean in a turn, behind a loop, and in paths."""

from __future__ import annotations

import pytest

import dlc


def paths(body: str, *, static: str = "", inputs: str = "x: [B, 8]", output: str = "_") -> list[str]:
    spec = dlc.loads(f"model M({static})({inputs}) -> {output} {{\n{body}\n}}\n")
    return [each.path for each in spec["M"].parameters if each.path.endswith("weight")]


@pytest.mark.parametrize(
    ("loops", "expected"),
    [
        # an inner loop's label that mentions the outer variable stands for the outer index
        ('for s in range(2) { for i in range(2) as "stage{s}" { x = x |> linear(8) } }', "stage{s}.{i}.weight"),
        ('for s in range(2) { for i in range(2) as "s{s}b{i}" { x = x |> linear(8) } }', "s{s}b{i}.weight"),
        ('for s in range(2) as body { for i in range(2) as "s{s}" { x = x |> linear(8) } }', "body.s{s}.{i}.weight"),
        ('for s in range(2) as body { for i in range(2) as block { x = x |> linear(8) } }', "body.{s}.block.{i}.weight"),
        ('for s in range(2) { for i in range(2) { x = x |> linear(8) as "fc{s}" } }', "fc{s}.{i}.weight"),
    ],
)  # fmt: skip
def test_indices_stand_where_no_label_mentions_them(loops: str, expected: str) -> None:
    wanted = [expected.format(s=s, i=i) for s in range(2) for i in range(2)]
    assert paths(f"{loops}\nreturn x") == wanted


def test_names_by_the_module_count_on_behind_a_loop() -> None:
    body = """
        for i in range(3) { x = x |> linear(8) }
        for i in range(2) { x = x |> linear(8) |> relu |> linear(8) }
        return x |> linear(8)
    """
    assert sorted(paths(body)) == [
        *(f"linear.{i}.weight" for i in range(3)),
        *(f"linear_{k}.{i}.weight" for k in (2, 3) for i in range(2)),
        "linear_4.weight",
    ]


def test_a_label_makes_an_instance_of_a_module_without_parentheses() -> None:
    assert paths("norm = layer_norm as ln_1\nreturn norm(norm(x))") == ["ln_1.weight"]


def test_each_turn_names_its_own_sizes() -> None:
    body = """
        for width in [4, 8, 16] {
            x: [_, channels, h, w] = x |> conv2d(width, 3, stride=2, padding=1) as conv
            y = zeros([channels, h, w])
        }
        return reshape(x, [B, channels * h * w]) + flatten(y, 0)
    """
    spec = dlc.loads(f"model M()(x: [B, 3, 32, 32]) -> [B, 16 * 4 * 4] {{{body}}}\n")
    assert spec.check() == ()


def test_a_loop_variable_never_counts_in_a_pattern() -> None:
    body = """
        for c, h in [(1, 3), (2, 5)] { y = x * (c + h) }
        y = y |> rearrange("B c h w -> B h w c")
        for c in range(2) { c = 5
            y = y |> reduce("B h w (n c) -> B h w n", "mean") |> repeat("B h w n -> B h w (n c)") }
        return y
    """
    spec = dlc.loads(f"model M()(x: [B, 10, 8, 4]) -> [B, 8, 4, 10] {{{body}}}\n")
    assert spec.check() == ()


def test_a_size_named_by_a_broken_binding_is_not_missed_again() -> None:
    body = "x: [B, n] = relu(x, 3)\ny = zeros([n])\nreturn y"
    (told,) = dlc.loads(f"model M()(x: [B, 4]) -> _ {{\n{body}\n}}\n").check()
    assert told.span.line == 2


def test_a_list_that_a_module_returns_is_a_list() -> None:
    spec = """
module Steps(depth: int)(x: [B, 4]) -> (last: [B, 4], all: _) {
    kept = []
    for i in range(depth) {
        x = x |> linear(4) as fc
        kept = kept + [x]
    }
    return x, kept
}

model M()(x: [B, 4]) -> _ {
    x, kept = x |> Steps(2) as first
    y, more = x |> Steps(3) as second
    return concat(kept + more, axis=1)
}
"""
    (output,) = dlc.loads(spec)["M"].outputs
    assert str(output.type) == "[B, 20]"
