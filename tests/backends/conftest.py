"""What tests of several backends share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def quick_jax() -> Iterator[None]:
    """JAX compiles without optimising: for programs that run once or a few times."""
    jax = pytest.importorskip("jax")
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
