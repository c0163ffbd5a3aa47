"""What a bridge can carry of a microbatch's images; the rest is refused, not trained wrongly."""

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from mimodsl._version import MEGATRON_CORE
from mimodsl.ir.flow import Flow
from mimodsl.ir.spec import Spec

_REASON: Final = f"the bridges of megatron-core {MEGATRON_CORE} cut images into equal parts"


@frozen(kw_only=True)
class ImageBridge:
    """The bridge of one flow, as far as the images of a microbatch have to fit it.

    `image_tokens` is what the language model gets for an image; `encoders` and `languages` are the
    replicas at the two ends. Where `shared`, every rank has a part of both ends. `awaited` says
    that DDP waits in the backward pass for the encoder's gradients.
    """

    encoder: str
    token: int
    image_tokens: int
    encoders: int
    languages: int
    shared: bool
    awaited: bool

    def check(self, microbatch: Mapping[str, Any], *, encodes: bool) -> None:
        """Refuse a microbatch of this rank, which `encodes` its images or only reads them.

        Raises:
            ValueError: where images and placeholders do not belong together, where samples show
                different numbers of images and the bridge would mix them up, or where no image is
                shown although DDP waits for the encoder's gradients.
        """
        fan_in = self.encoders > self.languages
        if microbatch.get("input_ids") is None or not (encodes or fan_in):
            return
        places: list[int] = (microbatch["input_ids"] == self.token).sum(1).tolist()
        if fan_in and len(set(places)) > 1:
            raise ValueError(
                f"the samples of a microbatch have {min(places)} to {max(places)} tokens of "
                f"`{self.encoder}`; where {self.encoders} replicas of it feed {self.languages} of "
                f"the language model all have the same number, because {_REASON}"
            )
        if encodes:
            self._check_images(_images(microbatch, self.encoder), sum(places))

    def _check_images(self, images: int, places: int) -> None:
        if images == 0 and self.awaited:
            raise ValueError(
                f"a microbatch shows `{self.encoder}` no image; with `overlap_grad_reduce` every "
                "one does, because DDP waits for the gradients of all weights"
            )
        tokens = images * self.image_tokens
        room = places * self.languages // self.encoders if self.shared else places
        if tokens != room:
            raise ValueError(
                f"`{self.encoder}` makes {tokens} tokens of its images, the samples have places "
                f"for {room}{self._dealt_out}"
            )

    @property
    def _dealt_out(self) -> str:
        if not self.shared or self.languages <= self.encoders:
            return ""
        each = self.languages // self.encoders
        return f" if {each} replicas of the language model get as many each: {_REASON}"


def check_images(
    bridges: Iterable[ImageBridge], microbatch: Mapping[str, Any], *, here: Container[str]
) -> None:
    """Check a microbatch of a rank that runs the modules `here`. Raises `ValueError`."""
    for bridge in bridges:
        bridge.check(microbatch, encodes=bridge.encoder in here)


def image_bridges(spec: Spec) -> tuple[ImageBridge, ...]:
    """The bridge of every flow."""
    return tuple(_bridge(spec, flow) for flow in spec.flows)


def _bridge(spec: Spec, flow: Flow) -> ImageBridge:
    modules = [spec.module(name) for name in flow.path]
    encoder, language = spec.grid_of(modules[0]), spec.grid_of(modules[-1])
    spans = spec.rank_spans
    return ImageBridge(
        encoder=flow.encoder,
        token=flow.token,
        image_tokens=spec.image_tokens(flow),
        encoders=encoder.size("dp"),
        languages=language.size("dp"),
        shared=spans[encoder.name] == spans[language.name],
        awaited=spec.train.ddp.overlap_grad_reduce and not all(m.frozen for m in modules[:-1]),
    )


def _images(microbatch: Mapping[str, Any], encoder: str) -> int:
    """How many images a microbatch shows an encoder, whose input `x` is [n, 3, h, w]."""
    modalities: Any = microbatch.get("modality_inputs")
    inputs: Any = modalities and modalities.get(encoder)
    return len(inputs[encoder]["x"]) if inputs else 0
