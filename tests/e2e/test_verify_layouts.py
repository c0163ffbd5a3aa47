"""Whatever the layout, if the checker takes it, it trains the same model."""

from typing import Any

import attrs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mimodsl
from mimodsl.ir import (
    Attention,
    Beside,
    Flow,
    Gpt,
    Grid,
    Module,
    Moe,
    Placed,
    Spec,
    Together,
    Vit,
)
from mimodsl.ir.kinds import Activation, Norm
from mimodsl.ir.language import Positions
from mimodsl.ir.types import Size
from mimodsl.runtime.verify.verify import verify
from tests.e2e.verified import SAMPLES, TEXT

RANKS = 4
LANGUAGES: dict[str, Any] = {
    "hybrid": {"pattern": "M*E-"},
    "staged": {"pattern": "M*|E-"},
    "without attention": {"pattern": "ME-"},
}
GPT = Gpt(
    hidden=32,
    vocabulary=64,
    layers=2,
    attention=Attention(heads=4, kv_groups=2, qkv_bias=True, qk_norm=True),
    moe=Moe(experts=4, topk=2, ffn=32),
    moe_every=2,
    positions=Positions.ROPE,
    norm=Norm.LAYERNORM,
    activation=Activation.SWIGLU,
)


def _divisors(number: int) -> list[int]:
    return [factor for factor in range(1, number + 1) if number % factor == 0]


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """The small model, colocated, in two places or the language model alone, on few ranks."""
    place = draw(st.sampled_from(("colocated", "beside", "alone")))
    most = RANKS if place != "beside" else draw(st.sampled_from((1, 2, 3)))
    pp = 1 if place == "colocated" else draw(st.sampled_from([n for n in (1, 2) if n <= most]))
    cp = draw(st.sampled_from((1, 2))) if place == "alone" and pp == 1 else 1
    tp = draw(st.sampled_from([n for n in (1, 2) if n * cp * pp <= most]))
    dp = draw(st.sampled_from([n for n in (1, 2, 4) if n * tp * cp * pp <= most]))
    stage = tp * cp * dp
    etp = draw(st.sampled_from([n for n in (1, 2) if stage % n == 0]))
    ep = draw(st.sampled_from(_divisors(stage // etp)))
    llm = Grid(
        name="llm",
        views={
            "dense": {"tp": tp, "cp": cp, "dp": dp, "pp": pp},
            "expert": {"etp": etp, "ep": ep, "edp": stage // etp // ep, "pp": None},
        },
    )
    spec = _language(draw, mimodsl.parse(TEXT), pp, cp)
    each = draw(st.sampled_from(_divisors(SAMPLES // dp)))
    spec = attrs.evolve(
        spec,
        schedule=attrs.evolve(
            spec.schedule,
            kind="no_pipelining" if place == "colocated" else "1f1b",
            micro_batch=each,
            microbatches=SAMPLES // dp // each,
        ),
    )
    if place == "alone":
        return attrs.evolve(
            spec, grids=(llm,), place=Placed(grid="llm"), modules=spec.modules[2:], flows=()
        )
    ranks = llm.world if place == "colocated" else draw(st.integers(1, RANKS - llm.world))
    tp_of_encoder = draw(st.sampled_from([n for n in (1, 2) if ranks % n == 0]))
    encoder = Grid(
        name="encoder", views={"dense": {"tp": tp_of_encoder, "dp": ranks // tp_of_encoder}}
    )
    side = Together if place == "colocated" else Beside
    return attrs.evolve(spec, grids=(encoder, llm), place=side(parts=("encoder", "llm")))


def _language(draw: st.DrawFn, spec: Spec, pp: int, cp: int) -> Spec:
    """The language model: a decoder of like layers, or a pattern that the layout takes."""
    module = spec.language
    if cp == 1 and draw(st.booleans()):
        kind = GPT
    else:
        name = "without attention" if cp > 1 else "staged" if pp > 1 else "hybrid"
        kind = attrs.evolve(module.kind, **LANGUAGES[name])
    language = attrs.evolve(module, kind=kind)
    return attrs.evolve(spec, modules=(*spec.modules[:2], language))


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(specs())
def test_any_layout_that_is_taken_trains_the_same_model(spec):
    assume(not any(found.is_error for found in mimodsl.check(spec)))
    verdict = verify(spec, steps=2).verdict
    assert verdict.difference is None


def two_encoders() -> Spec:
    """Two modalities, the second a plain ViT without a projector and with two images a sample."""
    spec = mimodsl.parse(TEXT)
    vit = Vit(
        layers=1,
        hidden=32,
        heads=2,
        ffn=32,
        patch=8,
        image=Size(height=16, width=8),
    )
    vision, projector, language = spec.modules
    return attrs.evolve(
        spec,
        grids=(
            Grid(name="encoder", views={"dense": {"dp": 2}}),
            Grid(name="llm", views={"dense": {"tp": 2}, "expert": {"ep": 2, "pp": None}}),
        ),
        modules=(vision, projector, Module(name="video", grid="encoder", kind=vit), language),
        flows=(*spec.flows, Flow(path=("video", "language"), token=62, images=2)),
        schedule=attrs.evolve(spec.schedule, micro_batch=2, microbatches=2),
    )


def test_two_encoders():
    spec = two_encoders()
    assert not any(found.is_error for found in mimodsl.check(spec))
    verdict = verify(spec, steps=1).verdict
    assert verdict.difference is None
    assert [norm.module for norm in verdict.steps[0].norms] == [
        "vision",
        "projector",
        "video",
        "language",
    ]
