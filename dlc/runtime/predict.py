"""`predict`: what a trained network says of pictures, rows and texts that no data source has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import arguments
from dlc.arguments import takes
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.base.sources import SOURCES
from dlc.ops.arrays import numpy_dtype
from dlc.ops.npz import NpzFile
from dlc.runtime import data
from dlc.runtime.data import images
from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.data.columns import FEATURES
from dlc.runtime.data.files import can_t_read, missing_package
from dlc.runtime.data.tokens import Tokenizer, of_run
from dlc.runtime.reported import number
from dlc.runtime.trained import BINARY, CLASSES, Trained
from dlc.source import Request, SourceError
from dlc.spec import TRAIN_BLOCK, TrainBlock
from dlc.types.tensor import TensorType

Array = NDArray[Any]
TABLES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
ROWS = 256  # of a table that the network sees together
LACKS = "a value is missing"


@dataclass(frozen=True, slots=True)
class Guess:
    """A class that the network thinks of: its number, its name (the number, where it has none), and its probability."""

    index: int
    name: str
    probability: float

    def to_json(self) -> dict[str, Any]:
        return {"class": self.name, "index": self.index, "probability": number(round(self.probability, 6))}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is said of one input: the likeliest classes, or the values of the output where it is no scores of classes. Of a row that is
    `left_out` nothing is, and why."""

    input: str
    guesses: tuple[Guess, ...]
    values: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    left_out: str = ""

    def to_json(self) -> dict[str, Any]:
        if self.left_out:
            return {"input": self.input, "left_out": self.left_out}
        if self.guesses:
            return {"input": self.input, "top": [each.to_json() for each in self.guesses]}
        return {"input": self.input, "shape": list(self.shape), "values": list(map(number, self.values))}


@takes(
    block=TRAIN_BLOCK,
    weights=arguments.path,
    backend=arguments.optional(arguments.BACKEND),
    device=arguments.DEVICE,
    top=arguments.count,
    inputs=arguments.files,
)
def predict(
    block: TrainBlock,
    *,
    weights: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]],
    backend: str | None = None,
    device: str = "cpu",
    top: int = 5,
) -> list[Prediction]:
    """What a trained block says of `inputs`: names of files (pictures, tables, arrays), or texts. `weights` is the folder of a run, or a
    file of its only network. Without a `backend` that of the run answers. Raises SpecError, and warns where the run was of another
    program."""
    trained = Trained.of(block, weights)
    try:
        given = [each for name in inputs for each in _read(trained, os.fspath(name))]
    except SourceError as error:
        raise SpecError(
            [problems.DATA.at(NO_SPAN, message=str(error), help=error.help, notes=error.notes)]
        ) from None
    runnable = trained.runnable(trained.backend_or(backend), device)
    found: list[Prediction] = []
    for each in given:
        scores = runnable(**each.fields)["scores"] if any(each.is_there) else ()
        found += _said(trained, each, scores, top)
    return found


@dataclass(frozen=True)
class _Given:
    """Rows that the network sees together, and what they are called; `at` is the place in a text of which it is asked. Those of a table
    that lack a value are called, too, and are not in `fields`."""

    names: Sequence[str]
    fields: Mapping[str, Array]
    at: int | None = None
    tokenizer: Tokenizer | None = None
    there: Sequence[bool] | None = None

    @property
    def is_there(self) -> Sequence[bool]:
        return [True] * len(self.names) if self.there is None else self.there


# --- reading
# ---------------------------------------------------------------------------------------------------


def _read(trained: Trained, given: str) -> Iterator[_Given]:
    """Raises SourceError."""
    suffix = Path(given).suffix.lower()
    if suffix in TABLES:
        yield from _table(trained, Path(given), TABLES[suffix])
    elif suffix in images.ENDINGS:
        yield _Given([given], _picture(trained, Path(given)))
    elif suffix in (".npy", ".npz"):
        yield from _arrays(trained, Path(given))
    else:
        yield _text(trained, given)


def _only(trained: Trained, what: str, rank: int) -> tuple[str, TensorType]:
    """The one field that such an input fills. Raises SourceError."""
    fields = trained.inputs
    ((name, type), *rest) = fields.items()
    if rest or type.rank != rank:
        listed = ", ".join(f"`{each}: {of}`" for each, of in fields.items())
        is_table = trained.block.plan.source.name in TABLES.values()
        table = f"a table ({', '.join(TABLES)}) with columns of these names, or " if is_table else ""
        help = f"give {table}an .npz file of these"
        raise SourceError(f"{what} does not fill what the network takes: {listed}", help)
    return name, type


def _picture(trained: Trained, path: Path) -> dict[str, Array]:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise missing_package("a picture", "Pillow") from None
    name, type = _only(trained, "a picture", 4)
    about: Mapping[str, Any] = trained.about.get("image", {})
    fixed = tuple(axis.constant for axis in type.axes[2:])
    size = about.get("size") or (fixed if None not in fixed else None)
    channels = type.axes[1].constant
    if channels not in (None, *images.MODES):
        raise SourceError(f"`{name}: {type}` is no picture, which has 1, 3 or 4 channels")
    shaping = images.Shaping(channels, tuple(size) if size else None, about.get("fit", "crop"))
    try:
        pixels = shaping.pixels(path)[None]
    except OSError as error:
        raise can_t_read(path, error) from None
    if not type.is_float:
        return {name: pixels.astype(numpy_dtype(type.dtype))}
    array = images.scaled(pixels)
    scaled = (array - about.get("mean", 0.0)) / about.get("deviation", 1.0)
    return {name: scaled.astype(np.float32)}


def _table(trained: Trained, path: Path, source: str) -> Iterator[_Given]:
    trained_on = trained.block.plan.source
    known = trained_on.args if trained_on.name in TABLES.values() else {}  # of another kind of table as well
    options = {key: known.get(key, usual) for key, usual in SOURCES[source].items()}
    options[FEATURES] = trained.about.get(FEATURES, options[FEATURES])
    block, fields = trained.block, trained.inputs
    if of_run(trained.about, block.folder, block.root) is not None:  # the same one, inside the root
        options["tokenizer"] = trained.about["tokenizer"]
    options["path"] = str(path.absolute())
    # No root: the file is the user's own word, and may lie anywhere.
    request = Request(options, fields, {}, block.folder, None, trained.about)
    rows = data.open_rows(source, request)
    assert isinstance(rows, ArrayRows) and rows.left_out is not None
    there = np.ones(len(rows) + len(rows.left_out), dtype=bool)
    there[rows.left_out] = False
    index = np.cumsum(there) - 1
    for start in range(0, len(there), ROWS):
        seen = there[start : start + ROWS]
        numbers = range(start, start + len(seen))
        names = [f"{path}, row {each + 1}" if len(there) > 1 else str(path) for each in numbers]
        taken = rows.take(index[start : start + ROWS][seen], None)
        yield _Given(names, {name: taken[name] for name in fields}, there=seen.tolist())


def _arrays(trained: Trained, path: Path) -> Iterator[_Given]:
    try:
        if path.suffix == ".npz":
            archive = NpzFile(path)
            lacking = [each for each in trained.inputs if each not in archive]
            if lacking:
                raise SourceError(f"{path} has no array `{lacking[0]}`", f"it has {', '.join(archive)}")
            fields = {name: archive[name] for name in trained.inputs}
        else:
            array = np.load(path, allow_pickle=False)
            ((name, type), *rest) = trained.inputs.items()
            if rest:
                raise SourceError(f"{path} is one array, and the network takes {len(rest) + 1}")
            fields = {name: array[None] if array.ndim == type.rank - 1 else array}
    except (OSError, ValueError, EOFError) as error:
        raise can_t_read(path, error) from None
    count = len(next(iter(fields.values())))
    yield _Given([f"{path}, row {i + 1}" if count > 1 else str(path) for i in range(count)], fields)


def _text(trained: Trained, text: str) -> _Given:
    path = Path(text)
    if len(text) < 256 and path.suffix == ".txt":
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise SourceError(f"{path} is no UTF-8") from None
        except OSError as error:
            raise can_t_read(path, error) from None
    if all(type.is_float or type.rank != 2 for type in trained.inputs.values()):
        reason = "there is no such file" if not path.exists() else "dlc does not know what it holds"
        help = f"pictures ({', '.join(sorted(images.ENDINGS))}), tables ({', '.join(TABLES)}), .npy, .npz"
        raise SourceError(f"can't read {text}: {reason}", help)
    name, type = _only(trained, "a text", 2)
    block = trained.block
    tokenizer = of_run(trained.about, block.folder, block.root)
    if tokenizer is None:
        help = "give the weights in the folder of their run, whose manifest.json knows the tokenizer"
        raise SourceError("what the tokens of a text are is not known", help)
    tokens = tokenizer.encode(text)
    if not len(tokens):
        raise SourceError("an empty text has no tokens")
    dtype = numpy_dtype(type.dtype)
    is_next = trained.answers.label == name and trained.answers.scores.type.rank == 3
    if not is_next:
        size = type.axes[1].constant or len(tokens)
        row = np.full(size, tokenizer.padding, dtype)
        row[: len(tokens)] = tokens[:size]
        return _Given([text], {name: row[None]})
    # Of each token the next one is guessed; what is behind the last one is not seen.
    size = type.axes[1].constant or len(tokens) + 1
    kept = tokens[-(size - 1) :]
    row = np.full(size, kept[-1], dtype)
    row[: len(kept)] = kept
    return _Given([text], {name: row[None]}, len(kept) - 1, tokenizer)


# --- what is said
# ----------------------------------------------------------------------------------------------


def _said(trained: Trained, given: _Given, scores: Iterable[Array], top: int) -> Iterator[Prediction]:
    found = trained.answers
    names, remaining = trained.classes, iter(scores)
    for name, is_there in zip(given.names, given.is_there, strict=True):
        if not is_there:
            yield Prediction(name, (), left_out=LACKS)
            continue
        row = np.asarray(next(remaining), dtype=np.float64)
        if given.at is not None:
            row = row[given.at]
        if found.kind == CLASSES and row.ndim == 1:
            yield Prediction(name, _guesses(_softmax(row), top, names, given.tokenizer))
        elif found.kind == BINARY and row.size == 1:
            yes = float(1 / (1 + np.exp(-row.reshape(-1)[0])))
            yield Prediction(name, _guesses(np.array([1 - yes, yes]), top, names or ["no", "yes"], None))
        else:
            yield Prediction(name, (), tuple(row.reshape(-1)[:16].tolist()), row.shape)


def _guesses(
    shares: Array, top: int, names: Sequence[str] | None, tokenizer: Tokenizer | None
) -> tuple[Guess, ...]:
    order = np.argsort(-shares, kind="stable")[:top]
    return tuple(Guess(int(i), _name(int(i), names, tokenizer), float(shares[i])) for i in order)


def _name(index: int, names: Sequence[str] | None, tokenizer: Tokenizer | None) -> str:
    if tokenizer is not None:
        return repr(tokenizer.decode([index])) if index < tokenizer.vocabulary else str(index)
    return names[index] if names is not None and index < len(names) else str(index)


def _softmax(row: Array) -> Array:
    with np.errstate(invalid="ignore"):  # scores that are no numbers have shares that are none
        shares = np.exp(row - row.max())
    found: Array = shares / shares.sum()
    return found
