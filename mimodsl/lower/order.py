"""An order in which names that need each other can be resolved."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import cast


def in_order_of_need(
    needs: Mapping[str, tuple[str, ...]],
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Every name after the names that it needs, and the cycles.

    A cycle is given as a path from a name to what it needs, back to the first; its names are left
    out of the order. Needs that are no keys are ignored. No recursion: a chain may be long.
    """
    graph = {name: [need for need in wanted if need in needs] for name, wanted in needs.items()}
    cycles: list[tuple[str, ...]] = []
    while True:
        try:
            return list(TopologicalSorter(graph).static_order()), cycles
        except CycleError as error:
            path = cast(list[str], error.args[1])  # each name is needed by the next one
            cycle = tuple(reversed(path))
            cycles.append(cycle)
            graph = {
                name: [need for need in wanted if need not in cycle]
                for name, wanted in graph.items()
                if name not in cycle
            }
