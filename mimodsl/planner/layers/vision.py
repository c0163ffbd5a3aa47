"""The start of a vision encoder: images to patches, with class tokens and positions."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.axes import TP
from mimodsl.ir.vision import Radio, VisionEncoder
from mimodsl.planner.calls import CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import call, column_weights
from mimodsl.planner.layers.operation import Gradient, Operation, Repeat
from mimodsl.planner.layers.saved import SavedTensor, statistics_size
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.share import Share


@frozen(kw_only=True)
class PatchEmbedding(Layer):
    """Images `[n, 3, height, width]` to embeddings `[n, tokens, hidden]`.

    RADIO has a linear over flattened patches, and positions for the largest image
    (models/vision/radio.py, "self.max_img_w = max_img_w"). A plain ViT has a convolution, a
    position for each token, and a norm (models/vision/clip_vit_model.py,
    "self.num_patches = self … self.class_token_len").
    """

    title: ClassVar[str] = "patches"
    stacked: ClassVar[bool] = False
    forward_reads_weights: ClassVar[bool] = False
    backward_reads_weights: ClassVar[bool] = False

    kind: VisionEncoder

    @override
    def weights(self) -> Iterator[Weight]:
        return self._radio(self.kind) if isinstance(self.kind, Radio) else self._vit()

    def _radio(self, kind: Radio) -> Iterator[Weight]:
        hidden, patch = kind.hidden, kind.patch
        positions = (kind.max_image.height // patch) * (kind.max_image.width // patch)
        if kind.class_tokens:
            yield Weight(name="vit.class_token", shape=(kind.class_tokens, hidden))
        yield Weight(name="vit.position_embeddings", shape=(1, positions, hidden))
        yield from column_weights(
            "vit.embedder", 3 * patch * patch, hidden, bias=kind.embedder_bias
        )

    def _vit(self) -> Iterator[Weight]:
        kind = self.kind
        tokens = kind.patches + kind.class_tokens
        if kind.class_tokens:
            yield Weight(name="vit.class_token", shape=(1, kind.class_tokens, kind.hidden))
        yield from norm_weights("vit.ln_pre.", kind.norm, kind.hidden)
        yield Weight(name="vit.conv1.weight", shape=(kind.hidden, 3, kind.patch, kind.patch))
        yield Weight(name="vit.position_embeddings.weight", shape=(tokens, kind.hidden))

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        """The flat patches, and what a plain ViT's norm saves."""
        kind = self.kind
        pixels = share.sequences * kind.patches * 3 * kind.patch**2
        yield SavedTensor(name="patches", size=pixels * share.element, for_weights=True)
        if not kind.splits_patches:
            yield SavedTensor(name="embedded", size=share.tokens * kind.hidden * share.element)
            statistics = statistics_size(share.tokens, kind.norm)
            yield SavedTensor(name="norm statistics", size=statistics)

    @override
    def working(self, share: Share) -> int:
        """Gradients of the tokens, before and behind the class tokens."""
        return 2 * share.tokens * self.kind.hidden * share.element

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """RADIO's linear is split over tp and gathered; a ViT's convolution is whole on every rank.

        Nobody needs the gradient of the images, and it is not summed (models/vision/radio.py,
        "input_size=3 * self.patch_dim * self … self.embedder"; models/vision/clip_vit_model.py,
        "self.position_embeddings = torch.nn.Embedding").
        """
        kind = self.kind
        rows, width = share.sequences * kind.patches, 3 * kind.patch**2
        product = 2 * rows * width * kind.hidden
        if kind.splits_patches:
            size = rows * kind.hidden * share.element
            yield Operation(
                name="patches",
                flops=product // share.sharding.tp,
                repeat=Repeat.NEVER,
                forward_calls=call(share.group(TP), CallKind.ALL_GATHER, size),
            )
        else:
            yield Operation(
                name="patches",
                gradient=Gradient.CONVOLUTION,
                flops=product,
                repeat=Repeat.NEVER,
            )
