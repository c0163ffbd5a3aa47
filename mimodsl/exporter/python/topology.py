"""The sections of a script on grids and process groups."""

from collections.abc import Iterable, Iterator
from string import Template

from mimodsl.exporter.python.code import WIDTH, fitted, text
from mimodsl.exporter.python.code import double_quoted as q
from mimodsl.exporter.python.resolved import Resolved
from mimodsl.ir.grid import EXPERT_VIEW
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import BASE_AXIS_SETS, EXPERT_AXIS_SETS

_GROUPS = Template('''
class ModuleGroups(NamedTuple):
    """The process groups of one module on this rank.

    `layers` is what the module is built with, `gradients` what DDP and the optimizer get.$why
    """

    layers: ProcessGroupCollection
    gradients: ProcessGroupCollection


def module_groups(grids: dict[str, HyperCommGrid]) -> dict[str, ModuleGroups]:
    """This rank's modules, by megatron-core's key, with their groups. Collective over the world."""
$embeddings    groups: dict[str, ModuleGroups] = {}
    for module, name in $modules:
        grid = grids[name]
        if grid.is_current_rank_in_grid():
            embedding = $embedding
$made
    return groups


def collection(
    $parameters
) -> ProcessGroupCollection:
    """The groups of a module.

    Every field is set: one that is not reads as None, and a collective over None runs over the
    world without a word (process_groups_config.py:178).
    """$expert
    return ProcessGroupCollection(
$fields
    )
''')
_EMBEDDING = '''
def embedding_group(grid: HyperCommGrid) -> dist.ProcessGroup | None:
    """The first and the last stage of each pipeline, where tied word embeddings live.

    A stage between has a group to itself. Collective over the world.
    """
    pipelines = grid.get_rank_enum("pp")
    ends = [[ranks[0], ranks[-1]] for ranks in pipelines]
    between = [[rank] for ranks in pipelines for rank in ranks[1:-1]]
    group, _ = dist.new_subgroups_by_enumeration(ends + between)
    return group
'''
_DENSE = """
    A grid without experts has no expert groups in its layers. DDP and the optimizer want real ones
    of every module: given None, DDP would make a group on its own ranks alone
    (process_groups_config.py:625), and the next group shared with others would never connect."""


def grids(of: Resolved) -> str:
    """The grids, each with its views and the groups that megatron-core asks it for."""
    return "\n".join(_grids(of))


def _grids(of: Resolved) -> Iterator[str]:
    axes = of.builder.grids.megatron_axes
    yield "def make_grids() -> dict[str, HyperCommGrid]:"
    yield '    """Every grid with its views and process groups. Collective over the world."""'
    yield "    grids = {"
    for grid in of.plan.grids:
        base = grid.base
        yield f"        # ranks {grid.ranks.start} to {grid.ranks.stop - 1}"
        sizes, names = text(list(base.sizes)), text(axes(base.names))
        yield f"        {q(grid.name)}: HyperCommGrid({sizes}, {names}, rank_offset={grid.offset}),"
    yield "    }"
    for grid in of.plan.grids:
        yield from _views(of, grid)
    yield "    for grid in grids.values():"
    yield f"        for axes in {text(_sets(of, BASE_AXIS_SETS), 8, 20)}:"
    yield '            grid.create_pg(axes.split("-"))'
    yield f"        for axes in {text(_sets(of, EXPERT_AXIS_SETS), 8, 20)}:"
    yield f'            grid.create_pg(axes.split("-"), view={q(EXPERT_VIEW)})'
    for grid in of.plan.grids:
        for view in grid.others:
            for axis in view.layout.names:
                if axis not in view.shared:
                    yield (
                        f"    grids[{q(grid.name)}].create_pg("
                        f"{text(axes([axis]))}, view={q(view.name)})"
                    )
    yield "    return grids"


def _sets(of: Resolved, sets: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple("-".join(of.builder.grids.megatron_axes(axes)) for axes in sets)


def _views(of: Resolved, grid: GridPlan) -> Iterator[str]:
    axes = of.builder.grids.megatron_axes
    for view in grid.views[1:]:
        if view.implied:
            yield "    # No experts here: the same axes under names that DDP and optimizer know."
        layout = view.layout
        shared = f", shared_dims={text(axes(view.shared))}" if view.shared else ""
        yield f"    grids[{q(grid.name)}].register_view("
        factors = f"{text(list(layout.sizes))}, {text(axes(layout.names))}"
        yield f"        {q(view.name)}, {factors}{shared}"
        yield "    )"


def groups(of: Resolved) -> str:
    """Each module's ProcessGroupCollections."""
    mixed = any(grid.expert_implied for grid in of.keys.values())
    dense_only = all(grid.expert_implied for grid in of.keys.values())
    embeddings = (
        "{"
        + ", ".join(f"{q(grid.name)}: embedding_group(grids[{q(grid.name)}])" for grid in of.staged)
        + "}"
    )
    modules = tuple((key, grid.name) for key, grid in of.keys.items())
    found = _GROUPS.substitute(
        why=f"\n{_DENSE}" if mixed else "\n    Here they are the same.",
        embeddings=f"    embeddings = {embeddings}\n" if of.staged else "",
        modules=text(modules, 4, 24),
        embedding=(
            'embeddings.get(name) or grid.get_pg("pp")' if of.staged else 'grid.get_pg("pp")'
        ),
        made=_made(of, mixed=mixed, dense_only=dense_only),
        parameters="grid: HyperCommGrid, embedding: dist.ProcessGroup"
        + (", *, experts: bool" if mixed else ""),
        expert=_EXPERT_OR_NOT if mixed else "",
        fields="\n".join(_fields(of, mixed=mixed)),
    )
    found = fitted(found)
    return f"{_EMBEDDING}\n{found}" if of.staged else found


_EXPERT_OR_NOT = f"""

    def expert(*axes: str) -> dist.ProcessGroup | None:
        return grid.get_pg(list(axes), view={q(EXPERT_VIEW)}) if experts else None
"""


def _made(of: Resolved, *, mixed: bool, dense_only: bool) -> str:
    if not mixed:
        return (
            "            made = collection(grid, embedding)\n"
            "            groups[module] = ModuleGroups(layers=made, gradients=made)"
        )
    experts = [grid.name for grid in of.plan.grids if not grid.expert_implied]
    layers = "False" if dense_only else f"name in {text(tuple(experts))}"
    return (
        "            groups[module] = ModuleGroups(\n"
        f"                layers=collection(grid, embedding, experts={layers}),\n"
        "                gradients=collection(grid, embedding, experts=True),\n"
        "            )"
    )


def _fields(of: Resolved, *, mixed: bool) -> Iterator[str]:
    tables = of.builder.process_groups
    for field, axes in tables._BASE_FIELDS.items():  # noqa: SLF001
        yield f"        {field}=grid.get_pg({text(list(axes))}),"
    for field, axes in tables._EXPERT_FIELDS.items():  # noqa: SLF001
        names = ", ".join(map(q, axes))
        made = f"expert({names})" if mixed else f"grid.get_pg([{names}], view={q(EXPERT_VIEW)})"
        yield f"        {field}={made},"
    yield "        embd=embedding,"
    for field, why in tables.ABSENT.items():
        line = f"        {field}=None,"
        if len(f"{line}  # {why}") <= WIDTH:
            yield f"{line}  # {why}"
        else:
            yield f"        # {why}"
            yield line
