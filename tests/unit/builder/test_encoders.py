"""Vision encoders and projectors on one CPU rank."""

import attrs
import pytest
import torch
from megatron.core.models.mimo.submodules.vision import VisionModalitySubmodules
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.spec_utils import build_module

from mimodsl.builder.families.vision import pixel_shuffle
from mimodsl.ir import (
    AffineProjector,
    MlpProjector,
    Precision,
    Projector,
    Size,
    VisionEncoder,
)
from mimodsl.ir.kinds import Norm
from tests.unit.builder.built import encoder_spec, modality_spec
from tests.unit.builder.models import HYBRID, RADIO, VIT, spec
from tests.unit.builder.unwrapped import left_to_autograd

ENCODERS = {
    "radio": RADIO,
    "radio without shuffle": attrs.evolve(RADIO, pixel_shuffle=False),
    "radio with class tokens": attrs.evolve(RADIO, pixel_shuffle=False, drop_class_tokens=False),
    "vit": VIT,
    "shuffled vit without class tokens": attrs.evolve(VIT, pixel_shuffle=True, class_tokens=0),
    "rms vit": attrs.evolve(VIT, norm=Norm.RMSNORM, bias=False, qkv_bias=False),
}
PROJECTORS = {
    "mlp": MlpProjector(),
    "mlp without a norm": MlpProjector(norm=None, bias=True),
    "mlp with layernorm": MlpProjector(norm=Norm.LAYERNORM),
    "affine": AffineProjector(),
    "affine with a bias": AffineProjector(bias=True),
}


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 16, 24, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("kind", ENCODERS.values(), ids=ENCODERS)
def test_an_encoder_emits_what_its_kind_says(
    groups: ProcessGroupCollection, kind: VisionEncoder, precision: Precision
) -> None:
    whole = spec(encoder=kind, precision=precision)
    encoder = build_module(encoder_spec(whole, whole.module("vision"), groups))
    out = left_to_autograd(encoder)(x=images(3))
    assert out.shape == (3, kind.tokens, kind.output_width)
    out.float().square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.dtype == out.dtype, name
    assert out.dtype == (torch.float32 if precision is Precision.FP32 else torch.bfloat16)


def test_images_do_not_mix(groups: ProcessGroupCollection) -> None:
    whole = spec()
    encoder = build_module(encoder_spec(whole, whole.module("vision"), groups))
    together = encoder(x=images(2))
    torch.testing.assert_close(together[1:], encoder(x=images(2)[1:]), rtol=1e-4, atol=1e-5)


def test_training_draws_nothing(groups: ProcessGroupCollection) -> None:
    whole = spec()
    encoder = build_module(encoder_spec(whole, whole.module("vision"), groups))
    encoder.train()
    assert torch.equal(encoder(x=images()), encoder(x=images()))


def test_dropped_class_tokens_are_the_first(groups: ProcessGroupCollection) -> None:
    kept = attrs.evolve(RADIO, pixel_shuffle=False, drop_class_tokens=False)
    whole = spec(encoder=kept)
    encoder = build_module(encoder_spec(whole, whole.module("vision"), groups))
    everything = encoder(x=images())
    encoder.dropped = kept.class_tokens
    assert torch.equal(encoder(x=images()), everything[:, kept.class_tokens :])


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 6), (6, 2)])
def test_pixel_shuffle_gathers_squares(rows: int, columns: int) -> None:
    grid = torch.arange(2 * rows * columns * 5).view(2, rows, columns, 5)
    tokens = pixel_shuffle(grid.view(2, rows * columns, 5), rows, columns)
    assert tokens.shape == (2, rows * columns // 4, 20)
    for row in range(rows // 2):
        for column in range(columns // 2):
            square = grid[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            token = tokens[:, row * (columns // 2) + column]
            assert torch.equal(token, square.reshape(2, 20))


@pytest.mark.parametrize("kind", PROJECTORS.values(), ids=PROJECTORS)
def test_a_modality_is_as_wide_as_the_language_model(
    groups: ProcessGroupCollection, kind: Projector
) -> None:
    whole = spec(projector=kind)
    flow = whole.flows[0]
    modality = VisionModalitySubmodules.from_spec(modality_spec(whole, flow, groups))
    out = left_to_autograd(modality)(encoder_inputs={"vision": {"x": images()}})
    assert out.shape == (2 * RADIO.tokens, HYBRID.hidden)
    out.square().mean().backward()
    assert all(parameter.grad is not None for parameter in modality.parameters())


def test_a_projector_norm_ignores_the_scale_of_its_input(groups: ProcessGroupCollection) -> None:
    def scaled(kind: Projector) -> tuple[torch.Tensor, torch.Tensor]:
        whole = spec(projector=kind)
        modality = VisionModalitySubmodules.from_spec(modality_spec(whole, whole.flows[0], groups))
        x = torch.randn(6, RADIO.output_width, generator=torch.Generator().manual_seed(3))
        return modality(hidden_states=x), modality(hidden_states=100 * x)

    torch.testing.assert_close(*scaled(MlpProjector()), rtol=1e-3, atol=1e-6)
    once, scaled_up = scaled(MlpProjector(norm=None))
    assert (scaled_up.abs() > 10 * once.abs()).float().mean() > 0.9


def test_checkpoint_keys_cover_the_parameters(groups: ProcessGroupCollection) -> None:
    for encoder in (RADIO, VIT):
        whole = spec(encoder=encoder)
        flow = whole.flows[0]
        modality = VisionModalitySubmodules.from_spec(modality_spec(whole, flow, groups))
        keys = modality.sharded_state_dict().keys()
        assert {name for name, _ in modality.named_parameters()} <= keys


def test_images_of_different_sizes_are_refused(groups: ProcessGroupCollection) -> None:
    whole = spec(encoder=attrs.evolve(RADIO, dynamic_resolution=True))
    with pytest.raises(ValueError, match="dynamic_resolution"):
        build_module(encoder_spec(whole, whole.module("vision"), groups))


def test_images_of_the_wrong_size_are_refused(groups: ProcessGroupCollection) -> None:
    whole = spec(encoder=attrs.evolve(RADIO, image=Size(height=16, width=16)))
    encoder = build_module(encoder_spec(whole, whole.module("vision"), groups))
    with pytest.raises(AssertionError):
        encoder(x=images())
