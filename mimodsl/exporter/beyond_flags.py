"""What of a spec no flag of Megatron-LM's MIMO example can say.

The example builds one encoder of RADIO, whose sizes stand in its code, a projector and a language
model of a layer pattern, on two grids side by side, with Transformer Engine.
"""

from collections.abc import Iterator
from typing import Final

from mimodsl.ir import (
    CustomKind,
    Hybrid,
    Kernels,
    LossPer,
    MlpProjector,
    Precision,
    Radio,
    Spec,
    TransformerLanguage,
)
from mimodsl.ir.grid import EXPERT_VIEW
from mimodsl.lower import load
from mimodsl.resources import specs_folder

_THEIRS: Final = "nemotron_20l.mimo"
"""The shipped spec of the example's run, whose encoder has its numbers."""
_SIZES: Final = ("layers", "hidden", "heads", "ffn", "patch", "class_tokens", "activation", "norm")


def beyond_flags(spec: Spec) -> Iterator[str]:
    """Sentences, each of one thing."""
    yield from _placement(spec)
    yield from _encoders(spec)
    yield from _language(spec)
    yield from _training(spec)


def _placement(spec: Spec) -> Iterator[str]:
    spans = spec.rank_spans
    language = spans[spec.language.grid]
    for flow in spec.flows:
        grid = spec.grid_of(spec.module(flow.encoder))
        span = spans[grid.name]
        if span.start < language.stop and language.start < span.stop:
            yield (
                f"`{grid.name}` and `{spec.language.grid}` share ranks; the example takes grids "
                "side by side only."
            )
        elif span.start != 0:
            yield f"`{grid.name}` begins at rank {span.start}; the example's encoder begins at 0."
        for axis in ("cp", "pp"):
            if grid.size(axis) > 1:
                yield f"`{grid.name}` has {axis}:{grid.size(axis)}; the example's encoder has none."
    if (size := spec.grid_of(spec.language).size("cp")) > 1:
        yield f"`{spec.language.grid}` has cp:{size}; the example refuses more than 1."
    for grid in spec.grids:
        for view in grid.views[1:]:
            if view.name != EXPERT_VIEW:
                yield f"The view `{view.name}` of `{grid.name}`: the example has no views to name."
    yield "The order of a grid's axes, by which ranks are neighbours, is the example's own."


def _encoders(spec: Spec) -> Iterator[str]:
    if len(spec.flows) > 1:
        names = ", ".join(f"`{flow.encoder}`" for flow in spec.flows[1:])
        yield f"{names}: the example has one encoder."
    for flow in spec.flows[:1]:
        kind = spec.module(flow.encoder).kind
        if not isinstance(kind, Radio):
            what = "of another package" if isinstance(kind, CustomKind) else kind.keyword
            yield f"`{flow.encoder}` is {what}; the example's encoder is RADIO."
            continue
        theirs = _their_encoder()
        for size in _SIZES:
            here, there = getattr(kind, size), getattr(theirs, size)
            if here != there:
                yield f"`{flow.encoder}` has {size} = {here}; the example's code has {there}."
        yield (
            f"`{flow.encoder}` takes images of {kind.image}, {flow.images} a sample; the example's "
            "data decides."
        )
        yield (
            f"`{flow.encoder}` ends without a norm; the example's ends in a LayerNorm of "
            f"{2 * theirs.hidden:,} parameters."
        )
        yield from _projector(spec, flow.projector)


def _their_encoder() -> Radio:
    spec = load(specs_folder() / _THEIRS).spec
    assert spec is not None
    kind = spec.module(spec.flows[0].encoder).kind
    assert isinstance(kind, Radio)
    return kind


def _projector(spec: Spec, name: str | None) -> Iterator[str]:
    if name is None:
        yield "There is no projector; the example always has one."
        return
    kind = spec.module(name).kind
    if isinstance(kind, CustomKind):
        yield f"`{name}` is of another package; the example has projectors of linear layers alone."
    if isinstance(kind, MlpProjector) and kind.ffn is not None:
        yield f"`{name}` is {kind.ffn} wide inside; the example's is 4 times what comes in."


def _language(spec: Spec) -> Iterator[str]:
    kind, name = spec.language_kind, spec.language.name
    assert isinstance(kind, TransformerLanguage)
    if not isinstance(kind, Hybrid):
        yield (
            f"`{name}` is `{kind.keyword}`, a decoder of like layers; the example builds its "
            "language model from a layer pattern."
        )
    if kind.tie_embeddings:
        yield f"`{name}` ties its embeddings; the example never does."
    if kind.positions.value != "none":
        yield f"`{name}` has positions = {kind.positions}; the example's provider sets none."
    if kind.sequence_parallel is not None:
        has = str(kind.sequence_parallel).lower()
        yield f"sequence_parallel = {has}: the example has it where tp is above 1."


def _training(spec: Spec) -> Iterator[str]:
    train = spec.train
    if train.loss_per is LossPer.MICROBATCH:
        yield "loss_per = microbatch; the example averages over tokens only."
    if train.kernels is Kernels.LOCAL:
        yield "kernels = local; the example's provider needs Transformer Engine."
    if train.precision is Precision.FP16:
        yield "The loss scale of fp16 is constant here; the example adapts one."
    yield (
        f"The weights that seed {train.seed} gives, and the samples: each program draws its own."
    )
