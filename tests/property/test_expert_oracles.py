"""Dense and expert views of one grid against megatron-core's two ways to enumerate ranks."""

from hypothesis import given
from hypothesis import strategies as st
from megatron.core import parallel_state
from megatron.core.hyper_comm_grid import HyperCommGrid

from mimodsl.builder.grids import comm_grid
from mimodsl.ir import Grid, Module, Schedule, ScheduleKind, Spec
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import plan
from mimodsl.planner.program.topology import rank_grid
from mimodsl.planner.ranks import Factorization
from tests.property.plan_specs import GPT, examples, language_grids
from tests.property.test_proof import World

AXES = {"base": ("tp", "cp", "dp", "pp"), "expert": ("etp", "ep", "edp", "pp")}
MEGATRON = {"etp": "expt_tp", "edp": "expt_dp"}
NAMES = {"etp": "tp", "edp": "dp"}
"""RankGenerator calls the axes of both of its generators alike."""

along = st.sets(st.integers(0, 3), min_size=1)


def grid_plan(grid: Grid) -> GridPlan:
    schedule = Schedule(kind=ScheduleKind.ONE_F_ONE_B, sequence=8)
    module = Module(name="language", grid="llm", kind=GPT)
    return plan(Spec(grids=(grid,), modules=(module,), schedule=schedule)).grid("llm")


def generator(layout: Factorization) -> parallel_state.RankGenerator:
    sizes = {NAMES.get(axis, axis): size for axis, size in layout.axes}
    order = "-".join(sizes)
    sizes.setdefault("cp", 1)
    sizes.setdefault("ep", 1)
    return parallel_state.RankGenerator(order=order, **sizes)


@examples
@given(language_grids(cp=True, pp=True), along)
def test_both_views_are_those_of_a_grid_with_views(grid: Grid, chosen: set[int]) -> None:
    planned = grid_plan(grid)
    with World(planned.world, 0).entered():
        comm: HyperCommGrid = comm_grid(rank_grid(planned))
        for view in planned.views:
            axes = [axis for index, axis in enumerate(AXES[view.name]) if index in chosen]
            expected = comm.get_rank_enum(
                [MEGATRON.get(axis, axis) for axis in axes],
                view=None if view.name == "base" else view.name,
            )
            assert [list(group) for group in view.layout.groups(axes)] == expected


@examples
@given(language_grids(cp=True, pp=True), along)
def test_both_views_are_those_of_parallel_state(grid: Grid, chosen: set[int]) -> None:
    """Which makes one generator for dense layers and one for experts, and wants equal pp groups."""
    planned = grid_plan(grid)
    dense, expert = (generator(view.layout) for view in planned.views)
    for view, oracle in zip(planned.views, (dense, expert), strict=True):
        axes = [axis for index, axis in enumerate(AXES[view.name]) if index in chosen]
        expected = oracle.get_ranks("-".join(NAMES.get(axis, axis) for axis in axes))
        assert [list(group) for group in view.layout.groups(axes)] == expected
    assert dense.get_ranks("pp") == expert.get_ranks("pp")
