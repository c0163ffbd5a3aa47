"""Vision encoders for MIMO, RADIO and a plain ViT: from images to the tokens in their place."""

from typing import Any, cast, override

import torch
from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.vision.clip_vit_model import CLIPViTModel
from megatron.core.models.vision.radio import RADIOViTModel
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from mimodsl.builder.layers import mlp_layer, transformer_layer
from mimodsl.planner.families.vision import ImageSizes


def radio_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,
    groups: ProcessGroupCollection,
    **arguments: Any,
) -> ModuleSpec:
    """What megatron-core builds a RADIO encoder from, on a rank with its groups."""
    given = {"config": config, "kernels": kernels, "groups": groups}
    return ModuleSpec(module=RadioEncoder, params=given | arguments)


def vit_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,
    groups: ProcessGroupCollection,
    **arguments: Any,
) -> ModuleSpec:
    """What megatron-core builds a plain ViT from, on a rank with its groups."""
    given = {"config": config, "kernels": kernels, "groups": groups}
    return ModuleSpec(module=VitEncoder, params=given | arguments)


class ImageEncoder(MegatronModule):
    """A vision transformer, and what becomes of its output on the way to a projector.

    Args:
        config: the transformer's config, without sequence parallelism.
        kernels: the modules of its layers.
        groups: the encoder's process groups; `tp` and `pp` are read, never parallel_state.
        sizes: the sizes of images, patches and class tokens.
        more: what one form of encoder alone has.
    """

    def __init__(
        self,
        config: TransformerConfig,
        kernels: BackendSpecProvider,
        groups: ProcessGroupCollection,
        sizes: ImageSizes,
        **more: Any,
    ) -> None:
        super().__init__(config=config)
        self.rows, self.columns = (pixels // sizes.patch for pixels in sizes.image)
        self.dropped = sizes.class_tokens if sizes.drop_class_tokens else 0
        self.shuffles = sizes.pixel_shuffle
        kept = sizes.class_tokens - self.dropped
        assert not (kept and self.shuffles), "class tokens have no place in a grid of patches"
        self.vit = self._vision_transformer(
            kernels,
            transformer_config=config,
            transformer_layer_spec=_layer(kernels),
            add_class_token=sizes.class_tokens > 0,
            class_token_len=sizes.class_tokens,
            patch_dim=sizes.patch,
            img_h=sizes.image[0],
            img_w=sizes.image[1],
            pg_collection=groups,
            **more,
        )
        # MegatronModule.sharded_state_dict asks parallel_state where a module has no tp_group.
        self.tp_group = self.vit.tp_group = groups.tp

    def _vision_transformer(self, kernels: BackendSpecProvider, **arguments: Any) -> Any:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Images `[n, 3, height, width]` to tokens `[n, tokens, width]`."""
        tokens = self.vit(x.to(self.config.params_dtype))[:, self.dropped :]
        return pixel_shuffle(tokens, self.rows, self.columns) if self.shuffles else tokens


class RadioEncoder(ImageEncoder):
    """RADIO, whose position embeddings cover images up to `max_image`."""

    @override
    def _vision_transformer(
        self,
        kernels: BackendSpecProvider,
        *,
        max_image: tuple[int, int],
        embedder_bias: bool,
        dynamic_resolution: bool,
        **arguments: Any,
    ) -> RADIOViTModel:
        if dynamic_resolution:
            raise ValueError(
                "dynamic_resolution = true: images of different sizes are not built yet"
            )
        return RADIOViTModel(
            **arguments,
            max_img_h=max_image[0],
            max_img_w=max_image[1],
            embedder_bias=embedder_bias,
            # In training RADIO crops its position embeddings at random, by each rank's own draws
            # (models/vision/radio.py, "if self.interpolate_only_cpe … pos_embed"): the same images
            # would give other tokens in another layout.
            force_cpe_eval_mode=True,
        )


class VitEncoder(ImageEncoder):
    """A plain ViT."""

    @override
    def _vision_transformer(self, kernels: BackendSpecProvider, **arguments: Any) -> CLIPViTModel:
        vit = CLIPViTModel(**arguments, ln_pre_impl=cast(Any, kernels.layer_norm()))
        # The patch embedding is a plain Conv2d without a dtype (models/vision/clip_vit_model.py,
        # "self.position_embeddings = torch.nn.Embedding").
        cast(nn.Module, vit.conv1).to(self.config.params_dtype)
        # A plain attribute, not a buffer: it stays where the model was built
        # (models/vision/clip_vit_model.py, "torch.randn … self.visual_hidden_size").
        vit.position_ids = vit.position_ids.to(torch.cuda.current_device())
        return vit


def _layer(kernels: BackendSpecProvider) -> ModuleSpec:
    """A layer of a vision transformer: every patch attends to every other."""
    return transformer_layer(kernels, AttnMaskType.no_mask, False, mlp_layer(kernels))


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
