"""What writing PyTorch source costs against another revision: python benchmarks/emission.py REVISION [MODEL …]

Processor time of one emission, the least of a few, in a process of its own; this tree and the revision take turns, so that what
else the machine does hits both. `--level 2` emits with `-O2`, `--backend jax` another backend; `--texts` also says whether
both write the same source."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODELS = (
    "vision/lenet5.dl:LeNet5", "language/gpt2.dl:GPT2", "language/t5_small.dl:T5_SMALL",
    "language/transformer.dl:Transformer", "vision/resnet.dl:ResNet50", "vision/mobilenet_v2.dl:MobileNetV2",
    "vision/googlenet.dl:GoogLeNet", "vision/vit.dl:ViT_B16",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", nargs="?")
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        model = options.models[0]
        print(json.dumps(_measured(model, options.backend, options.level, options.rounds)))
        return
    with _tree(options.revision) as other:
        print(
            f"| model | here s | {options.revision or 'same'} s | ratio |\n| --- | --- | --- | --- |",
            flush=True,
        )
        for model in options.models:
            _row(model, other, options)


def _row(model: str, other: Path, options: argparse.Namespace) -> None:
    found: dict[Path, list[dict[str, Any]]] = {ROOT: [], other: []}
    for _ in range(options.rounds):
        for root, results in found.items():
            results.append(_run(root, model, options))
    here, there = (min(each["seconds"] for each in results) for results in found.values())
    note = ""
    if options.texts:
        texts = {each["text"] for results in found.values() for each in results}
        note = " same text |" if len(texts) == 1 else " OTHER TEXT |"
    print(f"| {model} | {here:.2f} | {there:.2f} | {here / there:.2f} |{note}", flush=True)


def _run(root: Path, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """One process that emits from the tree at `root`; the specs are that tree's own."""
    path = os.pathsep.join([str(root), str(root / "backends")])
    command = [sys.executable, __file__, "same", model, "--worker", "--rounds", "2"]
    command += ["--backend", options.backend, "--level", str(options.level)]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _measured(model: str, backend: str, level: int, rounds: int) -> dict[str, Any]:
    import dlc

    file, _, name = model.partition(":")

    def emit() -> tuple[float, str]:
        start = time.process_time()
        artifact = dlc.load(Path("specs") / file)[name].emit(backend, optimize=level)
        text = json.dumps({key: str(each) for key, each in sorted(artifact.files.items())})
        return time.process_time() - start, text

    dlc.load("specs/vision/mlp.dl")["MLP"].emit(backend)  # imports and the library are read once
    times, texts = zip(*(emit() for _ in range(rounds)), strict=True)
    return {"seconds": min(times), "text": hashlib.sha256(texts[-1].encode()).hexdigest()}


@contextlib.contextmanager
def _tree(revision: str | None) -> Iterator[Path]:
    """The files of a revision in a folder of their own."""
    if revision is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", revision], check=True, capture_output=True, cwd=ROOT)
        tar = Path(folder) / "tree.tar"
        tar.write_bytes(archive.stdout)
        with tarfile.open(tar) as opened:
            opened.extractall(folder, filter="data")
        yield Path(folder)


if __name__ == "__main__":
    main()
