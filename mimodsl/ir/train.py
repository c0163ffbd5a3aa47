"""Training: precision, optimizer, learning rate, data-parallel communication, loss and seed."""

from typing import ClassVar

from mimodsl.ir.lr_decay import ConstantLr, CosineLr, InverseSquareRootLr, LinearLr, WsdLr
from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, FRACTION, Keyword, Node, knob, node


class Precision(Keyword):
    """The precision of weights and activations."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Kernels(Keyword):
    """Which implementation of the layers runs."""

    AUTO = "auto"
    LOCAL = "local"
    TRANSFORMER_ENGINE = "transformer_engine"


class LossPer(Keyword):
    """What the loss, and with it every gradient, is averaged over."""

    TOKEN = "token"
    MICROBATCH = "microbatch"


@node
class AdamW(Node):
    """Adam with decoupled weight decay."""

    tag: ClassVar[str] = "adamw"

    lr: float = knob(check=ABOVE_0, doc="learning rate, the largest of the run")
    weight_decay: float = knob(default=0.01, check=AT_LEAST_0, doc="decoupled weight decay")
    beta1: float = knob(default=0.9, check=FRACTION, doc="decay of the first moment")
    beta2: float = knob(default=0.95, check=FRACTION, doc="decay of the second moment")
    eps: float = knob(default=1e-8, check=ABOVE_0, doc="added to the root of the second moment")
    clip: float = knob(
        default=1.0, check=AT_LEAST_0, doc="largest gradient norm over all modules; 0 for no limit"
    )


@node
class Ddp(Node):
    """How gradients and parameters travel between data-parallel ranks."""

    tag: ClassVar[str] = "ddp"

    overlap_grad_reduce: bool = knob(default=False, doc="reduce gradients during the backward pass")
    overlap_param_gather: bool = knob(
        default=False, doc="gather parameters during the forward pass"
    )
    grad_fp32: bool = knob(default=True, doc="accumulate and reduce gradients in fp32")
    bucket: int | None = knob(
        default=None, check=AT_LEAST_1, unit="parameters", doc="parameters a bucket"
    )


@node
class Train(Node):
    """How the model is trained."""

    precision: Precision = knob(default=Precision.BF16, doc="precision of weights and activations")
    optimizer: AdamW = knob(factory=lambda: AdamW(lr=1e-4), doc="the optimizer")
    lr_decay: ConstantLr | LinearLr | CosineLr | InverseSquareRootLr | WsdLr = knob(
        factory=ConstantLr, doc="how the learning rate rises and falls over the steps"
    )
    ddp: Ddp = knob(factory=Ddp, doc="communication between data-parallel ranks")
    loss_per: LossPer = knob(default=LossPer.TOKEN, doc="what the loss is averaged over")
    kernels: Kernels = knob(default=Kernels.AUTO, doc="which implementation of the layers runs")
    seed: int = knob(default=1234, check=AT_LEAST_0, doc="seed of weights, dropout and data")
