"""Process groups as they come out on every rank of a world."""

from dataclasses import fields

import torch.distributed as dist
from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.build.grids import build_grids
from mimodsl.build.process_groups import ABSENT, module_groups
from mimodsl.ir.grid import Grid
from mimodsl.ir.placement import Beside
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.spec import Spec
from mimodsl.plan.grids import grid_plans
from tests.e2e import worlds

ENCODER = Grid(name="encoder", views={"dense": {"tp": 2, "dp": 2}})
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
    place=Beside(parts=("encoder", "llm")),
    modules=(),
    schedule=Schedule(kind=ScheduleKind.ONE_F_ONE_B, sequence=8),
)


def _members() -> dict[str, dict[str, list[int] | None]]:
    grids = build_grids(grid_plans(SPEC))
    (grid,) = (grid for grid in grids.values() if grid.is_member)
    groups = module_groups(grid)
    return {
        kind: {
            field.name: group and dist.get_process_group_ranks(group)
            for field in fields(ProcessGroupCollection)
            for group in [vars(collection)[field.name]]
        }
        for kind, collection in (("layers", groups.layers), ("gradients", groups.gradients))
    }


def test_every_field_is_set_on_every_rank() -> None:
    ranks = worlds.run(12, _members)

    encoder, language = ranks[1], ranks[4 + 3]
    assert encoder["layers"]["tp"] == [0, 1]
    assert encoder["layers"]["dp_cp"] == [1, 3]
    assert encoder["layers"]["intra_dist_opt"] == [0, 1, 2, 3]
    assert encoder["layers"]["embd"] == encoder["layers"]["pp"] == [1]
    assert {encoder["layers"][field] for field in ("ep", "expt_dp", "tp_ep_pp")} == {None}
    assert encoder["gradients"]["expt_dp"] == [1, 3]

    assert language["layers"] == language["gradients"]
    assert language["layers"]["tp"] == [6, 7]
    assert language["layers"]["ep"] == [6, 7]
    assert language["layers"]["expt_dp"] == [5, 7]
    assert language["layers"]["tp_ep_pp"] == [6, 7, 10, 11]
    assert language["layers"]["mp"] == [6, 7, 10, 11]
    assert language["layers"]["embd"] == language["layers"]["pp"] == [7, 11]

    for rank in ranks:
        assert {field for field, group in rank["gradients"].items() if group is None} == set(ABSENT)


def _own_view() -> list[int] | bool:
    grid = build_grids(grid_plans(SPEC))["llm"]
    return grid.is_member and dist.get_process_group_ranks(grid.comm.get_pg("rack", view="racks"))


def test_a_view_of_the_users_own_gets_its_groups() -> None:
    assert worlds.run(12, _own_view) == [False] * 4 + [[4, 5, 6, 7]] * 4 + [[8, 9, 10, 11]] * 4
