"""Runs as one page of HTML that needs nothing else: curves as SVG, results and settings side by side, and what pictures and texts lie
beside them."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from dlc.runtime.runs import Curve, Run, by_block, differing, table
from dlc.version import __version__

# Distinct in light and dark, and for eyes that don't tell red from green (Okabe and Ito's, without black and yellow).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f5fc7", "#8a6d3b")
DASHES = ("", "6 3", "2 3")
POINTS = 400  # of a curve
WIDTH, HEIGHT = 460, 240
PICTURES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp"}
MOST, BYTES, CHARACTERS = 24, 4 << 20, 4_000  # samples of a run, and what is shown of one
STEP = re.compile(r"-\d{8,}$")  # at the end of what `dlc train` calls a sample
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 8, 24

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td.number { text-align: right; } tr.differs td { background: var(--soft); }
.scroll { overflow-x: auto; } .key { display: inline-block; width: 1.6rem; vertical-align: middle; }
.charts { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); } svg polyline { fill: none; stroke-width: 1.6; }
figure img { max-width: 460px; } pre { max-width: 460px; white-space: pre-wrap; }
footer { margin-top: 2rem; opacity: .7; }
"""


def page(runs: Sequence[Run], title: str) -> str:
    """The page of runs; of several blocks one part for each."""
    blocks = by_block(runs)
    parts = (
        f"<h1>{escape(block)}</h1>\n{_part(found)}" if len(blocks) > 1 else _part(found)
        for block, found in blocks.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{"".join(parts)}<footer>Written by dlc {__version__}.</footer>
</body>
</html>
"""


def _part(runs: Sequence[Run]) -> str:
    """Runs of one block: results, curves, settings, samples."""
    names = [*dict.fromkeys(name for run in runs for name in run.curves)]
    charts = "\n".join(_chart(name, runs) for name in names)
    return f"""<div class="scroll">
{_results(runs)}
</div>
<h2>Curves</h2>
<div class="charts">
{charts}
</div>
<h2>Settings</h2>
<div class="scroll">
{_settings(runs)}
</div>
{"".join(_samples(run) for run in runs)}"""


def _style(i: int) -> tuple[str, str]:
    """Colour and dashes of a run's curves."""
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


# --- samples
# ---------------------------------------------------------------------------------------------------


def _samples(run: Run) -> str:
    """The pictures and texts that lie in a run's folder, or in `samples` below it."""
    folders = (run.folder, run.folder / "samples")
    files = [each for folder in folders if folder.is_dir() for each in sorted(folder.iterdir())]
    shown = [each for file in _latest([*filter(_is_sample, files)]) for each in _sample(file, run.folder)]
    if not shown:
        return ""
    heading = f"<h2>Samples of {escape(run.name)}</h2>"
    return "\n".join([heading, '<div class="charts">', *shown, "</div>", ""])


def _latest(files: Sequence[Path]) -> list[Path]:
    """As many files as are shown: of a sample that a run wrote several times, `NAME-STEP.png`, the first to go are the oldest."""
    newer: Counter[tuple[Path, str]] = Counter()
    ages = {}
    for file in reversed(files):
        key = (file.parent, STEP.sub("", file.stem))
        ages[file] = newer[key]
        newer[key] += 1
    kept = set(sorted(files, key=ages.__getitem__)[:MOST])
    return [each for each in files if each in kept]


def _is_sample(file: Path) -> bool:
    """Not one that a link brings from elsewhere."""
    is_kind = file.suffix.lower() in PICTURES or file.suffix.lower() == ".txt"
    return is_kind and file.is_file() and not file.is_symlink() and file.stat().st_size <= BYTES


def _sample(file: Path, folder: Path) -> Iterator[str]:
    """Nothing of a file that can't be read."""
    try:
        content = file.read_bytes()
    except OSError:
        return
    name, kind = escape(file.relative_to(folder).as_posix()), PICTURES.get(file.suffix.lower())
    shown = f"<pre>{escape(content.decode(errors='replace')[:CHARACTERS])}</pre>"
    if kind is not None:
        data = b64encode(content).decode()
        shown = f'<img alt="{name}" src="data:image/{kind};base64,{data}">'
    yield f"<figure><figcaption>{name}</figcaption>{shown}</figure>"


# --- tables
# ---------------------------------------------------------------------------------------------------


def _results(runs: Sequence[Run]) -> str:
    head, rows = table(runs)
    lines = ["<table>", f"<tr><th></th>{''.join(f'<th>{escape(each)}</th>' for each in head)}</tr>"]
    for i, row in enumerate(rows):
        colour, dash = _style(i)
        key = (
            f'<svg class="key" height="8" viewBox="0 0 26 8"><line x1="0" y1="4" x2="26" y2="4" stroke="{colour}" '
            f'stroke-width="3" stroke-dasharray="{dash}"/></svg>'
        )
        cells = "".join(_cell(each) for each in row)
        lines.append(f"<tr><td>{key}</td>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _cell(text: str) -> str:
    kind = ' class="number"' if text[:1].isdigit() or text[:1] == "-" else ""
    return f"<td{kind}>{escape(text)}</td>"


def _settings(runs: Sequence[Run]) -> str:
    names = [*dict.fromkeys(name for run in runs for name in run.settings)]
    other = set(differing(runs))
    lines = ["<table>", f"<tr><th></th>{''.join(f'<th>{escape(run.name)}</th>' for run in runs)}</tr>"]
    for name in sorted(names, key=lambda each: each not in other):
        cells = "".join(f"<td>{escape(run.settings.get(name, '–'))}</td>" for run in runs)
        kind = ' class="differs"' if name in other and len(runs) > 1 else ""
        lines.append(f"<tr{kind}><td>{escape(name)}</td>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


# --- curves
# ---------------------------------------------------------------------------------------------------


def _chart(name: str, runs: Sequence[Run]) -> str:
    curves = [(i, _thinned(run.curves[name])) for i, run in enumerate(runs) if run.curves.get(name)]
    points = [point for _, curve in curves for point in curve]
    if not points:
        return ""
    low, high = _range([y for _, y in points])
    last = max(1, max(x for x, _ in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / last * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    drawn = [*_grid(low, high, last)]
    for i, curve in curves:
        colour, dash = _style(i)
        said = f"<title>{escape(runs[i].name)}: {curve[-1][1]:.4g} at step {curve[-1][0]:,}</title>"
        if len(curve) == 1:
            x, y = place(*curve[0])
            drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">{said}</circle>')
            continue
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve))
        drawn.append(
            f'<polyline points="{line}" stroke="{colour}" stroke-dasharray="{dash}">{said}</polyline>'
        )
    inside = "\n".join(drawn)
    return (
        f"<figure><figcaption>{escape(name)}</figcaption>\n"
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">\n'
        f"{inside}\n</svg></figure>"
    )


def _thinned(curve: Curve) -> Curve:
    """At most so many points, each the mean of its neighbours; what is no number is left out."""
    finite = [(x, y) for x, y in curve if math.isfinite(y)]
    if len(finite) <= POINTS:
        return finite
    found = []
    for i in range(POINTS):
        part = finite[i * len(finite) // POINTS : (i + 1) * len(finite) // POINTS]
        found.append((part[-1][0], sum(y for _, y in part) / len(part)))
    return found


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _grid(low: float, high: float, last: int) -> Iterator[str]:
    """Lines at round values, and the steps below."""
    for value in _ticks(low, high, 5):
        y = TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    for value in _ticks(0, last, 5):
        x = LEFT + value / last * (WIDTH - LEFT - RIGHT)
        yield f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{value:,.6g}</text>'


def _ticks(low: float, high: float, about: int) -> Iterator[float]:
    """About so many round numbers between two others."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * each for each in (1, 2, 5, 10) if size * each >= raw)
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield i * step
