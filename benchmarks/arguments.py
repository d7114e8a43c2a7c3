"""Which static parameters of the specs are arguments of what is emitted: python benchmarks/arguments.py [FILE …]

Every model, at its own settings or at those of its first preset, for each backend that takes arguments: the parameters that are
arguments of the class or fields of the `Config`, those that are fixed at their values, and what writing the source took.
`--out FOLDER` keeps the sources; `--small` takes the smallest preset instead."""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "backends"))

from published_settings import SPECS, by_default

import dlc
from dlc.emit.names import identifier
from dlc.runtime.smallest import smallest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--backend", action="append")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    print("| model | backend | arguments | fixed | s |\n| --- | --- | --- | --- | --- |")
    for file in options.files or sorted(SPECS.glob("*/*.dl")):
        spec = dlc.load(file)
        for model in smallest(spec) if options.small else by_default(spec):
            for backend in options.backend or ("torch", "jax"):
                begin = time.process_time()
                (text,) = model.emit(backend).files.values()
                took = time.process_time() - begin
                taken = set(arguments(str(text)))
                found = {name: identifier(name) in taken for name in model.settings}
                fixed = [name for name, is_one in found.items() if not is_one]
                total += Counter(
                    {f"{backend} arguments": len(found) - len(fixed), f"{backend} fixed": len(fixed)}
                )
                row = (
                    f"{file.stem}:{model.name}",
                    backend,
                    str(len(found) - len(fixed)),
                    " ".join(fixed),
                    f"{took:.1f}",
                )
                print(f"| {' | '.join(row)} |", flush=True)
                if options.out:
                    options.out.mkdir(parents=True, exist_ok=True)
                    (options.out / f"{file.stem}_{model.name}_{backend}.py").write_text(str(text))
    print(", ".join(f"{name}: {number}" for name, number in total.items()))


def arguments(text: str) -> Iterator[str]:
    """What the model's class takes, or what the `Config` has."""
    classes = [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)]
    for each in classes:
        if each.name == "Config":
            yield from (
                str(one.target.id)
                for one in each.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            )
            return
    inits = (
        [
            one
            for one in (classes or [None])[-1].body
            if isinstance(one, ast.FunctionDef) and one.name == "__init__"
        ]
        if classes
        else []
    )
    for one in inits:
        yield from (arg.arg for arg in (*one.args.args, *one.args.kwonlyargs))


if __name__ == "__main__":
    main()
