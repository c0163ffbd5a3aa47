"""The result of a build on the meta device: what each role builds, and how large the model is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.plan import plan
from mimodsl.planner.ranks import Members
from mimodsl.runtime.meta_build import MetaBuild
from mimodsl.show import short
from mimodsl.show.json import fields, plain
from mimodsl.show.numbers import rounded
from mimodsl.show.run import parameters
from mimodsl.show.tables import print_table, table, title

if TYPE_CHECKING:
    from mimodsl.runtime.meta import BuiltRank  # imports torch


def show(build: MetaBuild, console: Console) -> None:
    """Print what each role builds and which groups it is in, and the size of the whole model."""
    from mimodsl.megatron.meta_device import META  # imports torch

    title(console, "Roles", "each built once, on the first of its ranks")
    print_table(console, _roles(build))
    title(console, "Groups", "those of several ranks that this rank is in")
    print_table(console, _groups(build))
    title(console, "Model", "every weight once")
    print_table(console, _model(build))
    console.print()
    console.print(
        f"{short.plural(build.spec.world, 'rank')} in {short.plural(len(build.roles), 'role')} "
        f"on {META}, {build.seconds:.1f} s; nothing was trained"
    )


def document(build: MetaBuild, path: str) -> dict[str, Any]:
    """The build as plain values: `parameters` are by module and built rank."""
    from mimodsl.megatron.meta_device import FAKE, META  # imports torch

    return {
        "spec": path,
        "device": str(META),
        "backend": FAKE,
        "world": build.spec.world,
        "plan": plain(plan(build.spec).summary()),
        "roles": [_role(build, role) for role in build.roles],
        "parameters": parameters(build.spec, build.roles),
        **fields(build, "model", "seconds"),
    }


def _role(build: MetaBuild, built: BuiltRank) -> dict[str, Any]:
    return {
        **fields(built, "rank", "ranks"),
        "modules": [
            {
                **fields(role, "name", "stage", "stages"),
                "layers": [role.layers.start, role.layers.stop],
                "pattern": role.pattern,
                "experts": len(role.experts),
                "parameters": built.parameters[role.name],
            }
            for role in built.roles
        ],
        "groups": [
            {
                "names": plain(group.names),
                "ranks": list(group.members),
                "communicators": group.communicators,
            }
            for group in _groups_of(build, built)
        ],
        "seconds": built.seconds,
    }


def _roles(build: MetaBuild) -> Table:
    rows = table("ranks", ">", "module", "stage", "layers", "experts>", "parameters>", "built in>")
    for built in build.roles:
        ranks, count, seconds = _ranks(built), f"{built.ranks:,}", f"{built.seconds:.2f} s"
        for role in built.roles:
            rows.add_row(
                ranks,
                count,
                role.name,
                f"{role.stage + 1}/{role.stages}",
                short.layers(role),
                f"{len(role.experts):,}" if role.experts else "",
                f"{built.parameters.get(role.name, 0):,}",
                seconds,
            )
            ranks = count = seconds = ""
    return rows


def _ranks(built: BuiltRank, shown: int = 2) -> str:
    """The ranks that build the same, by pipeline stages, a few of them."""
    ranks = ", ".join(short.members(stage, width=16) for stage in built.alike[:shown])
    left = len(built.alike) - shown
    return f"{ranks}, … {left:,} more" if left > 0 else ranks


@frozen(kw_only=True)
class _SameMembers:
    """The groups of a rank that have the same members: all their names in the plan, and the number
    of communicators that serve them."""

    names: tuple[str, ...]
    members: Members
    communicators: int


def _groups_of(build: MetaBuild, built: BuiltRank) -> Iterator[_SameMembers]:
    """The groups that a rank is in, apart from the world."""
    made = Counter(group.ranks for group in built.groups[1:])
    planned: dict[tuple[int, ...], tuple[Members, list[str]]] = {}
    for group, own in plan(build.spec).rank(built.rank).groups:
        planned.setdefault(tuple(own), (own, []))[1].append(group.name)
    for ranks, count in made.items():
        members, names = planned[ranks]
        yield _SameMembers(names=tuple(names), members=members, communicators=count)


def _groups(build: MetaBuild) -> Table:
    rows = table("rank>", "of>", "members", "names")
    for built in build.roles:
        rank = f"{built.rank:,}"
        for group in _groups_of(build, built):
            size = len(group.members)
            if size > 1:
                names = short.names(group.names, group.names[0].partition(".")[0])
                rows.add_row(rank, f"{size:,}", short.members(group.members, 24), names)
                rank = ""
    return rows


def _model(build: MetaBuild) -> Table:
    rows = table("module", "parameters>", ">")
    for name, count in build.model.items():
        rows.add_row(name, f"{count:,}", rounded(count))
    if len(build.model) > 1:
        total = sum(build.model.values())
        rows.add_row(Text("all", style="dim"), f"{total:,}", rounded(total))
    return rows
