"""Samples of a spec dealt to ranks, and synthetic ones.

The text of a synthetic sample walks through a small alphabet again and again, in an order that
depends on what its images show. The loss falls at once, because few tokens ever occur, and further
for a model that looks.
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
    """Samples as a function of the spec's seed, the step and the sample's index, and nothing else.

    A subclass whose samples differ in how many images they show says so by `count`. Raises
    `ValueError` where the images' placeholders leave no room for text, or the vocabulary has no ids
    left for it. Samples of another `stream` show the same things by other draws.
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
        """The token ids of text: the first of the vocabulary that are no placeholder."""
        return tuple(samples(self.spec).letters)

    def count(self, flow: Flow, step: int, index: int) -> int:  # noqa: ARG002
        """How many images of a flow one sample shows: as many as the flow says, and never more."""
        return flow.images

    @override
    def tokens(self, step: int, index: int) -> Tensor:
        """One sample's token ids and the one after them, [s + 1]: placeholders, then text."""
        return self._drawn(step, index).tokens(step, index)

    @override
    def images(self, flow: Flow, step: int, index: int) -> Tensor:
        """One sample's images of a flow, [images, *input_shape], in fp32."""
        return self._drawn(step, index).images(flow.encoder, step, index)

    @override
    def held_out(self) -> "SyntheticData":
        """Samples of a stream of their own. Without images there is only ever one text."""
        return evolve(self, stream="held out")

    def _drawn(self, step: int, index: int) -> Synthetic:
        """Where a sample is drawn from, with as many images as `count` says."""
        values = samples(self.spec)
        images = {
            flow.encoder: values.images[flow.encoder]._replace(inputs=self.count(flow, step, index))
            for flow in self.spec.flows
        }
        return Synthetic(values._replace(images=images), self.stream)


class _Named(NamedTuple):
    """The samples of a spec, with encoders by name."""

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
    """This rank's share of one step, microbatch by microbatch, as `MimoModel.forward` takes it.

    `groups` are this rank's modules by name (`Assembly.process_groups`). The samples of a
    microbatch are dealt in order to the data-parallel ranks of the language model, and the same
    samples again to those of each encoder, as the bridges join and split what encoders send.

    Raises:
        ValueError: where a microbatch can't be dealt evenly to an encoder's data-parallel ranks.
    """
    spec = data.spec
    deal = Deal(
        batches=batches(spec),
        language=spec.language.name,
        placeholders={flow.encoder: flow.token for flow in spec.flows},
        dtype=imported(DTYPES[spec.train.precision]),
    )
    return dealt(_Named(data), deal, step, groups)
