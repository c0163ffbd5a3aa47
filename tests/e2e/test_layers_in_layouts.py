"""One model's weights in two layouts: the same losses, and every gradient the same."""

from pathlib import Path

import attrs
import pytest
import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.models.mimo.submodules.vision import VisionModalitySubmodules
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.mappings import scatter_to_sequence_parallel_region
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from megatron.core.transformer.spec_utils import build_module
from torch import Tensor, nn

from mimodsl.builder.grids import build_grids
from mimodsl.builder.groups import make_groups
from mimodsl.builder.process_groups import module_groups
from mimodsl.ir import Grid, LanguageModel, Spec, VisionEncoder
from mimodsl.megatron.checkpoint_writer import results_in_process
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.megatron.memory_buffer import ensure_memory_buffer
from mimodsl.megatron.weight_gradients import provide_weight_gradients
from mimodsl.planner.plan import plan
from tests.e2e import worlds
from tests.unit.builder.built import language_spec, modality_spec
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE, MOE_GPT, RADIO, VIT, spec
from tests.unit.builder.unwrapped import left_to_autograd

SEQUENCE = 32
QUIET_MOE = attrs.evolve(MOE, aux_loss=0.0)
TP_EP = {"dense": {"tp": 2}, "expert": {"etp": 1, "ep": 2, "pp": None}}
TP_ETP = {"dense": {"tp": 2}, "expert": {"etp": 2, "ep": 1, "pp": None}}
LANGUAGES = {
    "hybrid, tp and ep": (attrs.evolve(HYBRID, moe=QUIET_MOE), TP_EP),
    "hybrid, tp and etp, overlapped": (
        attrs.evolve(HYBRID, moe=attrs.evolve(QUIET_MOE, shared_overlap=True)),
        TP_ETP,
    ),
    "moe gpt, tp and ep": (attrs.evolve(MOE_GPT, moe=QUIET_MOE), TP_EP),
    "moe gpt with biases, tp and ep": (
        attrs.evolve(MOE_GPT, bias=True, moe=attrs.evolve(QUIET_MOE, shared_ffn=None)),
        TP_EP,
    ),
    "dense gpt, tp": (DENSE_GPT, TP_EP),
}


def _grid(views: dict[str, object]) -> Grid:
    return Grid(name="g", views=views)


# Two ranks that do the same: each holds the whole model and sees the same samples.
REPLICAS = _grid({"dense": {"dp": 2}, "expert": {"edp": 2, "pp": None}})


def _groups(whole: Spec) -> ProcessGroupCollection:
    ensure_memory_buffer()
    provide_weight_gradients()
    planned = plan(whole)
    (grid,) = build_grids(planned.grids, make_groups(planned, share=True)).values()
    groups = module_groups(grid).gradients
    model_parallel_cuda_manual_seed(
        7, tp_rank=groups.tp.rank(), ep_rank=groups.ep.rank(), etp_rank=groups.expt_tp.rank()
    )
    return groups


def _language_loss(model: nn.Module, groups: ProcessGroupCollection) -> Tensor:
    """Losses `[b, s]` of embeddings that arrive from outside, as MimoModel hands them over."""
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(SEQUENCE, 2, 64, generator=generator, requires_grad=True)
    labels = torch.randint(0, 512, (2, SEQUENCE), generator=generator)
    if model.config.sequence_parallel:
        embeddings = scatter_to_sequence_parallel_region(embeddings, group=groups.tp)
    positions = torch.arange(SEQUENCE).expand(2, -1)
    return model(
        input_ids=None,
        position_ids=positions,
        attention_mask=None,
        decoder_input=embeddings,
        labels=labels,
    )


def _modality_loss(model: nn.Module, groups: ProcessGroupCollection) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(2, 3, 16, 24, generator=generator)
    out = model(encoder_inputs={"vision": {"x": images}})
    return (out * torch.randn(out.shape, generator=generator)).sum(-1)


def _build(whole: Spec, groups: ProcessGroupCollection, part: str) -> nn.Module:
    if part == "language":
        return left_to_autograd(build_module(language_spec(whole, groups)))
    modality = modality_spec(whole, whole.flows[0], groups)
    return left_to_autograd(VisionModalitySubmodules.from_spec(modality))


def _sharded(model: nn.Module, groups: ProcessGroupCollection) -> dict[str, object]:
    return model.sharded_state_dict(metadata={"dp_cp_group": groups.dp_cp})


def _reduce_over_tp(model: nn.Module, groups: ProcessGroupCollection) -> None:
    """What finalize_model_grads does for weights that each tp rank used on its own tokens."""
    for parameter in model.parameters():
        if getattr(parameter, "sequence_parallel", False):
            assert parameter.grad is not None
            dist.all_reduce(parameter.grad, group=groups.tp)


def _backward(model: nn.Module, groups: ProcessGroupCollection, part: str) -> Tensor:
    loss = (_language_loss if part == "language" else _modality_loss)(model, groups)
    loss.mean().backward()
    _reduce_over_tp(model, groups)
    return loss.detach()


def _put_gradients_in_place(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = (
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        )


def compare(one: Spec, two: Spec, part: str, folder: Path) -> dict[str, float]:
    """What differs between the layouts: the loss, or a gradient, by its relative distance.

    Gradients travel between layouts as weights do: saved as a checkpoint, and loaded resharded.
    """
    with no_parallel_state(), results_in_process():
        groups = _groups(one)
        model = _build(one, groups, part)
        dist_checkpointing.save(_sharded(model, groups), str(folder / "weights"))
        loss = _backward(model, groups, part)
        mine = {name: _gradient(parameter) for name, parameter in model.named_parameters()}

        spread_groups = _groups(two)
        spread = _build(two, spread_groups, part)
        sharded = _sharded(spread, spread_groups)
        spread.load_state_dict(dist_checkpointing.load(sharded, str(folder / "weights")))
        distances = {"loss": _distance(_backward(spread, spread_groups, part), loss)}
        for parameter in spread.parameters():
            parameter.data = _gradient(parameter)
        dist_checkpointing.save(_sharded(spread, spread_groups), str(folder / "gradients"))
        theirs = dist_checkpointing.load(_sharded(model, groups), str(folder / "gradients"))
    distances |= {name: _distance(theirs[name], gradient) for name, gradient in mine.items()}
    return {name: distance for name, distance in distances.items() if distance > 1e-3}


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def _distance(tensor: Tensor, reference: Tensor) -> float:
    return ((tensor - reference).norm() / reference.norm().clamp(min=1e-6)).item()


def tied_stages(one: Spec, staged: Spec, folder: Path) -> bool:
    """Whether the stages of a decoder whose embeddings are tied save one set of embeddings."""
    with no_parallel_state(), results_in_process():
        stages = _groups(staged)
        stage = _build(staged, stages, "language")
        dist_checkpointing.save(_sharded(stage, stages), str(folder / "weights"))
        groups = _groups(one)
        model = _build(one, groups, "language")
        model.load_state_dict(
            dist_checkpointing.load(_sharded(model, groups), str(folder / "weights"))
        )
    return torch.equal(
        stage.shared_embedding_or_output_weight(), model.shared_embedding_or_output_weight()
    )


def test_tied_embeddings_across_stages(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    kind = attrs.evolve(DENSE_GPT, tie_embeddings=True)
    one, staged = (spec(kind, grid=grid) for grid in (REPLICAS, _grid({"dense": {"pp": 2}})))
    assert worlds.run(2, tied_stages, one, staged, tmp_path) == [True, True]


@pytest.mark.parametrize(("kind", "views"), LANGUAGES.values(), ids=LANGUAGES)
def test_language_models(kind: LanguageModel, views: dict[str, object], tmp_path: Path) -> None:
    _assert_alike(spec(kind, grid=REPLICAS), spec(kind, grid=_grid(views)), "language", tmp_path)


@pytest.mark.parametrize("encoder", [RADIO, VIT], ids=["radio", "vit"])
def test_encoders_and_projectors(encoder: VisionEncoder, tmp_path: Path) -> None:
    one, two = (spec(encoder=encoder, grid=grid) for grid in (REPLICAS, _grid(TP_EP)))
    _assert_alike(one, two, "modality", tmp_path)


def _assert_alike(one: Spec, two: Spec, part: str, folder: Path) -> None:
    for name in ("weights", "gradients"):
        (folder / name).mkdir()
    assert worlds.run(2, compare, one, two, part, folder) == [{}, {}]
