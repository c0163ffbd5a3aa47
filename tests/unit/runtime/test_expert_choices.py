"""Choices of experts in a verification: what rounding decides is as on one rank, no more."""

import torch

from mimodsl.runtime.verify.expert_choices import LayerChoices, settled

SCORES = torch.tensor([[0.5, 0.9, 0.1, 0.5], [0.2, 0.4, 0.8, 0.6], [0.7, 0.3, 0.3, 0.1]])
ROUNDED = SCORES + torch.tensor([[1e-6, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2e-6, 0]])


def best(scores: torch.Tensor, topk: int, **_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.topk(scores, topk, dim=1)


def chosen(scores: torch.Tensor, model: tuple[torch.Tensor, torch.Tensor]) -> list[set[int]]:
    choice = LayerChoices(model=model)
    found, numbers = choice.get_replay_topk(scores, 2, None, None, best)
    assert torch.equal(found, scores.gather(1, numbers))
    return list(map(set, numbers.tolist()))


def test_equal_scores_are_chosen_from_as_by_the_model() -> None:
    for first, second in ((0, 1), (3, 2)):
        model = SCORES, torch.tensor([[1, first], [2, 3], [0, second]])
        assert chosen(ROUNDED, model) == [{1, first}, {2, 3}, {0, second}]


def test_clear_choices_are_its_own() -> None:
    """So that a wrong one is seen."""
    model = SCORES, torch.tensor([[1, 0], [0, 1], [0, 1]])
    assert chosen(ROUNDED, model)[1] == {2, 3}


def test_other_scores_are_no_business_of_the_model() -> None:
    model = SCORES + 0.01, torch.tensor([[2, 3], [0, 1], [3, 2]])
    plain = best(ROUNDED, 2)[1]
    assert torch.equal(settled(ROUNDED, plain, *model), plain)


def test_tokens_are_found_in_any_order() -> None:
    model = SCORES.flip(0), torch.tensor([[0, 2], [2, 3], [1, 3]])
    assert chosen(ROUNDED, model) == [{1, 3}, {2, 3}, {0, 2}]


def test_the_one_rank_writes_down_what_it_chooses() -> None:
    choice = LayerChoices()
    _, numbers = choice.get_replay_topk(SCORES, 2, None, None, best)
    ((scores, written),) = choice.made
    assert torch.equal(scores, SCORES)
    assert torch.equal(written, numbers)


def test_a_gradient_passes_to_the_scores() -> None:
    leaf = ROUNDED.clone().requires_grad_()
    found, _ = LayerChoices(model=(SCORES, best(SCORES, 2)[1])).get_replay_topk(
        leaf, 2, None, None, best
    )
    found.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.sum() == 6


def test_of_experts_in_groups_any_two_may_decide() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.500001, 0.1]])
    plain, model = torch.tensor([[0]]), (scores, torch.tensor([[2]]))
    assert torch.equal(settled(scores, plain, *model), plain)
    assert torch.equal(settled(scores, plain, *model, grouped=True), model[1])
