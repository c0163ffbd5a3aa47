"""The nodes of a plan: how many ranks each has, and which groups cross from one to another."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.nodes import NodePlan
from mimodsl.show import short
from mimodsl.show.json import fields
from mimodsl.show.tables import print_table, table, title


def show(nodes: NodePlan, console: Console) -> None:
    """Print the nodes in a line, and for each sort of group how many of it cross nodes."""
    each = f"{short.plural(nodes.per_node, 'rank')} on each"
    rest = f", {nodes.on_last} on the last" if nodes.on_last != nodes.per_node else ""
    title(console, short.plural(nodes.nodes, "node"), f"{each}{rest}: {nodes.why}")
    print_table(console, _groups(nodes))
    for note in _notes(nodes):
        console.print(Text(f"  {note}", style="dim"))
    console.print()


def _groups(nodes: NodePlan) -> Table:
    rows = table("name", "of>", "cross nodes>", "groups>")
    for spread in nodes.groups:
        name = short.names((spread.group.name, *spread.others), spread.group.grid)
        cross = f"{spread.crossing:,}" if spread.crossing else "–"
        rows.add_row(name, f"{spread.group.size:,}", cross, f"{spread.group.count:,}")
    return rows


def _notes(nodes: NodePlan) -> Iterator[str]:
    """Which grids lie so that groups cross that every layer waits for and a node has room for."""
    for grid in nodes.plan.grids:
        torn = any(
            spread.inside_layers and spread.crossing and spread.group.size <= nodes.per_node
            for spread in nodes.groups
            if spread.group.grid == grid.name
        )
        if torn and grid.offset % nodes.per_node:
            yield f"grid {grid.name} begins at rank {grid.offset}, in the middle of a node"


def document(nodes: NodePlan) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "world": nodes.plan.world,
        "nodes": nodes.nodes,
        "ranks_per_node": nodes.per_node,
        "ranks_on_last": nodes.on_last,
        "why": nodes.why,
        "groups": [
            {
                "name": spread.group.name,
                "same_members": list(spread.others),
                **fields(spread.group, "size", "count"),
                "crossing": spread.crossing,
            }
            for spread in nodes.groups
        ],
    }
