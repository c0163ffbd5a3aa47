"""Training: precision, optimizer, learning rate, data-parallel communication, loss and seed."""

from typing import ClassVar

from mimodsl.ir.facts import LAYOUT, TRAINING, Derived, Facts, needs_value, unnamed
from mimodsl.ir.lr_decay import ConstantLr, CosineLr, InverseSquareRootLr, LinearLr, WsdLr
from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, FRACTION, Keyword, Node, knob, node


class Precision(Keyword):
    """The precision of weights and activations."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Kernels(Keyword):
    """Which implementation of the layers is used."""

    AUTO = "auto"
    LOCAL = "local"
    TRANSFORMER_ENGINE = "transformer_engine"


class LossPer(Keyword):
    """The unit over which the loss, and so every gradient, is averaged."""

    TOKEN = "token"
    MICROBATCH = "microbatch"


@node
class AdamW(Node):
    """Adam with decoupled weight decay."""

    tag: ClassVar[str] = "adamw"
    megatron_config: ClassVar[str] = "OptimizerConfig"

    lr: float = knob(
        check=ABOVE_0,
        doc="learning rate, the largest of the run",
        facts=Facts(TRAINING, megatron="lr", hf=None, also="learning_rate"),
    )
    weight_decay: float = knob(
        default=0.01,
        check=AT_LEAST_0,
        doc="decoupled weight decay",
        facts=Facts(TRAINING, megatron="weight_decay", hf=None),
    )
    beta1: float = knob(
        default=0.9,
        check=FRACTION,
        doc="decay of the first moment",
        facts=Facts(TRAINING, megatron="adam_beta1", hf=None),
    )
    beta2: float = knob(
        default=0.95,
        check=FRACTION,
        doc="decay of the second moment",
        facts=Facts(TRAINING, megatron="adam_beta2", hf=None),
    )
    eps: float = knob(
        default=1e-8,
        check=ABOVE_0,
        doc="added to the root of the second moment",
        facts=Facts(TRAINING, megatron="adam_eps", hf=None, also="adam_epsilon"),
    )
    clip: float = knob(
        default=1.0,
        check=AT_LEAST_0,
        doc="largest gradient norm over all modules; 0 for no limit",
        facts=Facts(
            TRAINING,
            megatron="clip_grad",
            hf=None,
            also="grad_clip gradient_clipping max_grad_norm",
        ),
    )


@node
class Ddp(Node):
    """How gradients and parameters travel between data-parallel ranks."""

    tag: ClassVar[str] = "ddp"
    megatron_config: ClassVar[str] = "DistributedDataParallelConfig"

    overlap_grad_reduce: bool = knob(
        default=False,
        doc="reduce gradients during the backward pass",
        facts=Facts(LAYOUT, megatron="overlap_grad_reduce", hf=None),
    )
    overlap_param_gather: bool = knob(
        default=False,
        doc="gather parameters during the forward pass",
        facts=Facts(LAYOUT, megatron="overlap_param_gather", hf=None),
    )
    grad_fp32: bool = knob(
        default=True,
        doc="accumulate and reduce gradients in fp32",
        facts=Facts(
            TRAINING,
            megatron="grad_reduce_in_fp32",
            flag=Derived("accumulate-allreduce-grads-in-fp32"),
            hf=None,
        ),
    )
    bucket: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        unit="parameters",
        doc="parameters a bucket",
        facts=Facts(
            LAYOUT,
            megatron="bucket_size",
            flag="ddp-bucket-size",
            hf=None,
            needs=needs_value("overlap_grad_reduce", True),
        ),
    )


@node
class Train(Node):
    """How the model is trained."""

    precision: Precision = knob(
        default=Precision.BF16,
        doc="precision of weights and activations",
        facts=Facts(
            TRAINING,
            megatron=Derived("params_dtype", "pipeline_dtype", "bf16", "fp16"),
            flag=Derived("bf16", "fp16"),
            hf="torch_dtype dtype",
        ),
    )
    optimizer: AdamW = knob(
        factory=lambda: AdamW(lr=1e-4),
        doc="the optimizer",
        facts=unnamed(TRAINING),
    )
    lr_decay: ConstantLr | LinearLr | CosineLr | InverseSquareRootLr | WsdLr = knob(
        factory=ConstantLr,
        doc="how the learning rate rises and falls over the steps",
        facts=Facts(TRAINING, megatron=None, flag=Derived("lr-decay-style"), hf=None),
    )
    ddp: Ddp = knob(
        factory=Ddp,
        doc="communication between data-parallel ranks",
        facts=unnamed(TRAINING),
    )
    loss_per: LossPer = knob(
        default=LossPer.TOKEN,
        doc="what the loss is averaged over",
        facts=unnamed(TRAINING),
    )
    kernels: Kernels = knob(
        default=Kernels.AUTO,
        doc="which implementation of the layers runs",
        facts=Facts(
            LAYOUT, megatron=Derived("transformer_impl"), flag=Derived("transformer-impl"), hf=None
        ),
    )
    seed: int = knob(
        default=1234,
        check=AT_LEAST_0,
        doc="seed of weights, dropout and data",
        facts=Facts(TRAINING, megatron=None, flag="seed", hf=None),
    )
