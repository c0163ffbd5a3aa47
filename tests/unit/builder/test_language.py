"""Language models on one CPU rank: they build, train, and see no future token."""

import attrs
import pytest
import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.spec_utils import build_module
from torch import Tensor, nn

from mimodsl.ir import Dispatcher, LanguageModel, Precision
from tests.unit.builder.built import language_spec
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE, MOE_GPT, spec
from tests.unit.builder.unwrapped import left_to_autograd

KINDS = {
    "hybrid": HYBRID,
    "dense gpt": DENSE_GPT,
    "moe gpt": MOE_GPT,
    "overlapped shared experts": attrs.evolve(HYBRID, moe=attrs.evolve(MOE, shared_overlap=True)),
    "dropping": attrs.evolve(
        HYBRID, moe=attrs.evolve(MOE, capacity_factor=1.0, pad_to_capacity=True)
    ),
    "experts with biases": attrs.evolve(MOE_GPT, bias=True, moe=attrs.evolve(MOE, shared_ffn=None)),
    "fp32 residual": attrs.evolve(HYBRID, residual_fp32=True),
}
PRECISIONS = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}
# Mamba's decay and skip, as in ssm/mamba_mixer.py:411,421.
FP32_ALWAYS = ("A_log", "mixer.D")


def losses(model: nn.Module, tokens: Tensor) -> Tensor:
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    return model(
        input_ids=tokens, position_ids=positions, attention_mask=None, labels=tokens.roll(-1, 1)
    )


def tokens(batch: int = 2) -> Tensor:
    return torch.randint(0, 512, (batch, 32), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_parameter_learns(
    groups: ProcessGroupCollection, kind: LanguageModel, precision: Precision
) -> None:
    model = build_module(language_spec(spec(kind, precision=precision), groups))
    loss = losses(left_to_autograd(model), tokens())
    assert loss.shape == (2, 32)
    assert loss.dtype == torch.float32
    loss.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        expected = torch.float32 if name.endswith(FP32_ALWAYS) else PRECISIONS[precision]
        assert parameter.dtype == expected, name


@pytest.mark.parametrize("kind", [HYBRID, DENSE_GPT, MOE_GPT], ids=["hybrid", "dense", "moe"])
def test_no_token_sees_the_future(groups: ProcessGroupCollection, kind: LanguageModel) -> None:
    model = build_module(language_spec(spec(kind), groups))
    first = tokens()
    second = first.clone()
    second[:, 20:] = (second[:, 20:] + 1) % 512
    before, after = losses(model, first), losses(model, second)
    torch.testing.assert_close(before[:, :19], after[:, :19])
    assert (before[:, 20:] - after[:, 20:]).abs().max() > 1e-3


def test_a_few_steps_fit_a_sample(groups: ProcessGroupCollection) -> None:
    model = left_to_autograd(build_module(language_spec(spec(HYBRID), groups)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    sample, seen = tokens(1), []
    for _ in range(8):
        loss = losses(model, sample).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < seen[0] - 1.0


def test_embeddings_stand_in_for_tokens(groups: ProcessGroupCollection) -> None:
    model = build_module(language_spec(spec(HYBRID), groups))
    ids = tokens()
    positions = torch.arange(32).expand_as(ids)
    embedded = model.embedding(input_ids=ids, position_ids=positions)
    loss = model(
        input_ids=None,
        position_ids=positions,
        attention_mask=None,
        decoder_input=embedded,
        labels=ids.roll(-1, 1),
    )
    torch.testing.assert_close(loss, losses(model, ids))


@pytest.mark.parametrize("kind", [HYBRID, DENSE_GPT, MOE_GPT], ids=["hybrid", "dense", "moe"])
def test_checkpoint_keys_cover_the_parameters(
    groups: ProcessGroupCollection, kind: LanguageModel
) -> None:
    model = build_module(language_spec(spec(kind), groups))
    sharded = model.sharded_state_dict(metadata={"dp_cp_group": groups.dp_cp})
    assert {name for name, _ in model.named_parameters()} <= sharded.keys()


class Stage:
    """A pipeline group, as far as a spec looks at it."""

    def __init__(self, rank: int, size: int) -> None:
        self._rank, self._size = rank, size

    def rank(self) -> int:
        return self._rank

    def size(self) -> int:
        return self._size


@pytest.mark.parametrize(
    ("stage", "first", "last"), [(0, True, False), (1, False, False), (2, False, True)]
)
def test_the_stage_says_what_is_built(stage: int, first: bool, last: bool) -> None:
    kind = attrs.evolve(MOE_GPT, layers=6)
    params = language_spec(spec(kind), ProcessGroupCollection(pp=Stage(stage, 3))).params
    assert (params["pre_process"], params["post_process"]) == (first, last)


def test_an_allgather_dispatcher_is_refused(groups: ProcessGroupCollection) -> None:
    moe = attrs.evolve(MOE, dispatcher=Dispatcher.ALLGATHER)
    with pytest.raises(ValueError, match="variable sequence length"):
        language_spec(spec(attrs.evolve(HYBRID, moe=moe)), groups)
