"""What comments say of shapes holds for every instance of a module, and speaks of what the source has."""

import pytest

import dlc


def source(text: str, backend: str) -> str:
    [found] = dlc.loads(text)["M"].emit(backend).files.values()
    return found if isinstance(found, str) else found.decode()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_sizes_that_instances_have_in_no_common_expression_are_left_open(backend: str) -> None:
    text = """
module Scaled(up: int)(x: [B, c, H, W]) -> [B, c, up*H, up*W] {
    if up == 1 {
        y = x |> conv2d(c, 3, padding=1) as conv
    } else {
        y = x |> conv_transpose2d(c, 2, stride=2) as grow
    }
    return relu(y)
}

model M(c: int = 3)(x: [B, c, 4, 4]) -> [B, c, 16, 16] {
    x = x |> Scaled(1) as a
    x = x |> Scaled(2) as b
    return x |> Scaled(2) as d
}
"""
    found = source(text, backend)
    assert "[B, c, H, W] -> [B, c, _, _]" in found
    assert "[B, c, 4, 4] -> [B, c, 16, 16]" in found  # the model's own are known


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_no_comment_computes_with_an_argument_that_is_not_there(backend: str) -> None:
    text = """
module Halved(before: int)(x: [B, c, H, W]) -> [B, c, _, _]
    where H % 2 == 0, W % 2 == 0
{
    return x |> conv2d(c, 3, stride=2, padding=[[before, 1], [before, 1]]) as conv
}

model M(c: int = 3, wide: int = 2)(x: [B, c, H, W]) -> [B, wide * c, _, _]
    where H % 2 == 0, W % 2 == 0
{
    return x |> Halved(1) as half |> conv2d(wide * c, 1) as out
}
"""
    found = source(text, backend)
    assert "before" not in found
    assert "[B, c, H, W] -> [B, c, _, _]" in found
    assert "wide * c" in found
