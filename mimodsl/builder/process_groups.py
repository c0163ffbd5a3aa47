"""The ProcessGroupCollection of a module, made from its grid; megatron-core makes none.

A field that is never set reads as `None`, and a collective over `None` runs over the world without
a word (process_groups_config.py, "Return None for any declared field"). So every field is set here:
to a group, or to `None` for a reason.
"""

from typing import Final, NamedTuple

from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.builder.grids import GridGroups

BASE_FIELDS: Final = {
    "tp": ("tp",),
    "cp": ("cp",),
    "dp": ("dp",),
    "pp": ("pp",),
    "mp": ("tp", "pp"),
    "tp_cp": ("tp", "cp"),
    "dp_cp": ("cp", "dp"),
    "tp_dp_cp": ("tp", "cp", "dp"),
    # One distributed-optimizer instance: what lies inside an instance is all of it.
    "intra_dp_cp": ("cp", "dp"),
    "intra_dist_opt": ("tp", "cp", "dp", "pp"),
    # Without weight rematerialisation over ranks (gtp) the merged groups are the plain ones.
    "dp_cp_gtp_remat": ("cp", "dp"),
}
EXPERT_FIELDS: Final = {
    "ep": ("ep",),
    "expt_tp": ("expt_tp",),
    "expt_dp": ("expt_dp",),
    "tp_ep": ("expt_tp", "ep"),
    "tp_ep_pp": ("expt_tp", "ep", "pp"),
    "intra_expt_dp": ("expt_dp",),
    "expt_dp_gtp_remat": ("expt_dp",),
    "tp_ep_pp_with_egtp_remat": ("expt_tp", "ep", "pp"),
}
ABSENT: Final = {
    "pos_embd": "position embeddings live on the first stage alone: there is nothing to reduce",
    "hcp": "context parallelism has one level",
    "dp_cp_ag": "parameters are gathered over dp_cp itself",
    "expt_dp_ag": "expert parameters are gathered over expt_dp itself",
    "inter_dist_opt": "there is one distributed-optimizer instance",
    "gtp_remat": "weights are not rematerialised over ranks",
    "expt_gtp_remat": "expert weights are not rematerialised over ranks",
}
"""The fields that are `None` in every collection, and why."""


class ModuleGroups(NamedTuple):
    """The process groups of one module on this rank.

    `layers` is what the module is built with: its expert fields are `None` on a grid without an
    expert view. `gradients` is what DDP and the optimizer get: there they are real groups always,
    from the implied view. Given `None`, DDP would make a group on its own ranks alone
    (process_groups_config.py, "def setup_process_groups_for_ddp"), and the next group shared with
    other ranks would never connect.
    """

    layers: ProcessGroupCollection
    gradients: ProcessGroupCollection


def module_groups(grid: GridGroups) -> ModuleGroups:
    """The groups of a module on `grid`, which this rank must be part of."""
    assert grid.is_member
    gradients = _collection(grid, with_experts=True)
    layers = gradients if grid.has_experts else _collection(grid, with_experts=False)
    return ModuleGroups(layers=layers, gradients=gradients)


def _collection(grid: GridGroups, *, with_experts: bool) -> ProcessGroupCollection:
    comm = grid.comm
    base = {field: comm.get_pg(list(dims)) for field, dims in BASE_FIELDS.items()}
    experts = {
        field: comm.get_pg(list(dims), view="expert") if with_experts else None
        for field, dims in EXPERT_FIELDS.items()
    }
    absent = dict.fromkeys(ABSENT)
    return ProcessGroupCollection(**base, **experts, **absent, embd=grid.embedding)
