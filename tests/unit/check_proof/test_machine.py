"""Planted programs: what ends, and what is said of what does not."""

import pytest

from mimodsl.checker.proof.faults import Deadlock, LoneWait, Mismatch
from mimodsl.checker.proof.machine import run
from mimodsl.checker.proof.program import Action, Collective, Exchange, Message, ProcessGroup
from mimodsl.planner.schedule import Pass, PassKind

F0, F1 = Pass(PassKind.FORWARD, 0), Pass(PassKind.FORWARD, 1)
B0 = Pass(PassKind.BACKWARD, 0)


def group(*members: int, name: str = "pair") -> ProcessGroup:
    return ProcessGroup(name=name, members=members)


def call(*groups: ProcessGroup, name: str = "the forward pass", of: Pass = F0) -> Action:
    return Action(name, tuple(map(Collective, groups)), sends=of)


def send(over: ProcessGroup, *peers: int, of: Pass = F0, batched: bool = False) -> Action:
    messages = tuple(Message(peer, sends=True) for peer in peers)
    return Action("send_forward", (Exchange(over, messages, batched),), sends=of)


def receive(over: ProcessGroup, *peers: int, of: Pass = F0, batched: bool = False) -> Action:
    messages = tuple(Message(peer, sends=False) for peer in peers)
    return Action("recv_forward", (Exchange(over, messages, batched),), receives=of)


def swap(over: ProcessGroup, peer: int, sends: Pass, receives: Pass) -> Action:
    both = (Message(peer, sends=True), Message(peer, sends=False))
    return Action("swap", (Exchange(over, both),), sends=sends, receives=receives)


def test_ranks_without_operations_end():
    assert run({0: (), 1: (Action("nothing", ()),)}) is None


def test_messages_and_collectives_meet():
    pair = group(0, 1)
    assert run({0: (call(pair), send(pair, 1)), 1: (call(pair), receive(pair, 0))}) is None


def test_order_within_a_batch_is_free():
    pair = group(0, 1)
    assert run({0: (swap(pair, 1, F0, B0),), 1: (swap(pair, 0, B0, F0),)}) is None


def test_two_collectives_in_reversed_order_lock():
    one, two = group(0, 1, name="tp"), group(0, 1, name="ep")
    fault = run({0: (call(one), call(two)), 1: (call(two), call(one))})
    assert isinstance(fault, Deadlock)
    assert (
        str(fault.circle[0]) == "rank 0 in the forward pass of F0, a collective over tp with rank 1"
    )
    assert (
        str(fault.circle[1]) == "rank 1 in the forward pass of F0, a collective over ep with rank 0"
    )


def test_two_stages_that_both_send_first_lock():
    """Sends block until they are received: a buffer must not save them."""
    pair = group(0, 1)
    fault = run({0: (send(pair, 1), receive(pair, 1)), 1: (send(pair, 0), receive(pair, 0))})
    assert isinstance(fault, Deadlock)
    assert [wait.rank for wait in fault.circle] == [0, 1]


def test_a_missing_receive_is_unmet():
    pair = group(0, 1)
    fault = run({0: (send(pair, 1), send(pair, 1, of=F1)), 1: (receive(pair, 0),)})
    assert isinstance(fault, LoneWait)
    assert str(fault.wait) == "rank 0 in send_forward of F1, a message over pair with rank 1"


def test_a_missing_member_is_unmet():
    three = group(0, 1, 2)
    fault = run({0: (call(three),), 1: (call(three),), 2: ()})
    assert isinstance(fault, LoneWait)
    assert (fault.wait.rank, fault.wait.partner) == (0, 2)


def test_fan_in_from_a_wrong_peer_is_found():
    """Rank 0 should hear from 1 and 2 and waits for 1 and 3; rank 2 has nobody to take from it."""
    leaders = group(0, 1, 2, 3)
    fault = run(
        {
            0: (receive(leaders, 1, 3),),
            1: (send(leaders, 0),),
            2: (send(leaders, 0),),
            3: (),
        }
    )
    assert isinstance(fault, LoneWait)
    assert (fault.wait.rank, fault.wait.partner) == (0, 3)


def test_the_first_two_of_a_longer_circle_are_named():
    world = group(0, 1, 2)
    programs = {
        rank: (send(world, (rank + 1) % 3), receive(world, (rank - 1) % 3))
        for rank in world.members
    }
    fault = run(programs)
    assert isinstance(fault, Deadlock)
    assert [(wait.rank, wait.partner) for wait in fault.circle] == [(0, 1), (1, 2), (2, 0)]


def test_a_tail_that_waits_for_a_circle_is_not_in_it():
    one, two, tail = group(1, 2, name="tp"), group(1, 2, name="ep"), group(0, 1, name="pp")
    fault = run(
        {
            0: (receive(tail, 1),),
            1: (call(one), call(two), send(tail, 0)),
            2: (call(two), call(one)),
        }
    )
    assert isinstance(fault, Deadlock)
    assert [(wait.rank, wait.partner) for wait in fault.circle] == [(1, 2), (2, 1)]


def test_a_message_of_another_microbatch_is_crossed():
    pair = group(0, 1)
    fault = run({0: (send(pair, 1, of=F1),), 1: (receive(pair, 0, of=F0),)})
    assert isinstance(fault, Mismatch)
    assert fault.ranks == (0, 1)
    assert list(map(str, fault.actions)) == ["send_forward of F1", "recv_forward of F0"]


def test_a_collective_of_another_microbatch_is_crossed():
    pair = group(0, 1)
    fault = run({0: (call(pair, of=F0),), 1: (call(pair, of=F1),)})
    assert isinstance(fault, Mismatch)


def test_a_collective_meets_no_exchange():
    pair = group(0, 1)
    fault = run({0: (call(pair),), 1: (receive(pair, 0, batched=True),)})
    assert isinstance(fault, Mismatch)


def test_a_batch_meets_no_single_message():
    """They go over different communicators."""
    pair = group(0, 1)
    fault = run({0: (call(pair), send(pair, 1, batched=True)), 1: (call(pair), receive(pair, 0))})
    assert isinstance(fault, Deadlock)


@pytest.mark.parametrize("batched", [True, False])
def test_the_first_batch_connects_its_whole_group(batched: bool):
    """Ranks 0 and 1 would do without rank 2, if it were not for the group's communicator."""
    three = group(0, 1, 2)
    late = (receive(three, 1, of=F1),)
    fault = run(
        {
            0: (send(three, 1, batched=batched),),
            1: (receive(three, 0, batched=batched), send(three, 2, of=F1)),
            2: late,
        }
    )
    assert isinstance(fault, Deadlock | LoneWait) is batched


def test_groups_of_the_same_ranks_are_not_the_same_group():
    fault = run({0: (call(group(0, 1)),), 1: (call(group(0, 1)),)})
    assert isinstance(fault, Deadlock)
