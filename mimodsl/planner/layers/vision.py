"""The start of a vision encoder: images to patches, with class tokens and positions."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.vision import Radio, VisionEncoder
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import Saved, Share, statistics
from mimodsl.planner.layers.weight import Weight, column_linear, norm_weights


@frozen(kw_only=True)
class PatchEmbedding(Layer):
    """What turns images `[n, 3, height, width]` into `[n, tokens, hidden]`.

    RADIO has a linear over flattened patches and positions for the largest image (models/vision/
    radio.py:116); a plain ViT a convolution, a position a token and a norm (models/vision/
    clip_vit_model.py:83).
    """

    title: ClassVar[str] = "patches"
    stacked: ClassVar[bool] = False

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
        yield from column_linear("vit.embedder", 3 * patch * patch, hidden, bias=kind.embedder_bias)

    def _vit(self) -> Iterator[Weight]:
        kind = self.kind
        tokens = kind.patches + kind.class_tokens
        if kind.class_tokens:
            yield Weight(name="vit.class_token", shape=(1, kind.class_tokens, kind.hidden))
        yield from norm_weights("vit.ln_pre.", kind.norm, kind.hidden)
        yield Weight(name="vit.conv1.weight", shape=(kind.hidden, 3, kind.patch, kind.patch))
        yield Weight(name="vit.position_embeddings.weight", shape=(tokens, kind.hidden))

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        """The patches, flat, and what a plain ViT's norm saves."""
        kind = self.kind
        pixels = at.sequences * kind.patches * 3 * kind.patch**2
        yield Saved(what="patches", size=pixels * at.element, for_weights=True)
        if not isinstance(kind, Radio):
            yield Saved(what="embedded", size=at.tokens * kind.hidden * at.element)
            yield Saved(what="norm statistics", size=statistics(at.tokens, kind.norm))

    @override
    def working(self, at: Share) -> int:
        """Gradients of the tokens, before and behind the class tokens."""
        return 2 * at.tokens * self.kind.hidden * at.element
