"""The weights that a plan counts are those that megatron-core builds, tensor by tensor, and lie in
buffers as long as DDP makes them."""

import re
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import attrs
import pytest
import torch

from mimodsl.builder.model import modules_of
from mimodsl.ir import Precision, Spec
from mimodsl.megatron import meta_device
from mimodsl.planner.layers import CustomLayer, Layer
from mimodsl.planner.memory import gradient_buffers
from mimodsl.planner.parameters import module_parameters, rank_parameters
from mimodsl.planner.plan import plan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Sharding
from mimodsl.planner.stack import stage_layers
from mimodsl.runtime import meta
from mimodsl.runtime.train import parameters
from tests.differential.laws import errors_of
from tests.differential.specs import sound_spec

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

SPECS = 60
BEFORE_A_NAME = re.compile(
    r"^module\.(encoders\.\w+\.|input_projections\.0\.)?|(vit\.)?decoder\.layers\.\d+\."
    r"|local_experts\.\d+\."
)

type Tensor = tuple[str, tuple[int, ...], bool, bool, bool]
"""Name within the layer, shape on the rank; whether reduced over edp, in fp32, trainable."""


@pytest.fixture(scope="module")
def _active() -> Iterator[None]:
    with meta_device.activate():
        yield


@pytest.mark.usefixtures("_active")
def test_every_role_holds_the_tensors_that_are_built() -> None:
    kinds: set[type[Layer]] = set()
    for seed in range(SPECS):
        spec = sound_spec(Random(seed))
        if errors_of(spec):
            continue
        if spec.train.precision is Precision.FP16:  # its buffers are those of bf16
            spec = attrs.evolve(spec, train=attrs.evolve(spec.train, precision=Precision.BF16))
        layout = plan(spec)
        for rank in layout.representatives():
            roles = layout.rank(rank).modules
            with meta.built(spec, rank) as assembly:
                tensors, counts = _built(assembly.model), parameters(assembly)
                buffers = _buffers(assembly.model)
            planned = sum((_planned(spec, role) for role in roles), Counter[Tensor]())
            assert planned == tensors, f"seed {seed}, rank {rank}\n{spec}"
            assert {role.name: rank_parameters(role).total for role in roles} == counts
            assert buffers == Counter(
                (one.elements, one.weight, one.gradient, one.ranks)
                for one in gradient_buffers(spec, roles)
            )
            kinds |= {type(layer) for role in roles for layer in stage_layers(role)}
    assert kinds == {*Layer.__subclasses__()} - {CustomLayer}  # from other packages


def _planned(spec: Spec, role: ModuleRole) -> Counter[Tensor]:
    sharding, trainable = Sharding.of_grid(spec.grid_of(role.module)), not role.module.frozen
    tensors: Counter[Tensor] = Counter()
    for layer in stage_layers(role):
        for weight in layer.weights():
            shape, expert = (
                weight.local(sharding),
                weight.experts > 0 and sharding.has_expert_buffer,
            )
            fp32 = weight.fp32 or spec.train.precision is Precision.FP32
            tensors[weight.name, shape, expert, fp32, trainable] += weight.copies(sharding)
    return tensors


def _built(model: Any) -> Counter[Tensor]:
    return Counter(
        (
            BEFORE_A_NAME.sub("", name),
            tuple(weight.shape),
            not getattr(weight, "allreduce", True),
            weight.dtype is torch.float32,
            weight.requires_grad,
        )
        for module in modules_of(model).values()
        for name, weight in module.named_parameters()
    )


def _buffers(model: Any) -> Counter[tuple[int, int, int, int]]:
    wrapped: list[Any] = list(modules_of(model).values())
    return Counter(
        (
            buffer.numel,
            buffer.param_dtype.itemsize,
            buffer.grad_dtype.itemsize,
            buffer.data_parallel_world_size,
        )
        for ddp in wrapped
        for buffer in (*ddp.buffers, *ddp.expert_parallel_buffers)
    )


def test_parts_of_a_module_make_the_whole() -> None:
    """Over its stages, tp and expert ranks: of split weights all parts, of whole ones one."""
    for seed in range(SPECS):
        spec = sound_spec(Random(seed))
        if errors_of(spec):
            continue
        roles, plans = tuple(_one_replica(spec)), plan(spec).modules
        for module in spec.modules:
            whole, grid = module_parameters(plans[module.name]), spec.grid_of(module)
            held = [rank_parameters(role) for role in roles if role.name == module.name]
            dense = sum(grid.size("tp") * (one.dense - one.replicated) for one in held)
            dense += sum(one.replicated for one in held)
            kind: Any = module.kind
            if getattr(kind, "tie_embeddings", False) and grid.size("pp") > 1:
                dense -= kind.vocabulary * kind.hidden
            assert dense == whole.dense
            # Experts with biases, which etp does not split, have etp 1.
            expert_ranks = grid.size("ep") * grid.size("etp")
            assert expert_ranks * sum(one.experts for one in held) == whole.experts
            assert whole.trainable == (0 if module.frozen else whole.total)


def _one_replica(spec: Spec) -> Iterator[ModuleRole]:
    """A role of every stage of every module."""
    layout = plan(spec)
    seen: set[tuple[str, int]] = set()
    for rank in range(layout.world):
        for role in layout.rank(rank).modules:
            if (role.name, role.stage) not in seen:
                seen.add((role.name, role.stage))
                yield role
