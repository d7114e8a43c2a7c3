"""What scripts of a training are made of besides their model: data, the order of its rows,
schedules. Scripts copy the functions that they use, which need NumPy alone."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Rows = dict[str, np.ndarray]

# --- data: arrays by the names of fields, rows first


def read_digits(split: str = "train") -> Rows:
    """The 1,797 digits of scikit-learn, resized to 28 x 28 and standardised.

    In a fixed order, the first 1,437 are for training."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    matrix = bilinear(8, 28)
    images = (matrix @ (found.images[order] / 16.0) @ matrix.T)[:, None]
    trained = images[:1437]
    images = ((images - trained.mean()) / trained.std()).astype(np.float32)
    part = {"train": slice(None, 1437), "test": slice(1437, None), "all": slice(None)}[split]
    return {"image": images[part], "label": found.target[order][part].astype(np.int64)}


def bilinear(old: int, new: int) -> np.ndarray:
    """[new, old]: how much of each old pixel a new one holds."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.int64)
    weights = np.zeros((new, old))
    weights[np.arange(new), low] += 1 - (at - low)
    weights[np.arange(new), np.minimum(low + 1, old - 1)] += at - low
    return weights


def read_images(
    folder: Path,
    images: str,
    labels: str | None = None,
    start: int = 0,
    stop: int | None = None,
    scaled: bool = True,
) -> Rows:
    """Files in MNIST's format: images in 0 to 1, or their bytes."""
    found = read_idx(folder / images)
    rows = {"image": found[:, None] if found.ndim == 3 else found}
    if labels is not None:
        rows["label"] = read_idx(folder / labels).astype(np.int64)
    rows = {name: array[start:stop] for name, array in rows.items()}
    if scaled and rows["image"].dtype == np.uint8:
        rows["image"] = rows["image"].astype(np.float32) / 255
    return rows


def read_idx(path: Path) -> np.ndarray:
    """Two zero bytes, a code of the dtype, the number of axes, the sizes, then the values."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    kinds = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    dtype, rank = np.dtype(kinds[content[2]]), content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    values = np.frombuffer(content, dtype, offset=4 + 4 * rank)
    return values.reshape(shape).astype(dtype.newbyteorder("="))


def read_npz(
    folder: Path,
    path: str,
    names: tuple[str, ...],
    start: int = 0,
    stop: int | None = None,
) -> Rows:
    """Arrays of an archive."""
    with np.load(folder / path, allow_pickle=False) as archive:
        return {name: archive[name][start:stop] for name in names}


def read_text(
    folder: Path,
    path: str,
    tokenizer: str = "char",
    start: float = 0.0,
    stop: float = 1.0,
) -> np.ndarray:
    """The tokens of a stretch of a text: its characters, numbered in their order, or its bytes."""
    content = (folder / path).read_bytes()
    if tokenizer == "byte":
        tokens: np.ndarray = np.frombuffer(content, np.uint8)
    else:
        codes = np.frombuffer(content.decode("utf-8").encode("utf-32-le"), np.uint32)
        tokens = np.unique(codes, return_inverse=True)[1].reshape(-1)
    return tokens[round(start * len(tokens)) : round(stop * len(tokens))].astype(np.int64)


def read_csv(
    folder: Path,
    path: str,
    fields: dict[str, tuple[str, str | tuple[str, ...]]],
    classes: dict[str, tuple[str, ...]] | None = None,
    missing: str | float = "error",
    columns: tuple[str, ...] | None = None,
    delimiter: str = ",",
) -> Rows:
    """A table of text whose first line names the columns, if these are not given."""
    with (folder / path).open(encoding="utf-8-sig", newline="") as file:
        lines = [row for row in csv.reader(file, delimiter=delimiter, strict=True) if row]
    names = [name.strip() for name in (lines.pop(0) if columns is None else columns)]
    table = dict(zip(names, zip(*lines, strict=True), strict=True))
    return fields_of(table, fields, classes, missing)


def read_parquet(
    folder: Path,
    path: str,
    fields: dict[str, tuple[str, str | tuple[str, ...]]],
    classes: dict[str, tuple[str, ...]] | None = None,
    missing: str | float = "error",
) -> Rows:
    """A file of columns."""
    from pyarrow import parquet

    return fields_of(parquet.read_table(folder / path).to_pydict(), fields, classes, missing)


def read_json(
    folder: Path,
    path: str,
    fields: dict[str, tuple[str, str | tuple[str, ...]]],
    classes: dict[str, tuple[str, ...]] | None = None,
    missing: str | float = "error",
) -> Rows:
    """A list of objects, or one object on each line."""
    text = (folder / path).read_text(encoding="utf-8-sig")
    is_list = text.lstrip().startswith("[")
    lines = text.split("\n")
    rows = json.loads(text) if is_list else [json.loads(line) for line in lines if line.strip()]
    table = {name: [row.get(name) for row in rows] for name in rows[0]}
    return fields_of(table, fields, classes, missing)


def fields_of(
    table: Mapping[str, Sequence[Any]],
    fields: dict[str, tuple[str, str | tuple[str, ...]]],
    classes: dict[str, tuple[str, ...]] | None = None,
    missing: str | float = "error",
) -> Rows:
    """Of each field the dtype and its column, or several that stand side by side. Names of classes
    are numbered as they are listed. Rows that lack a value are left out, or a number stands in."""
    rows: Rows = {}
    kept = np.ones(len(next(iter(table.values()))), bool)
    for name, (dtype, columns) in fields.items():
        listed = (classes or {}).get(name)
        fill = 0 if listed is not None or isinstance(missing, str) else missing
        several = (columns,) if isinstance(columns, str) else columns
        read = [[value_of(each, dtype, listed) for each in table[column]] for column in several]
        there = np.array([[each is not None for each in column] for column in read]).all(axis=0)
        if missing == "drop" or listed is not None or dtype == "bool":
            kept &= there
        elif missing == "error" and not there.all():
            raise ValueError(f"row {int(there.argmin()) + 1} of the table has no `{name}`")
        filled = [[fill if each is None else each for each in column] for column in read]
        values = filled[0] if isinstance(columns, str) else list(zip(*filled, strict=True))
        rows[name] = np.array(values, dtype)
    return {name: array[kept] for name, array in rows.items()}


def value_of(value: Any, dtype: str, classes: tuple[str, ...] | None) -> Any:
    """A value of a table as a number, or a text as it is; None where it is missing."""
    if value is None or value == "" or isinstance(value, list):
        return value or None
    if classes is not None:
        return classes.index(str(value))
    word = str(value).strip()
    if word in ("", "NA", "N/A", "nan", "NaN", "NAN", "null", "NULL"):
        return None
    if dtype == "bool":
        return word.lower() in ("true", "yes", "1")
    if "int" in dtype and isinstance(value, int):
        return value
    if dtype == "object":
        return str(value)
    if "int" in dtype:
        return int(word) if word.lstrip("+-").isdecimal() else int(float(word))
    return float(value)


def with_tokens(rows: Rows, lengths: dict[str, int], tokenizer: Path | None = None) -> Rows:
    """Texts as so many tokens each, those of a file or bytes: longer ones are cut off, shorter ones
    filled up."""
    filler, inner = 0, None
    if tokenizer is not None:
        from tokenizers import Tokenizer

        inner = Tokenizer.from_file(str(tokenizer))
        inner.no_truncation()
        inner.no_padding()
        known = map(inner.token_to_id, ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>"))
        filler = next((each for each in known if each is not None), 0)
    for name, length in lengths.items():
        rows[name], texts = np.full((len(rows[name]), length), filler, np.int64), rows[name]
        for row, text in zip(rows[name], texts, strict=True):
            ids = inner.encode(text, add_special_tokens=False).ids if inner else text.encode()
            row[: len(ids)] = list(ids[:length])
    return rows


def read_pictures(
    folder: Path,
    path: str,
    channels: int,
    size: tuple[int, int] | None = None,
    fit: str = "crop",
    classes: tuple[str, ...] | None = None,
    scaled: bool = True,
) -> Rows:
    """The pictures in a folder; the folders in it are their classes."""
    plain = [".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
    pixels, labels = [], []
    for number, name in enumerate(classes or (".",)):
        for file in sorted((folder / path / name).rglob("*")):
            if file.suffix.lower() in plain and not file.name.startswith("."):
                pixels.append(picture(file, channels, size, fit))
                labels.append(number)
    image = np.stack(pixels)
    rows = {"image": image.astype(np.float32) / np.float32(255) if scaled else image}
    return rows if classes is None else {**rows, "label": np.array(labels, np.int64)}


def picture(file: Path, channels: int, size: tuple[int, int] | None, fit: str) -> np.ndarray:
    """[channels, height, width] of bytes: the right way up, and made to fit a size."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        image.load()
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "P":  # colours by number
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if size is not None and image.size != size[::-1]:
        image = image.convert("L") if image.mode == "1" else image
        wanted, how = size[::-1], Image.Resampling.BILINEAR
        ways = {"crop": ImageOps.fit, "pad": ImageOps.pad}
        image = ways[fit](image, wanted, how) if fit in ways else image.resize(wanted, how)
    array = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]), np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def random_rows(
    kinds: dict[str, tuple[str, tuple[int, ...], int]],
    count: int = 1024,
    seed: int = 0,
) -> Rows:
    """Random rows: of each field the dtype, the shape, and what integers stay below."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in kinds}
    for row in range(count):
        rng = np.random.default_rng([seed, row])
        for name, (dtype, shape, limit) in kinds.items():
            if dtype == "bool":
                rows[name].append(rng.random(shape) < 0.5)
            elif "int" in dtype:
                rows[name].append(np.asarray(rng.integers(0, limit, shape)).astype(dtype))
            else:
                rows[name].append(np.asarray(rng.standard_normal(shape)).astype(dtype))
    return {name: np.stack(each) for name, each in rows.items()}


def share_of(rows: Rows, low: float, high: float, seed: int | None = 0, rest: bool = False) -> Rows:
    """A share of the rows in an order that the seed shuffles (none: their own), or the others."""
    count = len(next(iter(rows.values())))
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    start, stop = round(low * count), round(high * count)
    taken = np.concatenate([order[:start], order[stop:]]) if rest else order[start:stop]
    return {name: array[taken] for name, array in rows.items()}


def stretch_of(tokens: np.ndarray, low: float, high: float) -> np.ndarray:
    """A share of a text, whose windows overlap: it is parted where it stands."""
    return tokens[round(low * len(tokens)) : round(high * len(tokens))]


# --- batches


@lru_cache(maxsize=1)  # made once an epoch
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The rows of an epoch in the order in which they are taken."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batch_of(rows: Rows, step: int, size: int, seed: int) -> Rows:
    """The batch of a step: which rows it holds depends on the seed and the step alone."""
    count = len(next(iter(rows.values())))
    epoch, place = divmod(step, count // size)
    index = order(seed, epoch, count)[place * size : (place + 1) * size]
    return {name: array[index] for name, array in rows.items()}


def chances_of(rows: Rows, by: str) -> np.ndarray:
    """How likely each row is drawn: in proportion to a field of floats, or so that all values of
    another come equally often."""
    found: np.ndarray = rows[by].astype(np.float64)
    if rows[by].dtype.kind != "f":
        _, place, counts = np.unique(rows[by], return_inverse=True, return_counts=True)
        found = 1.0 / counts[place]
    found /= found.sum()
    return found


def drawn_batch_of(rows: Rows, step: int, size: int, seed: int, chances: np.ndarray) -> Rows:
    """The batch of a step. An epoch draws as many rows as there are, some of them twice."""
    epoch, place = divmod(step, len(chances) // size)
    drawn = np.random.default_rng([seed, epoch]).random((place + 1) * size)[-size:]
    bounds = chances.cumsum()  # those of a draw by `chances`, as `Generator.choice` makes it
    index = (bounds / bounds[-1]).searchsorted(drawn, side="right")
    return {name: array[index] for name, array in rows.items()}


def steps_in(epochs: int, together: int, batches: int) -> int:
    """The steps of so many epochs; batches that an epoch has left are dropped."""
    if together <= batches:
        return epochs * (batches // together)
    return max(1, epochs * batches // together)


def numbers_of(step: int, together: int, batches: int) -> range:
    """The batches that make a step together: they are all of one epoch, if it has as many."""
    if together > batches:
        return range(step * together, (step + 1) * together)
    epoch, place = divmod(step, batches // together)
    start = epoch * batches + place * together
    return range(start, start + together)


def rows_at(rows: Rows, index: np.ndarray) -> Rows:
    return {name: array[index] for name, array in rows.items()}


def in_streams(step: int, size: int, length: int) -> np.ndarray:
    """The rows of a step that follow on those of the step before: so many streams of a length,
    side by side; where one ends the next one begins."""
    epoch, place = divmod(step, length)
    return (np.arange(size) + epoch) % size * length + place


def windows(tokens: np.ndarray, length: int) -> int:
    """How many windows there are: each begins with the last token of the one before."""
    return max(1, (len(tokens) - length + 1) // max(1, length - 1))


def windows_of(tokens: np.ndarray, index: np.ndarray, length: int, shift: int = 0) -> Rows:
    starts = index * max(1, length - 1) + shift
    return {"tokens": tokens[starts[:, None] + np.arange(length)]}


def text_batch_of(tokens: np.ndarray, step: int, size: int, length: int, seed: int) -> Rows:
    """The batch of a step: windows of the text, which begin somewhere else in each epoch."""
    count, stride = windows(tokens, length), max(1, length - 1)
    epoch, place = divmod(step, count // size)
    room = min(len(tokens) - length - (count - 1) * stride, stride - 1)
    shift = int(np.random.default_rng([seed, epoch]).integers(0, room + 1))
    index = order(seed, epoch, count)[place * size : (place + 1) * size]
    return windows_of(tokens, index, length, shift)


def in_order(rows: Rows, size: int) -> Iterator[Rows]:
    """All rows in batches; the last one may be short."""
    count = len(next(iter(rows.values())))
    for start in range(0, count, size):
        yield {name: array[start : start + size] for name, array in rows.items()}


def text_in_order(tokens: np.ndarray, size: int, length: int) -> Iterator[Rows]:
    """All windows in batches; the last one may be short."""
    count = windows(tokens, length)
    for start in range(0, count, size):
        yield windows_of(tokens, np.arange(start, min(start + size, count)), length)


# --- schedules: the rate of a step, from 0, of so many


def constant_rate(step: int, total: int, lr: float, warmup: int = 0) -> float:
    return lr * warm(step, warmup)


def cosine_rate(step: int, total: int, lr: float, warmup: int = 0, end: float = 0.0) -> float:
    """Half a cosine from `lr` to `end` (Loshchilov and Hutter, "SGDR", 2017)."""
    share = 0.5 * (1 + math.cos(math.pi * progress(step, total, warmup)))
    return (end + (lr - end) * share) * warm(step, warmup)


def linear_rate(step: int, total: int, lr: float, warmup: int = 0, end: float = 0.0) -> float:
    """A straight line from `lr` to `end`."""
    return (end + (lr - end) * (1 - progress(step, total, warmup))) * warm(step, warmup)


def step_decay_rate(
    step: int,
    total: int,
    lr: float,
    every: int,
    factor: float = 0.1,
    warmup: int = 0,
) -> float:
    """Times `factor` every so many steps, the warm-up's among them, as PyTorch's StepLR."""
    return lr * factor ** (step // every) * warm(step, warmup)


def one_cycle_rate(
    step: int,
    total: int,
    lr: float,
    warmup: float = 0.3,
    start: float = 0.04,
    end: float = 1e-4,
) -> float:
    """Up to `lr` and down again along cosines, as PyTorch's OneCycleLR (Smith and Topin,
    "Super-convergence", 2018): `warmup` is the share of steps that go up, `start` the first rate
    as a share of `lr`, `end` the last as a share of the first."""
    first, peak = lr * start, warmup * total - 1
    if step <= peak:
        return between(first, lr, step / peak if peak > 0 else 1.0)
    length = total - 1 - peak
    return between(lr, first * end, min(1.0, (step - peak) / length) if length > 0 else 1.0)


def warm(step: int, warmup: int) -> float:
    """The share of the rate that the warm-up allows."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def progress(step: int, total: int, warmup: int) -> float:
    """How much of the way after the warm-up is done, from 0 to 1."""
    return min(1.0, max(0, step - warmup) / max(1, total - warmup))


def between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
