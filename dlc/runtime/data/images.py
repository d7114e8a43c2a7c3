"""`images`: files of pictures; the folders in which they lie are their classes.

What fits into memory is decoded before the first step, so that a picture that can't be is told then; of more, sizes are looked at then,
and pixels when a batch has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import did_you_mean
from dlc.runtime.data.files import can_t_read, missing_package
from dlc.source import Field, Request, SourceError
from dlc.types.tensor import TensorType

Array = NDArray[Any]
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
HELD = 1 << 30  # bytes of pixels that are decoded beforehand
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
TOLD = 3


@dataclass(frozen=True)
class Shaping:
    """How a picture becomes a tensor of channels, rows and columns: in so many channels (None: its own, as the first one has),
    and resized to a size, if one is given."""

    channels: int | None
    size: tuple[int, int] | None = None
    fit: str = "crop"

    def pixels(self, file: Path | IO[bytes]) -> NDArray[np.uint8]:
        """Raises OSError for what is no picture, or a damaged one."""
        image = self._resized(_opened(file))
        mode = MODES[self.channels] if self.channels else "L" if image.mode in ("1", "L") else "RGB"
        array = np.asarray(image.convert(mode), dtype=np.uint8)
        return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))

    def _resized(self, image: Any) -> Any:
        from PIL import Image, ImageOps

        if self.size is None or image.size == self.size[::-1]:
            return image
        wanted, how = self.size[::-1], Image.Resampling.BILINEAR
        image = image.convert("L") if image.mode == "1" else image
        if self.fit == "stretch":
            return image.resize(wanted, how)
        return ImageOps.pad(image, wanted, how) if self.fit == "pad" else ImageOps.fit(image, wanted, how)


def _opened(file: Path | IO[bytes]) -> Any:
    """A picture, decoded, the right way up."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as found:
            image = ImageOps.exif_transpose(found)
            image.load()
    except (SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from None
    if image.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "P":  # colours by number: they can't be mixed, and one of them may be transparent
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size; `held` are their pixels, where they fit into memory."""

    files: Sequence[Path]
    labels: NDArray[np.int64] | None
    shaping: Shaping
    shape: tuple[int, ...]
    is_float: bool
    held: NDArray[np.uint8] | None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Field]:
        image = Field("f32", self.shape) if self.is_float else Field("u8", self.shape, 256)
        if self.labels is None:
            return {"image": image}
        return {"image": image, "label": Field("i64", (), int(self.labels.max()) + 1)}

    @property
    def arrays(self) -> dict[str, Array]:
        """What the digest of the data is made of: pixels, or of pictures that are read later the sizes of their files."""
        sizes = {"their files": np.array([each.stat().st_size for each in self.files])}
        pixels = sizes if self.held is None else {"image": self.held}
        return pixels if self.labels is None else {**pixels, "label": self.labels}

    @property
    def is_read_late(self) -> bool:
        """Whether pictures are decoded when a batch has them: then that is done beside the step before."""
        return self.held is None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: NDArray[np.int64], epoch: tuple[int, int] | None) -> dict[str, Array]:
        pixels = self.held[index] if self.held is not None else np.stack([self._pixels(i) for i in index])
        image = scaled(pixels) if self.is_float else pixels
        return {"image": image} if self.labels is None else {"image": image, "label": self.labels[index]}

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        return _decoded(self.shaping, self.shape, self.files[number])


def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes in 0 to 1."""
    return pixels.astype(np.float32) / np.float32(255)


def open_rows(request: Request) -> Pictures:
    """image: [_, c, h, w] in 0 to 1 (bytes where the batch declares u8), label: i64[_] by the folders' names.

    Raises SourceError without Pillow, and with all pictures that can't be read or are of another size."""
    options, folder = request.options, request.path("path")
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise missing_package("`images`", "Pillow") from None
    if not folder.is_dir():
        raise SourceError(f"can't read {folder}: there is no such folder")
    files, labels, classes = _labelled(folder, request) if "label" in request.fields else _plain(folder)
    if not files:
        raise SourceError(f"{folder} has no pictures", f"their names end in {', '.join(sorted(ENDINGS))}")
    type = request.fields.get("image")
    size = options["size"]
    shaping = Shaping(
        _channels(type),
        (size, size) if isinstance(size, int) else tuple(size) if size else None,
        options["fit"],
    )
    is_float = type is None or type.is_float
    about: dict[str, Any] = {
        "image": {"fit": shaping.fit, **({"size": list(shaping.size)} if shaping.size else {})}
    }
    if classes:
        about["classes"] = {"label": classes}
    shape, held = _looked_at(shaping, files)
    return Pictures(files, labels, Shaping(shape[0], shaping.size, shaping.fit), shape, is_float, held, about)


def _channels(type: TensorType | None) -> int | None:
    count = type.axes[1].constant if type is not None and type.rank == 4 else None
    if count is not None and count not in MODES:
        raise SourceError(f"`image` has {count} channels as declared", "pictures have 1, 3 or 4")
    return count


def _labelled(folder: Path, request: Request) -> tuple[list[Path], NDArray[np.int64], list[str]]:
    """The pictures in each folder, which is their class."""
    listed = request.options["classes"]
    known = request.known.get("classes", {}).get("label") or listed
    there = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not there:
        help = f"put the pictures of each class into a folder of its name: {folder}/cat/1.png"
        raise SourceError(f"{folder} has no folders, of which `label` would be the names", help)
    for name in listed or ():
        if name not in there:
            raise SourceError(f"{folder} has no folder `{name}`", did_you_mean(name, there))
    for name in there if known and not listed else ():
        if name not in known:
            help = did_you_mean(name, known) or f"classes are {', '.join(known)}"
            raise SourceError(f"{folder}/{name} is none of the classes that are trained on", help)
    classes = list(known or there)
    files = [(each, i) for i, name in enumerate(classes) for each in _pictures(folder / name)]
    return [each for each, _ in files], np.array([i for _, i in files], dtype=np.int64), classes


def _plain(folder: Path) -> tuple[list[Path], None, list[str]]:
    return list(_pictures(folder)), None, []


def _pictures(folder: Path) -> Iterator[Path]:
    return (
        each
        for each in sorted(folder.rglob("*"))
        if each.suffix.lower() in ENDINGS and not each.name.startswith(".")
    )


def _looked_at(shaping: Shaping, files: Sequence[Path]) -> tuple[tuple[int, ...], NDArray[np.uint8] | None]:
    """The shape that all pictures have, and their pixels if they fit into memory."""
    try:
        first = shaping.pixels(files[0])
    except OSError as error:
        raise _unreadable(files[0], error) from None
    fixed = Shaping(first.shape[0], shaping.size, shaping.fit)
    if first.nbytes * len(files) > HELD:
        _all(files, lambda file: _check_size(fixed, first.shape, file))
        return first.shape, None
    held = np.empty((len(files), *first.shape), np.uint8)
    rows = iter(range(len(files)))

    def decode(file: Path) -> None:
        row = next(rows)
        held[row] = _decoded(fixed, first.shape, file)

    _all(files, decode)
    return first.shape, held


def _all(files: Sequence[Path], look: Callable[[Path], None]) -> None:
    """Looks at every file. Raises SourceError with the first that are wrong, and how many there are."""
    wrong: list[SourceError] = []
    for file in files:
        try:
            look(file)
        except SourceError as error:
            wrong.append(error)
    if wrong:
        notes = [str(each) for each in wrong[1:TOLD]]
        notes += [f"and {len(wrong) - TOLD:,} more"] if len(wrong) > TOLD else []
        raise SourceError(str(wrong[0]), wrong[0].help, notes)


def _decoded(shaping: Shaping, shape: tuple[int, ...], file: Path) -> NDArray[np.uint8]:
    try:
        pixels = shaping.pixels(file)
    except OSError as error:
        raise _unreadable(file, error) from None
    if pixels.shape != shape:
        raise _of_other_size(file, pixels.shape[1:], shape[1:])
    return pixels


def _unreadable(file: Path, error: Exception) -> SourceError:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return SourceError(f"can't read {file}: it is no picture", "take it out of the folder")
    return can_t_read(file, error)


def _check_size(shaping: Shaping, shape: tuple[int, ...], file: Path) -> None:
    """By its header alone."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            size = image.size[::-1]
            turned = image.getexif().get(0x0112, 1) > 4
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from None
    size = size[::-1] if turned else size
    if shaping.size is None and size != shape[1:]:
        raise _of_other_size(file, size, shape[1:])


def _of_other_size(file: Path, size: Sequence[int], wanted: Sequence[int]) -> SourceError:
    help = f"resize all of them: `images(…, size={min(wanted)})`"
    return SourceError(
        f"{file} is {size[0]} by {size[1]} pixels, others are {wanted[0]} by {wanted[1]}", help
    )
