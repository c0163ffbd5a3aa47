"""Deals the samples of a spec to ranks, and makes synthetic samples.

The text of a synthetic sample repeats a small alphabet, in an order that depends on its images. The
loss falls at once, because only few tokens occur. It falls further if the model uses the images.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, override

from attrs import evolve, frozen
from megatron.core.process_groups_config import ProcessGroupCollection
from torch import Tensor

from mimodsl.builder.program import imported
from mimodsl.builder.schedule import Microbatch
from mimodsl.data import Data
from mimodsl.ir.flow import Flow
from mimodsl.ir.spec import Spec
from mimodsl.planner.program.common import DTYPES
from mimodsl.planner.program.samples import batches, samples
from mimodsl.runtime.samples import Deal, Synthetic, dealt


@frozen(kw_only=True)
class SyntheticData(Data):
    """Samples that depend only on the spec's seed, the step and the index of the sample.

    A subclass whose samples have different numbers of images overrides `count`. Samples of another
    `stream` show the same scenes with other random numbers. Raises `ValueError` if the placeholders
    of images leave no room for text, or if the vocabulary has no ids for it.
    """

    spec: Spec
    stream: str = ""

    def __attrs_post_init__(self) -> None:
        sequence = self.spec.schedule.sequence
        taken = sum(self.spec.sample_tokens(flow) for flow in self.spec.flows)
        if taken >= sequence:
            raise ValueError(f"{taken} image tokens leave no room for text in {sequence} tokens")
        if not self.letters:
            raise ValueError("the vocabulary has no ids besides the placeholders")

    @property
    def letters(self) -> tuple[int, ...]:
        """The token ids of text: the first ids of the vocabulary that are not placeholders."""
        return tuple(samples(self.spec).letters)

    def count(self, flow: Flow, step: int, index: int) -> int:  # noqa: ARG002
        """The number of images that a sample has for a flow: at most `flow.images`."""
        return flow.images

    @override
    def tokens(self, step: int, index: int) -> Tensor:
        """The token ids of a sample and the id after them, [s + 1]: placeholders, then text."""
        return self._drawn(step, index).tokens(step, index)

    @override
    def images(self, flow: Flow, step: int, index: int) -> Tensor:
        """The images of a sample for a flow, [images, *input_shape], in fp32."""
        return self._drawn(step, index).images(flow.encoder, step, index)

    @override
    def held_out(self) -> "SyntheticData":
        """Samples of another stream. Without images, all samples have the same text."""
        return evolve(self, stream="held out")

    def _drawn(self, step: int, index: int) -> Synthetic:
        """The source of one sample, with `count` images for each flow."""
        values = samples(self.spec)
        images = {
            flow.encoder: values.images[flow.encoder]._replace(inputs=self.count(flow, step, index))
            for flow in self.spec.flows
        }
        return Synthetic(values._replace(images=images), self.stream)


class _ByEncoderName(NamedTuple):
    """The samples of a spec, for functions that know encoders by name."""

    data: Data

    def tokens(self, step: int, index: int) -> Tensor:
        return self.data.tokens(step, index)

    def images(self, encoder: str, step: int, index: int) -> Tensor:
        flow = next(flow for flow in self.data.spec.flows if flow.encoder == encoder)
        return self.data.images(flow, step, index)

    def loss_mask(self, step: int, index: int) -> Tensor | None:
        return self.data.loss_mask(step, index)


def microbatches(
    data: Data, step: int, groups: Mapping[str, ProcessGroupCollection]
) -> Iterator[Microbatch]:
    """This rank's samples of one step, by microbatch, in the form that `MimoModel.forward` takes.

    `groups` are the process groups of this rank's modules (`Assembly.process_groups`). The
    data-parallel ranks of the language model get the samples of a microbatch in order. Those of
    each encoder get the same samples in the same order, since bridges join and split them so.

    Raises:
        ValueError: if the samples of a microbatch do not divide over an encoder's data-parallel
            ranks.
    """
    spec = data.spec
    deal = Deal(
        batches=batches(spec),
        language=spec.language.name,
        placeholders={flow.encoder: flow.token for flow in spec.flows},
        dtype=imported(DTYPES[spec.train.precision]),
    )
    return dealt(_ByEncoderName(data), deal, step, groups)
