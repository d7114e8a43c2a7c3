"""Runs beside each other: as a table, as JSON, as one page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.dom import minidom

import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli import build
from dlc.diagnostics import SpecError
from dlc.runtime import runs_page
from dlc.runtime.runs import Run, differing, find, ordered

SPEC = """
model Net(d: int)(image: [B, 1, 28, 28]) -> [B, 10] {
    return image |> flatten |> linear(d) as up |> relu |> linear(10) as down
}
train fit(d: int = 4) {
    net = Net(d=d)
    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)
    evaluate from digits(split="test", batch=256)
    logits = net(image)
    minimize cross_entropy(logits, label)
    metric accuracy = mean(argmax(logits, axis=-1) == label)
    optimizer = adam(lr=1e-2)
    settings { steps = 12, log = 1, eval_every = 4 }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("runs")
    block = dlc.loads(SPEC)["fit"]
    dlc.train(block, backend="torch", out=base / "a/run2")
    dlc.train(block(d=32), backend="torch", out=base / "a/run10")
    dlc.train(block.with_settings(steps=2), backend="onnx", out=base / "b <&>")
    return base


def said(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(build("runs"), ["runs", *map(str, words)])
    return done.exit_code, done.output


def test_the_table(folder: Path) -> None:
    code, text = said(folder)
    head, *rows = text.splitlines()
    assert code == 0
    assert re.split(r"  +", head) == [
        "run", "backend", "steps", "loss", "accuracy", "held-out loss", "held-out accuracy", "seconds",
        "net.d",
    ]  # fmt: skip
    assert [re.split(r"  +", row)[0] for row in rows] == ["a/run2", "a/run10", "b <&>"]


def test_each_block_has_a_table(tmp_path: Path) -> None:
    """The settings of others are no columns of it."""
    block = dlc.loads(SPEC)["fit"].with_settings(steps=1)
    for name in ("a", "b"):
        dlc.train(block, backend="torch", out=tmp_path / name)
    other = dlc.loads(SPEC.replace("train fit", "train other").replace("adam", "adamw"))["other"]
    dlc.train(other.with_settings(steps=1), backend="torch", out=tmp_path / "c")
    code, text = said(tmp_path, "--html", tmp_path / "p.html")
    first, second = (part.splitlines() for part in text.split("\n\n"))
    assert code == 0 and [first[0], second[0]] == ["spec.dl:fit", "spec.dl:other"]
    assert len(first) == 4 and len(second) == 3 and "optimizer" not in text
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert re.findall(r"<h1>(.*?)</h1>", page)[1:] == ["spec.dl:fit", "spec.dl:other"]
    assert page.count("<figcaption>loss</figcaption>") == 2


def test_order(folder: Path) -> None:
    runs = find(folder)
    best = [run.name for run in ordered(runs, "held-out accuracy")]
    assert best[0] == "a/run10" and [run.name for run in ordered(runs, "held-out loss")] == best
    assert [run.name for run in ordered(runs, "net.d")] == ["a/run2", "b <&>", "a/run10"]
    code, text = said(folder, "--sort", "held-out acuracy")
    assert code == 1 and "did you mean `held-out accuracy`?" in text


def test_json(folder: Path) -> None:
    code, text = said(folder / "a", "--format", "json")
    first, second = json.loads(text)
    manifest = json.loads((folder / "a/run2/manifest.json").read_text())
    assert code == 0 and (first["run"], second["run"]) == ("run2", "run10")
    assert first["finished"] and first["step"] == 12 and first["settings"]["net.d"] == "4"
    assert first["results"]["held-out loss"] == manifest["evaluate"]["loss"]


def test_one_run(folder: Path) -> None:
    (run,) = find(folder / "a/run2")
    assert run.name == "run2" and differing([run]) == []
    assert [step for step, _ in run.curves["held-out loss"]] == [4, 8, 12]


class _Tags(HTMLParser):
    """What a page opens and closes, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line", "circle", "polyline", "img"):
            self.open.append(tag)
        self.fetched += [str(value) for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "line", "circle", "polyline", "img"):
            assert self.open.pop() == tag


def test_the_page(folder: Path, tmp_path: Path) -> None:
    """Well-formed, with nothing to fetch; names are text, whatever is in them."""
    code, _ = said(folder, "--html", tmp_path / "p.html", "-q")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(text)
    assert code == 0 and not tags.open and not tags.fetched and "url(" not in text
    assert "b &lt;&amp;&gt;" in text and "b <&>" not in text
    charts = [minidom.parseString(each) for each in re.findall(r"<svg width.*?</svg>", text, re.DOTALL)]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions == ["loss", "accuracy", "lr", "held-out loss", "held-out accuracy"] and len(charts) == 5
    for chart in charts:
        for line in chart.getElementsByTagName("polyline"):
            for point in line.getAttribute("points").split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= runs_page.WIDTH and 0 <= y <= runs_page.HEIGHT


def test_samples_stand_in_the_page(tmp_path: Path) -> None:
    """Pictures and texts of a run's folder, whole and harmless; not what a link brings from elsewhere."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "samples/said.txt").write_text("to be <or> not", encoding="utf-8")
    (tmp_path / "net.py").write_text("secret")
    (tmp_path / "b.txt").symlink_to(tmp_path / "net.py")
    text = runs_page.page([run(tmp_path, [])], "Runs")
    tags = _Tags()
    tags.feed(text)
    assert not tags.open and tags.fetched == ["data:image/png;base64,iVBORw=="]
    assert "to be &lt;or&gt; not" in text and "secret" not in text
    assert "<figcaption>samples/said.txt</figcaption>" in text


def run(tmp_path: Path, lines: list[Any], **manifest: Any) -> Run:
    whole = {"format": 1, "dlc": "0", "step": 3, "identity": {}, **manifest}
    (tmp_path / "manifest.json").write_text(json.dumps(whole))
    (tmp_path / "metrics.jsonl").write_text(
        "".join(each if isinstance(each, str) else json.dumps(each) + "\n" for each in lines)
    )
    (found,) = find(tmp_path)
    return found


def test_runs_of_all_sorts(tmp_path: Path) -> None:
    """Torn lines, what is no number, one point, a run that has not begun."""
    record = {"kind": "train", "step": 1, "loss": "nan", "metrics": {"acc": 0.5}}
    found = run(tmp_path, [record, {**record, "step": 2, "loss": 3.0}, '{"kind": "tra'], train=record)
    assert found.curves["loss"][1] == (2, 3.0) and found.progress == "3 of 0"
    assert "<circle" in runs_page.page([found], "x") and found.to_json()["results"]["loss"] == "nan"
    bare = run(tmp_path, [])
    assert bare.curves == {} and "</html>" in runs_page.page([bare], "x")


def test_what_is_not_as_it_should_be_is_left_out(tmp_path: Path) -> None:
    odd = [
        {"kind": "train", "step": None},
        [1],
        {"step": 1, "loss": {"a": 1}},
        {"step": 2, "loss": "inf", "metrics": [1]},
    ]
    found = run(
        tmp_path, odd, step="x", identity=[1], train={"loss": None, "metrics": 3}, evaluate=[1], settings=None
    )
    assert found.results == {} and found.settings == {} and found.progress == "? of 0"
    assert found.curves == {"held-out loss": [(2, float("inf"))]}
    code, text = said(tmp_path, "--html", tmp_path / "p.html")
    assert code == 0 and "? of 0" in text


def test_long_curves_are_thinned() -> None:
    curve = [(i, float(i)) for i in range(100_003)]
    thin = runs_page._thinned(curve)
    assert len(thin) == runs_page.POINTS and thin[-1][0] == 100_002
    assert all(b[1] > a[1] for a, b in pairwise(thin))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 1000), (0.001, 0.0011), (2, 2.5), (0, 12)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = [*runs_page._ticks(low, high, 5)]
    assert 2 <= len(found) <= 6 and all(low <= each <= high + 1e-12 for each in found)


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no run"):
        find(tmp_path)
    code, text = said(tmp_path / "none")
    assert code == 1 and "is no folder" in text


def test_of_many_samples_the_latest_are_shown(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    names = [f"samples/{name}-{step:08}.txt" for name in ("painted", "said") for step in range(10, 410, 10)]
    for name in (*names, "note.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    page = runs_page.page([run(tmp_path, [])], "Runs")
    shown = [each for each in re.findall(r"<figcaption>(.*?)</figcaption>", page) if each.endswith(".txt")]
    assert len(shown) == runs_page.MOST and shown[0] == "note.txt"
    assert set(names[30:40] + names[-10:]) < set(shown) and not set(names[:20]) & set(shown)
