"""The memory of a rank's activations: what forward passes save, and the most of it at once."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.kinds import Recompute
from mimodsl.planner.families import Block
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Share
from mimodsl.planner.stack import stage_blocks


@frozen(kw_only=True)
class ActivationMemory:
    """Bytes of the activations of a rank's modules.

    `kept` are the activations of one microbatch, by module and by the title of the layers that keep
    them. Before the first backward pass, `in_flight` microbatches are kept. The passes need
    `working` besides, at their peak: the peak itself is `kept * in_flight + working`.
    """

    kept: dict[str, dict[str, int]]
    in_flight: int
    working: int

    @property
    def microbatch(self) -> int:
        """Bytes that one microbatch keeps."""
        return sum(size for layers in self.kept.values() for size in layers.values())


def activation_memory(roles: Iterable[ModuleRole], in_flight: int) -> ActivationMemory:
    """The activations of a rank with these roles, in the order in which data passes them."""
    kept: dict[str, dict[str, int]] = {}
    blocks: list[_BlockMemory] = []
    for role in roles:
        titles = kept.setdefault(role.name, {})
        for block in _blocks(role):
            blocks.append(block)
            for title, size in block.kept.items():
                titles[title] = titles.get(title, 0) + size
    held = total = sum(block.size for block in blocks)
    highest = total
    for block in reversed(blocks):
        highest = max(highest, held + block.working)
        held -= block.size
    return ActivationMemory(kept=kept, in_flight=in_flight, working=highest - total)


@frozen(kw_only=True)
class _BlockMemory:
    """What the layers of a block keep for their backward pass, and what that pass needs besides."""

    kept: dict[str, int]
    working: int

    @property
    def size(self) -> int:
        return sum(self.kept.values())


def _blocks(role: ModuleRole) -> Iterator[_BlockMemory]:
    share, recompute = role.share, role.plan.recompute
    by_block: dict[Block, _BlockMemory] = {}
    for block in stage_blocks(role):
        if block not in by_block:
            by_block[block] = _block_memory(block, share, recompute)
        yield by_block[block]


def _block_memory(block: Block, share: Share, recompute: Recompute) -> _BlockMemory:
    saved = [
        (layer.title, tensor)
        for layer in block
        for tensor in layer.saved(share)
        if tensor.is_kept(share)
    ]
    before = sum(tensor.size for _, tensor in saved)
    if not saved:
        return _BlockMemory(kept={}, working=0)
    if recompute is Recompute.FULL and block[0].stacked:
        # Only a layer's input stays, which its norm saves first (tensor_parallel/random.py,
        # "class CheckpointFunction").
        saved = [("layer input", saved[0][1])]
    elif recompute is Recompute.SELECTIVE:
        saved = [(title, tensor) for title, tensor in saved if not tensor.core]
    kept: dict[str, int] = {}
    for title, tensor in saved:
        kept[title] = kept.get(title, 0) + tensor.size
    recomputed = before - sum(kept.values())
    working = recomputed + max(layer.working(share) for layer in block)
    return _BlockMemory(kept=kept, working=working)
