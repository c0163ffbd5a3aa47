"""Small specs of the real kinds, as Python objects."""

from mimodsl.ir import (
    Attention,
    Balance,
    Flow,
    Gpt,
    Grid,
    Hybrid,
    Kernels,
    LanguageModel,
    Mamba,
    MlpProjector,
    Module,
    Moe,
    Positions,
    Precision,
    Projector,
    Radio,
    Schedule,
    ScheduleKind,
    Score,
    Size,
    Spec,
    Train,
    VisionEncoder,
    Vit,
)
from mimodsl.ir.blocks import RouterPrecision
from mimodsl.ir.kinds import Activation, Norm, Recompute

IMAGE = Size(height=16, width=24)
ATTENTION = Attention(heads=4, kv_groups=2)
MOE = Moe(
    experts=4,
    topk=2,
    ffn=24,
    shared_ffn=40,
    score=Score.SIGMOID,
    expert_bias=True,
    scaling=2.5,
    balance=Balance.SEQ_AUX_LOSS,
    aux_loss=1e-4,
    router_dtype=RouterPrecision.FP32,
)
RADIO = Radio(
    layers=2,
    hidden=32,
    heads=4,
    ffn=64,
    patch=4,
    image=IMAGE,
    max_image=Size(height=64, width=64),
    class_tokens=3,
)
VIT = Vit(layers=2, hidden=32, heads=4, ffn=64, patch=4, image=IMAGE)
HYBRID = Hybrid(
    hidden=64,
    vocabulary=512,
    pattern="MEM*-",
    mamba=Mamba(head_dim=16, state=8, groups=2),
    attention=ATTENTION,
    moe=MOE,
)
DENSE_GPT = Gpt(
    hidden=64,
    vocabulary=512,
    layers=2,
    attention=Attention(heads=4, qk_norm=True, qkv_bias=True),
    positions=Positions.LEARNED,
    norm=Norm.LAYERNORM,
    bias=True,
    activation=Activation.GELU,
    tie_embeddings=True,
)
MOE_GPT = Gpt(
    hidden=64,
    vocabulary=512,
    layers=3,
    attention=ATTENTION,
    moe=MOE,
    moe_every=2,
    positions=Positions.ROPE,
    activation=Activation.SWIGLU,
    recompute=Recompute.FULL,
)

ONE_RANK = Grid(
    name="g", views={"dense": {"tp": 1, "dp": 1}, "expert": {"ep": 1, "edp": 1, "pp": None}}
)


def spec(
    language: LanguageModel = HYBRID,
    *,
    encoder: VisionEncoder = RADIO,
    projector: Projector | None = None,
    grid: Grid = ONE_RANK,
    precision: Precision = Precision.FP32,
    kernels: Kernels = Kernels.LOCAL,
) -> Spec:
    """A whole spec, every module on one grid."""
    kinds = {
        "vision": encoder,
        "projector": projector or MlpProjector(activation=Activation.SQUARED_RELU),
        "language": language,
    }
    return Spec(
        grids=(grid,),
        modules=tuple(Module(name=name, grid=grid.name, kind=kind) for name, kind in kinds.items()),
        flows=(Flow(path=("vision", "projector", "language"), token=511),),
        schedule=Schedule(kind=ScheduleKind.ONE_F_ONE_B, sequence=32),
        train=Train(precision=precision, kernels=kernels),
    )
