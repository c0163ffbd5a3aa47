"""The process groups of a plan: names that share a communicator are in one row."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.groups import GroupPlan
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.sharing import CommunicatorPlan, communicators, most
from mimodsl.show import short
from mimodsl.show.json import LISTED, fields, listed
from mimodsl.show.tables import print_table, table, title, width


def show(plan: Plan, console: Console) -> None:
    """Print how many communicators there are, then names, sizes and members of each."""
    summary, shared = plan.summary(), communicators(plan)
    title(
        console,
        "Groups",
        f"{summary.group_names} names",
        f"{sum(each.count for each in shared):,} communicators, {summary.groups:,} unshared",
        f"up to {most(plan)} a rank, {most(plan, share=False)} unshared",
    )
    print_table(console, _groups(plan, shared, width(console) - 2))
    for grid in plan.grids:
        if grid.expert_implied:
            note = f"  {grid.name}.expert.* implied: etp as tp, ep as cp, edp as dp"
            console.print(Text(note, style="dim"))


def _groups(plan: Plan, shared: Iterable[CommunicatorPlan], room: int) -> Table:
    numbers = len(f"{plan.world:,}")
    names = max(room // 3, *(len(group.name) for group in plan.groups()))
    rows = table("name", "groups>", "of>", "members")
    rows.columns[0].width = names
    room -= names + max(numbers, len("groups")) + numbers + 6
    for communicator in shared:
        declared = [group for group in communicator.names if not group.implied]
        if declared:
            size = f"{communicator.made.size:,}"
            members = short.groups(communicator.made, room)
            rows.add_row(_names(declared), f"{communicator.count:,}", size, members)
    return rows


def _names(groups: Sequence[GroupPlan]) -> Text:
    first = groups[0]
    style = "dim" if first.implied else ""
    return short.names([group.name for group in groups], first.grid, style)


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:
    """Print the groups that one rank is in, with their members."""
    joined = [each for each in communicators(plan) if each.of(rank.rank) is not None]
    number = short.plural(len(joined), "communicator")
    title(console, "Groups", f"{number}, {len(rank.groups)} unshared")
    print_table(console, _rank_groups(joined, rank.rank, width(console)))


def _rank_groups(joined: Iterable[CommunicatorPlan], rank: int, room: int) -> Table:
    rows = table("name", "of>", "members")
    rows.columns[0].width = names = room // 2
    for communicator in joined:
        members = communicator.of(rank)
        assert members is not None
        size = f"{len(members):,}"
        groups = [group for group in communicator.names if group.of(rank) is not None]
        rows.add_row(_names(groups), size, short.members(members, room - names - len(size) - 6))
    return rows


def document(plan: Plan) -> dict[str, Any]:
    """All groups by name, and the communicators that serve them, as plain values."""
    return {
        "groups": [_group(group, enumerated=plan.world <= LISTED) for group in plan.groups()],
        "communicators": {
            "a_rank": most(plan),
            "a_rank_unshared": most(plan, share=False),
            "shared": [_communicator(communicator) for communicator in communicators(plan)],
        },
    }


def _group(group: GroupPlan, *, enumerated: bool) -> dict[str, Any]:
    return {
        **fields(group, "name", "kind", "implied", "count", "size", "joined", "blocks"),
        "members": [list(ranks) for ranks in group] if enumerated else None,
    }


def _communicator(communicator: CommunicatorPlan) -> dict[str, Any]:
    names = dict.fromkeys(group.name for group in communicator.names)
    size = communicator.made.size
    return {"names": list(names), "count": communicator.count, "size": size}


def rank_document(plan: Plan, rank: RankPlan) -> dict[str, Any]:
    """The members of each group of one rank, and the names that share a communicator."""
    carried = (communicator.carries(rank.rank) for communicator in communicators(plan))
    return {
        "groups": {group.name: listed(members) for group, members in rank.groups},
        "communicators": [list(names) for names in carried if names],
    }
