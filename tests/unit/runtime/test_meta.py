"""Single ranks on the meta device over a fake world."""

import os
import sys
from collections.abc import Iterator

import attrs
import pytest
import torch
import torch.distributed as dist
from megatron.core import parallel_state

from mimodsl.builder.assembly import assemble
from mimodsl.ir import Spec
from mimodsl.megatron import meta_device
from mimodsl.megatron.cpu import backend
from mimodsl.megatron.guard import ParallelStateRead
from mimodsl.planner.plan import plan
from mimodsl.runtime import meta
from mimodsl.runtime.train import parameters
from tests.unit.planner.specs import HYBRID, PIPELINE, SHARED, SIDE_BY_SIDE, vlm

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

STAGES = vlm(
    encoder={"tp": 2, "dp": 1},
    dense={"dp": 2, "pp": 4},
    expert={"ep": 2, "pp": None},
    language=attrs.evolve(HYBRID, pattern="ME|M*|M*|E"),
)
LAYOUTS = {
    "side by side": SIDE_BY_SIDE,
    "on the same ranks": SHARED,
    "a pipeline": PIPELINE,
    "unlike stages": STAGES,
}


@pytest.fixture
def active() -> Iterator[None]:
    with meta_device.activate():
        yield


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("spec", LAYOUTS.values(), ids=LAYOUTS)
def test_every_rank_holds_what_its_representative_holds(spec: Spec) -> None:
    layout = plan(spec)
    by_role = {
        tuple(role.part for role in rank.roles): rank.parameters for rank in meta.build_roles(spec)
    }
    for rank in range(spec.world):
        role = tuple(part.part for part in layout.rank(rank).modules)
        assert meta.built_parameters(spec, rank) == by_role[role]


def test_like_stages_are_built_once() -> None:
    assert plan(STAGES).representatives() == (0, 2, 4, 8)


@pytest.mark.usefixtures("active")
def test_nothing_is_allocated_and_every_weight_is_there() -> None:
    with meta.built(PIPELINE, 4) as assembly:
        assert {weight.device.type for weight in assembly.model.parameters()} == {"meta"}
        assert assembly.communicator is not None
        assert assembly.communicator.is_pp_first_stage is False
        assert len(dist.get_process_group_ranks(assembly.process_groups["language"].tp)) == 2
        assert dist.get_world_size() == PIPELINE.world


def test_a_count_is_that_of_real_weights() -> None:
    spec = vlm(
        encoder={"dp": 1}, dense={"dp": 1}, expert={"ep": 1}, colocated=True, language=HYBRID
    )
    with backend.activate():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            real = parameters(assemble(spec))
        finally:
            dist.destroy_process_group()
    with meta_device.activate():
        (built,) = meta.build_roles(spec)
    assert built.parameters == real
    assert set(real) == {"vision", "projector", "language"}


@pytest.mark.usefixtures("active")
def test_what_megatron_refuses_raises_and_leaves_no_world_behind() -> None:
    refused = attrs.evolve(HYBRID, attention=attrs.evolve(HYBRID.attention, heads=3))
    spec = vlm(encoder={"dp": 2}, dense={"tp": 2}, expert={"ep": 2}, language=refused)
    with pytest.raises(ValueError, match="num_attention_heads"):
        meta.build_roles(spec)
    assert not dist.is_initialized()
    assert meta.build_roles(SHARED)


@pytest.mark.usefixtures("active")
def test_the_global_topology_is_never_read() -> None:
    with pytest.raises(ParallelStateRead):
        parallel_state.get_tensor_model_parallel_rank()


def test_leaving_takes_everything_back() -> None:
    hook, device, new_group = sys.excepthook, torch.cuda.current_device, dist.new_group
    with meta_device.activate():
        assert torch.zeros(1).is_meta
        assert torch.zeros(1, device="cuda:1").is_meta
        meta.build_roles(SHARED)
        assert sys.excepthook is hook
    assert (torch.cuda.current_device, dist.new_group) == (device, new_group)
    assert not torch.zeros(1).is_meta


@pytest.mark.usefixtures("active")
def test_a_launcher_s_world_size_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert meta.build_roles(SHARED)
    assert os.environ["WORLD_SIZE"] == "1"


@pytest.mark.usefixtures("active")
def test_a_world_within_a_world_is_refused() -> None:
    with (
        meta.fake_world(0, 2),
        pytest.raises(AssertionError, match="another world"),
        meta.fake_world(1, 2),
    ):
        pass
    assert not dist.is_initialized()
