"""Reading a program's text form; `dlc.ir.text` says what it looks like."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from dlc.ir.nodes import Attr, Child, Function, Op, Param, Parameter, Program, Region, Value
from dlc.types.dims import Dim, parse_dim
from dlc.types.facts import Relation
from dlc.types.tensor import DTYPES, TensorType

BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
BARE_PATH = re.compile(r"(?:[A-Za-z0-9_]|\{i\})+(?:\.(?:[A-Za-z0-9_]|\{i\})+)*")

# Scalars that are words or numbers; anything else outside quotes is a size.
WORDS: Mapping[str, Attr] = {
    "true": True,
    "false": False,
    "none": None,
    "inf": math.inf,
    "-inf": -math.inf,
    "nan": math.nan,
}

_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORD = re.compile(r"[A-Za-z_]+")
_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?")
_BRACKETS = re.compile(r"[(),\]}]")
_COMPARISON = re.compile(r" (==|!=|<=|>=|<|>) ")
_LINE = re.compile(r"[^\n]*")

T = TypeVar("T")


class IRSyntaxError(ValueError):
    """Text that is no program; says the line and what is missing there."""


def parse_program(text: str) -> Program:
    """The program that `text` prints. Raises IRSyntaxError where it is none."""
    return _Reader(text).program()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.skip()

    # Pieces of text

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def error(self, wanted: str) -> IRSyntaxError:
        line = self.text.count("\n", 0, self.at) + 1
        found = self.text[self.at : self.at + 20].split("\n")[0]
        return IRSyntaxError(f"line {line}: {wanted} is missing before {found!r}")

    def match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        self.skip()
        return match[0]

    def take(self, symbol: str) -> bool:
        """Whether the text goes on with this symbol, which is then behind."""
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += len(symbol)
        self.skip()
        return True

    def expect(self, symbol: str) -> None:
        if not self.take(symbol):
            raise self.error(f"`{symbol}`")

    def word(self, *wanted: str) -> str:
        """The next word, if it is one of those wanted, else ""."""
        match = _WORD.match(self.text, self.at)
        return self.match(_WORD) if match and match[0] in wanted else ""

    def either(self, bare: re.Pattern[str], what: str) -> str:
        found = self.match(bare)
        if found:
            return found
        quoted = self.match(_STRING)
        if not quoted:
            raise self.error(what)
        return str(json.loads(quoted))

    def name(self) -> str:
        return self.either(BARE_NAME, "a name")

    def path(self) -> str:
        return self.either(BARE_PATH, "a path")

    def number(self) -> int:
        found = self.match(_INT)
        if not found:
            raise self.error("a number")
        return int(found)

    def several(self, item: Callable[[], T], end: str) -> tuple[T, ...]:
        """Items between commas up to the symbol `end`, which is taken."""
        items: list[T] = []
        while not self.take(end):
            items.append(item())
            if not self.take(","):
                self.expect(end)
                break
        return tuple(items)

    # Programs and functions

    def program(self) -> Program:
        self.expect("entry")
        entry = self.name()
        parameters: list[Parameter] = []
        functions: dict[str, Function] = {}
        while self.at < len(self.text):
            kind = self.name()
            frozen = kind == "frozen"
            if frozen:
                kind = self.name()
            if kind in ("parameter", "buffer"):
                parameters.append(self.parameter("param" if kind == "parameter" else kind, frozen))
            else:
                function = self.function(kind)
                functions[function.name] = function
        return Program(functions, entry, tuple(parameters))

    def parameter(self, kind: str, frozen: bool) -> Parameter:
        path = self.path()
        self.expect(":")
        type = self.type()
        init = self.name() if self.take("=") else ""
        sources = self.several(self.path, ")") if self.take("(") else ()
        owner = self.name() if self.word("of") else ""
        return Parameter(path, type, kind, frozen, init, owner, sources=sources)

    def function(self, kind: str) -> Function:
        name = self.name()
        self.expect("(")
        inputs = self.several(self.typed, ")")
        self.expect("->")
        self.expect("(")
        outputs = self.several(self.output, ")")
        header: dict[str, Any] = {"source": name}
        while not self.take("{"):
            self.header(header)
        body, _ = self.body()
        return Function(name=name, kind=kind, inputs=inputs, outputs=outputs, body=body, **header)

    def header(self, found: dict[str, Any]) -> None:
        word = self.word(*_HEADER)
        if not word:
            raise self.error("`{`")
        _HEADER[word](self, found, word)

    def output(self) -> tuple[str, str]:
        name = self.name()
        self.expect(":")
        return name, self.value()

    def param(self, kind: str, *, frozen: bool = False) -> Param:
        name = self.path()
        self.expect(":")
        type = self.type()
        init = self.name() if self.take("=") else ""
        sources = self.several(self.path, ")") if self.take("(") else ()
        return Param(name, type, kind, frozen, init, sources)

    def child(self) -> Child:
        path = self.path()
        self.expect(":")
        function = self.name()
        if not self.word("times"):
            return Child(path, function)
        count = self.number()
        self.expect("from")
        start = self.number()
        self.expect("by")
        return Child(path, function, count, start, self.number())

    def fact(self) -> Relation:
        line = self.match(_LINE)
        try:
            return parse_relation(line)
        except ValueError as error:
            raise self.error("a comparison of sizes") from error

    # Bodies

    def body(self) -> tuple[tuple[Op, ...], tuple[str, ...]]:
        """Operations up to the closing brace, and what a `yield` before it names."""
        ops: list[Op] = []
        while not self.take("}"):
            if self.word("yield"):
                return tuple(ops), self.several(self.value, "}")
            ops.append(self.op())
        return tuple(ops), ()

    def op(self) -> Op:
        outputs = self.several(self.typed, "=") if self.text.startswith("%", self.at) else ()
        name = self.name()
        self.expect("(")
        inputs = self.several(self.operand, ")")
        attrs = self.attrs() if self.take("{") else ()
        path = self.path() if self.take("@") else ""
        callee = self.name() if self.take("->") else ""
        dims = self.several(self.dim_binding, "]") if self.take("[") else ()
        return Op(
            name, inputs, outputs, attrs, callee, path, dims, self.region() if self.word("do") else None
        )

    def region(self) -> Region:
        self.expect("(")
        args = self.several(self.typed, ")")
        self.expect("{")
        body, results = self.body()
        return Region(args, body, results)

    def operand(self) -> str:
        return self.value() if self.text.startswith("%", self.at) else self.absent()

    def absent(self) -> str:
        self.expect("_")
        return ""

    def value(self) -> str:
        self.expect("%")
        return self.name()

    def typed(self) -> Value:
        name = self.value()
        self.expect(":")
        return Value(name, self.type())

    def type(self) -> TensorType:
        end = self.text.find("]", self.at)
        found = _type(self.text[self.at : end + 1])
        if found is None:
            raise self.error("a type")
        self.at = end + 1
        self.skip()
        return found

    def dim_binding(self) -> tuple[str, Dim]:
        name = self.name()
        self.expect("=")
        return name, self.dim(self.raw())

    def dim(self, text: str) -> Dim:
        try:
            return _dim(text)
        except ValueError as error:
            raise self.error("a size") from error

    def raw(self) -> str:
        """Text up to a comma or closing bracket outside parentheses."""
        depth = 0
        for match in _BRACKETS.finditer(self.text, self.at):
            if match[0] != "(" and depth == 0:
                text = self.text[self.at : match.start()].strip()
                self.at = match.start()
                return text
            depth += {"(": 1, ")": -1}.get(match[0], 0)
        raise self.error("a closing bracket")

    # Attributes

    def attrs(self) -> tuple[tuple[str, Attr], ...]:
        return self.several(self.attr, "}")

    def attr(self) -> tuple[str, Attr]:
        name = self.name()
        self.expect("=")
        return name, self.attr_value()

    def attr_value(self) -> Attr:
        if self.take("["):
            return self.several(self.attr_value, "]")
        quoted = self.match(_STRING)
        if quoted:
            return str(json.loads(quoted))
        text = self.raw()
        if text in WORDS:
            return WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else self.dim(text)


def _append(key: str, value: Callable[[_Reader], object]) -> Callable[[_Reader, dict[str, Any], str], None]:
    def read(reader: _Reader, found: dict[str, Any], word: str) -> None:
        found[key] = (*found.get(key, ()), value(reader))

    return read


def _store(key: str, value: Callable[[_Reader], object]) -> Callable[[_Reader, dict[str, Any], str], None]:
    def read(reader: _Reader, found: dict[str, Any], word: str) -> None:
        found[key] = value(reader)

    return read


def _static(reader: _Reader) -> tuple[tuple[str, Attr], ...]:
    reader.expect("{")
    return reader.attrs()


def _frozen(reader: _Reader) -> Param:
    return reader.param(reader.name(), frozen=True)


_HEADER: Mapping[str, Callable[[_Reader, dict[str, Any], str], None]] = {
    "source": _store("source", _Reader.name),
    "static": _store("static", _static),
    "way": _store("entry", _Reader.name),
    "library": _store("library", lambda reader: True),
    "training": _store("training", lambda reader: True),
    "where": _append("facts", _Reader.fact),
    "child": _append("children", _Reader.child),
    "frozen": _append("params", _frozen),
    "param": _append("params", lambda reader: reader.param("param")),
    "buffer": _append("params", lambda reader: reader.param("buffer")),
    "prepared": _append("params", lambda reader: reader.param("prepared")),
}


@lru_cache(maxsize=4096)
def _type(text: str) -> TensorType | None:
    dtype, bracket, axes = text.rstrip("]").partition("[")
    if not bracket or (dtype and dtype not in DTYPES):
        return None
    try:
        return TensorType(dtype or "float", tuple(map(_dim, _split(axes))))
    except ValueError:
        return None


def _split(text: str) -> list[str]:
    """Pieces between commas outside parentheses."""
    pieces: list[str] = []
    depth = start = 0
    for i, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            pieces.append(text[start:i])
            start = i + 1
    return [*pieces, text[start:]] if text.strip() else []


def parse_relation(text: str) -> Relation:
    """A printed fact read back. Raises ValueError for anything else."""
    parts = _COMPARISON.split(text.strip())
    if len(parts) != 3:
        raise ValueError(f"no comparison of sizes: {text!r}")
    return Relation(_dim(parts[0]), parts[1], _dim(parts[2]))


@lru_cache(maxsize=4096)
def _dim(text: str) -> Dim:
    return parse_dim(text)
