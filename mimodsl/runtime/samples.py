"""Synthetic samples, and the dealing of samples to ranks: the same for every layout of a batch.

Exported scripts hold these definitions, too: they take plain values, and no spec.
"""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final, NamedTuple, Protocol

import torch
from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.planner.program.values import Batches, Samples

SCENES: Final = 4
"""How many things an image can show."""

NOISE: Final = 0.1
"""Standard deviation of the noise on an image, whose scene has 1."""


class Source(Protocol):
    """Samples by step and index, as `mimodsl.data.Data` has them, with encoders by name."""

    def tokens(self, step: int, index: int) -> torch.Tensor:
        """One sample's token ids and the one after them, [s + 1]."""
        ...

    def images(self, encoder: str, step: int, index: int) -> torch.Tensor:
        """One sample's images for an encoder, [images, *shape]."""
        ...

    def loss_mask(self, step: int, index: int) -> torch.Tensor | None:
        """How much each token bears of the loss, [s]; `None` for all alike."""
        ...


class Synthetic(NamedTuple):
    """Samples as a function of the seed, the step and the sample's index, and nothing else.

    Text walks through the letters again and again, in an order that depends on what the images
    show. Samples of another `stream` show the same things by other draws.
    """

    samples: Samples
    stream: str = ""

    def tokens(self, step: int, index: int) -> torch.Tensor:
        """One sample's token ids and the one after them, [s + 1]: placeholders, then text."""
        shown, letters = self.samples.images, self.samples.letters
        ids = [each.token for each in shown.values() for _ in range(each.inputs * each.tokens)]
        seen = sum(scene for encoder in shown for scene in self._scenes(encoder, step, index))
        walk = Random(self._key("walk", seen % SCENES)).sample(letters, len(letters))
        text = self.samples.sequence + 1 - len(ids)
        return torch.tensor(ids + [walk[position % len(walk)] for position in range(text)])

    def images(self, encoder: str, step: int, index: int) -> torch.Tensor:
        """One sample's images for an encoder, [images, *shape], in fp32: scenes and some noise."""
        count = self.samples.images[encoder].inputs
        noise = self._normal(count, encoder, *self._stream, "noise", step, index)
        scenes = [
            self._normal(1, encoder, "scene", scene)[0]
            for scene in self._scenes(encoder, step, index)
        ]
        return torch.stack(scenes) + NOISE * noise if scenes else noise

    def loss_mask(self, step: int, index: int) -> None:
        """All tokens bear the loss alike."""

    def _scenes(self, encoder: str, step: int, index: int) -> list[int]:
        random = Random(self._key(*self._stream, "scenes", encoder, step, index))
        return [random.randrange(SCENES) for _ in range(self.samples.images[encoder].inputs)]

    def _normal(self, images: int, encoder: str, *key: object) -> torch.Tensor:
        generator = torch.Generator("cpu")
        generator.manual_seed(Random(self._key(encoder, *key)).getrandbits(63))
        shape = self.samples.images[encoder].shape
        return torch.randn(images, *shape, generator=generator, device="cpu")

    @property
    def _stream(self) -> tuple[str, ...]:
        return (self.stream,) if self.stream else ()

    def _key(self, *parts: object) -> str:
        return " ".join(map(str, (self.samples.seed, *parts)))


class Deal(NamedTuple):
    """How a step's samples reach the ranks.

    `language` is the language model's name among the groups, `placeholders` the token of each
    encoder, and `dtype` that of images.
    """

    batches: Batches
    language: str
    placeholders: dict[str, int]
    dtype: Any


def dealt(
    source: Source, deal: Deal, step: int, groups: Mapping[str, ProcessGroupCollection]
) -> Iterator[dict[str, Any]]:
    """This rank's share of one step, microbatch by microbatch, as `MimoModel.forward` takes it.

    `groups` are this rank's modules by name. The samples of a microbatch are dealt in order to the
    data-parallel ranks of the language model, and the same samples again to those of each encoder,
    as the bridges join and split what encoders send.

    Raises:
        ValueError: where a microbatch can't be dealt evenly to an encoder's data-parallel ranks.
    """
    here = [encoder for encoder in deal.placeholders if encoder in groups]
    reader = deal.language if deal.language in groups else here[0]
    samples = deal.batches.micro_batch * deal.batches.replicas
    for number in range(deal.batches.microbatches):
        batch = range(number * samples, (number + 1) * samples)
        text = _text(source, deal, step, _share(batch, groups[reader]))
        yield text | {
            "modality_inputs": {
                encoder: _images(source, deal, encoder, step, _share(batch, groups[encoder]))
                for encoder in here
            }
        }


def _share(batch: range, groups: ProcessGroupCollection) -> range:
    """This rank's part of a microbatch: as many samples as any other, in order of dp rank."""
    rank, size = groups.dp.rank(), groups.dp.size()
    if len(batch) % size:
        raise ValueError(f"{len(batch)} samples a microbatch over {size} data-parallel ranks")
    each = len(batch) // size
    return batch[rank * each : (rank + 1) * each]


def _text(source: Source, deal: Deal, step: int, samples: range) -> dict[str, Any]:
    """Tokens, labels and positions, each [b, s]. Placeholders are never a label that counts."""
    device = torch.cuda.current_device()
    tokens = torch.stack([source.tokens(step, index) for index in samples]).to(device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    placeholders = torch.tensor(list(deal.placeholders.values()), device=device)
    is_text = ~torch.isin(labels, placeholders)
    return {
        "input_ids": inputs,
        "position_ids": torch.arange(inputs.size(1), device=device).expand_as(inputs),
        "attention_mask": None,
        "labels": labels.where(is_text, 0),
        "loss_mask": is_text * _loss_mask(source, deal, step, samples).to(device),
    }


def _loss_mask(source: Source, deal: Deal, step: int, samples: range) -> torch.Tensor:
    """How much each token bears of the loss, [b, s]."""
    ones = torch.ones(deal.batches.sequence, device="cpu")
    masks = [source.loss_mask(step, index) for index in samples]
    return torch.stack([ones if mask is None else mask for mask in masks])


def _images(
    source: Source, deal: Deal, encoder: str, step: int, samples: range
) -> dict[str, dict[str, torch.Tensor]] | None:
    """What the samples give to an encoder: `None` where they show it nothing."""
    images = torch.cat([source.images(encoder, step, index) for index in samples])
    if not len(images):
        return None
    return {encoder: {"x": images.to(torch.cuda.current_device(), deal.dtype)}}
