"""Orders names so that each name comes after the names that it depends on."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import cast


def dependency_order(
    dependencies: Mapping[str, tuple[str, ...]],
) -> tuple[list[str], list[tuple[str, ...]]]:
    """The names in dependency order, and the cycles.

    A cycle is the path from a name through its dependencies back to the same name; names of a
    cycle are not in the order. Dependencies that are not keys are ignored. The search does not
    recurse, since a chain may be long.
    """
    graph = {
        name: [dependency for dependency in names if dependency in dependencies]
        for name, names in dependencies.items()
    }
    cycles: list[tuple[str, ...]] = []
    while True:
        try:
            return list(TopologicalSorter(graph).static_order()), cycles
        except CycleError as error:
            path = cast(list[str], error.args[1])  # the next name depends on each name
            cycle = tuple(reversed(path))
            cycles.append(cycle)
            graph = {
                name: [dependency for dependency in names if dependency not in cycle]
                for name, names in graph.items()
                if name not in cycle
            }
