"""Specs of every legal layout, for properties of the plan."""

from hypothesis import settings
from hypothesis import strategies as st

from mimodsl.ir import (
    AffineProjector,
    Attention,
    Axis,
    Beside,
    Flow,
    Gpt,
    Grid,
    Module,
    Moe,
    Radio,
    Schedule,
    ScheduleKind,
    Spec,
    Together,
    View,
)

examples = settings(max_examples=60, deadline=None)
"""No law depends on the clock."""

GPT = Gpt(
    hidden=64,
    vocabulary=128,
    layers=12,
    attention=Attention(heads=4),
    moe=Moe(experts=64, topk=2, ffn=64),
)
RADIO = Radio(layers=2, hidden=64, heads=4, ffn=128)
SIZES = st.sampled_from((1, 2, 3, 4))
POWERS = st.sampled_from((1, 2, 4))


@st.composite
def factorizations(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Axes of any size in any order."""
    return tuple((name, draw(SIZES)) for name in draw(st.permutations(names)))


@st.composite
def language_grids(draw: st.DrawFn, *, cp: bool, pp: bool) -> Grid:
    """The base axes in any order, perhaps with an expert view that keeps pp in its place."""
    sizes = {
        "tp": draw(POWERS),
        "cp": draw(POWERS) if cp else 1,
        "dp": draw(POWERS),
        "pp": draw(st.sampled_from((1, 2, 3))) if pp else 1,
    }
    before = draw(st.permutations(("tp", "cp", "dp")))
    first = draw(st.booleans())
    order = ("pp", *before) if first else (*before, "pp")
    views = [View(name="dense", axes=tuple(Axis(name=axis, size=sizes[axis]) for axis in order))]
    if draw(st.booleans()):
        ranks = sizes["tp"] * sizes["cp"] * sizes["dp"]
        expert = draw(st.permutations(_three_factors(draw, ranks)))
        shared = [Axis(name="pp")]
        views.append(View(name="expert", axes=(*shared, *expert) if first else (*expert, *shared)))
    return Grid(name="llm", views=tuple(views))


def _three_factors(draw: st.DrawFn, ranks: int) -> tuple[Axis, ...]:
    etp = draw(st.sampled_from([size for size in (1, 2, 4) if ranks % size == 0]))
    ep = draw(st.sampled_from([size for size in (1, 2, 4, 8, 16) if ranks // etp % size == 0]))
    return (
        Axis(name="etp", size=etp),
        Axis(name="ep", size=ep),
        Axis(name="edp", size=ranks // etp // ep),
    )


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """A language model alone, on the encoder's ranks, or beside the encoder on either side."""
    place = draw(st.sampled_from(("alone", "colocated", "encoder first", "language first")))
    colocated = place == "colocated"
    llm = draw(language_grids(cp=place == "alone", pp=not colocated))
    language = Module(name="language", grid="llm", kind=GPT)
    schedule = Schedule(
        kind=ScheduleKind.NO_PIPELINING if colocated else ScheduleKind.ONE_F_ONE_B,
        sequence=2048,
        micro_batch=64,
        microbatches=draw(st.integers(1, 5)),
    )
    if place == "alone":
        return Spec(grids=(llm,), modules=(language,), schedule=schedule)
    encoder = draw(_encoder_grids(llm.world if colocated else None))
    parts = ("llm", "encoder") if place == "language first" else ("encoder", "llm")
    return Spec(
        grids=(encoder, llm),
        place=Together(parts=parts) if colocated else Beside(parts=parts),
        modules=(
            Module(name="vision", grid="encoder", kind=RADIO),
            Module(name="projector", grid="encoder", kind=AffineProjector()),
            language,
        ),
        flows=(Flow(path=("vision", "projector", "language"), token=100),),
        schedule=schedule,
    )


@st.composite
def _encoder_grids(draw: st.DrawFn, ranks: int | None) -> Grid:
    tp = draw(st.sampled_from([size for size in (1, 2, 4) if (ranks or size) % size == 0]))
    dp = ranks // tp if ranks else draw(POWERS)
    order = draw(st.permutations((("tp", tp), ("dp", dp))))
    return Grid(name="encoder", views={"dense": dict(order)})
