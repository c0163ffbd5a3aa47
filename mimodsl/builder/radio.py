"""Vision encoders for MIMO, RADIO and a plain ViT: from images to the tokens in their place."""

from typing import Any, cast

import torch
from megatron.core.models.vision.clip_vit_model import CLIPViTModel
from megatron.core.models.vision.radio import RADIOViTModel
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from mimodsl.builder.configs import encoder_config
from mimodsl.builder.layer_specs import backend, resolve, vision_layer
from mimodsl.ir import Kernels, Module, Radio, Spec, VisionEncoder, Vit


def encoder_spec(spec: Spec, module: Module, groups: ProcessGroupCollection) -> ModuleSpec:
    """What megatron-core builds this encoder from on a rank with these groups.

    Raises:
        ValueError: where the kind asks for images of different sizes in one batch.
    """
    return ModuleSpec(
        module=ImageEncoder,
        params={
            "config": encoder_config(spec, module),
            "kind": module.kind,
            "kernels": resolve(spec.train.kernels),
            "groups": groups,
        },
    )


class ImageEncoder(MegatronModule):
    """A vision transformer, and what becomes of its output on the way to a projector.

    Args:
        config: the transformer's config, without sequence parallelism.
        kind: the encoder's sizes.
        kernels: a resolved kernel set.
        groups: the encoder's process groups; `tp` and `pp` are read, never parallel_state.
    """

    def __init__(
        self,
        config: TransformerConfig,
        kind: VisionEncoder,
        kernels: Kernels,
        groups: ProcessGroupCollection,
    ) -> None:
        super().__init__(config=config)
        self.kind = kind
        self.vit = _vision_transformer(config, kind, kernels, groups)
        # MegatronModule.sharded_state_dict asks parallel_state where a module has no tp_group.
        self.tp_group = self.vit.tp_group = groups.tp

    def forward(self, x: Tensor) -> Tensor:
        """Images `[n, 3, height, width]` to tokens `[n, kind.tokens, kind.output_width]`."""
        tokens = self.vit(x.to(self.config.params_dtype))
        dropped = self.kind.class_tokens if self.kind.drop_class_tokens else 0
        tokens = tokens[:, dropped:]
        return self._shuffled(tokens, self.kind.class_tokens - dropped)

    def _shuffled(self, tokens: Tensor, class_tokens: int) -> Tensor:
        if not self.kind.pixel_shuffle:
            return tokens
        assert class_tokens == 0, "class tokens have no place in a grid of patches"
        image, patch = self.kind.image, self.kind.patch
        return pixel_shuffle(tokens, image.height // patch, image.width // patch)


def pixel_shuffle(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Folds each square of 2 by 2 patches into one token of four times the width.

    A token holds its square's patches in reading order, as a pixel unshuffle with scale 0.5 does.

    Args:
        tokens: `[n, rows * columns, h]`, the patches row by row.
        rows: rows of patches, even.
        columns: patches a row, even.

    Returns:
        `[n, rows * columns / 4, 4 * h]`.
    """
    n, _, h = tokens.shape
    squares = tokens.view(n, rows // 2, 2, columns // 2, 2, h).permute(0, 1, 3, 2, 4, 5)
    return squares.reshape(n, rows * columns // 4, 4 * h)


def _vision_transformer(
    config: TransformerConfig,
    kind: VisionEncoder,
    kernels: Kernels,
    groups: ProcessGroupCollection,
) -> Any:
    shared: dict[str, Any] = {
        "transformer_config": config,
        "transformer_layer_spec": vision_layer(kernels),
        "add_class_token": kind.class_tokens > 0,
        "class_token_len": kind.class_tokens,
        "patch_dim": kind.patch,
        "img_h": kind.image.height,
        "img_w": kind.image.width,
        "pg_collection": groups,
    }
    if isinstance(kind, Radio):
        return _radio(kind, shared)
    assert isinstance(kind, Vit)
    return _clip(config, kernels, shared)


def _radio(kind: Radio, shared: dict[str, Any]) -> RADIOViTModel:
    if kind.dynamic_resolution:
        raise ValueError("dynamic_resolution = true: images of different sizes are not built yet")
    return RADIOViTModel(
        **shared,
        max_img_h=kind.max_image.height,
        max_img_w=kind.max_image.width,
        embedder_bias=kind.embedder_bias,
        # In training RADIO crops its position embeddings at random, by each rank's own draws
        # (models/vision/radio.py:626): the same images would give other tokens in another layout.
        force_cpe_eval_mode=True,
    )


def _clip(config: TransformerConfig, kernels: Kernels, shared: dict[str, Any]) -> CLIPViTModel:
    vit = CLIPViTModel(**shared, ln_pre_impl=cast(Any, backend(kernels).layer_norm()))
    # The patch embedding is a plain Conv2d without a dtype (models/vision/clip_vit_model.py:126).
    cast(nn.Module, vit.conv1).to(config.params_dtype)
    # A plain attribute, not a buffer: it stays where the model was built (…:136).
    vit.position_ids = vit.position_ids.to(torch.cuda.current_device())
    return vit
