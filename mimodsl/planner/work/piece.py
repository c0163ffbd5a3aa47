"""One operation of a layer on one rank: its floating-point operations and its calls."""

from enum import Enum

from attrs import frozen

from mimodsl.planner.traffic.call import Call


class Gradient(Enum):
    """Which products a backward pass makes of an operation's forward product.

    Of a weight's product one for the gradient of the input and one for that of the weight, each as
    large as the forward product; of two activations one for each.
    """

    # With its weight's gradient always that of its input (tensor_parallel/layers.py:583).
    LINEAR = "linear"
    # Both, always (transformer/moe/moe_utils.py:1340).
    ROUTER = "router"
    CONVOLUTION = "convolution"
    PRODUCT = "product"


class Repeat(Enum):
    """When a forward operation runs again in the backward pass."""

    NEVER = "never"
    FULL = "full"  # with the layer that it is in
    CORE = "core"  # with its layer, or as what `selective` computes again


class Overlap(Enum):
    """Which calls of an operation run beside products; the next operation waits for all others."""

    NONE = "none"
    BACKWARD = "backward"
    ALL = "all"


@frozen(kw_only=True)
class Piece:
    """One operation as one rank runs it for one microbatch.

    `forward` counts the floating-point operations of its product, an addition and a multiplication
    being two; norms, nonlinearities and the like are not counted. Where `causal`, half a square of
    tokens is: what attention and scan need of it, and what their kernels compute. `again` are those
    that a kernel's own backward pass computes a second time.

    `calls` are those of the forward pass, `back` those of the backward pass, `for_weight` those
    that the weight's gradient needs besides. `once` calls belong to the pass that gradients are
    recorded in: recomputation moves them and does not repeat them. `overlap` says which of all
    these hold nobody up while there are products to compute.
    """

    name: str
    gradient: Gradient = Gradient.LINEAR
    forward: int = 0
    again: int = 0
    causal: bool = False
    repeat: Repeat = Repeat.FULL
    overlap: Overlap = Overlap.NONE
    calls: tuple[Call, ...] = ()
    back: tuple[Call, ...] = ()
    for_weight: tuple[Call, ...] = ()
    once: tuple[Call, ...] = ()
