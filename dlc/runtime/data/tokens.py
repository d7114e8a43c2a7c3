"""From text to numbers and back: characters, bytes, or the pieces of a tokenizer file (BPE, WordPiece; `tokenizer.json`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dlc.runtime.data.files import can_t_read, missing_package
from dlc.source import OUTSIDE, Request, SourceError, inside

Tokens = NDArray[np.int64]
PADDING = ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>")
"""What fills up a text that is too short, in tokenizer files that have one of these."""
PIECE = 1 << 20  # characters of a text that are cut up at once


class Tokenizer(Protocol):
    """`about` goes into a run's manifest: with it `of_run` makes the same one."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def about(self) -> dict[str, Any]: ...

    @property
    def padding(self) -> int: ...

    def encode(self, text: str) -> Tokens:
        """Raises SourceError for what it has no token for."""
        ...

    def decode(self, tokens: Iterable[int]) -> str: ...


@dataclass(frozen=True)
class Characters:
    """Characters, numbered in their order."""

    letters: str

    @staticmethod
    def of(text: str) -> Characters:
        return Characters("".join(map(chr, np.unique(_codes(text)))))

    @property
    def vocabulary(self) -> int:
        return len(self.letters)

    @property
    def about(self) -> dict[str, Any]:
        return {"tokenizer": "char", "characters": self.letters, "vocabulary": self.vocabulary}

    @property
    def padding(self) -> int:
        return 0

    def encode(self, text: str) -> Tokens:
        codes, known = _codes(text), self._known
        found = np.searchsorted(known, codes).clip(0, max(0, len(known) - 1))
        other = np.flatnonzero(known[found] != codes) if len(known) else np.arange(len(codes))
        if len(other):
            line = text.count("\n", 0, int(other[0])) + 1
            help = 'a text of other characters needs them in training, or tokenizer="byte"'
            raise SourceError(
                f"line {line:,}: {text[other[0]]!r} is none of the characters that are known", help
            )
        return found.astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.letters[each] for each in tokens)

    @cached_property
    def _known(self) -> NDArray[np.uint32]:
        return _codes(self.letters)


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@dataclass(frozen=True)
class Bytes:
    """The bytes of the text in UTF-8."""

    @property
    def vocabulary(self) -> int:
        return 256

    @property
    def about(self) -> dict[str, Any]:
        return {"tokenizer": "byte", "vocabulary": 256}

    @property
    def padding(self) -> int:
        return 0

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(map(int, tokens)).decode("utf-8", errors="replace")


@dataclass(frozen=True)
class FromFile:
    """A tokenizer file, `written` as in the spec; `digest` tells another one of that name."""

    inner: Any
    written: str
    digest: str

    @staticmethod
    def open(path: Path, written: str = "") -> FromFile:
        """Raises SourceError for what is no tokenizer file, and without `tokenizers`."""
        made = _package()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise can_t_read(path, error) from None
        try:
            inner = made.Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # the package raises Exception itself
            reason = str(error).partition("\n")[0]
            help = "it is what `dlc tokenizer train` and Hugging Face's tokenizers write: a tokenizer.json"
            raise SourceError(f"{path} is no tokenizer file: {reason}", help) from None
        inner.no_truncation()
        inner.no_padding()
        return FromFile(inner, written or str(path), hashlib.sha256(content).hexdigest()[:16])

    @property
    def vocabulary(self) -> int:
        """One more than the largest token: files may leave numbers out."""
        known: Mapping[str, int] = self.inner.get_vocab(with_added_tokens=True)
        return max(known.values(), default=-1) + 1

    @property
    def about(self) -> dict[str, Any]:
        return {"tokenizer": self.written, "digest": self.digest, "vocabulary": self.vocabulary}

    @property
    def padding(self) -> int:
        found = (self.inner.token_to_id(each) for each in PADDING)
        return next((each for each in found if each is not None), 0)

    def encode(self, text: str) -> Tokens:
        ids = (self.inner.encode(piece, add_special_tokens=False).ids for piece in pieces(text))
        parts = [np.array(each, dtype=np.int64) for each in ids]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return str(self.inner.decode([*tokens], skip_special_tokens=False))

    def pieces(self, text: str) -> list[tuple[str, int]]:
        """The tokens of a text, as the file writes them, with their numbers."""
        found = self.inner.encode(text, add_special_tokens=False)
        return list(zip(found.tokens, found.ids, strict=True))


_BREAK = re.compile(r"\n(?=\S)")


def pieces(text: str, length: int = PIECE) -> Iterator[str]:
    """A text in pieces that are cut up without the others: they end with a line behind which a word begins, where no token
    goes on."""
    start = 0
    while start < len(text):
        found = _BREAK.search(text, start + length)
        stop = found.end() if found else len(text)
        yield text[start:stop]
        start = stop


def _package() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise missing_package("a tokenizer file", "tokenizers") from None
    return tokenizers


def chosen(request: Request, text: str | None) -> Tokenizer:
    """The tokenizer that a source names; its characters are those of the training data, or else of the text. Raises SourceError, also
    where the training data is known to be numbered by another one."""
    written, known = request.options["tokenizer"], request.known
    found: Tokenizer
    if written == "byte":
        found = Bytes()
    elif written == "char":
        letters = known.get("characters")
        found = Characters.of(text or "") if letters is None else Characters(letters)
    else:
        found = FromFile.open(request.path("tokenizer"), written)
    if "tokenizer" in known and _identity(found.about) != _identity(known):
        trained = known["tokenizer"]
        if written == trained:
            raise _of_training(request.path("tokenizer"))
        raise SourceError(f"{OTHER}, `{trained}`, and not `{written}`", f'write `tokenizer="{trained}"`')
    return found


OTHER = "the numbers of tokens are those of the tokenizer that was trained with"


def _identity(about: Mapping[str, Any]) -> tuple[str, str]:
    """Of two files those are the same that hold the same."""
    kind = about["tokenizer"] if about["tokenizer"] in ("byte", "char") else "file"
    return kind, str(about.get("digest", ""))


def _of_training(path: Path) -> SourceError:
    return SourceError(f"{path} is another tokenizer than the one that was trained with")


def of_run(about: Mapping[str, Any], folder: Path, root: Path | None = None) -> Tokenizer | None:
    """The tokenizer that a run was trained with, as its manifest says; None where it had none. Raises SourceError where its file
    is another one now."""
    written = about.get("tokenizer")
    if written is None:
        return None
    if written == "byte":
        return Bytes()
    if written == "char":
        return Characters(about["characters"])
    path = inside(root, folder, written)
    if path is None:
        raise SourceError(f"can't read {written}: {OUTSIDE}", "--root FOLDER names a folder above both")
    found = FromFile.open(path, written)
    if found.digest != about.get("digest"):
        raise _of_training(path)
    return found


# --- training
# --------------------------------------------------------------------------------------------------

SPECIAL: Mapping[str, tuple[str, ...]] = {
    "bpe": ("<|endoftext|>",),
    "wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
}
"""The kinds of tokenizer that can be trained, and the tokens that they have besides those of the text: GPT-2's and BERT's."""
BYTES = 256


def trained(files: Sequence[Path], kind: str, vocabulary: int, special: Sequence[str]) -> str:
    """A tokenizer file of what is frequent in texts: GPT-2's way of cutting up (BPE on bytes) or BERT's (WordPiece, lower case).
    Raises SourceError for texts that can't be read, and for a vocabulary that has no room for what it must have."""
    made = _package()
    texts = [_text(each) for each in files]
    least = len(special) + (BYTES if kind == "bpe" else 1)
    if vocabulary < least:
        raise SourceError(
            f"a vocabulary of {vocabulary:,} is too small: {kind} has at least {least:,} tokens"
        )
    if kind == "bpe":
        tokenizer = made.Tokenizer(made.models.BPE())
        tokenizer.pre_tokenizer = made.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = made.decoders.ByteLevel()
        trainer = made.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[*special],
            initial_alphabet=sorted(made.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
    else:
        unknown = "[UNK]" if "[UNK]" in special else special[0] if special else "[UNK]"
        tokenizer = made.Tokenizer(made.models.WordPiece(unk_token=unknown))
        tokenizer.normalizer = made.normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = made.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = made.decoders.WordPiece()
        trainer = made.trainers.WordPieceTrainer(
            vocab_size=vocabulary, special_tokens=[*special] or [unknown], show_progress=False
        )
    tokenizer.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
    return str(tokenizer.to_str(pretty=True))


def _text(path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8: {error.reason} at byte {error.start:,}") from None
    except OSError as error:
        raise can_t_read(path, error) from None
    if not found.strip():
        raise SourceError(f"{path} is empty")
    return found
