"""Sharing process groups changes what is made, and no bit of what is trained."""

from pathlib import Path

import attrs
import torch
import torch.distributed as dist

import mimodsl
from mimodsl.builder.assembly import assemble
from mimodsl.ir import Ddp, Spec
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds

COLOCATED = mimodsl.load(Path(__file__).parents[2] / "specs" / "nemotron_vlm_colocated.mimo")


def _train(spec: Spec, share: bool) -> tuple[list[object], worlds.GroupsMade]:
    with no_parallel_state():
        assembly = assemble(spec, share_groups=share)
        data = SyntheticData(spec=spec)
        steps = [
            assembly.train_step(microbatches(data, number, assembly.process_groups))
            for number in range(2)
        ]
    return list(map(attrs.asdict, steps)), worlds.groups_made()


def test_training_is_the_same_with_groups_shared_and_not() -> None:
    """Also where reductions and gathers are under way during passes."""
    ddp = Ddp(overlap_grad_reduce=True, overlap_param_gather=True, bucket=20_000)
    spec = attrs.evolve(COLOCATED, train=attrs.evolve(COLOCATED.train, ddp=ddp))
    shared, apart = (worlds.run(8, _train, spec, share) for share in (True, False))
    assert [steps for steps, _ in shared] == [steps for steps, _ in apart]
    worlds.assert_as_planned(spec, [made for _, made in shared], share=True)
    worlds.assert_as_planned(spec, [made for _, made in apart], share=False)


def _made_after() -> tuple[str, int]:
    """A group that all ranks make in torch's own way, once a model's are made."""
    assemble(COLOCATED)
    own = dist.new_group([0, 3, 5])
    if own is dist.GroupMember.NON_GROUP_MEMBER:
        return "", 0
    total = torch.ones(())
    dist.all_reduce(total, group=own)
    return own.group_name, int(total)


def test_groups_of_a_users_own_connect_afterwards() -> None:
    made = worlds.run(8, _made_after)
    assert {made[rank] for rank in (0, 3, 5)} == {made[0]}
    assert made[0][1] == 3
