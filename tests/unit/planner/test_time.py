"""The least time of a step, by hand where it can be written down."""

from math import inf
from pathlib import Path
from random import Random

import attrs
import pytest

import mimodsl
from mimodsl.ir import (
    Beside,
    Ddp,
    Flow,
    Grid,
    MlpProjector,
    Module,
    Moe,
    Precision,
    Recompute,
    Spec,
)
from mimodsl.planner.calls import WORLD, Call, CallGroup, CallKind, Purpose
from mimodsl.planner.memory import activation_memory, gradient_buffers
from mimodsl.planner.parameters import module_parameters
from mimodsl.planner.plan import plan
from mimodsl.planner.step import step_work
from mimodsl.planner.time import ACCELERATORS, Accelerator, Least, StepTime, least_time
from mimodsl.planner.time.interconnect import Interconnect
from mimodsl.planner.timing import StageTimes, step_time
from mimodsl.show.numbers import duration
from tests.differential.specs import sound_spec
from tests.unit.planner.specs import GPT, PIPELINE, RADIO, SHARED, SIDE_BY_SIDE, alone, vlm

H100 = ACCELERATORS["h100"]
FREE = Accelerator(
    name="free",
    half=inf,
    single=inf,
    memory=0,
    bandwidth=inf,
    link=inf,
    network=inf,
    source="nothing takes any time",
)
PRODUCTION = Path(__file__).parents[3] / "specs" / "nemotron_3_nano_vlm.mimo"


def timed(spec: Spec, **limits: float) -> StepTime:
    """On a GPU that nothing but these holds up."""
    return least_time(plan(spec), attrs.evolve(FREE, **limits))


@pytest.mark.parametrize("gpu", ACCELERATORS.values(), ids=ACCELERATORS)
def test_gpus_are_told_apart_by_plausible_numbers(gpu: Accelerator) -> None:
    assert gpu.source
    assert 0.99 < gpu.half / gpu.single / 2 < 1.01
    assert gpu.peak(Precision.FP32) == gpu.single
    assert gpu.peak(Precision.BF16) == gpu.peak(Precision.FP16) == gpu.half
    assert gpu.network < gpu.link < gpu.bandwidth < gpu.memory * 100


@pytest.mark.parametrize("spec", [alone({"dp": 2}), PIPELINE, SIDE_BY_SIDE, SHARED])
def test_where_only_arithmetic_takes_time_stages_wait_as_the_plan_has_it(spec: Spec) -> None:
    time, work = timed(spec, half=1e12), step_work(plan(spec))
    slowest = max(stage.flops.hardware for stage in work.stages) / 1e12
    assert time.seconds >= slowest
    for stage, same in zip(time.stages, work.stages, strict=True):
        assert stage.parts["arithmetic"] == pytest.approx(same.flops.hardware / 1e12)
        assert time.waits(stage) / time.seconds == pytest.approx(same.bubble, abs=1e-9)
    assert time.model == work.model
    assert time.utilization == pytest.approx(work.model / (time.seconds * 1e12 * spec.world))


@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.FULL])
def test_memory_moves_weights_what_is_kept_gradients_and_the_optimizers_state(
    recompute: Recompute,
) -> None:
    spec = alone({"dp": 1}, language=attrs.evolve(GPT, recompute=recompute), microbatches=3)
    (stage,) = timed(spec, bandwidth=1.0).stages
    roles = plan(spec).rank(0).modules
    table = logits = 128 * 512
    dense = module_parameters(plan(spec).modules["language"]).total - table
    again = dense - logits - 128 if recompute is Recompute.FULL else 0  # and the final norm
    kept = activation_memory(roles, 1).microbatch
    (buffer,) = gradient_buffers(spec, roles)
    assert stage.forward.memory == 2 * dense + kept
    assert stage.backward.memory == 2 * (dense + again) + kept + 2 * 4 * buffer.elements
    # Two moments and a copy in fp32 there and back, gradients read and cleared, weights written.
    assert stage.before.memory == buffer.elements * (2 * 12 + 4 + 4 + 2)
    assert stage.after.memory == 2 * 4 * buffer.elements


def test_frozen_modules_move_no_gradients() -> None:
    spec = vlm(encoder={"dp": 1}, dense={"dp": 1})
    encoder, _ = timed(spec, bandwidth=1.0).stages
    roles = plan(spec).rank(0).modules
    trained = module_parameters(plan(spec).modules["projector"]).total
    (buffer,) = gradient_buffers(spec, roles)
    assert trained <= buffer.elements < 1.01 * trained
    kept = activation_memory(roles, 1).microbatch
    assert encoder.backward.memory == 2 * trained + kept + 2 * 4 * buffer.elements


def test_ranks_wait_for_most_calls_of_tensor_parallelism_and_not_for_those_beside_products() -> (
    None
):
    (stage,) = timed(alone({"tp": 2}), link=1.0).stages
    sequence = 64 * 128 * 2  # tokens, width, bytes
    layer, half = 4 * sequence / 2, sequence / 2  # two gathers and two reductions, of two halves
    loss = 3 * 64 * 4
    assert stage.forward.waited[Purpose.TENSOR] == 6 * layer + sequence + half + loss
    assert not stage.forward.beside
    # Back, a column-parallel linear gathers its input and reduces its gradient beside products.
    columns = 6 * 2 + 1
    assert stage.backward.beside[Purpose.TENSOR] == columns * 2 * half
    rows, embedding = 6 * 2, 1
    assert stage.backward.waited[Purpose.TENSOR] == (rows + embedding) * half


def test_calls_beside_products_count_where_they_take_longer() -> None:
    beside, waited = {Purpose.TENSOR: 2.0, Purpose.EXPERTS: 3.0}, {Purpose.TENSOR: 1.0}
    long = Least(arithmetic=6.0, memory=4.0, beside=beside, waited=waited)
    assert (long.seconds, long.parts) == (7.0, {"arithmetic": 6.0, "tp": 1.0})
    short = attrs.evolve(long, arithmetic=4.5)
    assert (short.seconds, short.parts) == (6.0, {"tp": 3.0, "ep": 3.0})
    starved = attrs.evolve(long, memory=8.0)
    assert (starved.seconds, starved.parts) == (9.0, {"memory": 8.0, "tp": 1.0})


def shared_experts(*, overlap: bool) -> Spec:
    moe = Moe(experts=4, topk=2, ffn=64, shared_ffn=64, shared_overlap=overlap)
    views = {"dense": {"dp": 2}, "expert": {"ep": 2, "edp": 1, "pp": None}}
    return attrs.evolve(
        alone({"dp": 2}, language=attrs.evolve(GPT, moe=moe)),
        grids=(Grid(name="llm", views=views),),
    )


def test_tokens_may_travel_beside_shared_experts() -> None:
    for overlap in (False, True):
        (stage,) = timed(shared_experts(overlap=overlap), link=1.0).stages
        assert bool(stage.forward.beside.get(Purpose.EXPERTS)) is overlap


SIZE = 4800
CASES = {
    (CallKind.ALL_GATHER, 8): SIZE * 7 / 8 / 9,
    (CallKind.ALL_REDUCE, 8): SIZE / 9,
    (CallKind.ALL_TO_ALL, 8): SIZE * 7 / 8 / 9,
    (CallKind.RECEIVE, 8): 0,
    # Two nodes: 8 network cards take in what the other node has, or each rank its own.
    (CallKind.ALL_GATHER, 16): SIZE * 15 / 16 / (9 + 2),
    (CallKind.ALL_TO_ALL, 16): SIZE / 2 / 2,
    (CallKind.SEND, 16): SIZE / 2,
}


@pytest.mark.parametrize(("kind", "members"), CASES)
def test_calls_take_at_least_what_links_leave_them(kind: CallKind, members: int) -> None:
    planned = plan(alone({"dp": members}))
    interconnect = Interconnect.of_plan(planned, attrs.evolve(FREE, link=9.0, network=2.0), 8)
    group = CallGroup(name="llm.dp", members=members, purpose=Purpose.REPLICAS)
    found = interconnect.seconds((Call(group=group, kind=kind, size=SIZE // 2, times=2),), 0)
    assert found == {Purpose.REPLICAS: pytest.approx(CASES[kind, members])}


@pytest.mark.parametrize(
    ("per_node", "seconds"),
    [
        # dp 4, tp 2 apart: two of a group on a node take in the others' half together; or one each.
        (4, SIZE * (4 - 2) / 4 / 2),
        (2, SIZE * (4 - 1) / 4),
        (8, SIZE * 3 / 4 / 10**6),
        # On nodes of 5, {0 2 4 6} leave one rank alone, {1 3 5 7} two: the luckier group counts.
        (5, SIZE * (4 - 2) / 4 / 2),
    ],
)
def test_members_of_a_group_share_the_network_of_their_node(per_node: int, seconds: float) -> None:
    planned = plan(alone({"tp": 2, "dp": 4}))
    interconnect = Interconnect.of_plan(
        planned, attrs.evolve(FREE, link=10.0**6, network=1.0), per_node
    )
    group = CallGroup(name="llm.dp-cp", members=4, purpose=Purpose.REPLICAS)
    found = interconnect.seconds((Call(group=group, kind=CallKind.REDUCE_SCATTER, size=SIZE),), 0)
    assert found == {Purpose.REPLICAS: pytest.approx(seconds)}


def test_where_some_groups_stay_inside_a_node_the_network_holds_nobody_up_for_certain() -> None:
    planned = plan(alone({"tp": 4, "dp": 3}))
    group = CallGroup(name="llm.tp", members=4, purpose=Purpose.TENSOR)
    call = Call(group=group, kind=CallKind.ALL_GATHER, size=SIZE)
    slow = attrs.evolve(FREE, link=1.0, network=1e-3)
    # Nodes of 6: ranks 4 to 7 cross, 0 to 3 and 8 to 11 do not.
    assert Interconnect.of_plan(planned, slow, 6).seconds((call,), 0) == {
        Purpose.TENSOR: SIZE * 3 / 4
    }
    (crossing,) = Interconnect.of_plan(planned, slow, 2).seconds((call,), 0).values()
    assert crossing == pytest.approx(SIZE * 2 / 4 / 2 / 1e-3)


def test_stages_with_tied_embeddings_add_up_their_gradients() -> None:
    tied = attrs.evolve(GPT, tie_embeddings=True)
    gpu = attrs.evolve(FREE, link=8.0, network=1.0)
    time = least_time(plan(alone({"pp": 3}, language=tied)), gpu, per_node=2)
    size = 512 * 128 * 4  # from the first node to the second
    for stage, seconds in zip(time.stages, (size, 0, size), strict=True):
        assert stage.after.waited.get(Purpose.PIPELINE, 0) == seconds


def test_the_world_goes_over_the_network_where_it_has_several_nodes() -> None:
    interconnect = Interconnect.of_plan(
        plan(alone({"dp": 4})), attrs.evolve(FREE, link=8.0, network=1.0), 2
    )
    group = CallGroup(name=WORLD, members=4, purpose=Purpose.STEP)
    call = Call(group=group, kind=CallKind.ALL_REDUCE, size=SIZE)
    assert interconnect.seconds((call,), 0) == {Purpose.STEP: SIZE / 2}


def test_stages_hand_on_inside_a_node_or_over_the_network() -> None:
    sent = 64 * 128 * 2
    spec = alone({"dp": 2, "pp": 2})
    for per_node, rate in ((4, 8.0), (2, 1.0)):
        gpu = attrs.evolve(FREE, link=8.0, network=1.0, per_node=per_node)
        first, last = least_time(plan(spec), gpu).stages
        assert (first.output, first.gradient) == (sent / rate, sent / rate)
        assert (last.output, last.gradient) == (0, 0)


def test_bridges_carry_a_tensor_to_a_leader_and_on_to_its_replica() -> None:
    """Two samples go to one leader and its tp peer, and the gradient of one to each encoder."""
    spec = vlm(encoder={"dp": 2}, dense={"tp": 2, "dp": 1}, micro_batch=2)
    sample = 4 * 128 * 2
    encoder, _ = timed(spec, link=1.0, per_node=4).stages
    assert (encoder.output, encoder.gradient) == (2 * 2 * sample, sample)
    apart, _ = least_time(plan(spec), attrs.evolve(FREE, network=1.0), per_node=2).stages
    assert (apart.output, apart.gradient) == (2 * sample, sample)


def test_gradients_and_weights_hide_behind_passes_where_they_overlap_them() -> None:
    spec = alone({"dp": 2}, microbatches=1)
    both = Ddp(overlap_grad_reduce=True, overlap_param_gather=True)
    hidden = attrs.evolve(spec, train=attrs.evolve(spec.train, ddp=both))
    limits = {"half": 1e9, "link": 1e9}
    plain, over = (timed(one, **limits).stages[0] for one in (spec, hidden))
    size = plain.before.waited[Purpose.REPLICAS]
    assert over.forward.seconds == plain.forward.seconds > 0
    assert over.before.seconds == max(0.0, size - plain.forward.seconds)
    assert over.after.waited[Purpose.REPLICAS] == pytest.approx(
        max(0.0, 2 * size - plain.backward.seconds), rel=0.01
    )


def test_messages_and_what_comes_before_and_after_passes_delay_a_step() -> None:
    first = StageTimes(forward=2, backward=3, before=1, after=7, output=10, gradient=20)
    last = StageTimes(forward=4, backward=5, before=13, after=0)
    # F 1–3, out at 13; F 13–17, B 17–22; back at 42, B 42–45; and the end of the first stage.
    assert step_time([[first], [last]], 1) == 45 + 7
    late = attrs.evolve(last, before=50, after=40)
    # F 50–54, B 54–59, end 99; the first stage ends at 59 + 20 + 3 + 7.
    assert step_time([[first], [late]], 1) == 99


def test_encoders_side_by_side_do_not_wait_for_each_other() -> None:
    ahead, back = StageTimes(forward=6, backward=0), StageTimes(forward=0, backward=6)
    language = StageTimes(forward=1, backward=1)
    # One goes ahead by 6 a microbatch; the other begins when the first gradients are there, at 8.
    assert step_time([[ahead, back], [language]], 8) == 8 + 8 * 6
    assert step_time([[StageTimes(forward=6, backward=6)], [language]], 8) == 8 * 12


def test_two_encoders_share_the_first_stage() -> None:
    spec = two_encoders()
    time = timed(spec, half=1e12)
    assert [stage.stage for stage in time.stages] == [0, 0, 1]
    alone_ = [sum(stage.parts.values()) for stage in time.stages]
    assert time.seconds < sum(alone_)


def two_encoders() -> Spec:
    one = vlm(encoder={"dp": 1}, dense={"dp": 1})
    more = (
        Module(name="eyes", grid="more", frozen=True, kind=attrs.evolve(RADIO, layers=2)),
        Module(name="joint", grid="more", kind=MlpProjector()),
    )
    return attrs.evolve(
        one,
        grids=(*one.grids, Grid(name="more", views={"dense": {"dp": 1}})),
        place=Beside(parts=("encoder", "more", "llm")),
        modules=(*one.modules, *more),
        flows=(*one.flows, Flow(path=("eyes", "joint", "language"), token=510)),
    )


SPECS = (PIPELINE, SIDE_BY_SIDE, SHARED, *(sound_spec(Random(seed)) for seed in range(8)))


@pytest.mark.parametrize("spec", SPECS)
def test_laws_hold(spec: Spec) -> None:
    """No limit raised makes a step longer, and more microbatches make it longer and yield more."""
    planned = plan(spec)
    time = least_time(planned, H100)
    for stage in time.stages:
        assert sum(stage.parts.values()) <= time.seconds * (1 + 1e-12)
    for limit in ("half", "single", "bandwidth", "link", "network"):
        faster = attrs.evolve(H100, **{limit: 3 * getattr(H100, limit)})
        assert least_time(planned, faster).seconds <= time.seconds
    microbatches = spec.schedule.microbatches
    more = least_time(plan(spec.with_schedule(microbatches=microbatches + 3)), H100)
    assert time.seconds < more.seconds
    assert time.tokens_per_second <= more.tokens_per_second
    assert time.utilization <= more.utilization < 1


def test_passes_of_the_production_model_can_be_worked_out() -> None:
    encoder, _, last = least_time(plan(mimodsl.load(PRODUCTION)), H100).stages
    # 36 images of 1,024 patches and 8 class tokens on a replica: in each of 32 layers, two sums of
    # what tp ranks make of them, 1,280 wide. Patches are gathered, and the 256 tokens of an image
    # summed behind the projector.
    sums = 32 * 2 * 36 * (1024 + 8) * 1280 + 36 * 256 * 2688
    gathered = 36 * 1024 * 1280 * 7 / 8
    assert encoder.forward.waited[Purpose.TENSOR] == pytest.approx((sums + gathered) * 2 / 450e9)
    # In the last stage 11 Mamba layers, 12 of experts, 3 of attention and the logits on tp 4.
    mamba = 11 * 2 * 2688 * (3 * 4096 + 2 * 8 * 128 + 64)
    scans = 11 * (2 * 128 * 8 * 128 + 4 * 4096 * 128 + 128 * 4096)
    experts = 12 * 2 * 2688 * (128 + 2 * 6 * 1856 + 2 * 3712)
    attention = 3 * (2 * 2688 * (2 * 4096 + 2 * 2 * 128) + 2 * 8192 * 4096)
    logits = 2 * 2688 * 131_072
    products = 8192 * (mamba + scans + experts + attention + logits) / 4
    assert last.forward.arithmetic == pytest.approx(products / 989.5e12)


def test_the_production_model_takes_half_a_second_for_good_reasons() -> None:
    time = least_time(plan(mimodsl.load(PRODUCTION)), H100)
    encoder, first, last = time.stages
    # 16 of 128 experts in each of 11 and 12 layers, on 3 nodes with a network card each: gradients
    # of 4 bytes to reduce, weights of 2 to gather, twice.
    for stage, layers in ((first, 11), (last, 12)):
        experts = layers * 16 * 2 * 2688 * 1856
        moved = experts * (4 + 2 * 2) * (3 - 1) / 3 / 50e9
        assert stage.parts["dp"] == pytest.approx(moved, rel=0.1)
    # The last stage sets the pace: 8 microbatches, and the first one's way to it and back.
    way = (encoder, first)
    filling = sum(one.times.both + one.output + one.gradient for one in way)
    alone_ = 8 * last.times.both + last.after.seconds
    assert time.seconds == pytest.approx(alone_ + filling + last.before.seconds, rel=0.2)
    # All ranks at their peak, all the time, for 27.6 GFLOP a token.
    assert time.seconds * time.utilization == pytest.approx(27.6e9 * 393_216 / 64 / 989.5e12, 0.01)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (123.4, "123 s"),
        (0.9996, "1.00 s"),
        (0.9994, "999 ms"),
        (0.0123, "12.3 ms"),
        (2e-6, "2.00 µs"),
        (6e-10, "0.60 ns"),
        (0.0, "–"),
    ],
)
def test_durations_have_three_digits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_pipelines_that_would_take_long_to_follow_are_refused() -> None:
    spec = alone({"pp": 257}, language=attrs.evolve(GPT, layers=257))
    with pytest.raises(ValueError, match="256 stages at most, not 257"):
        least_time(plan(spec), H100)


@pytest.mark.parametrize("per_node", [0, 257])
def test_nodes_have_some_ranks(per_node: int) -> None:
    with pytest.raises(ValueError, match="a node has 1 to 256 ranks"):
        least_time(plan(PIPELINE), H100, per_node)
