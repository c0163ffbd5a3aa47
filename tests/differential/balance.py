"""Experts with all kinds of capacities, and routers that are balanced, as a plan assumes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import attrs
import torch
from megatron.core.transformer.moe.router import Router

from mimodsl.ir import Balance, Moe

CAPACITIES: Final = (
    (None, False),
    (0.5, False),
    (0.5, True),
    (1.0, True),
    (1.3, False),
    (1.3, True),
)
"""Capacity factors, and whether experts are padded to the capacity."""

_AHEAD: Final = 100.0
"""What is added to the logit of a chosen expert: far more than any logit of a new model."""


def with_capacity(moe: Moe, seed: int) -> Moe:
    """One of the `CAPACITIES` that these experts can have: sinkhorn balancing refuses any, and an
    expert cannot be padded to more than all tokens."""
    factor, is_padded = CAPACITIES[seed % len(CAPACITIES)]
    if moe.balance is Balance.SINKHORN:
        factor = None
    fits = factor is not None and factor * moe.topk <= moe.experts
    return attrs.evolve(moe, capacity_factor=factor, pad_to_capacity=is_padded and fits)


@contextmanager
def balanced_routers() -> Iterator[None]:
    """Have every router choose experts in turn: token t takes `topk` experts from t · topk on.

    No two experts are then chosen by numbers of tokens that differ by more than one. The logits
    stay in the graph, so a router saves and computes what it always does.
    """
    gating = Router.gating

    def in_turn(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        logits = gating(self, tokens)
        experts = logits.shape[-1]
        first = torch.arange(logits.numel() // experts).unsqueeze(1) * self.topk
        chosen = (first + torch.arange(self.topk)) % experts
        ahead = torch.zeros(chosen.shape[0], experts, dtype=logits.dtype)
        return logits + ahead.scatter_(1, chosen, _AHEAD).view_as(logits)

    with patch.object(Router, "gating", in_turn):
        yield
