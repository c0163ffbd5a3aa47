"""Makes a layout choose the experts that one rank chose, where rounding decides the choice."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from attrs import define, field
from megatron.core.transformer.moe.router import TopKRouter
from torch import Tensor, nn

NEAR: Final = 1e-3
"""How far apart scores are that rounding may make of one, relative to the largest. Those of a token
are about 1e-6, and where Mamba's products are in tf32 about 1e-4."""

type _TopK = Callable[..., tuple[Tensor, Tensor]]


@define(kw_only=True)
class LayerChoices:
    """Stands where a router has megatron-core's RouterReplay (transformer/moe/router_replay.py),
    and is asked for the experts of every token.

    A token that other sums send to other experts trains others, and gradients part by far more than
    rounding. So the one rank writes down scores and choices, and a rank of a layout does with a
    token whose scores lie close together as was done with the token of the same scores. All else it
    chooses itself: wrong scores, or a wrong choice between different ones, are seen.
    """

    made: list[tuple[Tensor, Tensor]] = field(factory=list[tuple[Tensor, Tensor]])
    model: tuple[Tensor, Tensor] | None = None

    def get_replay_topk(
        self,
        scores: Tensor,
        topk: int,
        num_groups: int | None,
        group_topk: int | None,
        default_compute_topk: _TopK,
    ) -> tuple[Tensor, Tensor]:
        """Scores `[t, experts]` to those of the chosen, and their numbers, `[t, topk]`."""
        _, chosen = default_compute_topk(scores, topk, num_groups=num_groups, group_topk=group_topk)
        if self.model is None:
            self.made.append((scores.detach().cpu(), chosen.cpu()))
        elif topk < scores.size(1):
            chosen = settled(scores.detach(), chosen, *self.model, grouped=num_groups is not None)
        return scores.gather(1, chosen), chosen


def settled(
    scores: Tensor,
    chosen: Tensor,
    model_scores: Tensor,
    model_chosen: Tensor,
    *,
    grouped: bool = False,
) -> Tensor:
    """The choices, with those of the model for tokens of which it has the scores, up to rounding.

    Where the last that is chosen and the first that is not are far apart, rounding has no say, and
    the choice stands; of experts in groups any two may be what decides.
    """
    near = NEAR * scores.abs().amax()
    ranked = scores.sort(dim=1, descending=True).values
    gaps, last = ranked[:, :-1] - ranked[:, 1:], chosen.size(1) - 1
    gaps = gaps if grouped else gaps[:, last : last + 1]
    close = (gaps < near).any(1).nonzero().squeeze(1)
    if not len(close):
        return chosen
    model = model_scores.to(scores)
    distance, same = torch.cdist(scores[close], model, p=float("inf")).min(1)
    known = distance < near
    chosen = chosen.clone()
    chosen[close[known]] = model_chosen.to(chosen)[same[known]]
    return chosen


class RouterChoices:
    """The choices of all routers of a rank's model, by layer, step by step."""

    def __init__(self, model: nn.Module) -> None:
        self._layers: dict[int, LayerChoices] = {}
        for router in model.modules():
            if isinstance(router, TopKRouter):
                held: Any = router
                held.router_replay = self._layers[held.layer_number] = LayerChoices()

    @contextmanager
    def in_step(self, path: Path, *, alone: bool) -> Generator[None]:
        """For the length of a step, choose as is written there, or, `alone`, write it down."""
        if not alone:
            self._follow(path)
        yield
        if alone:
            self._write(path)

    def _follow(self, path: Path) -> None:
        written = torch.load(path, mmap=True)
        for number, layer in self._layers.items():
            layer.model = written[number]

    def _write(self, path: Path) -> None:
        written: dict[int, tuple[Tensor, Tensor]] = {}
        for number, layer in self._layers.items():
            scores, chosen = zip(*layer.made, strict=True)
            written[number] = torch.cat(scores), torch.cat(chosen)
            layer.made.clear()
        torch.save(written, path)
