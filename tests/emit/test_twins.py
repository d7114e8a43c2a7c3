"""What came out as the same text is said once."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlc
from dlc.emit.twins import without_twins

SPECS = Path(__file__).parents[2] / "specs"
BLOCKS = [
    ["def turn(x):", "    # x: [B, T] -> [B, T]", "    return -x  # [B, T]"],
    ["def turn2(x):", "    # x: [N, S] -> [N, S]", "    return -x  # [N, S]"],
    ["def other(x):", "    return 2 * x"],
    ["def both(x):", "    return turn(x)"],
    ["def both_2(x):", "    return turn2(x)"],
    ["class Net:", "    def forward(self, x):", '        return both_2(self.turn2(x["turn2"]), turn2=turn2(x))'],
]  # fmt: skip


def test_names_go_where_they_are_called_alone() -> None:
    found = without_twins(BLOCKS)
    assert [lines[0] for lines in found] == ["def turn(x):", "def other(x):", "def both(x):", BLOCKS[-1][0]]
    assert found[-1][1:] == [BLOCKS[-1][1], '        return both(self.turn2(x["turn2"]), turn2=turn(x))']


@pytest.mark.parametrize(
    "line", ["def own(turn2):", "def own(turn):", "for turn2 in range(3):", "print(f'{turn2}')"]
)
def test_names_that_mean_something_else_somewhere_stay(line: str) -> None:
    """A file's own helpers may call an argument or a variable as a spec calls a function."""
    blocks = [*BLOCKS[:2], [line, "    turn2(1)"] if line.endswith(":") else [line]]
    assert without_twins(blocks) == blocks


def test_a_class_that_is_asked_for_stays() -> None:
    blocks = [["class A:", "    pass"], ["class A2:", "    pass"], ["x = isinstance(module, A2)"]]
    assert without_twins(blocks) == blocks


def test_what_is_called_from_elsewhere_stays() -> None:
    found = without_twins(BLOCKS, ways_in={"turn2"})
    assert [lines[0] for lines in found[:3]] == ["def turn(x):", "def turn2(x):", "def other(x):"]


def test_towers_share_what_they_do_alike() -> None:
    artifact = dlc.load(SPECS / "multimodal/clip_vit_b32.dl")["Tiny"].emit("torch")
    (source,) = artifact.files.values()
    assert isinstance(source, str) and source.count("def quick_gelu") == source.count("class LayerMlp") == 1


def test_calls_stand_on_one_line_where_a_shorter_name_lets_them() -> None:
    twins = [[f"def {name}(x):", "    return x"] for name in ("prepare", "prepare_attention_2")]
    broken = [
        "def use(x):",
        '    x["layer"]["SelfAttention"] = prepare_attention_2(',
        f'        x["{60 * "a"}"]',
        "    )",
    ]
    head = broken[1].replace("prepare_attention_2", "prepare")
    assert without_twins([*twins, broken])[1][1:] == [head, *broken[2:]]
    short = [*broken[:2], '        x["layer"]', "    )"]
    assert without_twins([*twins, short])[1][1:] == ['    x["layer"]["SelfAttention"] = prepare(x["layer"])']
