"""Evaluation: forward passes alone, their mean loss, and how often the first choice is right."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from attrs import define, field, frozen
from megatron.core.models.common.language_module.language_module import LanguageModule
from megatron.core.models.mimo import MimoModel
from megatron.core.models.mimo.config.role import MIMO_LANGUAGE_MODULE_KEY
from torch import Tensor, nn

from mimodsl.builder.model import modules_of
from mimodsl.builder.schedule import Microbatch, MicrobatchSchedule


@frozen(kw_only=True)
class Evaluated:
    """What an evaluation came to, the same on every rank, over the tokens that bear a loss.

    `accuracy` is the share of them that the model gives the largest logit of the vocabulary.
    """

    loss: float
    accuracy: float
    tokens: int


def evaluate(schedule: MicrobatchSchedule, steps: Iterable[Iterable[Microbatch]]) -> Evaluated:
    """Run the microbatches of some steps forwards, without dropout; nothing else is changed.

    Collective over the world.
    """
    choices = _FirstChoices(model=schedule.model)
    with _in_evaluation(schedule.model), choices.counted():
        totals = [schedule.forward_backward(step, forward_only=True) for step in steps]
    weight = sum(one.weight for one in totals)
    tokens = sum(one.tokens for one in totals)
    return Evaluated(
        loss=sum(one.loss for one in totals) / max(weight, 1.0),
        accuracy=_summed(choices.right, schedule) / max(tokens, 1),
        tokens=tokens,
    )


@contextmanager
def _in_evaluation(model: nn.Module) -> Generator[None]:
    """Modules in evaluation for a block, and then each as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@define(kw_only=True)
class _FirstChoices:
    """Counts, on the last stage, the tokens whose label has the largest logit.

    megatron-core gives a loss or logits, but not both: so the function that has labels and
    logits is watched (models/common/language_module/language_module.py,
    "def compute_language_model_loss").
    """

    model: MimoModel
    right: list[Tensor] = field(factory=list[Tensor], init=False)
    _hits: list[Tensor] = field(factory=list[Tensor], init=False)

    @contextmanager
    def counted(self) -> Generator[None]:
        language: nn.Module | None = modules_of(self.model).get(MIMO_LANGUAGE_MODULE_KEY)
        if language is None:
            yield
            return
        inner: Any = next(part for part in language.modules() if isinstance(part, LanguageModule))
        losses = inner.compute_language_model_loss

        def watched(labels: Tensor, logits: Tensor) -> Tensor:
            self._hits.append(_hits(labels, logits, inner.pg_collection.tp))
            return losses(labels, logits)

        inner.compute_language_model_loss = watched
        hook = self.model.register_forward_hook(self._count)
        try:
            yield
        finally:
            hook.remove()
            del inner.compute_language_model_loss

    def _count(self, model: nn.Module, inputs: Any, outputs: tuple[Any, Any]) -> None:  # noqa: ARG002
        """Weigh the hits of a pass by its loss mask [b, s], which comes with its losses."""
        if self._hits:
            self.right.append((self._hits.pop() * outputs[1]).sum())


def _hits(labels: Tensor, logits: Tensor, tp: dist.ProcessGroup) -> Tensor:
    """Whether each label, of [b, s], has the largest of its logits, [s, b, v / tp].

    Collective over tp.
    """
    size = logits.size(-1)
    local = labels.transpose(0, 1) - tp.rank() * size
    here = (local >= 0) & (local < size)
    own = logits.gather(-1, local.clamp(0, size - 1).unsqueeze(-1)).squeeze(-1)
    pair = torch.stack([logits.amax(-1), own.masked_fill(~here, -torch.inf)]).float()
    dist.all_reduce(pair, op=dist.ReduceOp.MAX, group=tp)  # pyright: ignore[reportUnknownMemberType]
    largest, label = pair
    return (label >= largest).transpose(0, 1)


def _summed(right: list[Tensor], schedule: MicrobatchSchedule) -> float:
    """The counts of all replicas, each of which every tp rank has. Collective over the world."""
    language = schedule.groups.get(MIMO_LANGUAGE_MODULE_KEY)
    total = torch.zeros((), dtype=torch.float64, device=torch.cuda.current_device())
    if right and language is not None and language.layers.tp.rank() == 0:
        total += torch.stack(right).double().sum()
    dist.all_reduce(total)  # pyright: ignore[reportUnknownMemberType]
    return float(total)
