"""The files of a spec: reading, imports, and the names that each file defines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.diagnostics.catalogue import TOO_LONG
from dlc.diagnostics.follow import is_syntax, without_echoes
from dlc.diagnostics.training import BAD_OPTION
from dlc.elaborate.base.budget import Budget
from dlc.elaborate.base.knowledge import Knowledge, note_definitions
from dlc.elaborate.base.units import Definition, Item, Unit
from dlc.resources import library_path, specs_path
from dlc.syntax import ast
from dlc.syntax.parser import parse
from dlc.syntax.scanner import WORD_LIMIT
from dlc.syntax.source import read_source

IMPORT_DEPTH = 60
ROOT_HELP = "it is the folder that imports, data and weights of a spec may not leave"


def define_names(unit: Unit) -> Iterator[Diagnostic]:
    """Enter every item of the file under its name; a name defined twice is reported."""
    imports = _imports(unit)
    for item in unit.file.items:
        if not isinstance(
            item, ast.ModuleDef | ast.FnDef | ast.GroupDef | ast.Let | ast.Preset | ast.Weights | ast.Train
        ):
            continue
        first = unit.names.get(item.name)
        if first is not None:
            imported = imports.get(item.name)
            other = "the other is imported" if imported else "the first is"
            line = imported.span.line if imported else _line(first)
            yield problems.DEFINED_TWICE.at(
                getattr(item, "name_span", None) or item.span,
                name=item.name,
                where="in this file",
                help=f"rename one of the two; {other} in line {line}",
            )
            continue
        if isinstance(item, ast.ModuleDef | ast.FnDef | ast.GroupDef):
            unit.names[item.name] = Definition(item.name, item, unit, unit.library)
        else:
            unit.names[item.name] = item


def _imports(unit: Unit) -> dict[str, ast.ImportModule | ast.ImportFrom]:
    """The import that binds a name, by the name."""
    found: dict[str, ast.ImportModule | ast.ImportFrom] = {}
    for item in unit.file.items:
        if isinstance(item, ast.ImportModule):
            found.setdefault(item.name, item)
        elif isinstance(item, ast.ImportFrom):
            for _, here in item.names:
                found.setdefault(here, item)
    return found


def _line(named: Item | Unit) -> int:
    node = named.node if isinstance(named, Definition) else named
    return node.file.span.line if isinstance(node, Unit) else node.span.line


class Project:
    """The file that a command was given, and all that it imports.

    `diagnostics` collects what is wrong with texts, imports and doubled names. Raises SpecError for a `root` that is no folder, and
    from `load` if the first file can't be read."""

    def __init__(self, root: Path | None = None, *, allow_python: bool = False) -> None:
        if root is not None and not root.is_dir():
            raise SpecError([BAD_OPTION.at(NO_SPAN, message=f"the root {root} is no folder")])
        self.root = root.resolve() if root is not None else None
        self.allow_python = allow_python  # whether code that a train block names as its data may be run
        self.units: dict[str, Unit] = {}
        self.instantiated: dict[Definition, dict[str, Any]] = {}  # with the static values of the first time
        self.reached: set[Definition] = set()  # what some model or train block of the file called
        self.diagnostics: list[Diagnostic] = []
        self.knowledge = Knowledge()
        self.defaults: list[ast.Field] = []  # whose values are being computed
        self.kept: dict[Any, Any] = {}  # functions that one session made, for others
        self.budget: Budget | None = None  # what all sessions of a check have together
        self.words = 0  # in all files
        self._open: list[str] = []
        if root is not None and not root.is_dir():
            message = f"the root {root} is no folder"
            self.diagnostics.append(BAD_OPTION.at(NO_SPAN, message=message, help=ROOT_HELP))

    @property
    def sources(self) -> dict[str, str]:
        return {unit.path: unit.text for unit in self.units.values()}

    @contextmanager
    def one_budget(self) -> Iterator[None]:
        """What is elaborated meanwhile is paid for from one budget, not from one for each program."""
        before, self.budget = self.budget, self.budget or Budget()
        try:
            yield
        finally:
            self.budget = before

    def load(self, path: str | Path) -> Unit:
        """Read the main file and what it imports."""
        place = Path(path)
        text = read_source(place)
        if self.root is None:
            self.root = place.resolve().parent
        return self._add(str(place.resolve()), str(path), text)

    def loads(self, text: str, name: str) -> Unit:
        """Take the main file from memory; its imports are relative to the root, or to the working directory."""
        if self.root is None:
            self.root = Path.cwd()
        return self._add(str((self.root / name).resolve()), name, text)

    def _add(self, key: str, shown: str, text: str, library: bool = False) -> Unit:
        result = parse(text, shown)
        self.words += result.words
        unit = Unit(shown, text, result.file, library)
        self.units[key] = unit
        self.diagnostics += without_echoes(result.diagnostics)
        self._open.append(key)
        for item in result.file.items:
            if isinstance(item, ast.ImportModule | ast.ImportFrom):
                self._import(unit, key, item)
        self._open.pop()
        self.diagnostics += define_names(unit)
        note_definitions(self.knowledge, unit)
        return unit

    def _import(self, unit: Unit, key: str, item: ast.ImportModule | ast.ImportFrom) -> None:
        other = self._unit(key, item)
        if other is None or any(
            is_syntax(each) and each.span.file == other.path for each in self.diagnostics
        ):
            names = [here for _, here in item.names] if isinstance(item, ast.ImportFrom) else [item.name]
            for name in names:
                unit.names.setdefault(
                    name, Unit("", "", ast.File(()))
                )  # known, but broken: nothing more is said of it
            return
        if isinstance(item, ast.ImportModule):
            unit.names[item.name] = other
            return
        for index, (there, here) in enumerate(item.names):
            named = other.names.get(there)
            if named is None:
                span = item.name_spans[index] if index < len(item.name_spans) else item.span
                help = did_you_mean(there, other.names)
                self.diagnostics.append(
                    problems.NOT_EXPORTED.at(span, name=there, file=item.path.value, help=help)
                )
                unit.names.setdefault(here, Unit("", "", ast.File(())))
                continue
            unit.names[here] = named
            unit.owners[here] = other.own(there)

    def _unit(self, importer: str, item: ast.ImportModule | ast.ImportFrom) -> Unit | None:
        written = item.path.value
        found = self._locate(importer, written)
        if isinstance(found, str):
            self.diagnostics.append(problems.BAD_IMPORT.at(item.path.span, path=written, reason=found))
            return None
        key = str(found)
        if key in self._open:
            cycle = [*self._open[self._open.index(key) :], key]
            names = " -> ".join(Path(each).name for each in cycle)
            self.diagnostics.append(problems.IMPORT_CYCLE.at(item.path.span, cycle=names))
            return None
        if key in self.units:
            return self.units[key]
        if len(self._open) > IMPORT_DEPTH or self.words > WORD_LIMIT:
            limit = f"{WORD_LIMIT:,} words" if self.words > WORD_LIMIT else f"{IMPORT_DEPTH} files deep"
            self.diagnostics.append(TOO_LONG.at(item.path.span, what="what this imports", limit=limit))
            return None
        shown = written if written.startswith("dlc:") else self._shown(found)
        try:
            text = read_source(found)
        except SpecError as error:
            reason = error.diagnostics[0].message
            self.diagnostics.append(problems.BAD_IMPORT.at(item.path.span, path=written, reason=reason))
            return None
        return self._add(key, shown, text)

    def _locate(self, importer: str, written: str) -> Path | str:
        """The file that an import means, or what is wrong with it."""
        if "\0" in written:
            return "no file has such a name"
        if written.startswith("dlc:"):
            place = (specs_path() / (written.removeprefix("dlc:").removesuffix(".dl") + ".dl")).resolve()
            base = specs_path().resolve()
        else:
            place = (Path(importer).parent / written).resolve()
            inside = specs_path().resolve()
            base = inside if Path(importer).is_relative_to(inside) else (self.root or Path.cwd())
        if not place.is_relative_to(base):
            return "it lies outside the project's root (see --root)"
        if not place.is_file():
            near = did_you_mean(written, _importable(place, base, written))
            return "there is no such file" + (f"; {near}" if near else "")
        return place

    def _shown(self, path: Path) -> str:
        try:
            return str(path.relative_to(Path.cwd()))
        except ValueError:
            return str(path)


def _importable(place: Path, base: Path, written: str) -> list[str]:
    """Files that an import could have meant, as it would write them."""
    if written.startswith("dlc:"):
        return [f"dlc:{each.relative_to(base).with_suffix('').as_posix()}" for each in base.rglob("*.dl")]
    folder = written.rpartition("/")[0]
    return [f"{folder}/{each.name}" if folder else each.name for each in place.parent.glob("*.dl")]


# --- the standard library --------------------------------------------------------------------------------------

_HEADER = re.compile(r"^(?:fn|module) (\w+)", re.MULTILINE)


@cache
def library_text(file: str) -> str:
    return (library_path() / file).read_text(encoding="utf-8")


@cache
def library_index() -> dict[str, tuple[str, int, int]]:
    """Where the standard library defines a name: file, first line, and the characters of the definition's end. Found without
    parsing: a definition of the library ends with a brace at the start of a line."""
    index: dict[str, tuple[str, int, int]] = {}
    for entry in sorted(library_path().iterdir()):
        if not entry.name.endswith(".dl"):
            continue
        text, start = library_text(entry.name), 0
        for match in _HEADER.finditer(text):
            end = text.index("\n}\n", match.start()) + 3
            index.setdefault(match.group(1), (entry.name, start, end))
            start = end
    return index


@cache
def library_definition(name: str) -> Definition | None:
    """The standard `fn` or `module` of that name; only its own text is parsed."""
    place = library_index().get(name)
    if place is None:
        return None
    file, start, end = place
    text = library_text(file)
    shown = f"dlc:std/{file}"
    result = parse("\n" * text.count("\n", 0, start) + text[start:end], shown)
    unit = Unit(shown, text, result.file, library=True)
    wrong = [*result.diagnostics, *define_names(unit)]
    if wrong:
        raise SpecError(wrong, {shown: text})
    found = unit.names[name]
    assert isinstance(found, Definition)
    return found


def library_sources() -> dict[str, str]:
    """The texts of the standard library, by the name that diagnostics use."""
    return {f"dlc:std/{file}": library_text(file) for file, _, _ in library_index().values()}
