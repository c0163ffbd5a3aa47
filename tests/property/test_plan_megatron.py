"""The plan against megatron-core's own code: what is planned is what will be built."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from megatron.core import parallel_state
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.models.hybrid import hybrid_layer_allocation
from megatron.core.models.mimo.comm.colocated_communicator import ColocatedBridgeCommunicator
from megatron.core.models.mimo.config.role import ModuleLayout, RankRole
from megatron.core.pipeline_parallel import schedules
from megatron.core.pipeline_parallel.bridge_communicator import BridgeCommunicator
from megatron.core.pipeline_parallel.multimodule_communicator import (
    MultiModulePipelineCommunicator,
)
from megatron.core.process_groups_config import (
    MultiModuleProcessGroupCollection,
    ProcessGroupCollection,
)
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset

from mimodsl.builder.grids import comm_grid
from mimodsl.ir import Spec
from mimodsl.megatron.cpu import backend
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.groups import GroupKind, grid_groups
from mimodsl.planner.plan import Layout, Plan, plan
from mimodsl.planner.program.topology import megatron_axes, rank_grid
from mimodsl.planner.ranks import Factorization
from tests.property.plan_specs import examples, factorizations, specs
from tests.unit.planner.specs import HYBRID, alone

NAMES = ("tp", "cp", "dp", "pp")


class World:
    """Stands in for torch.distributed: says which ranks every new group was to have."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rank = 0
        self.made: list[list[list[int]]] = []

    def new_subgroups_by_enumeration(self, ranks: list[list[int]], **_: Any) -> tuple[Any, Any]:
        self.made.append([list(group) for group in ranks])
        return None, None

    def new_group(self, ranks: list[int], **_: Any) -> None:
        self.made.append([list(ranks)])

    @contextmanager
    def entered(self) -> Iterator["World"]:
        with (
            patch.dict("os.environ", WORLD_SIZE=str(self.size)),
            patch.object(dist, "new_subgroups_by_enumeration", self.new_subgroups_by_enumeration),
            patch.object(dist, "new_group", self.new_group),
            patch.object(dist, "get_rank", lambda *_: self.rank),
            patch.object(dist, "barrier", lambda: None),
            patch.object(BridgeCommunicator, "_broadcast_pg_cache", {}),
            patch.object(BridgeCommunicator, "_bridge_pg_cache", {}),
        ):
            yield self


def grids(planned: Plan) -> dict[str, HyperCommGrid]:
    """Grids whose groups are made in megatron-core's way, each by a call of its own."""
    made: dict[str, HyperCommGrid] = {}
    for grid in planned.grids:
        comm = made[grid.name] = comm_grid(rank_grid(grid))
        for group in grid_groups(grid):
            if group.kind is GroupKind.AXES:
                view = None if group.view == "base" else group.view
                comm.create_pg(megatron_axes(group.axes), view=view)
            else:
                dist.new_subgroups_by_enumeration([list(members) for members in group])
    return made


@examples
@given(factorizations(NAMES), st.sets(st.sampled_from(NAMES), min_size=1), st.integers(0, 9))
def test_groups_along_axes_are_those_of_a_grid(
    axes: tuple[tuple[str, int], ...], along: set[str], start: int
) -> None:
    layout = Factorization(start=start, axes=axes)
    with World(start + layout.size).entered():
        grid = HyperCommGrid(list(layout.sizes), list(layout.names), rank_offset=start)
        expected = grid.get_rank_enum(list(along))
    assert [list(group) for group in layout.groups(along)] == expected


@examples
@given(factorizations(NAMES), st.sets(st.sampled_from(NAMES), min_size=1), st.integers(0, 9))
def test_groups_along_axes_are_those_of_parallel_state(
    axes: tuple[tuple[str, int], ...], along: set[str], start: int
) -> None:
    layout = Factorization(start=start, axes=axes)
    generator = parallel_state.RankGenerator(
        ep=1, order="-".join(layout.names), rank_offset=start, **dict(axes)
    )
    expected = generator.get_ranks("-".join(along))
    assert [list(group) for group in layout.groups(along)] == expected


@examples
@given(specs())
def test_groups_are_listed_as_megatron_makes_them(spec: Spec) -> None:
    """Grids, then bridges: every group of its, in order, and no other."""
    planned = plan(spec)
    with World(planned.world).entered() as world:
        built = grids(planned)
        for bridge in planned.bridges:
            source, destination = built[bridge.source.name], built[bridge.destination.name]
            if bridge.colocated:
                ColocatedBridgeCommunicator(source, destination, dim_mapping={"b": 0, "h": 1})
            else:
                BridgeCommunicator(source, destination, tensor_ndim=2)
    listed = [[list(members) for members in group] for group in planned.groups()]
    assert [_sorted(groups) for groups in world.made] == [_sorted(groups) for groups in listed]


def _sorted(groups: list[list[int]]) -> list[list[int]]:
    """As new_group sorts the ranks of every group."""
    return [sorted(ranks) for ranks in groups]


@examples
@given(specs())
def test_bridges_connect_the_same_leaders(spec: Spec) -> None:
    planned = plan(spec)
    if planned.layout is not Layout.NON_COLOCATED:
        return
    (bridge,) = planned.bridges
    with World(planned.world).entered() as world:
        built = grids(planned)
        for world.rank in range(planned.world):
            theirs = BridgeCommunicator(built["encoder"], built["llm"], tensor_ndim=2)
            _check_rank(bridge, world.rank, theirs)


def _check_rank(bridge: BridgePlan, rank: int, theirs: BridgeCommunicator) -> None:
    part = theirs.comm_map[rank]
    role = bridge.role(rank)
    assert role is not None
    assert role.value == part.role.value.lower()
    assert list(bridge.peers(rank)) == [*part.send_to_ranks, *part.recv_from_ranks]
    broadcast = theirs.src_grid_broadcast_ranks or theirs.dest_grid_broadcast_ranks
    leader = theirs.src_local_leader_rank
    if leader is None:
        leader = theirs.dest_local_leader_rank
    assert bridge.leader(rank) == (leader if broadcast else None)


@examples
@given(specs())
def test_stages_are_those_of_the_multi_module_pipeline(spec: Spec) -> None:
    planned = plan(spec)
    if planned.layout is Layout.COLOCATED:
        return
    with World(planned.world).entered():
        built = {name.replace("llm", "language"): grid for name, grid in grids(planned).items()}
    topology = {name: ["language"] if name == "encoder" else [] for name in built}
    count: Callable[..., int] = MultiModulePipelineCommunicator.compute_total_pipeline_stages
    assert planned.stages == count(topology, built)
    for rank in range(planned.world):
        (name,) = (
            name
            for name, grid in built.items()
            if grid.rank_offset <= rank < grid.rank_offset + grid.size
        )
        stage = count(topology, built, rank=rank, module_name=name) - 1
        assert planned.rank(rank).schedule.stage == stage


@examples
@given(specs())
def test_megatron_sees_the_same_layout(spec: Spec) -> None:
    planned = plan(spec)
    if planned.layout is Layout.SINGLE:
        return
    with World(planned.world).entered():
        built = grids(planned)
        together = RankRole._all_grids_colocated(built)
    expected = ModuleLayout.COLOCATED if together else ModuleLayout.NON_COLOCATED
    assert planned.layout.name == expected.name


@examples
@given(specs())
def test_embeddings_live_on_the_ends_of_each_pipeline(spec: Spec) -> None:
    planned = plan(spec)
    for group in planned.groups():
        if group.kind is GroupKind.EMBEDDING:
            pipelines = planned.grid(group.grid).base.groups(("pp",))
            ends = [parallel_state.default_embedding_ranks(list(ranks)) for ranks in pipelines]
            made = [list(members) for members in group]
            assert made[: len(ends)] == ends
            singles = set(chain(*pipelines)) - set(chain(*ends))
            assert {tuple(ranks) for ranks in made[len(ends) :]} == {(rank,) for rank in singles}


class Recorder:
    """A model, its communicator and its passes, of which only the order is kept."""

    def __init__(self, stage: int, stages: int) -> None:
        self.config = SimpleNamespace(
            overlap_p2p_comm=False,
            variable_seq_lengths=True,
            finalize_model_grads_func=None,
            timers=None,
            no_sync_func=None,
            num_microbatches_with_partial_activation_checkpoints=None,
            deallocate_pipeline_outputs=False,
            grad_sync_func=None,
            calculate_per_token_loss=True,
            hybrid_context_parallel=False,
            overlap_moe_expert_parallel_comm=False,
        )
        self.model_type = None
        self.current_stage, self.total_stages = stage, stages
        self.is_pp_first_stage, self.is_pp_last_stage = stage == 0, stage == stages - 1
        self.passes: list[str] = []
        self.due: list[int] = []

    def forward_step(self, *_: Any, current_microbatch: int, **__: Any) -> tuple[None, int]:
        self.passes.append(f"F{current_microbatch}")
        self.due.append(current_microbatch)
        return None, 0

    def backward_step(self, *_: Any, **__: Any) -> None:
        self.passes.append(f"B{self.due.pop(0)}")

    def _exchange(self, *_: Any, **__: Any) -> None:
        return None

    recv_forward = send_forward = recv_backward = send_backward = _exchange
    send_forward_recv_backward = send_backward_recv_forward = _exchange


def _run(recorder: Recorder, run: Callable[..., Any], microbatches: int, **links: Any) -> None:
    with (
        backend.activate(),
        patch.object(schedules, "forward_step", recorder.forward_step),
        patch.object(schedules, "backward_step", recorder.backward_step),
        patch.object(schedules, "backward_step_multimodule", recorder.backward_step),
        patch.object(schedules, "deallocate_output_tensor", lambda *_: None),
    ):
        run(
            forward_step_func=None,
            data_iterator=None,
            model=recorder,
            num_microbatches=microbatches,
            seq_length=1,
            micro_batch_size=1,
            **links,
        )


def _collection() -> ProcessGroupCollection:
    one = SimpleNamespace(size=lambda: 1, rank=lambda: 0)
    return ProcessGroupCollection(tp=one, cp=one, pp=one, dp=one, dp_cp=one, embd=None)


@examples
@given(specs())
def test_passes_run_in_the_planned_order(spec: Spec) -> None:
    planned = plan(spec)
    microbatches = spec.schedule.microbatches
    for stage in range(planned.stages):
        recorder = Recorder(stage, planned.stages)
        if planned.layout is Layout.COLOCATED:
            run, links = schedules.forward_backward_no_pipelining, {"pg_collection": _collection()}
        else:
            run = schedules.forward_backward_pipelining_without_interleaving
            groups = MultiModuleProcessGroupCollection({"language": _collection()}, "language")
            links = {"p2p_communicator": recorder, "pg_collection": groups}
        _run(recorder, run, microbatches, **links)
        assert recorder.passes == [str(step) for step in planned.schedule(stage).order()]


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_layers_of_a_pattern_are_those_that_megatron_selects(stages: int) -> None:
    planned = plan(alone({"pp": stages}, language=HYBRID))
    for rank in range(stages):
        with (
            patch.object(dist, "get_rank", lambda *_, rank=rank: rank),
            patch.object(dist, "get_world_size", lambda *_: stages),
            patch.object(hybrid_layer_allocation, "log_on_each_pipeline_stage"),
        ):
            symbols, first = hybrid_layer_allocation.select_pipeline_segment(
                HYBRID.pattern, pp_group=object(), vp_stage=None
            )
        role = planned.rank(rank).modules[0]
        assert (role.pattern, role.layers.start) == ("".join(symbols), first)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_like_layers_begin_where_megatron_begins(stages: int) -> None:
    planned = plan(alone({"pp": stages}))
    config = SimpleNamespace(
        num_layers=6,
        pipeline_model_parallel_size=stages,
        pipeline_model_parallel_layout=None,
        num_layers_in_first_pipeline_stage=None,
        num_layers_in_last_pipeline_stage=None,
        virtual_pipeline_model_parallel_size=None,
        account_for_embedding_in_pipeline_split=False,
        account_for_loss_in_pipeline_split=False,
    )
    for rank in range(stages):
        offset = get_transformer_layer_offset(config, pp_rank=rank)
        assert planned.rank(rank).modules[0].layers.start == offset
