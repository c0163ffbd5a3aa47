"""The interface of training data: samples by step and index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mimodsl.ir.flow import Flow
    from mimodsl.ir.spec import Spec


class Data(ABC):
    """Samples that depend only on the step and on the index in the step's global batch.

    So the batch of a step is the same in every layout, and a run that resumes from a checkpoint
    reads the same samples as an uninterrupted run. Each rank asks for the samples that it reads:
    all stages of a language model read the text, encoders read the images. Steps and indices count
    from 0; `s` is the `sequence` of the schedule. Tensors are on the CPU.

    `mimodsl build --data module:function` calls the function, or such a class, with the spec.
    """

    spec: Spec

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @abstractmethod
    def tokens(self, step: int, index: int) -> Tensor:
        """The token ids of one sample and the id after them, integers [s + 1].

        For each image of a flow, in order, the sample has as many placeholders (`flow.token`) as
        the flow's encoder emits tokens.
        """

    @abstractmethod
    def images(self, flow: Flow, step: int, index: int) -> Tensor:
        """The images of one sample for a flow's encoder, [images, *input_shape]; may be empty.

        `spec.encoder(flow)` has the `input_shape`. Never called for a spec without flows.
        """

    def loss_mask(self, step: int, index: int) -> Tensor | None:  # noqa: ARG002
        """The weight of each token in the loss, [s]; entry i is for the prediction of token i + 1.

        `None` means equal weights. Placeholders never have a weight.
        """
        return None

    def held_out(self) -> Data | None:
        """Samples for evaluation that are never trained on; `None` if there are none."""
        return None
