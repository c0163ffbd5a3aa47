"""What was built on the meta device: tables for people, one document for programs."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.megatron.meta_device import FAKE, META
from mimodsl.planner.plan import plan
from mimodsl.planner.ranks import Members
from mimodsl.runtime.meta import BuiltRank
from mimodsl.runtime.meta_build import MetaBuild
from mimodsl.show.plan import text
from mimodsl.show.plan.tables import print_table, table, title

_UNITS: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def show(build: MetaBuild, console: Console) -> None:
    """Prints what each role builds and which groups it is in, and the size of the whole model."""
    title(console, "Roles", "each built once, on the first of its ranks")
    print_table(console, _roles(build))
    title(console, "Groups", "those of several ranks that this rank is in")
    print_table(console, _groups(build))
    title(console, "Model", "every weight once")
    print_table(console, _model(build))
    console.print()
    console.print(
        f"{text.count(build.spec.world, 'rank')} in {text.count(len(build.roles), 'role')} "
        f"on {META}, {build.seconds:.1f} s; nothing was trained"
    )


def as_json(build: MetaBuild, path: str) -> dict[str, Any]:
    """The build as one JSON document. `parameters` are by module and built rank."""
    from mimodsl.show.plan import as_json as plan_as_json

    return {
        "spec": path,
        "device": str(META),
        "backend": FAKE,
        "world": build.spec.world,
        "plan": plan_as_json(plan(build.spec))["summary"],
        "roles": [_role(build, role) for role in build.roles],
        "parameters": {
            module.name: {
                str(role.rank): role.parameters[module.name]
                for role in build.roles
                if module.name in role.parameters
            }
            for module in build.spec.modules
        },
        "model": build.model,
        "seconds": build.seconds,
    }


def _role(build: MetaBuild, built: BuiltRank) -> dict[str, Any]:
    return {
        "rank": built.rank,
        "ranks": built.ranks,
        "modules": [
            {
                "name": role.name,
                "stage": role.stage,
                "stages": role.stages,
                "layers": [role.layers.start, role.layers.stop],
                "pattern": role.pattern,
                "experts": len(role.experts),
                "parameters": built.parameters[role.name],
            }
            for role in built.roles
        ],
        "groups": [
            {
                "names": group.names,
                "ranks": tuple(group.members),
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
                text.layers(role),
                f"{len(role.experts):,}" if role.experts else "",
                f"{built.parameters.get(role.name, 0):,}",
                seconds,
            )
            ranks = count = seconds = ""
    return rows


def _ranks(built: BuiltRank, shown: int = 2) -> str:
    """Its ranks by pipeline stages, a few of them."""
    ranks = ", ".join(text.members(stage, width=16) for stage in built.alike[:shown])
    left = len(built.alike) - shown
    return f"{ranks}, … {left:,} more" if left > 0 else ranks


@frozen(kw_only=True)
class _Group:
    """The groups of a rank that have the same members: all their names in the plan, and how many
    communicators they come to."""

    names: tuple[str, ...]
    members: Members
    communicators: int


def _groups_of(build: MetaBuild, built: BuiltRank) -> Iterator[_Group]:
    """What a rank is in, apart from the world."""
    made = Counter(group.ranks for group in built.groups[1:])
    planned: dict[tuple[int, ...], tuple[Members, list[str]]] = {}
    for group, own in plan(build.spec).rank(built.rank).groups:
        planned.setdefault(tuple(own), (own, []))[1].append(group.name)
    for ranks, count in made.items():
        members, names = planned[ranks]
        yield _Group(names=tuple(names), members=members, communicators=count)


def _groups(build: MetaBuild) -> Table:
    rows = table("rank>", "of>", "members", "names")
    for built in build.roles:
        rank = f"{built.rank:,}"
        for group in _groups_of(build, built):
            size = len(group.members)
            if size > 1:
                names, members = _shortened(group.names), text.members(group.members, 24)
                rows.add_row(rank, f"{size:,}", members, names)
                rank = ""
    return rows


def _shortened(names: tuple[str, ...]) -> Text:
    """Names of one group, each without the part that it shares with the first."""
    grid = names[0].partition(".")[0]
    shown = Text(names[0])
    for name in names[1:]:
        shown.append(f" {name.removeprefix(f'{grid}.')}", style="dim")
    return shown


def _model(build: MetaBuild) -> Table:
    rows = table("module", "parameters>", ">")
    for name, count in build.model.items():
        rows.add_row(name, f"{count:,}", rounded(count))
    if len(build.model) > 1:
        total = sum(build.model.values())
        rows.add_row(Text("all", style="dim"), f"{total:,}", rounded(total))
    return rows


def rounded(count: int) -> str:
    """A count in the three digits that are published of models: `31.6 B`."""
    for unit, letter in _UNITS:
        if count >= unit * 0.9995:
            value = count / unit
            return f"{value:.{2 - min(2, len(str(int(value))) - 1)}f} {letter}"
    return str(count)
