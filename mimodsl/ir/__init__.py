"""The intermediate representation: small frozen classes, one concept a file."""

from mimodsl.ir.blocks import Attention, Balance, Dispatcher, Mamba, Moe, RouterPrecision, Score
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Axis, Grid, View
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.kinds import Activation, Kind, Norm, Recompute, Role
from mimodsl.ir.language import LanguageModel, Positions, TransformerLanguage
from mimodsl.ir.lr_decay import (
    Anneal,
    ConstantLr,
    CosineLr,
    FallingLr,
    InverseSquareRootLr,
    LinearLr,
    LrDecay,
    WsdLr,
)
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node, Origin
from mimodsl.ir.package import CustomEncoder, CustomKind, CustomLanguage, CustomProjector
from mimodsl.ir.placement import Beside, Place, Placed, Together
from mimodsl.ir.projector import AffineProjector, Between, LinearProjector, MlpProjector, Projector
from mimodsl.ir.registry import KINDS
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import AdamW, Ddp, Kernels, LossPer, Precision, Train
from mimodsl.ir.types import Size
from mimodsl.ir.vision import Encoder, Radio, VisionEncoder, Vit

__all__ = [
    "KINDS",
    "Activation",
    "AdamW",
    "AffineProjector",
    "Anneal",
    "Attention",
    "Axis",
    "Balance",
    "Beside",
    "Between",
    "ConstantLr",
    "CosineLr",
    "CustomEncoder",
    "CustomKind",
    "CustomLanguage",
    "CustomProjector",
    "Ddp",
    "Dispatcher",
    "Encoder",
    "FallingLr",
    "Flow",
    "Gpt",
    "Grid",
    "Hybrid",
    "InverseSquareRootLr",
    "Kernels",
    "Kind",
    "LanguageModel",
    "LinearLr",
    "LinearProjector",
    "LossPer",
    "LrDecay",
    "Mamba",
    "MlpProjector",
    "Module",
    "Moe",
    "Node",
    "Norm",
    "Origin",
    "Place",
    "Placed",
    "Positions",
    "Precision",
    "Projector",
    "Radio",
    "Recompute",
    "Role",
    "RouterPrecision",
    "Schedule",
    "ScheduleKind",
    "Score",
    "Size",
    "Spec",
    "Together",
    "Train",
    "TransformerLanguage",
    "View",
    "VisionEncoder",
    "Vit",
    "WsdLr",
]
