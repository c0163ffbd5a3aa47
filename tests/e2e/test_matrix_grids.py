"""Two factorizations of eight ranks: as grids, as process groups, and as collections of them."""

from dataclasses import fields
from typing import Any

import attrs
import pytest
import torch
import torch.distributed as dist
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.builder.grids import GridGroups, build_grids, comm_grid
from mimodsl.builder.groups import make_groups
from mimodsl.builder.process_groups import ABSENT, module_groups
from mimodsl.checker.runner import check
from mimodsl.ir.grid import Grid
from mimodsl.ir.placement import Together
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.spec import Spec
from mimodsl.lower import parse
from mimodsl.planner.plan import plan
from mimodsl.planner.program.topology import rank_grid
from tests.e2e import worlds

ENCODER = Grid(name="encoder", views={"dense": {"tp": 2, "dp": 4}})
LLM = Grid(
    name="llm",
    views={
        "dense": {"tp": 2, "dp": 2, "pp": 2},
        "expert": {"ep": 2, "edp": 2, "pp": None},
        "racks": {"rack": 4, "place": 2},
    },
)
SPEC = Spec(
    grids=(ENCODER, LLM),
    place=Together(parts=("encoder", "llm")),
    modules=(),
    schedule=Schedule(kind=ScheduleKind.ONE_F_ONE_B, sequence=8),
)


@pytest.fixture
def eight_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What megatron-core takes for the world's size where no process has started."""
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert not dist.is_initialized()


def test_a_grid_with_two_factorizations(eight_ranks: None) -> None:
    grid = comm_grid(rank_grid(plan(SPEC).grid("llm")))
    assert (grid.shape, grid.dim_names) == ([2, 2, 2, 1], ["tp", "dp", "pp", "cp"])
    assert grid.get_rank_enum("tp") == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert grid.get_rank_enum("dp") == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert grid.get_rank_enum(["expt_tp", "ep"], view="expert") == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert grid.get_rank_enum("expt_dp", view="expert") == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert grid.get_rank_enum("pp") == grid.get_rank_enum("pp", view="expert")
    assert grid.get_rank_enum("rack", view="racks") == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(KeyError, match="hasn't been created"):
        grid.get_pg("tp")
    with pytest.raises(ValueError, match="ep"):
        grid.get_rank_enum("ep")


def test_a_grid_larger_than_the_world_is_refused(eight_ranks: None) -> None:
    larger = attrs.evolve(LLM, views={"dense": {"tp": 2, "dp": 8}})
    spec = Spec(grids=(larger,), modules=(), schedule=SPEC.schedule)
    with pytest.raises(RuntimeError, match="over sized with world size 8"):
        comm_grid(rank_grid(plan(spec).grid("llm")))


WRONG: dict[str, tuple[Any, Any, str, str | None]] = {
    "another product": (
        {"tp": 2, "dp": 4},
        {"ep": 3, "edp": 2, "pp": None},
        "MIMO301",
        "has size 6, but the grid size is 8",
    ),
    "pp not shared": ({"tp": 2, "dp": 2, "pp": 2}, {"ep": 4, "edp": 2}, "MIMO308", None),
    "pp with a size of its own": (
        {"tp": 2, "dp": 2, "pp": 2},
        {"ep": 2, "edp": 2, "pp": 2},
        "MIMO307",
        None,
    ),
    "an unknown axis": ({"tp": 2, "dp": 4}, {"ep": 4, "gtp": 2, "pp": None}, "MIMO303", None),
    "an unknown shared axis": (
        {"tp": 2, "dp": 4},
        {"ep": 4, "edp": 2, "pp": None, "rack": None},
        "MIMO303",
        "not in the base view",
    ),
    "pp last after a base view with pp before dp": (
        {"tp": 2, "pp": 2, "dp": 2},
        {"ep": 2, "edp": 2, "pp": None},
        "MIMO309",
        "different membership across views",
    ),
}
"""Both views of a grid, the rule that refuses them, and what megatron-core says, if anything."""


@pytest.mark.parametrize(("base", "expert", "code", "theirs"), WRONG.values(), ids=WRONG)
def test_factorizations_that_are_refused(
    eight_ranks: None, base: Any, expert: Any, code: str, theirs: str | None
) -> None:
    grid = Grid(name="llm", views={"dense": base, "expert": expert})
    spec = Spec(grids=(grid,), modules=(), schedule=SPEC.schedule)
    assert code in {diagnostic.code for diagnostic in check(spec)}
    if theirs is None:
        _register(base, expert)
    else:
        with pytest.raises(ValueError, match=theirs):
            _register(base, expert)


def _register(base: dict[str, int], expert: dict[str, int | None]) -> None:
    """Both views as a grid of megatron-core, without our names for its axes."""
    base = {"pp": 1, **base} if "pp" not in base else base
    grid = HyperCommGrid(list(base.values()), list(base))
    sizes = [size or base.get(axis, 1) for axis, size in expert.items()]
    shared = [axis for axis, size in expert.items() if size is None]
    grid.register_view("expert", sizes, list(expert), shared_dims=shared)


@pytest.mark.parametrize("view", ["dense = tp:2 * tp:4", "dense = dp:8\n  expert = ep:2 * ep:4"])
def test_an_axis_is_named_once_in_a_view(view: str) -> None:
    (mistake,) = parse(
        f"grid llm {{\n  {view}\n}}\nschedule 1f1b {{\n  sequence = 8\n}}\n"
    ).diagnostics
    assert mistake.code == "MIMO205"


def _grids(*, share: bool) -> dict[str, GridGroups]:
    planned = plan(SPEC)
    return build_grids(planned.grids, make_groups(planned, share=share))


def _sums() -> dict[str, tuple[list[int], int]]:
    """The members of this rank's groups, and the sum of the ranks that they hear of each other."""
    grid = _grids(share=True)["llm"].comm
    assert dist.get_world_size() == 8
    groups = {
        "tp": grid.get_pg("tp"),
        "pp": grid.get_pg("pp"),
        "ep": grid.get_pg("ep", view="expert"),
        "expt_dp": grid.get_pg("expt_dp", view="expert"),
        "tp_ep_pp": grid.get_pg(["expt_tp", "ep", "pp"], view="expert"),
        "rack": grid.get_pg("rack", view="racks"),
    }
    return {name: _sum_over(group) for name, group in groups.items()}


def _sum_over(group: dist.ProcessGroup) -> tuple[list[int], int]:
    total = torch.tensor(dist.get_rank())
    dist.all_reduce(total, group=group)
    return dist.get_process_group_ranks(group), int(total)


def test_expert_groups_overlap_dense_ones_rank_by_rank() -> None:
    ranks = worlds.run(8, _sums)
    for rank, groups in enumerate(ranks):
        stage = rank // 4 * 4
        expected = {
            "tp": [rank // 2 * 2, rank // 2 * 2 + 1],
            "pp": [rank % 4, rank % 4 + 4],
            "ep": [rank // 2 * 2, rank // 2 * 2 + 1],
            "expt_dp": [stage + rank % 2, stage + rank % 2 + 2],
            "tp_ep_pp": sorted(
                x + y for x in (0, 4) for y in (rank % 4 // 2 * 2, rank % 4 // 2 * 2 + 1)
            ),
            "rack": list(range(stage, stage + 4)),
        }
        assert groups == {name: (members, sum(members)) for name, members in expected.items()}
        for inside in ("ep", "expt_dp"):
            assert {member // 4 for member in groups[inside][0]} == {rank // 4}


def _collections(
    share: bool,
) -> tuple[dict[str, dict[str, list[int] | None]], worlds.GroupsMade]:
    grids = _grids(share=share)
    encoder, llm = (module_groups(grids[name]) for name in ("encoder", "llm"))
    collections = {
        "encoder": encoder.layers,
        "encoder, gradients": encoder.gradients,
        "llm": llm.layers,
        "llm, gradients": llm.gradients,
    }
    members = {
        name: {
            field.name: group and dist.get_process_group_ranks(group)
            for field in fields(ProcessGroupCollection)
            for group in [vars(collection)[field.name]]
        }
        for name, collection in collections.items()
    }
    return members, worlds.groups_made()


@pytest.mark.parametrize("share", [True, False])
def test_collections_have_every_field_set_on_every_rank(share: bool) -> None:
    ranks = worlds.run(8, _collections, share)
    worlds.assert_as_planned(SPEC, [made for _, made in ranks], share=share)

    dense, language = ranks[3][0]["encoder"], ranks[3][0]["llm"]
    assert dense["tp"] == [2, 3]
    assert dense["dp_cp"] == [1, 3, 5, 7]
    assert dense["intra_dist_opt"] == list(range(8))
    assert dense["embd"] == dense["pp"] == [3]
    experts = {"ep", "expt_tp", "expt_dp", "tp_ep", "tp_ep_pp", "intra_expt_dp"}
    assert {dense[field] for field in experts} == {None}
    assert ranks[3][0]["encoder, gradients"]["expt_dp"] == [1, 3, 5, 7]

    assert language["tp"] == [2, 3]
    assert language["ep"] == [2, 3]
    assert language["expt_dp"] == [1, 3]
    assert language["tp_ep_pp"] == [2, 3, 6, 7]
    assert language["mp"] == [2, 3, 6, 7]
    assert language["embd"] == language["pp"] == [3, 7]

    for collections, _ in ranks:
        assert collections["llm"] == collections["llm, gradients"]
        for name in ("encoder, gradients", "llm"):
            assert {field for field, group in collections[name].items() if not group} == set(ABSENT)
