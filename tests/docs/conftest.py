"""A folder for the blocks of a page, the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .pages import folder


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    base = tmp_path_factory.mktemp("docs")
    return lambda page: folder(base, page)
