"""What people see of values in a session or a notebook: a line each, tables where they ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlc

SPEC = """
model Net(d: int = 4)(x: [B, d]) -> y: [B, 2] {
    return x |> linear(2) as fc
}

train fit {
    net = Net()
    batch (x: [B, 4], y: [B, 2]) from npz("rows.npz", batch=4)
    minimize mse(net(x), y)
    optimizer = sgd(lr=0.1)
}
"""


@pytest.fixture(scope="module")
def spec() -> dlc.Spec:
    return dlc.loads(SPEC, "net.dl")


def test_a_line_says_what_a_value_is(spec: dlc.Spec) -> None:
    model = spec["Net"](d=8)
    report = dlc.verify(model, backends=("torch",))
    said = [model.spec, model, model.summary(), model.program, model.emit("torch"), spec["fit"], report]
    said.append(model.compile("torch"))
    assert [*map(repr, said)] == [
        "<Spec net.dl: Net, fit>",
        "<Model Net(d=8) of net.dl>",
        "<Summary of Net: 18 parameters>",
        f"<Program {model.program.entry}: {len(model.program.functions)} functions, 2 parameters>",
        "<Artifact of torch: net.py>",
        "<TrainBlock fit() of net.dl>",
        "<Report on Net: torch agree>",
        "<Runnable of Net on torch: x -> y>",
    ]
    assert str(report) == report.text()


def test_a_summary_is_a_table(spec: dlc.Spec) -> None:
    summary = spec["Net"].summary(B=3)
    assert [line.split() for line in str(summary).splitlines()[:2]] == [
        ["Net", "[3,", "2]", "10"],
        ["fc", "linear", "[3,", "2]", "10"],
    ]
    assert "FLOPs             48" in str(summary)
    html = spec["Net"]._repr_html_()
    assert html.count("<tr>") == 1 + 2 + 6 and "<td>10</td>" in html


def test_packages_say_that_they_have_types() -> None:
    root = Path(dlc.__file__).parent
    folders = [root, *sorted((root.parent / "backends").glob("dlc_*"))]
    assert all((folder / "py.typed").is_file() for folder in folders)
