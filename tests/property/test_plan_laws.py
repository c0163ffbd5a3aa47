"""What holds of the plan of every spec, whatever its layout."""

import csv
import json
from itertools import chain
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from mimodsl.ir import Spec
from mimodsl.planner import ranks
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import plan
from mimodsl.planner.ranks import Factorization
from mimodsl.show.plan import document
from mimodsl.show.plan.group_table import RowForm, group_rows, row_count
from tests.property.plan_specs import examples, factorizations, specs


@st.composite
def layouts(draw: st.DrawFn) -> Factorization:
    return Factorization(
        start=draw(st.integers(0, 50)),
        axes=draw(factorizations(("tp", "cp", "dp", "pp"))),
    )


@examples
@given(layouts(), st.data())
def test_coordinates_and_ranks_are_inverse(layout: Factorization, data: st.DataObject) -> None:
    rank = data.draw(st.integers(layout.start, layout.start + layout.size - 1))
    assert layout.rank(layout.coordinates(rank)) == rank


@examples
@given(layouts(), st.sets(st.sampled_from(["tp", "cp", "dp", "pp"])), st.integers(1, 20))
def test_ranks_in_runs_are_the_ranks_one_by_one(
    layout: Factorization, axes: set[str], most: int
) -> None:
    with patch.object(ranks, "_RUN", most):
        for some in (*layout.groups(axes), layout.groups(axes).members):
            runs = list(some.runs())
            assert [*chain.from_iterable(runs)] == [some[at] for at in range(len(some))]
            assert all(0 < len(run) <= most for run in runs)


@examples
@given(layouts(), st.sets(st.sampled_from(["tp", "cp", "dp", "pp"])))
def test_groups_partition_the_span(layout: Factorization, axes: set[str]) -> None:
    groups = layout.groups(axes)
    members = list(chain.from_iterable(groups))
    assert sorted(members) == list(range(layout.start, layout.start + layout.size))
    for group in groups:
        assert len(group) == groups.size
        for position, rank in enumerate(group):
            assert groups.of(rank) == group
            assert group.position(rank) == position


@examples
@given(specs())
def test_a_rank_asked_alone_is_in_the_group_that_lists_it(spec: Spec) -> None:
    planned = plan(spec)
    for group in planned.groups():
        listed = {rank: list(members) for members in group for rank in members}
        assert group.count == len(list(group))
        assert len(listed) == sum(map(len, group))
        for rank in range(planned.world):
            own = group.of(rank)
            assert (None if own is None else list(own)) == listed.get(rank)
            assert own is None or list(own) == sorted(own)


@examples
@given(specs(), st.sampled_from(RowForm))
def test_the_table_of_groups_is_the_plans_groups(spec: Spec, form: RowForm) -> None:
    planned = plan(spec)
    text = "".join(group_rows(planned, form))
    if form is RowForm.CSV:
        rows = [tuple(row.values()) for row in csv.DictReader(text.splitlines())]
    else:
        rows = [tuple(map(str, json.loads(line).values())) for line in text.splitlines()]
    assert rows == [
        (group.name, str(index), str(position), str(rank))
        for group in planned.groups()
        for index, members in enumerate(group)
        for position, rank in enumerate(members)
    ]
    assert len(rows) == row_count(planned)


@examples
@given(specs(), st.integers(0, 30))
def test_passes_at_places_are_those_of_the_whole_order(spec: Spec, limit: int) -> None:
    planned = plan(spec)
    for stage in range(planned.stages):
        schedule = planned.schedule(stage)
        whole = list(schedule.order())
        assert len(whole) == len(set(whole)) == schedule.passes
        places = range(limit % 3, schedule.passes, 2)
        assert list(schedule.order(places)) == [whole[place] for place in places]


@examples
@given(specs())
def test_names_are_unique(spec: Spec) -> None:
    names = [group.name for group in plan(spec).groups()]
    assert len(names) == len(set(names))


@examples
@given(specs())
def test_no_expert_group_leaves_its_stage(spec: Spec) -> None:
    planned = plan(spec)
    for group in planned.groups():
        if group.kind is GroupKind.AXES and group.view == "expert" and "pp" not in group.axes:
            grid = planned.grid(group.grid)
            for members in group:
                assert len({grid.base.coordinates(rank)["pp"] for rank in members}) == 1


@examples
@given(specs())
def test_each_replica_works_on_a_part_of_every_microbatch(spec: Spec) -> None:
    planned = plan(spec)
    replicas = planned.grid(spec.language.grid).axis("dp")
    batch = spec.schedule.micro_batch * replicas
    ranks = [planned.rank(rank) for rank in range(planned.world)]
    for module in spec.modules:
        roles = [role for rank in ranks if (role := rank.module(module.name))]
        shares = {role.replica: role.samples(1) for role in roles}
        covered = chain.from_iterable(shares[replica] for replica in sorted(shares))
        assert list(covered) == list(range(batch, 2 * batch))


@examples
@given(specs())
def test_bridges_join_and_split_in_the_order_of_samples(spec: Spec) -> None:
    planned = plan(spec)
    for bridge in planned.bridges:
        for receiver in () if bridge.colocated else bridge.receivers:
            (wanted,) = planned.rank(receiver).modules
            senders = [planned.rank(peer).modules[0] for peer in bridge.peers(receiver)]
            sent = list(chain.from_iterable(sender.samples(2) for sender in senders))
            if bridge.source.axis("dp") >= bridge.destination.axis("dp"):
                assert sent == list(wanted.samples(2))
            else:
                fellows = bridge.peers(bridge.peers(receiver)[0])
                parts = [planned.rank(fellow).modules[0].samples(2) for fellow in fellows]
                assert sent == list(chain.from_iterable(parts))


@examples
@given(specs())
def test_layers_and_experts_are_each_held_once(spec: Spec) -> None:
    planned = plan(spec)
    grid = planned.grid(spec.language.grid)
    pipeline = grid.base.groups(("pp",))[0]
    roles = [planned.rank(rank).module(spec.language.name) for rank in pipeline]
    layers = chain.from_iterable(role.layers for role in roles if role)
    assert list(layers) == list(range(12))
    for members in grid.expert.groups(("ep",)) if not grid.expert_implied else ():
        held = [planned.rank(rank).module(spec.language.name) for rank in members]
        experts = list(chain.from_iterable(role.experts for role in held if role))
        assert experts == list(range(64))


@examples
@given(specs())
def test_json_blocks_say_what_members_say(spec: Spec) -> None:
    values = json.loads(json.dumps(document(plan(spec))))
    for group in values["groups"]:
        built = [
            [first + rank for rank in _ranks(0, block["inner"])]
            for block in group["blocks"]
            for first in _ranks(block["start"], block["outer"])
        ]
        if group["joined"]:
            built = [list(chain.from_iterable(built))]
        assert built == group["members"]


def _ranks(start: int, factors: list[list[int]]) -> list[int]:
    ranks = [start]
    for size, stride in factors:
        ranks = [rank + digit * stride for digit in range(size) for rank in ranks]
    return ranks


@examples
@given(specs())
def test_every_rank_is_in_one_role_and_alike_the_first_of_it(spec: Spec) -> None:
    layout = plan(spec)
    roles = layout.alike()
    ranks = [rank for stages in roles for stage in stages for rank in stage]
    assert sorted(ranks) == list(range(spec.world))
    parts = [
        {tuple(role.part for role in layout.rank(rank).modules) for rank in chain(*stages)}
        for stages in roles
    ]
    assert all(len(part) == 1 for part in parts)
    assert len(set().union(*parts)) == len(roles)
