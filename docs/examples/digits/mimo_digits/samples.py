"""Handwritten digits as samples: an image, and the sentence `this is a seven`."""

from functools import cache
from random import Random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from mimodsl import Flow, Spec
from mimodsl.data import Data

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = ("<image>", "<end>", "this", "is", "a", *DIGITS)
HELD_OUT = 320


class Digits(Data):
    """The 1,797 digits of 8 by 8 pixels that scikit-learn brings; 320 of them are held out.

    In training, samples are drawn anew in every step. Held-out ones come one after the other.
    """

    def __init__(self, spec: Spec, *, training: bool = True) -> None:
        super().__init__(spec)
        replicas = spec.grid_of(spec.language).size("dp")
        self._batch = spec.schedule.micro_batch * spec.schedule.microbatches * replicas
        self._training = training
        images, digits = _shuffled()
        here = slice(HELD_OUT, None) if training else slice(HELD_OUT)
        self._images, self._digits = images[here], digits[here]

    def tokens(self, step: int, index: int) -> Tensor:
        """Placeholders, then the sentence: with four of them 9 ids, for a `sequence` of 8."""
        digit = DIGITS[self._digits[self._drawn(step, index)]]
        (flow,) = self.spec.flows
        words = ["<image>"] * self.spec.image_tokens(flow) + ["this", "is", "a", digit, "<end>"]
        return torch.tensor([WORDS.index(word) for word in words])

    def images(self, flow: Flow, step: int, index: int) -> Tensor:  # noqa: ARG002 - there is one
        """The one image of a sample, `[1, 1, 8, 8]`, its pixels from 0 to 1."""
        return self._images[self._drawn(step, index)].reshape(1, 1, 8, 8)

    def loss_mask(self, step: int, index: int) -> Tensor:
        """The digit's word alone, which follows `a`: the accuracy is the share of digits read."""
        return (self.tokens(step, index)[:-1] == WORDS.index("a")).float()

    def held_out(self) -> "Digits":
        return Digits(self.spec, training=False)

    def _drawn(self, step: int, index: int) -> int:
        if self._training:
            return Random(f"{self.spec.train.seed} {step} {index}").randrange(len(self._digits))
        return (step * self._batch + index) % len(self._digits)


@cache
def _shuffled() -> tuple[Tensor, list[int]]:
    """All images [n, 8, 8] and what they show, in an order that is always the same."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = torch.tensor(found.images[order] / 16, dtype=torch.float32)
    return images, found.target[order].tolist()
