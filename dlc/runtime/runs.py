"""Runs beside each other: what they are, how far they came, and which of their settings differ."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dlc.diagnostics import did_you_mean
from dlc.runtime.run_folder import FOLDER, JOURNAL, manifest_of, refused

DIGESTS = frozenset({"program", "trained", "data", "held-out data", "own optimizers"})
"""What stands in a run's identity that nobody set."""
Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Run:
    """A run that lies in a folder; `name` is the folder's, from where runs are looked for."""

    name: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def block(self) -> str:
        spec = _mapping(self.manifest.get("spec"))
        return f"{spec.get('file', '?')}:{spec.get('train', '?')}"

    @property
    def progress(self) -> str:
        step, steps = self.manifest.get("step", 0), self.manifest.get("steps", 0)
        return _count(step) if self.manifest.get("finished") else f"{_count(step)} of {_count(steps)}"

    @property
    def seconds(self) -> float:
        return _number(self.manifest.get("seconds")) or 0.0

    @cached_property
    def results(self) -> dict[str, float]:
        """The last loss and metrics: of training by their names, of held-out data as `held-out NAME`."""
        found: dict[str, float] = {}
        for kind, prefix in (("train", ""), ("evaluate", "held-out ")):
            record = _mapping(self.manifest.get(kind))
            values = {"loss": record.get("loss"), **_mapping(record.get("metrics"))}
            numbers = {f"{prefix}{name}": _number(each) for name, each in values.items()}
            found |= {name: each for name, each in numbers.items() if each is not None}
        return found

    @cached_property
    def settings(self) -> dict[str, str]:
        """Everything that was set, by dotted names: of networks, optimizers, the source, the run."""
        identity = _mapping(self.manifest.get("identity"))
        kept = {key: each for key, each in identity.items() if key not in DIGESTS}
        free = _mapping(self.manifest.get("settings"))
        return dict(_flat({**kept, **{key: each for key, each in free.items() if key not in kept}}))

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """The values of every logged step, by the names of `results`."""
        found: dict[str, Curve] = {}
        for record in self._records():
            prefix = "" if record.get("kind") == "train" else "held-out "
            values = {"loss": record.get("loss"), **_mapping(record.get("metrics")), "lr": record.get("lr")}
            values |= _scales(record.get("loss_scale"))
            step = record.get("step")
            for name, each in values.items():
                number = _number(each)
                if isinstance(step, int) and number is not None:
                    found.setdefault(f"{prefix}{name}", []).append((step, number))
        return found

    def _records(self) -> Iterator[Mapping[str, Any]]:
        """The lines of the log; a torn one is left out."""
        try:
            lines = (self.folder / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record

    def to_json(self) -> dict[str, Any]:
        manifest = self.manifest
        return {
            "run": self.name,
            "folder": str(self.folder),
            "block": self.block,
            "backend": manifest.get("backend"),
            "step": manifest.get("step"),
            "steps": manifest.get("steps"),
            "finished": bool(manifest.get("finished")),
            "seconds": self.seconds,
            "results": {k: v if math.isfinite(v) else str(v) for k, v in self.results.items()},
            "settings": self.settings,
        }


# What lies in a folder may be of another version, or torn: what is not as it should be is left out.


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _scales(found: Any) -> dict[str, Any]:
    """The scale of the loss, or those of several steps."""
    return (
        {f"loss_scale_{name}": each for name, each in found.items()}
        if isinstance(found, Mapping)
        else {"loss_scale": found}
    )


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path else str(key))
        return
    yield path, value if isinstance(value, str) else json.dumps(value)


def find(folder: str | os.PathLike[str]) -> list[Run]:
    """The runs in a folder and those below, by name. Raises SpecError where there is none."""
    base = Path(folder)
    if not base.is_dir():
        raise refused(
            f"{base} is no folder", "name one that holds runs: the `--out` of `dlc train`, or one above"
        )
    found = []
    for place, folders, _ in os.walk(base):
        folders[:] = sorted(each for each in folders if each != FOLDER and not each.startswith("."))
        manifest = manifest_of(Path(place))
        if manifest is not None:
            name = Path(place).relative_to(base).as_posix()
            found.append(Run(base.resolve().name if name == "." else name, Path(place), manifest))
    if not found:
        raise refused(f"{base} holds no run", "`dlc train … --out` writes one")
    return sorted(found, key=lambda run: _natural(run.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """By which `run10` stands behind `run9`."""
    words: list[str] = []
    for letter in name:
        if words and words[-1][-1].isdigit() == letter.isdigit():
            words[-1] += letter
        else:
            words.append(letter)
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words]


def ordered(runs: Sequence[Run], by: str) -> list[Run]:
    """The best first: by a result (a loss or a metric, `held-out accuracy`), or a setting. Raises SpecError for what no run has."""
    results = [*dict.fromkeys(name for run in runs for name in run.results)]
    settings = [*dict.fromkeys(name for run in runs for name in run.settings)]
    if by in results:
        # Of a loss, an error or a perplexity less is better.
        less = any(word in by for word in ("loss", "error", "perplexity", "mse", "mae"))
        sign = 1 if less else -1

        def key(run: Run) -> float:
            value = run.results.get(by, math.nan)
            return sign * value if not math.isnan(value) else math.inf

        return sorted(runs, key=key)
    if by in settings:
        return sorted(runs, key=lambda run: _natural(run.settings.get(by, "")))
    help = did_you_mean(by, [*results, *settings]) or f"results are {', '.join(results)}"
    raise refused(f"no run has `{by}`", help)


def differing(runs: Sequence[Run]) -> list[str]:
    """The settings in which the runs are not the same."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if len({run.settings.get(name) for run in runs}) > 1]


def by_block(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each train block, in the order of their first ones: those of two have hardly a number or a setting in common."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.block, []).append(run)
    return found


def table(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """A head and rows of one block's runs: what each is and gave, and the settings in which they differ."""
    results = [*dict.fromkeys(name for run in runs for name in run.results)]
    settings = [name for name in differing(runs) if name not in ("backend", "steps")]  # which have columns
    head = ["run", "backend", "steps", *results, "seconds", *settings]
    rows = [
        [
            run.name,
            str(run.manifest.get("backend", "")),
            run.progress,
            *(f"{run.results[name]:.4g}" if name in run.results else "" for name in results),
            f"{run.seconds:.1f}",
            *(run.settings.get(name, "") for name in settings),
        ]
        for run in runs
    ]
    return head, rows


def text(runs: Sequence[Run]) -> str:
    """A table of lines; of runs of several blocks one for each, below its name."""
    blocks = by_block(runs)
    if len(blocks) == 1:
        return _lines(runs)
    return "\n\n".join(f"{block}\n{_lines(found)}" for block, found in blocks.items())


def _lines(runs: Sequence[Run]) -> str:
    head, rows = table(runs)
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    numbers = [all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = (
            each.rjust(width) if right else each.ljust(width)
            for each, width, right in zip(row, widths, numbers, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit() or (text[0] in "-+." and len(text) > 1)
