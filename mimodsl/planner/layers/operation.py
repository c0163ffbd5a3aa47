"""One operation of a layer on one rank: its floating-point operations and its calls."""

from enum import Enum

from attrs import frozen

from mimodsl.planner.calls import Call


class Gradient(Enum):
    """The products that a backward pass makes of an operation's forward product.

    Each gradient is a product as large as the forward product. A product with a weight has one for
    its input and one for the weight; a product of two activations has one for each of them.
    """

    # If the weight needs a gradient, the input gets one too (tensor_parallel/layers.py,
    # "output = torch.matmul(total_input … grad_output").
    LINEAR = "linear"
    # The input and the weight always get one (transformer/moe/moe_utils.py,
    # "def backward( ctx, grad_output").
    ROUTER = "router"
    # The input and the weight get one only where it is needed.
    CONVOLUTION = "convolution"
    # Two activations, both of which always get one.
    PRODUCT = "product"


class Repeat(Enum):
    """When a forward operation runs a second time, in the backward pass."""

    NEVER = "never"
    FULL = "full"  # if its whole layer is recomputed
    CORE = "core"  # if its layer is recomputed, or with `recompute = selective`


class Overlap(Enum):
    """Which calls of an operation run beside products. A rank waits for all other calls."""

    NONE = "none"
    BACKWARD = "backward"
    ALL = "all"


@frozen(kw_only=True)
class Operation:
    """One operation of a layer, as one rank runs it for one microbatch.

    `flops` are the floating-point operations of its forward product; a multiplication and an
    addition count as two. Norms and nonlinearities are not counted. A `causal` operation counts
    half a square of tokens, which is what attention and scan need and what their kernels compute.
    `kernel_repeats` are the forward operations that the kernel's own backward pass repeats.

    `forward_calls` run in the forward pass, `backward_calls` in the backward pass, and
    `weight_calls` in the backward pass where the weight needs a gradient. `recorded_calls` run once
    in a forward pass that records gradients: recomputation moves them and does not repeat them.
    """

    name: str
    gradient: Gradient = Gradient.LINEAR
    flops: int = 0
    kernel_repeats: int = 0
    causal: bool = False
    repeat: Repeat = Repeat.FULL
    overlap: Overlap = Overlap.NONE
    forward_calls: tuple[Call, ...] = ()
    backward_calls: tuple[Call, ...] = ()
    weight_calls: tuple[Call, ...] = ()
    recorded_calls: tuple[Call, ...] = ()
