"""Small specs whose plans are known."""

from mimodsl.ir import (
    Attention,
    Beside,
    Flow,
    Gpt,
    Grid,
    Hybrid,
    Kind,
    Mamba,
    MlpProjector,
    Module,
    Moe,
    Radio,
    Schedule,
    ScheduleKind,
    Size,
    Spec,
    Together,
)

HYBRID = Hybrid(
    hidden=128,
    vocabulary=512,
    pattern="MEM*EM",
    mamba=Mamba(heads=4, groups=2),
    attention=Attention(heads=4),
    moe=Moe(experts=8, topk=2, ffn=64),
)
GPT = Gpt(hidden=128, vocabulary=512, layers=6, attention=Attention(heads=4))
RADIO = Radio(layers=4, hidden=64, heads=4, ffn=128, image=Size(height=64, width=64))


def vlm(
    *,
    encoder: dict[str, int],
    dense: dict[str, int],
    expert: dict[str, int | None] | None = None,
    colocated: bool = False,
    language: Kind = HYBRID,
    micro_batch: int = 1,
    microbatches: int = 4,
    language_first: bool = False,
) -> Spec:
    """An encoder and a language model on grids of their own, of 4 tokens a sample."""
    views: dict[str, dict[str, int | None]] = {"dense": {**dense}}
    if expert:
        views["expert"] = expert
    order = ("llm", "encoder") if language_first else ("encoder", "llm")
    return Spec(
        grids=(Grid(name="encoder", views={"dense": encoder}), Grid(name="llm", views=views)),
        place=Together(parts=order) if colocated else Beside(parts=order),
        modules=(
            Module(name="vision", grid="encoder", frozen=True, kind=RADIO),
            Module(name="projector", grid="encoder", kind=MlpProjector()),
            Module(name="language", grid="llm", kind=language),
        ),
        flows=(Flow(path=("vision", "projector", "language"), token=511),),
        schedule=Schedule(
            kind=ScheduleKind.NO_PIPELINING if colocated else ScheduleKind.ONE_F_ONE_B,
            sequence=64,
            micro_batch=micro_batch,
            microbatches=microbatches,
        ),
    )


def alone(dense: dict[str, int], *, language: Kind = GPT, microbatches: int = 4) -> Spec:
    """A language model without a flow."""
    return Spec(
        grids=(Grid(name="llm", views={"dense": dense}),),
        modules=(Module(name="language", grid="llm", kind=language),),
        schedule=Schedule(kind=ScheduleKind.ONE_F_ONE_B, sequence=64, microbatches=microbatches),
    )


SIDE_BY_SIDE = vlm(
    encoder={"tp": 2, "dp": 2},
    dense={"tp": 2, "cp": 1, "dp": 2, "pp": 1},
    expert={"etp": 1, "ep": 2, "edp": 2, "pp": None},
)
SHARED = vlm(
    encoder={"dp": 8},
    dense={"tp": 2, "dp": 4},
    expert={"ep": 2, "edp": 4},
    colocated=True,
    micro_batch=2,
)
PIPELINE = vlm(
    encoder={"tp": 2, "dp": 2},
    dense={"tp": 2, "dp": 1, "pp": 2},
    expert={"ep": 2, "edp": 1, "pp": None},
    micro_batch=2,
)
WIDE = vlm(
    encoder={"dp": 2**18},
    dense={"tp": 8, "dp": 2**16, "pp": 16},
    expert={"ep": 64, "edp": 2**13, "pp": None},
    language=Gpt(
        hidden=128,
        vocabulary=512,
        layers=64,
        attention=Attention(heads=8),
        moe=Moe(experts=128, topk=2, ffn=64),
    ),
    micro_batch=4,
    microbatches=64,
)
"""More than eight million ranks."""
