"""What a layer is said to save for its backward pass is what its forward pass saves."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from random import Random
from typing import Any
from unittest import mock

import attrs
import pytest
import torch
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker

from mimodsl.builder.assembly import assemble
from mimodsl.builder.model import modules_of
from mimodsl.ir import Activation, Grid, Module, Schedule, ScheduleKind, Spec
from mimodsl.ir.kinds import Recompute
from mimodsl.megatron import meta_device
from mimodsl.planner.families import Block
from mimodsl.planner.layers import (
    MambaLayer,
    MoeLayer,
    OutputLayer,
    PatchEmbedding,
    ProjectorLayer,
    TokenEmbedding,
)
from mimodsl.planner.plan import plan
from mimodsl.planner.program.common import ACTIVATIONS
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.stack import stage_blocks
from mimodsl.runtime import meta
from tests.differential import forward
from tests.differential.balance import balanced_routers, with_capacity
from tests.differential.laws import errors_of
from tests.differential.specs import language, sound_spec, train
from tests.property.kernels_on_gpus import STAND_INS, one_kernel

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

ON_META = range(40)
ON_CPU = range(40)
SMALL = 300
"""Bytes that nobody counts: decay rates, offsets, scalars."""

PART = re.compile(
    r"(decoder\.layers\.\d+|input_projections\.\d+|encoders\.\w+|embedding|output_layer"
    r"|final_(layer)?norm)$"
)


def as_on_gpus(undo: ExitStack) -> None:
    """Have the kernels of a GPU save what they do, as long as the stack lasts."""
    for name, stand_in in STAND_INS:
        undo.enter_context(mock.patch(name, stand_in))
    compiled = dict.fromkeys((Activation.FAST_GELU, Activation.QUICK_GELU), one_kernel)
    undo.enter_context(mock.patch.dict(ACTIVATIONS, compiled))


@pytest.fixture
def on_meta() -> Iterator[None]:
    with meta_device.activate(), ExitStack() as undo:
        as_on_gpus(undo)
        yield


@pytest.fixture
def on_cpu(lone_rank: None) -> Iterator[None]:
    with ExitStack() as undo:
        as_on_gpus(undo)
        undo.enter_context(balanced_routers())
        yield


@pytest.mark.usefixtures("on_meta")
def test_all_kinds_save_what_is_said_on_every_role() -> None:
    """Up to the first layer with experts, whose sizes only numbers decide."""
    seen: set[type] = set()
    for seed in ON_META:
        spec = sound_spec(Random(seed))
        if errors_of(spec):
            continue
        spec = _kept(spec)
        layout = plan(spec)
        for rank in layout.representatives():
            with meta.built(spec, rank) as assembly:
                for role in layout.rank(rank).modules:
                    sizes, is_whole = _run(spec, role, assembly)
                    where = f"seed {seed}, rank {rank}, {role.name}\n{spec}"
                    seen |= _compared(spec, role, sizes, 0.001, where, is_whole=is_whole)
    assert seen >= {TokenEmbedding, MambaLayer, OutputLayer, PatchEmbedding, ProjectorLayer}


@pytest.mark.usefixtures("on_cpu")
def test_experts_save_what_is_said() -> None:
    """Within 5 %: a router has many small ways to score."""
    seen: set[type] = set()
    for seed in ON_CPU:
        spec = _alone(Random(seed), seed)
        if not errors_of(spec):
            (role,) = plan(spec).rank(0).modules
            sizes, is_whole = _run(spec, role, assemble(spec))
            assert is_whole
            seen |= _compared(spec, role, sizes, 0.05, f"seed {seed}\n{spec}", is_whole=True)
    assert MoeLayer in seen


def _kept(spec: Spec) -> Spec:
    """Nothing is computed again."""
    kinds = {module.name: module.kind for module in spec.modules}
    for name, kind in kinds.items():
        if hasattr(kind, "recompute"):
            kinds[name] = attrs.evolve(kind, recompute=Recompute.NONE)
    modules = (attrs.evolve(module, kind=kinds[module.name]) for module in spec.modules)
    return attrs.evolve(spec, modules=tuple(modules))


def _alone(rng: Random, seed: int) -> Spec:
    """A language model on one rank, as wide as routers are narrow beside it, with experts of every
    capacity. Local kernels have no biases of experts."""
    kind: Any = language(rng, {"tp": 1, "cp": 1, "dp": 1, "pp": 1})
    kind = attrs.evolve(kind, hidden=8 * kind.hidden, recompute=Recompute.NONE, bias=False)
    if kind.moe is not None:
        kind = attrs.evolve(kind, moe=with_capacity(attrs.evolve(kind.moe, ffn=128), seed))
    views: dict[str, dict[str, int | None]] = {"dense": {"dp": 1}}
    if kind.moe is not None:
        views["expert"] = {"ep": 1}
    return Spec(
        grids=(Grid(name="llm", views=views),),
        modules=(Module(name="language", grid="llm", kind=kind),),
        schedule=Schedule(
            kind=ScheduleKind.NO_PIPELINING,
            sequence=rng.choice([128, 192]),
            micro_batch=rng.choice([1, 2]),
        ),
        train=train(rng),
    )


def _run(spec: Spec, role: ModuleRole, assembly: Any) -> tuple[dict[str, int], bool]:
    """What one module's forward pass saves, by part, and whether it came to its end."""
    flow = spec.flow_through(role.name)
    name = flow.encoder if flow else "language"
    wrapped = modules_of(assembly.model)[name]
    if wrapped.use_forward_hook and wrapped.remove_forward_pre_hook_handles:
        wrapped.disable_forward_pre_hook(param_sync=False)
    destroy_moe_metrics_tracker()
    is_whole = True

    def run() -> None:
        nonlocal is_whole
        try:
            if flow is None:
                forward._run_language(spec, assembly, wrapped.module)
            else:
                with mock.patch.object(forward, "IMAGES", role.share.sequences):
                    forward._run_modality(spec, name, wrapped.module)
        except (RuntimeError, NotImplementedError) as error:
            if not str(error).startswith(forward.BEYOND_SHAPES):
                raise
            is_whole = False

    return saved_by_part(wrapped.module, run), is_whole


def _compared(
    spec: Spec,
    role: ModuleRole,
    sizes: dict[str, int],
    within: float,
    where: str,
    *,
    is_whole: bool,
) -> set[type]:
    """The kinds of layers of a role for which what is said was compared with what was saved."""
    share = role.share
    seen: set[type] = set()
    for names, layers in _parts(spec, role):
        if not is_whole and any(isinstance(layer, MoeLayer | OutputLayer) for layer in layers):
            break
        said = [one for layer in layers for one in layer.saved(share) if one.is_kept(share)]
        planned, saved = sum(one.size for one in said), sum(sizes.get(name, 0) for name in names)
        assert abs(planned - saved) <= within * saved + SMALL, (names, planned, saved, said, where)
        seen |= {type(layer) for layer in layers}
    return seen


def _parts(spec: Spec, role: ModuleRole) -> Iterator[tuple[list[str], Block]]:
    """The layers of a role and the parts of the model that they are; of the embedding of a merged
    sequence, which is given, and of learned positions, whose ids are those of tokens here, none."""
    before: tuple[list[str], Block] = ([], ())
    numbers = count()
    for block in stage_blocks(role):
        match block[0]:
            case TokenEmbedding():
                # Of a sequence that is split, the first layer's input is a view.
                if not (spec.flows or block[0].positions):
                    before = ["embedding"], block
                continue
            case OutputLayer():
                names = ["output_layer", "final_norm", "final_layernorm", "start"]
            case PatchEmbedding():
                names = [f"encoders.{role.name}"]
            case ProjectorLayer():
                names = ["input_projections.0"]
            case _:
                names = [f"decoder.layers.{next(numbers)}"]
        yield before[0] + names, before[1] + block
        before = [], ()


def saved_by_part(model: Any, run: Callable[[], None]) -> dict[str, int]:
    """Bytes of the storages that autograd keeps, by the part of the model that it keeps them for
    first. What is kept behind the last part is the loss's."""
    known = {one.untyped_storage()._cdata for one in (*model.parameters(), *model.buffers())}
    stack, sizes = ["start"], defaultdict[str, int](int)
    held: list[Any] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            known.add(storage._cdata)
            held.append(storage)
            sizes[stack[-1]] += storage.nbytes()
        return tensor

    def enter(part: str, *_: Any) -> None:
        stack.append(part)

    def leave(*_: Any) -> None:
        stack.pop()

    with ExitStack() as undo:
        for name, part in model.named_modules():
            if found := PART.search(name):
                hook = partial(enter, found[1])
                undo.callback(part.register_forward_pre_hook(hook).remove)
                undo.callback(part.register_forward_hook(leave).remove)
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        undo.enter_context(hooks)
        run()
    return sizes
