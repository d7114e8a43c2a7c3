"""What all tests share: golden files and the option that rewrites them, how long properties are tried, and compilers in haste."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from pathlib import Path

import haste
import properties
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Write golden files anew; their diffs are for review."
    )
    parser.addoption(
        "--properties",
        type=int,
        default=1,
        metavar="N",
        help="Try N times as many examples of each property, from a random seed (or that of --hypothesis-seed).",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Workers of xdist get the options as they are here, so that all have one seed."""
    times = config.getoption("--properties")
    if times > 1 and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))
    properties.configure(times, int(config.option.hypothesis_seed or 0))
    haste.hasten_xla()
    # The compiler makes many values, and drops most of them at once; with the usual thresholds a fifth of the time goes to looking
    # for circles among them. An emission leaves half a million behind.
    gc.set_threshold(2_000_000, 20, 20)


SLOW = Path(__file__).with_name("slow.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {line for line in SLOW.read_text(encoding="utf-8").splitlines() if not line.startswith("#")}
    for item in items:
        place = f"tests/{item.path.relative_to(SLOW.parent).as_posix()}::{item.nodeid.partition('::')[2]}"
        if place in slow or place.partition("[")[0] in slow:
            item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """What is left by now goes with the process: to look for garbage in gigabytes of it again, and again when Python ends, takes seconds."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if properties.RUN.times > 1:
        again = f"--properties {properties.RUN.times} --hypothesis-seed={properties.RUN.seed}"
        terminalreporter.write_line(f"properties: the same once more with {again}")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """`golden(path, text)`: the text must be what the file at `path` holds; `--update-golden` writes it."""
    update = request.config.getoption("--update-golden")

    def check(path: Path, text: str) -> None:
        if update:
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing: run pytest with --update-golden and review the diff"
        assert text == path.read_text(encoding="utf-8")

    return check
