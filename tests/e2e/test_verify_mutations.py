"""Mistakes planted in the ranks of a layout: each is caught, placed and blamed on its cause."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from mimodsl.runtime.launch import preload
from mimodsl.runtime.verify.request import TOLERANCE
from mimodsl.runtime.verify.verdict import Cause, Check, FirstDifference
from mimodsl.runtime.verify.verify import Reference, run_alone, run_layout
from mimodsl.runtime.workers import Watch
from tests.e2e.verified import BESIDE, FAN_IN, REPLICAS, SPLIT_ENCODER

WATCH = Watch()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The one rank, run before anything is broken."""
    preload()
    folder: Path = tmp_path_factory.mktemp("reference")
    return run_alone(FAN_IN, steps=1, folder=folder, watch=WATCH)


@pytest.fixture
def difference(reference: Reference) -> Any:
    """Runs a layout, now broken, and returns where it parts from the one rank."""

    def run(spec: Any) -> FirstDifference:
        found = run_layout(spec, reference, tolerance=TOLERANCE, watch=WATCH).difference
        assert found is not None
        assert found.how
        assert found.reason
        return found

    return run


def _placed(found: FirstDifference) -> tuple[Check, str, str, Cause]:
    return found.check, found.module, found.where, found.cause


@pytest.fixture
def before_ddp(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Changes a rank's model when it is built, before DDP takes it."""

    def plant(change: Any) -> None:
        from mimodsl.builder import assembly

        original = assembly.wrap_in_ddp

        def wrap(model: Any, ddp: Any, groups: Any) -> None:
            change(model)
            original(model, ddp, groups)

        monkeypatch.setattr(assembly, "wrap_in_ddp", wrap)

    return plant


@pytest.fixture
def after_backward(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Changes a rank's gradients once they are reduced and scaled."""

    def plant(change: Any) -> None:
        from mimodsl.builder.schedule import MicrobatchSchedule

        original = MicrobatchSchedule._scale_gradients

        def scale_gradients(schedule: Any, factor: float) -> None:
            original(schedule, factor)
            change(schedule)

        monkeypatch.setattr(MicrobatchSchedule, "_scale_gradients", scale_gradients)

    return plant


@pytest.mark.parametrize("spec", [FAN_IN, REPLICAS, SPLIT_ENCODER, BESIDE])
def test_without_a_mistake_they_agree(spec, reference):
    verdict = run_layout(spec, reference, tolerance=TOLERANCE, watch=WATCH)
    assert verdict.difference is None
    assert verdict.weights.distance < TOLERANCE / 10
    assert 0 < verdict.steps[0].gradients.distance < TOLERANCE / 10


def test_a_language_model_in_ddp_over_the_wrong_group(difference, monkeypatch):
    from mimodsl.builder import model

    original = model.DistributedDataParallel

    def ddp(*, pg_collection, **arguments):
        wrong = copy.copy(pg_collection)
        if pg_collection.tp.size() > 1:
            wrong.dp = wrong.dp_cp = wrong.intra_dp_cp = wrong.dp_cp_gtp_remat = pg_collection.tp
        return original(pg_collection=wrong, **arguments)

    monkeypatch.setattr(model, "DistributedDataParallel", ddp)
    found = difference(FAN_IN)
    assert _placed(found) == (
        Check.GRADIENTS,
        "language",
        "embedding.word_embeddings.weight",
        Cause.WRONG_GROUP,
    )
    assert "over tp in place of dp" in found.reason
    assert found.scope["vision"][0] == found.scope["projector"][0] == 0


def test_missing_token_normalisation(difference, monkeypatch):
    from mimodsl.builder.schedule import MicrobatchSchedule

    original = MicrobatchSchedule._scale_gradients
    monkeypatch.setattr(MicrobatchSchedule, "_scale_gradients", lambda self, _: original(self, 1.0))
    found = difference(FAN_IN)
    assert _placed(found)[1:] == ("vision", "vit.class_token", Cause.TOKEN_NORMALISATION)
    assert "the weight of the global batch, which nothing divides by" in found.how[0]


def test_an_encoder_divided_by_its_own_tokens(difference, after_backward):
    """Off by dp of the encoder over dp of the language model."""

    def scale(schedule):
        schedule.model.modality_submodules["vision"].scale_gradients(2.0)

    after_backward(scale)
    found = difference(FAN_IN)
    assert _placed(found)[1:] == ("vision", "vit.class_token", Cause.DP_RATIO)
    assert "dp of encoder / dp of llm" in found.reason
    assert found.scope["language"][0] == 0


def test_samples_shifted_between_encoder_and_language_model(difference, monkeypatch):
    from mimodsl.runtime import samples

    original = samples._images

    def shifted(source, deal, encoder, step, share):
        return original(source, deal, encoder, step, [(sample + 1) % 4 for sample in share])

    monkeypatch.setattr(samples, "_images", shifted)
    found = difference(FAN_IN)
    assert _placed(found) == (Check.FORWARD, "vision", "images", Cause.SHIFTED_SAMPLES)
    assert found.how[0] == "rank 0 took the images of sample 1 where sample 0 was due"


def test_another_order_of_images_behind_the_bridge(difference, monkeypatch):
    from megatron.core.models.mimo.comm.colocated_communicator import ColocatedBridgeCommunicator

    original = ColocatedBridgeCommunicator.communicate

    def turned(self, tensor):
        first, second = original(self, tensor).chunk(2)
        return torch.cat([second, first])

    monkeypatch.setattr(ColocatedBridgeCommunicator, "communicate", turned)
    found = difference(FAN_IN)
    assert _placed(found) == (Check.FORWARD, "language", "input", Cause.SWAPPED_EMBEDDINGS)
    assert found.how[0] == "the text of sample 0 stands with the images of 1 on ranks 0-1"


def test_experts_seeded_alike_on_all_ranks(difference, monkeypatch):
    from mimodsl.builder import model

    original = model.model_parallel_cuda_manual_seed

    def seed(number, *, ep_rank, **ranks):
        original(number, ep_rank=0, **ranks)

    monkeypatch.setattr(model, "model_parallel_cuda_manual_seed", seed)
    found = difference(FAN_IN)
    assert _placed(found) == (
        Check.FRESH,
        "language",
        "decoder.layers.2.mlp.experts.0.linear_fc1.weight",
        Cause.EQUAL_SEEDS,
    )
    assert "tell ep ranks apart" in found.reason


def test_a_norm_without_its_sequence_parallel_mark(difference, before_ddp):
    def unmark(model):
        for name, parameter in model.language_model.named_parameters():
            if name.endswith("layers.1.self_attention.linear_qkv.layer_norm_weight"):
                parameter.sequence_parallel = False

    before_ddp(unmark)
    found = difference(FAN_IN)
    assert _placed(found) == (
        Check.GRADIENTS,
        "language",
        "decoder.layers.1.self_attention.linear_qkv.layer_norm_weight",
        Cause.SEQUENCE_PARALLEL,
    )
    assert found.how[-1] == "the parts of all ranks along tp add up to it"
    assert found.scope["language"][0] == 1


def test_experts_reduced_over_dp(difference, after_backward):
    def over_dp(schedule):
        groups = schedule.groups["language"].layers
        for parameter in schedule.model.language_model.parameters():
            if not getattr(parameter, "allreduce", True):
                dist.all_reduce(parameter.main_grad, group=groups.ep)

    after_backward(over_dp)
    found = difference(REPLICAS)
    assert _placed(found)[1:] == (
        "language",
        "decoder.layers.2.mlp.experts.0.linear_fc1.weight",
        Cause.WRONG_GROUP,
    )
    assert "joins ranks of different experts" in found.reason


def test_a_projector_frozen_by_mistake(difference, before_ddp):
    def freeze(model):
        model.modality_submodules["vision"].input_projections.requires_grad_(False)

    before_ddp(freeze)
    found = difference(FAN_IN)
    assert _placed(found)[1:] == ("projector", "encoder.linear_fc1.weight", Cause.NOT_TRAINED)
    assert "frozen in the layout" in found.reason


def test_a_router_reduced_with_the_experts(difference, before_ddp):
    def misplace(model):
        for name, parameter in model.language_model.named_parameters():
            if name.endswith("router.weight"):
                parameter.allreduce = False

    before_ddp(misplace)
    found = difference(REPLICAS)
    assert _placed(found)[1:] == (
        "language",
        "decoder.layers.2.mlp.router.weight",
        Cause.MISSING_REDUCTION,
    )
    assert found.reason == "its gradient is not summed over ep"


def _forget_sum_over_tp(layer):
    layer.allreduce_dgrad = False
    layer.disable_grad_reduce = True


def test_a_projector_that_does_not_sum_its_input_gradient(difference, before_ddp):
    def forget(model):
        projector = model.modality_submodules["vision"].input_projections[0]
        _forget_sum_over_tp(projector.encoder.linear_fc1)

    before_ddp(forget)
    found = difference(SPLIT_ENCODER)
    assert _placed(found)[1:] == (
        "projector",
        "encoder.linear_fc1.layer_norm_weight",
        Cause.BACKWARD,
    )
    assert found.scope["vision"] == (27, 27)


def test_an_encoder_layer_that_does_not_sum_its_input_gradient(difference, before_ddp):
    """Beside the residual stream its part in the gradients before it is hardly seen."""

    def forget(model):
        layers = model.modality_submodules["vision"].encoders["vision"].vit.decoder.layers
        _forget_sum_over_tp(layers[1].mlp.linear_fc1)

    before_ddp(forget)
    found = difference(SPLIT_ENCODER)
    assert found.where.startswith("vit.decoder.layers.1.mlp.linear_fc1.layer_norm")
    assert found.cause is Cause.BACKWARD


def test_a_norm_over_the_wrong_group(difference, monkeypatch):
    from mimodsl.builder import optimizer

    original = optimizer.get_megatron_optimizer

    def build(*arguments, pg_collection, **others):
        made = original(*arguments, pg_collection=pg_collection, **others)
        for one in made.chained_optimizers:
            one.grad_stats_parallel_group = pg_collection.tp
        return made

    monkeypatch.setattr(optimizer, "get_megatron_optimizer", build)
    found = difference(REPLICAS)
    assert _placed(found)[::3] == (Check.NORMS, Cause.NORM_GROUP)


def test_updated_weights_that_do_not_reach_the_replicas(difference, monkeypatch):
    from megatron.core.distributed import param_and_grad_buffer

    monkeypatch.setattr(
        param_and_grad_buffer._ParamAndGradBucketGroup, "start_param_sync", lambda *_, **__: None
    )
    found = difference(REPLICAS)
    assert _placed(found)[::3] == (Check.WEIGHTS, Cause.OPTIMIZER)
    assert "hold different copies" in found.reason


def test_weights_loaded_into_the_wrong_place(difference, monkeypatch):
    from mimodsl.runtime.verify import recorded_run

    original = recorded_run.load_weights

    def load(assembly, folder):
        original(assembly, folder)
        language = assembly.model.language_model.module
        groups = assembly.process_groups["language"]
        if groups.tp.rank() == 1:
            language.output_layer.weight.data.copy_(language.output_layer.weight.data.flip(0))

    monkeypatch.setattr(recorded_run, "load_weights", load)
    found = difference(FAN_IN)
    assert _placed(found) == (Check.START, "language", "output_layer.weight", Cause.NOT_LOADED)
    assert found.how == ("ranks 1, 3 hold something else than what was saved",)
