"""Archives of NumPy arrays, read as what a stranger may have made: headers first, and no more than they and the file agree on.

An array of a dtype that NumPy does not have by itself (bf16, 8-bit floats) is stored as the bytes that it consists of, as
`numpy.savez` stores it too; the comment of its entry names the dtype, so that it comes back."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from typing import IO, TYPE_CHECKING, Any

from dlc.ops.arrays import dtype_name, numpy_dtype
from dlc.ops.definition import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")

LARGE = 1 << 26  # bytes that are read without a question
TIGHTEST = 200  # of what is larger: times that weights are packed smaller by, at most
_SUFFIX = ".npy"
_LOCAL = 30  # bytes before the name of an entry, the last four of which say how long name and extras are


class NpzFile(Mapping[str, "NDArray[Any]"]):
    """The arrays of a file by name, each read when it is asked for. Raises ValueError for a file that is no archive of arrays of
    numbers, is damaged, or unpacks to far more than weights do; OSError for one that can't be opened."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        if not zipfile.is_zipfile(path):
            with open(path, "rb"):
                raise ValueError("it is no npz archive, or a damaged one")
        with self._opened() as archive:
            _check_total(archive)
            for info in archive.infolist():
                self._enter(archive, info)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # (the mixin's would read the array)

    def __getitem__(self, name: str) -> NDArray[Any]:
        info = self._entries[name]
        with self._opened() as archive, _told(name), archive.open(info) as file:
            shape, order, dtype = _header(file, info)
            known = _meant(info, dtype)
            data = bytearray(file.read(info.file_size))
            return np.frombuffer(data, dtype=dtype).reshape(shape, order=order).view(known)

    def mapped(self, name: str) -> NDArray[Any]:
        """The same array without reading it, where the archive holds it as it is: the system reads what is looked at."""
        info = self._entries[name]
        if info.compress_type != zipfile.ZIP_STORED or not info.file_size:
            return self[name]
        with self._opened() as archive, _told(name), archive.open(info) as file:
            shape, order, dtype = _header(file, info)
            known, header = _meant(info, dtype), file.tell()
        with open(self.path, "rb") as whole:
            whole.seek(info.header_offset)
            names = whole.read(_LOCAL)[_LOCAL - 4 :]
        lengths = int.from_bytes(names[:2], "little") + int.from_bytes(names[2:], "little")
        start = info.header_offset + _LOCAL + lengths + header
        if not prod(shape):
            return np.zeros(shape, known)
        array = np.memmap(self.path, dtype, "r", start, shape, "F" if order == "F" else "C")
        return array.view(known)

    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            raise ValueError(f"the archive is damaged ({error})") from error

    def _enter(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        name = info.filename.removesuffix(_SUFFIX)
        if name == info.filename:
            raise ValueError(f"`{name}` holds no numbers that dlc knows (no array)")
        if name in self._entries:
            raise ValueError(f"`{name}` is in it twice")
        with _told(name), archive.open(info) as file:
            self.shapes[name], _, _ = _header(file, info)
        self._entries[name] = info


class _told:
    """Whatever reading an entry of a stranger's file raises, as a ValueError: zipfile, zlib and NumPy raise a dozen kinds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _Refused):
            raise ValueError(str(error)) from None
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            raise ValueError(f"the archive is damaged (`{self.name}`: {error})") from error


class _Refused(Exception):
    """Undamaged, but nothing that dlc reads."""


def _check_total(archive: zipfile.ZipFile) -> None:
    total = sum(info.file_size for info in archive.infolist())
    packed = sum(info.compress_size for info in archive.infolist())
    if total > LARGE and total > TIGHTEST * min(packed, os.path.getsize(str(archive.filename))):
        raise ValueError(f"{packed:,} bytes unpack to {total:,}: no weights are packed as tightly")


def _header(file: IO[bytes], info: zipfile.ZipInfo) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Shape, order and dtype of the bytes, from the beginning of an entry."""
    form: Any = np.lib.format
    version = form.read_magic(file)
    read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}.get(version)
    if read is None:
        raise _Refused(f"`{info.filename}` is of a version that dlc does not know {version}")
    shape, fortran, dtype = read(file)
    size = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (file.tell() + size != info.file_size and not dtype.hasobject):
        raise ValueError(f"it says {list(shape)} of {dtype}, and has {info.file_size:,} bytes")
    return shape, "F" if fortran else "C", dtype


def _meant(info: zipfile.ZipInfo, dtype: np.dtype[Any]) -> np.dtype[Any]:
    name = info.filename.removesuffix(_SUFFIX)
    if dtype.hasobject or dtype.subdtype or dtype.names:
        raise _Refused(f"`{name}` holds no numbers that dlc knows ({dtype})")
    if dtype.kind == "V" and info.comment:
        try:
            known = numpy_dtype(info.comment.decode("ascii"))
        except (KeyError, ValueError):
            known = dtype
        if known.itemsize == dtype.itemsize and _is_added(known):
            return known
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise _Refused(f"`{name}` holds no numbers that dlc knows ({dtype})")
    return dtype


def _is_added(dtype: np.dtype[Any]) -> bool:
    """Whether it is a dtype that another package gave NumPy."""
    return dtype.isbuiltin == 2


def write_npz(file: IO[bytes], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under any names: `numpy.savez` takes them for its own arguments, and some it drops. The same arrays give the same
    bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, each in tensors.items():
            info = zipfile.ZipInfo(f"{name}{_SUFFIX}")
            array = np.asarray(each)
            if _is_added(array.dtype):
                info.comment = dtype_name(array.dtype).encode("ascii")
                array = array.view(f"V{array.dtype.itemsize}")
            with archive.open(info, "w", force_zip64=array.nbytes >= 1 << 31) as entry:
                form: Any = np.lib.format
                form.write_array(entry, array, allow_pickle=False)


__all__ = ["NpzFile", "write_npz"]
