"""What a package or a script of one's own gives to train on: samples, by step and index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mimodsl.ir.flow import Flow
    from mimodsl.ir.spec import Spec


class Data(ABC):
    """Samples as a function of a step and of an index in its global batch, and of nothing else.

    So the batch of a step is the same in every layout, and a run that goes on from a checkpoint
    sees what it would have seen. Each rank asks for the samples that it reads: the text of all
    stages of a language model, the images of encoders. Steps and indices count from 0; `s` is the
    `sequence` of the schedule. Tensors are on the CPU.

    `mimodsl build --data module:function` calls the function, or such a class, with the spec.
    """

    spec: Spec

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @abstractmethod
    def tokens(self, step: int, index: int) -> Tensor:
        """One sample's token ids and the one after them, integers [s + 1].

        For every image of a flow, in order, stand as many of its placeholders (`flow.token`) as its
        encoder emits tokens.
        """

    @abstractmethod
    def images(self, flow: Flow, step: int, index: int) -> Tensor:
        """What one sample shows to a flow's encoder, [images, *input_shape], perhaps none.

        `spec.encoder(flow)` knows the `input_shape`. Not asked where there are no flows.
        """

    def loss_mask(self, step: int, index: int) -> Tensor | None:  # noqa: ARG002
        """How much each token bears of the loss, [s]: entry i that of predicting token i + 1.

        `None` for all alike. Placeholders bear none, whatever it says.
        """
        return None

    def held_out(self) -> Data | None:
        """Samples to evaluate on, none of which is ever trained on; `None` where there are none."""
        return None
