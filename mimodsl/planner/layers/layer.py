"""The protocol of a layer: its weights, saved tensors, working memory and operations."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from mimodsl.planner.layers.operation import Operation
from mimodsl.planner.layers.saved import SavedTensor
from mimodsl.planner.layers.weight import Weight
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import FP32


@frozen(kw_only=True)
class Layer(ABC):
    """A part of a module with weights of its own. Its sizes are those of the whole layer, before
    any rank takes its share.

    Equal layers have equal numbers, so one answer holds for all equal layers of a stack.
    """

    title: ClassVar[str]
    """Its name in tables."""

    stacked: ClassVar[bool] = True
    """Whether it is a layer of a stack, which full recomputation spares, or stands before or behind
    the stack."""

    forward_reads_weights: ClassVar[bool] = True
    """Whether a forward pass reads all its weights. An embedding reads only a few rows."""

    backward_reads_weights: ClassVar[bool] = True
    """Whether a backward pass reads all its weights."""

    @abstractmethod
    def weights(self) -> Iterator[Weight]:
        """Its parameter tensors, in the order in which megatron-core makes them."""

    @abstractmethod
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        """The tensors that a forward pass saves for the backward pass, on a GPU.

        Every storage counts once, however many views of it are saved. Weights do not count.
        """

    @abstractmethod
    def working(self, share: Share) -> int:
        """The most bytes that its backward pass holds at once, on top of what is saved.

        An estimate from its largest tensors.
        """

    @abstractmethod
    def operations(self, share: Share) -> Iterator[Operation]:
        """Its operations and calls in a forward pass, in order."""

    @property
    def expert_biases(self) -> int:
        """Biases of a router that are updated at the end of a step; 0 for most layers."""
        return 0

    def weight_size(self, share: Share) -> int:
        """Bytes of its weights on a rank."""
        return sum(
            weight.held(share.sharding) * (FP32 if weight.fp32 else share.element)
            for weight in self.weights()
        )
