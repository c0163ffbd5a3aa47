"""Laws of communicators, against every rank of random layouts one by one."""

from itertools import combinations, product

import attrs
from hypothesis import given
from hypothesis import strategies as st

from mimodsl.ir import Ddp, Spec, Train
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.sharing import APART, CommunicatorPlan, communicators, traffic
from tests.property.plan_specs import examples, specs


@st.composite
def trained(draw: st.DrawFn) -> Spec:
    ddp = Ddp(overlap_grad_reduce=draw(st.booleans()))
    return attrs.evolve(draw(specs()), train=Train(ddp=ddp))


@examples
@given(trained(), st.booleans())
def test_every_name_of_a_rank_has_the_one_communicator_of_its_members(
    spec: Spec, share: bool
) -> None:
    planned = plan(spec)
    every = communicators(planned, share=share)
    for rank in range(planned.world):
        carried = {
            name: list(members)
            for one in every
            if (members := one.of(rank)) is not None
            for name in one.carries(rank)
        }
        own = {group.name: group.of(rank) for group in planned.groups()}
        assert carried == {name: list(ranks) for name, ranks in own.items() if ranks is not None}
        assert len(carried) == sum(len(one.carries(rank)) for one in every if one.of(rank))


@examples
@given(trained())
def test_communicators_of_the_same_ranks_have_a_reason(spec: Spec) -> None:
    planned = plan(spec)
    every = communicators(planned)
    for rank in range(spec.world):
        own = [one for one in every if one.of(rank) is not None]
        for one, other in combinations(own, 2):
            if list(one.of(rank) or ()) == list(other.of(rank) or ()):
                assert one.made.size > 1
                assert _apart(planned, one, other)
        assert not any(one.made.size > 1 and _apart(planned, one, one) for one in own)


def _apart(planned: Plan, one: CommunicatorPlan, other: CommunicatorPlan) -> bool:
    pairs = [frozenset(apart.kinds) for apart in APART if apart.when.holds(planned)]
    return any(
        frozenset((traffic(mine), traffic(its))) in pairs
        for mine, its in product(one.names, other.names)
        if mine is not its
    )


@examples
@given(trained(), st.booleans())
def test_members_agree_on_the_place_in_the_list(spec: Spec, share: bool) -> None:
    every = communicators(plan(spec), share=share)
    places = [
        (one.place(rank), tuple(one.of(rank) or ()), one.carries(rank))
        for one in every
        for rank in range(spec.world)
        if one.of(rank) is not None
    ]
    whole = [
        (place, tuple(members), one.carries(members.start))
        for one in every
        for place, members in enumerate(one.made, start=one.first)
    ]
    assert [place for place, _, _ in whole] == list(range(len(whole)))
    assert set(places) == set(whole)
