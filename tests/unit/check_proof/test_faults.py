"""Planted faults in plans and programs of real specs, and how they are reported."""

from collections.abc import Callable

import attrs
import pytest

from mimodsl.checker.context import Context
from mimodsl.checker.proof import PROOF, PROVED
from mimodsl.checker.proof.construction import construction_calls, find_missed_call, prove_groups
from mimodsl.checker.proof.fault_rules import report
from mimodsl.checker.proof.faults import BuildCall, Deadlock, Fault, LoneWait, MissedCall
from mimodsl.checker.proof.machine import run
from mimodsl.checker.proof.program import Action, Exchange, Message, Operation
from mimodsl.checker.proof.schedule import programs, prove_step, step_phases
from mimodsl.checker.proof.small_world import small_world
from mimodsl.checker.runner import check
from mimodsl.diagnostics.render import full
from mimodsl.ir import Ddp, Spec, Train
from mimodsl.ir.draft import Draft
from mimodsl.lower import parse
from mimodsl.planner.plan import plan
from mimodsl.planner.sharing import communicators
from tests.unit.planner.specs import GPT, PIPELINE, SHARED, SIDE_BY_SIDE, WIDE, alone, vlm

FAN_OUT = vlm(encoder={"dp": 2}, dense={"tp": 2, "dp": 4, "pp": 2}, micro_batch=2)
OVERLAPPED = attrs.evolve(SIDE_BY_SIDE, train=Train(ddp=Ddp(overlap_grad_reduce=True)))
SPECS = {
    "side by side": SIDE_BY_SIDE,
    "colocated": SHARED,
    "pipeline": PIPELINE,
    "fan-out": FAN_OUT,
    "wide": WIDE,
    "alone": alone({"tp": 2, "cp": 2, "dp": 2, "pp": 3}),
    "one rank": alone({"dp": 1}),
    "tied on one stage": alone({"tp": 2}, language=attrs.evolve(GPT, tie_embeddings=True)),
    "one microbatch": alone({"pp": 4}, microbatches=1),
}


def says(fault: Fault | None, spec: Spec) -> str:
    assert fault is not None
    (diagnostic,) = report(Context(Draft.from_spec(spec)), fault)
    return full.render([diagnostic])


def planted(
    spec: Spec,
    rank: int,
    name: str,
    change: Callable[[tuple[Operation, ...]], tuple[Operation, ...]],
    microbatch: int | None = None,
) -> Fault | None:
    """What becomes of a step in which one rank does something else in one action."""
    made = programs(small_world(plan(spec)))
    program = list(made[rank])
    at = next(
        index
        for index, action in enumerate(program)
        if action.name == name and (microbatch is None or _is_of(action, microbatch))
    )
    program[at] = attrs.evolve(program[at], operations=change(program[at].operations))
    return run({**made, rank: tuple(program)})


def _is_of(action: Action, microbatch: int) -> bool:
    return any(one and one.microbatch == microbatch for one in (action.sends, action.receives))


def skipped(_: tuple[Operation, ...]) -> tuple[Operation, ...]:
    return ()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_sound_specs_are_proved(spec: Spec) -> None:
    small = small_world(plan(spec))
    assert prove_groups(small) is None
    assert prove_step(small) is None


def test_the_work_does_not_grow_with_replicas_or_microbatches() -> None:
    def work(replicas: int, microbatches: int) -> tuple[int, int]:
        spec = vlm(
            encoder={"tp": 2, "dp": replicas},
            dense={"tp": 4, "dp": 2 * replicas, "pp": 4},
            micro_batch=1,
            microbatches=microbatches,
        )
        small = small_world(plan(spec))
        operations = sum(
            len(action.operations)
            for part in step_phases(small)
            for program in part.values()
            for action in program
        )
        return len(small.ranks), operations

    assert work(2**17, 1000) == work(4, 8)


def test_a_group_that_ddp_makes_itself_parts_ranks() -> None:
    """Which it does where it is given no group for experts over replicas."""
    planned = plan(SIDE_BY_SIDE)
    made = [
        one for one in communicators(planned, share=False) if one.made.name != "encoder.expert.edp"
    ]
    fault = find_missed_call(construction_calls(small_world(planned), made))
    assert isinstance(fault, MissedCall)
    assert fault.ranks == (0, 1)
    shown = says(fault, SIDE_BY_SIDE)
    assert "MIMO801" in shown
    assert "rank 0 waits in `group of rank 0 in DDP of vision`" in shown


@pytest.mark.parametrize("share", [True, False])
def test_members_that_make_groups_in_another_order_part(share: bool) -> None:
    small = small_world(plan(SIDE_BY_SIDE))
    listed = construction_calls(small, communicators(small.plan, share=share))
    assert find_missed_call(listed) is None
    two = ("llm.tp", "llm.tp-dp-cp")
    one, other = (next(step for step in listed[4] if step.name == name) for name in two)
    order = [{one: other, other: one}.get(step, step) for step in listed[4]]
    shown = says(find_missed_call(listed | {4: order}), SIDE_BY_SIDE)
    assert "rank 4 makes `llm.tp-dp-cp` where rank 5 makes `llm.tp`" in shown


def test_a_rank_that_makes_no_group_of_others_does_not_wait_for_them() -> None:
    programs = {
        0: (BuildCall("a", (0, 1)), BuildCall("c", (0, 2))),
        1: (BuildCall("a", (0, 1)), BuildCall("b", (1, 2))),
        2: (BuildCall("c", (0, 2)), BuildCall("b", (1, 2))),
    }
    assert find_missed_call(programs) is None
    circle = programs | {2: programs[2][::-1], 0: programs[0][::-1]}
    assert find_missed_call(circle) == MissedCall(
        ranks=(0, 2),
        calls=(BuildCall("c", (0, 2)), BuildCall("b", (1, 2))),
        position=0,
    )


def test_a_member_that_never_makes_its_group_parts() -> None:
    fault = find_missed_call(
        {0: (BuildCall("g", (0, 1)), BuildCall("end")), 1: (BuildCall("end"),)}
    )
    assert fault == MissedCall(
        ranks=(0, 1), calls=(BuildCall("g", (0, 1)), BuildCall("end")), position=0
    )
    assert "rank 0 makes `g` where rank 1 waits in `end`" in says(fault, SIDE_BY_SIDE)


def test_the_end_of_a_ranks_calls_is_a_missed_call() -> None:
    fault = find_missed_call({0: (BuildCall("a"), BuildCall("b")), 1: (BuildCall("a"),)})
    assert fault == MissedCall(ranks=(0, 1), calls=(BuildCall("b"), None), position=1)
    assert "rank 0 waits in `b` where rank 1 is done" in says(fault, alone({"dp": 2}))


def test_groups_of_one_name_and_other_members_part() -> None:
    own, other = BuildCall("g", (0, 1)), BuildCall("g", (0, 1, 2))
    assert find_missed_call({0: (own,), 1: (other,), 2: (other,)}) is not None


def test_a_step_that_nobody_changes_ends() -> None:
    assert planted(PIPELINE, 4, "recv_forward", tuple) is None


def test_a_leader_that_skips_a_receive_is_ahead_of_its_replica() -> None:
    fault = planted(PIPELINE, 4, "recv_forward", skipped, 0)
    shown = says(fault, PIPELINE)
    assert "MIMO813" in shown
    assert "rank 4 in the forward pass of F0 meets rank 5 in recv_forward of F0" in shown
    assert "over llm.tp" in shown


def test_a_leader_alone_takes_the_next_message_for_the_one_it_skips() -> None:
    spec = vlm(encoder={"dp": 1}, dense={"dp": 1, "pp": 2})
    fault = planted(spec, 1, "recv_forward", skipped, 0)
    shown = says(fault, spec)
    assert "MIMO813" in shown
    assert "rank 0 in send_forward of F0 meets rank 1 in recv_forward of F1" in shown


def test_a_leader_that_skips_the_last_send_leaves_its_receiver() -> None:
    fault = planted(PIPELINE, 4, "send_backward", skipped, 3)
    shown = says(fault, PIPELINE)
    assert "rank 1 in recv_backward of B3, a message over vision->language.leaders" in shown
    assert "rank 4 in the sum of losses, a collective over the world" in shown


def test_a_fan_in_that_hears_one_of_two_senders_is_found() -> None:
    """Rank 4 gathers from 1 and 3, and forgets the tensor of 3."""
    fault = planted(PIPELINE, 4, "recv_forward", lambda every: (*every[:2], *every[3:]), 0)
    assert "rank 3 in send_forward of F0" in says(fault, PIPELINE)


def test_a_fan_in_from_a_wrong_peer_is_found() -> None:
    def astray(every: tuple[Operation, ...]) -> tuple[Operation, ...]:
        assert isinstance(every[2], Exchange)
        return (*every[:2], attrs.evolve(every[2], messages=(Message(0, False),)), *every[3:])

    fault = planted(PIPELINE, 4, "recv_forward", astray, 0)
    assert isinstance(fault, Deadlock | LoneWait)
    assert "rank 4 in recv_forward of F0" in says(fault, PIPELINE)


def test_a_replica_that_misses_a_broadcast_is_found() -> None:
    fault = planted(PIPELINE, 5, "recv_forward", skipped, 1)
    assert "rank 5" in says(fault, PIPELINE)


def test_reductions_in_another_order_meet_over_one_communicator() -> None:
    fault = planted(SIDE_BY_SIDE, 4, "gradient reduction", lambda every: tuple(reversed(every)))
    shown = says(fault, SIDE_BY_SIDE)
    assert "MIMO813" in shown
    assert "rank 6 in gradient reduction meets rank 4 in gradient reduction" in shown
    assert "over llm.dp: language and experts of language" in shown


def test_reductions_that_overlap_passes_have_communicators_of_their_own() -> None:
    def swapped(every: tuple[Operation, ...]) -> tuple[Operation, ...]:
        return every[1], every[0], *every[2:]

    fault = planted(OVERLAPPED, 4, "the optimizer's step", swapped)
    assert isinstance(fault, Deadlock)
    shown = says(fault, OVERLAPPED)
    assert "MIMO811" in shown
    assert "rank 4 in the optimizer's step, a collective over llm.expert.edp with rank 6" in shown
    assert "rank 6 in the optimizer's step, a collective over llm.dp with rank 4" in shown


def test_a_rank_that_skips_the_world_s_reduction_is_named() -> None:
    fault = planted(SHARED, 0, "the optimizer's step", skipped)
    assert isinstance(fault, LoneWait)
    assert "waits for rank 0, which has ended its step" in says(fault, SHARED)


TEXT = """
grid llm {
  dense = tp:2 * pp:2
}
module language : gpt {
  grid       = llm
  layers     = 2
  hidden     = 64
  vocabulary = 512
  attention  = { heads = 4 }
}
schedule 1f1b {
  sequence = 64
}
"""


def test_a_fault_points_at_the_grids_of_both_ranks() -> None:
    draft = parse(TEXT).draft
    fault = MissedCall(ranks=(0, 3), calls=(BuildCall("llm.tp", (0, 3)), None), position=7)
    (diagnostic,) = report(Context(draft), fault)
    shown = full.render([diagnostic])
    assert "grid llm" in shown
    assert "rank 3 is here" in shown


def test_nothing_is_proved_of_a_spec_with_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(type(PROOF), "run", lambda _, spec: ran.append(spec) or iter(()))
    broken = parse(TEXT.replace("layers     = 2", "layers     = 3")).draft
    assert any(one.is_error for one in check(broken))
    assert ran == []
    assert check(parse(TEXT).draft) == ()
    assert len(ran) == 1


@pytest.mark.parametrize("page", PROVED, ids=lambda page: page.code)
def test_every_page_explains_itself(page) -> None:
    assert page.explanation.endswith(".")
    assert page.mirrors
    assert not page.title.endswith(".")
