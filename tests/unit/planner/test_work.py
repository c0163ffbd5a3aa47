"""Operations and traffic, by hand where a formula can be written down."""

from math import ceil

import attrs
import pytest

from mimodsl.ir import Attention, Gpt, Mamba, Moe, Recompute, Spec
from mimodsl.planner.calls import Call, CallGroup, CallKind, Purpose
from mimodsl.planner.layers import MoeLayer
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.share import whole_share
from mimodsl.planner.stack import module_layers
from mimodsl.planner.step import step_work
from mimodsl.planner.timing import StageTimes, step_time
from mimodsl.planner.traffic.step import rank_traffic
from mimodsl.planner.work.count import Flops
from mimodsl.planner.work.module import module_work, whole_work
from mimodsl.planner.work.stage import rank_work
from tests.unit.planner.specs import GPT, HYBRID, PIPELINE, SHARED, SIDE_BY_SIDE, WIDE, alone, vlm


def of_language(spec: Spec) -> Flops:
    return whole_work(plan(spec).modules[spec.language.name]).flops


def test_a_dense_decoder_takes_what_megatron_lm_s_formula_says() -> None:
    """num_floating_point_operations (Megatron-LM megatron/training/training.py), dense and GQA."""
    attention = Attention(heads=4, kv_groups=2, head_dim=48)
    kind = attrs.evolve(GPT, attention=attention, ffn=320)
    b, s, h, layers, vocabulary = 1, 64, 128, 6, 512
    query = 4 * 48 / h
    per_layer = 4 * b * s * h * query * (h + h * 2 / 4 + s / 2) + 4 * b * s * h * 320
    forward = layers * per_layer + 2 * b * s * h * vocabulary
    spec = alone({"dp": 1}, language=kind)
    assert of_language(spec).model == 3 * forward


def test_a_pattern_takes_what_megatron_lm_s_formula_says_but_for_the_scan_and_the_router() -> None:
    """There a scan takes 7 · d · n a token, and a router nothing."""
    mamba = Mamba(heads=4, head_dim=64, state=32, groups=2)
    moe = Moe(experts=8, topk=2, ffn=96, shared_ffn=160)
    kind = attrs.evolve(HYBRID, pattern="ME", mamba=mamba, moe=moe)
    spec = alone({"dp": 1}, language=kind)
    h, inner, tokens, chunk = 128, 256, 64, 64
    projected = 2 * inner + 2 * 2 * 32 + 4
    scan = 2 * chunk * 2 * 32 + 4 * 32 * inner + chunk * inner
    per_token = (
        2 * h * projected + scan + 2 * inner * h + 2 * h * 8 + 4 * h * (2 * 96 + 160) + 2 * h * 512
    )
    assert of_language(spec).forward == tokens * per_token


def test_layouts_share_the_work_of_a_model_between_them() -> None:
    for spec in (PIPELINE, SIDE_BY_SIDE, SHARED):
        work = step_work(plan(spec))
        together = sum(stage.flops.model * len(stage.ranks) for stage in work.stages)
        assert together == work.model


def test_recomputation_costs_a_forward_pass_and_is_no_model_work() -> None:
    plain, selective, full = (
        of_language(alone({"dp": 1}, language=attrs.evolve(GPT, recompute=each)))
        for each in Recompute
    )
    assert plain.model == selective.model == full.model
    core = 6 * 2 * 64 * 64 * 128  # six layers of two masked products of 64 by 64 tokens
    logits = 2 * 64 * 128 * 512
    assert selective.extra - plain.extra == core
    assert full.extra - plain.extra == full.forward - logits


def test_frozen_modules_take_no_gradients_of_weights() -> None:
    frozen = plan(SIDE_BY_SIDE).rank(0)
    vision, projector = rank_work(plan(SIDE_BY_SIDE), frozen.rank)
    assert (vision.flops.backward, vision.flops.extra) == (0, 0)
    # The first linear of the projector has no gradient to hand on, and computes it all the same.
    first, second = (one.flops for one in projector.operations)
    assert (first.backward, first.extra) == (first.forward, first.forward)
    assert (second.backward, second.extra) == (2 * second.forward, 0)


def test_capacity_drops_tokens_and_padding_adds_them() -> None:
    moe = Moe(experts=8, topk=2, ffn=64, capacity_factor=0.5)
    room = ceil(100 * 2 / 8 * 0.5) * 8
    assert routed_rows(moe, 100) == room
    assert routed_rows(attrs.evolve(moe, capacity_factor=2.0), 100) == 200
    padded = attrs.evolve(moe, capacity_factor=2.0, pad_to_capacity=True)
    assert routed_rows(padded, 100) == 400
    assert routed_rows(attrs.evolve(moe, capacity_factor=None), 100) == 200


def routed_rows(moe: Moe, tokens: int) -> int:
    spec = alone({"dp": 1}, language=attrs.evolve(GPT, moe=moe))
    language = plan(spec).modules[spec.language.name]
    share = attrs.evolve(whole_share(language), length=tokens)
    layers = module_layers(language)
    layer = next(layer for layer in layers if isinstance(layer, MoeLayer))
    return layer.routed_rows(share)


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        (CallKind.ALL_REDUCE, 1500),
        (CallKind.ALL_GATHER, 750),
        (CallKind.REDUCE_SCATTER, 750),
        (CallKind.ALL_TO_ALL, 750),
        (CallKind.BROADCAST, 1000),
        (CallKind.SEND, 1000),
    ],
)
def test_a_ring_of_four_moves(kind: CallKind, wire: int) -> None:
    call = Call(
        group=CallGroup(name="g", members=4, purpose=Purpose.TENSOR), kind=kind, size=500, times=2
    )
    assert (call.bytes, call.wire, call.sent) == (1000, wire, wire)
    assert call.received == (0 if kind is CallKind.SEND else wire)


def test_ring_attention_passes_keys_and_values_around() -> None:
    kind = attrs.evolve(GPT, attention=Attention(heads=4, kv_groups=2))
    traffic = rank_traffic(plan(alone({"cp": 4}, language=kind, microbatches=1)), 0)
    shard = 2 * (64 // 4) * 2 * 32 * 2  # keys and values of 16 tokens in bf16
    assert traffic.sent(Purpose.CONTEXT) == 6 * (4 - 1) * (1 + 2) * shard


def test_the_pipeline_sends_along_its_group_and_of_two_stages_back_over_the_world() -> None:
    shape, tensor = 24, 32 * 2 * 128 * 2
    first, last = (rank_traffic(plan(PIPELINE), rank) for rank in (4, 6))
    assert over(first, "llm.pp") == (4 * (shape + tensor), 4 * shape)
    assert over(first, "world") == (0, 4 * tensor)
    assert over(last, "llm.pp") == (4 * shape, 4 * (shape + tensor))
    assert over(last, "world") == (4 * tensor, 0)


def over(traffic: object, name: str) -> tuple[int, int]:
    (group,) = (
        one
        for one in traffic.groups  # type: ignore[attr-defined]
        if one.group == name and one.purpose is Purpose.PIPELINE
    )
    return group.sent, group.received


def test_every_group_is_one_that_the_plan_makes() -> None:
    for spec in (PIPELINE, SIDE_BY_SIDE, SHARED, vlm(encoder={"dp": 4}, dense={"dp": 2})):
        planned = plan(spec)
        for rank in range(spec.world):
            sizes = {group.name: len(own) for group, own in planned.rank(rank).groups}
            sizes["world"] = spec.world
            for group in rank_traffic(planned, rank).groups:
                assert group.members == sizes[group.group] > 1


def test_equal_stages_wait_as_long_as_the_textbook_says() -> None:
    for stages, microbatches in ((1, 5), (2, 4), (4, 8), (8, 3), (16, 64)):
        time = step_time([[StageTimes(forward=1, backward=2)]] * stages, microbatches)
        bubble = (stages - 1) / (microbatches + stages - 1)
        assert 1 - 3 * microbatches / time == pytest.approx(bubble)


def test_a_slow_stage_sets_the_pace() -> None:
    fast, slow = [StageTimes(forward=1, backward=1)], [StageTimes(forward=5, backward=10)]
    # The first pass reaches the slow stage after 1; its last backward pass ends 1 before the end.
    assert step_time([fast, slow], 8) == 1 + 8 * 15 + 1
    assert step_time([slow, fast], 1) == 5 + 1 + 1 + 10


def test_long_steps_are_followed_in_part() -> None:
    stages = [[StageTimes(forward=2, backward=4)], [StageTimes(forward=3, backward=5)]]
    assert step_time(stages, 10**9) == pytest.approx(8 * 10**9, rel=1e-6)
    long, longer = (step_time(stages, number) for number in (10**5, 10**5 + 1))
    assert longer - long == 8


def test_a_wide_world_is_worked_out_from_a_few_of_its_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    ask = Plan.rank

    def rank(planned: Plan, number: int) -> object:
        asked.append(number)
        return ask(planned, number)

    monkeypatch.setattr(Plan, "rank", rank)
    assert step_work(plan(WIDE)).model > 0
    assert len(asked) <= 4 * plan(WIDE).stages


def test_experts_gather_every_weight_once_more() -> None:
    """megatron-core's two optimizers of a module each gather all of it."""
    moe = Moe(experts=4, topk=1, ffn=64)
    spec = alone({"dp": 2}, language=attrs.evolve(GPT, moe=None))
    mixed = vlm(
        encoder={"dp": 2},
        dense={"dp": 4},
        expert={"ep": 2, "edp": 2, "pp": None},
        language=Gpt(hidden=128, vocabulary=512, layers=2, attention=GPT.attention, moe=moe),
    )
    assert gathers(spec, 0) == {"llm.dp-cp": 1}
    assert gathers(mixed, 2) == {"llm.dp-cp": 2, "llm.expert.edp": 2}


def gathers(spec: Spec, rank: int) -> dict[str, int]:
    return {
        call.group.name: call.times
        for call in rank_traffic(plan(spec), rank).calls
        if call.group.purpose is Purpose.REPLICAS and call.kind is CallKind.ALL_GATHER
    }


def test_a_microbatch_takes_as_much_wherever_its_replica_lies() -> None:
    planned = plan(SHARED)
    works = {
        module_work(role).flops
        for rank in range(SHARED.world)
        for role in planned.rank(rank).modules
        if role.name == "language"
    }
    assert len(works) == 1
