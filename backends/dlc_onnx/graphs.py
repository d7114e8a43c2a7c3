"""Nodes in the graphs of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def every_node(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes, those in their graphs included."""
    for node in nodes:
        yield node
        for graph in graphs_of(node):
            yield from every_node(graph.node)


def graphs_of(node: Any) -> Iterator[Any]:
    """The graphs that a node holds."""
    return (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def read_by(nodes: Iterable[Any]) -> Iterator[str]:
    """The values that nodes read, those in their graphs included."""
    return (name for node in every_node(nodes) for name in node.input)


def rename_in(node: Any, names: Mapping[str, str]) -> None:
    """Other names for some of the values that a node reads, makes, or that its graphs give."""
    for texts in (node.input, node.output):
        for i, text in enumerate(texts):
            if text in names:
                texts[i] = names[text]
    for graph in graphs_of(node):
        for output in graph.output:
            output.name = names.get(output.name, output.name)
