"""What every layer says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from mimodsl.plan.layers.weight import Weight


@frozen(kw_only=True)
class Layer(ABC):
    """A part of a module with weights of its own. Its sizes are the whole layer's, before any cut.

    Equal layers have equal numbers, so that what holds of one holds of all its like.
    """

    title: ClassVar[str]
    """What tables call it."""

    @abstractmethod
    def weights(self) -> Iterator[Weight]:
        """Its parameter tensors, in the order in which megatron-core makes them."""
