"""What every layer says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from mimodsl.planner.layers.share import Saved, Share
from mimodsl.planner.layers.weight import Weight


@frozen(kw_only=True)
class Layer(ABC):
    """A part of a module with weights of its own. Its sizes are the whole layer's, before any cut.

    Equal layers have equal numbers, so that what holds of one holds of all its like.
    """

    title: ClassVar[str]
    """What tables call it."""

    stacked: ClassVar[bool] = True
    """Whether it is one of a stack's layers, which full recomputation spares, and not what is
    before or behind the stack."""

    @abstractmethod
    def weights(self) -> Iterator[Weight]:
        """Its parameter tensors, in the order in which megatron-core makes them."""

    @abstractmethod
    def saved(self, at: Share) -> Iterator[Saved]:
        """What a forward pass leaves for the backward pass, on a GPU: every storage once, however
        many views are saved of it, weights left out."""

    @abstractmethod
    def working(self, at: Share) -> int:
        """Bytes that its backward pass holds at once, at most, on top of what is saved: an estimate
        from the largest tensors of it."""
