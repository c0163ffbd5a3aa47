"""Samples dealt to ranks, the same for every layout of the same global batch; synthetic ones, too.

The text of a synthetic sample walks through a small alphabet again and again, in an order that
depends on what its images show. The loss falls at once, because few tokens ever occur, and further
for a model that looks.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from random import Random
from typing import Any, Final, override

import torch
from attrs import evolve, frozen
from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.builder.configs import DTYPES
from mimodsl.builder.schedule import Microbatch
from mimodsl.data import Data
from mimodsl.ir.flow import Flow
from mimodsl.ir.spec import Spec

SCENES: Final = 4
"""How many things an image can show."""

LETTERS: Final = 16
"""How many token ids occur in text."""

NOISE: Final = 0.1
"""Standard deviation of the noise on an image, whose scene has 1."""


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
        placeholders = {flow.token for flow in self.spec.flows}
        vocabulary = range(self.spec.language_kind.vocabulary)
        return tuple(islice((token for token in vocabulary if token not in placeholders), LETTERS))

    def count(self, flow: Flow, step: int, index: int) -> int:  # noqa: ARG002
        """How many images of a flow one sample shows: as many as the flow says, and never more."""
        return flow.images

    @override
    def tokens(self, step: int, index: int) -> torch.Tensor:
        """One sample's token ids and the one after them, [s + 1]: placeholders, then text."""
        ids = [
            flow.token
            for flow in self.spec.flows
            for _ in range(self.count(flow, step, index) * self.spec.image_tokens(flow))
        ]
        seen = sum(scene for flow in self.spec.flows for scene in self._scenes(flow, step, index))
        walk = Random(self._key("walk", seen % SCENES)).sample(self.letters, len(self.letters))
        text = self.spec.schedule.sequence + 1 - len(ids)
        return torch.tensor(ids + [walk[position % len(walk)] for position in range(text)])

    @override
    def images(self, flow: Flow, step: int, index: int) -> torch.Tensor:
        """One sample's images of a flow, [images, *input_shape], in fp32."""
        noise = self._normal(
            self.count(flow, step, index), flow, *self._stream, "noise", step, index
        )
        scenes = [self._scene(flow, scene) for scene in self._scenes(flow, step, index)]
        return torch.stack(scenes) + NOISE * noise if scenes else noise

    @override
    def held_out(self) -> "SyntheticData":
        """Samples of a stream of their own. Without images there is only ever one text."""
        return evolve(self, stream="held out")

    def _scenes(self, flow: Flow, step: int, index: int) -> list[int]:
        random = Random(self._key(*self._stream, "scenes", flow.encoder, step, index))
        return [random.randrange(SCENES) for _ in range(self.count(flow, step, index))]

    def _scene(self, flow: Flow, scene: int) -> torch.Tensor:
        return self._normal(1, flow, "scene", scene)[0]

    def _normal(self, images: int, flow: Flow, *key: object) -> torch.Tensor:
        generator = torch.Generator("cpu")
        generator.manual_seed(Random(self._key(flow.encoder, *key)).getrandbits(63))
        shape = self.spec.encoder(flow).input_shape
        return torch.randn(images, *shape, generator=generator, device="cpu")

    @property
    def _stream(self) -> tuple[str, ...]:
        return (self.stream,) if self.stream else ()

    def _key(self, *parts: object) -> str:
        return " ".join(map(str, (self.spec.train.seed, *parts)))


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
    samples = spec.schedule.micro_batch * spec.grid_of(spec.language).size("dp")
    for number in range(spec.schedule.microbatches):
        whole = range(number * samples, (number + 1) * samples)
        yield _microbatch(data, step, whole, groups)


def _microbatch(
    data: Data, step: int, whole: range, groups: Mapping[str, ProcessGroupCollection]
) -> Microbatch:
    spec = data.spec
    here = [flow for flow in spec.flows if flow.encoder in groups]
    reader = spec.language.name if spec.language.name in groups else here[0].encoder
    own = _share(whole, groups[reader])
    return _text(data, step, own) | {
        "modality_inputs": {
            flow.encoder: _images(data, flow, step, _share(whole, groups[flow.encoder]))
            for flow in here
        }
    }


def _share(whole: range, groups: ProcessGroupCollection) -> range:
    """This rank's part of a microbatch: as many samples as any other, in order of dp rank."""
    rank, size = groups.dp.rank(), groups.dp.size()
    if len(whole) % size:
        raise ValueError(f"{len(whole)} samples a microbatch over {size} data-parallel ranks")
    each = len(whole) // size
    return whole[rank * each : (rank + 1) * each]


def _text(data: Data, step: int, samples: range) -> dict[str, Any]:
    """Tokens, labels and positions, each [b, s]. Placeholders are never a label that counts."""
    device = torch.cuda.current_device()
    tokens = torch.stack([data.tokens(step, index) for index in samples]).to(device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    placeholders = torch.tensor([flow.token for flow in data.spec.flows], device=device)
    is_text = ~torch.isin(labels, placeholders)
    return {
        "input_ids": inputs,
        "position_ids": torch.arange(inputs.size(1), device=device).expand_as(inputs),
        "attention_mask": None,
        "labels": labels.where(is_text, 0),
        "loss_mask": is_text * _loss_mask(data, step, samples).to(device),
    }


def _loss_mask(data: Data, step: int, samples: range) -> torch.Tensor:
    """How much each token bears of the loss, [b, s]."""
    ones = torch.ones(data.spec.schedule.sequence, device="cpu")
    masks = [data.loss_mask(step, index) for index in samples]
    return torch.stack([ones if mask is None else mask for mask in masks])


def _images(
    data: Data, flow: Flow, step: int, samples: range
) -> dict[str, dict[str, torch.Tensor]] | None:
    """What the samples give to an encoder: `None` where they show it nothing."""
    images = torch.cat([data.images(flow, step, index) for index in samples])
    if not len(images):
        return None
    images = images.to(torch.cuda.current_device(), DTYPES[data.spec.train.precision])
    return {flow.encoder: {"x": images}}
