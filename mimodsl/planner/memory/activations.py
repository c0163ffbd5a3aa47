"""What the forward passes of a rank leave for its backward passes, and the most of it at once."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.kinds import Recompute, TransformerKind
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import VisionEncoder
from mimodsl.planner.layers import Block, Cut, Share, stage_blocks
from mimodsl.planner.layers.share import FP32, element_size
from mimodsl.planner.roles import ModuleRole


def role_share(spec: Spec, role: ModuleRole) -> Share:
    """What a rank of that role works on in one microbatch.

    A sample of the language model is as long as the schedule says; of a projector and an encoder a
    sequence is an image, with its class tokens where the encoder has it.
    """
    module, kind = role.module, role.module.kind
    grid, flow = spec.grid_of(module), spec.flow_through(role.name)
    cut, element = Cut.of(grid), element_size(spec.train.precision)
    sequences, length = role.samples_each, spec.schedule.sequence // cut.cp
    if flow is not None:
        sequences *= flow.images
        is_vision = isinstance(kind, VisionEncoder)
        length = kind.patches + kind.class_tokens if is_vision else spec.encoder(flow).tokens
    wide = isinstance(kind, LanguageModel) and kind.residual_fp32
    return Share(
        cut=cut,
        sequences=sequences,
        length=length,
        split=cut.tp > 1 and spec.splits_sequence(module),
        precision=spec.train.precision,
        residual=FP32 if wide else element,
        kernels=spec.train.kernels,
        dropout=isinstance(kind, TransformerKind) and kind.dropout > 0,
        trained=not module.frozen,
        reached=_is_reached(spec, role.name),
    )


def _is_reached(spec: Spec, module: str) -> bool:
    """Whether a module before this one is trained, and waits for a gradient through it."""
    paths = (flow.path for flow in spec.flows if module in flow.path)
    before = (name for path in paths for name in path[: path.index(module)])
    return any(not spec.module(name).frozen for name in before)


@frozen(kw_only=True)
class Passes:
    """Bytes of the passes of a rank through its modules.

    `kept` are one microbatch's activations by module and title of the layers that keep them. Of
    `in_flight` microbatches' backward passes none has begun when the first one does. `working` is
    what the passes need besides, at their peak: `kept * in_flight + working` is the peak itself.
    """

    kept: dict[str, dict[str, int]]
    in_flight: int
    working: int

    @property
    def microbatch(self) -> int:
        return sum(size for layers in self.kept.values() for size in layers.values())


def passes(spec: Spec, roles: Iterable[ModuleRole], in_flight: int) -> Passes:
    """What a rank with these roles, in the order in which data passes them, keeps and needs."""
    kept: dict[str, dict[str, int]] = {}
    steps: list[_Step] = []
    for role in roles:
        titles = kept.setdefault(role.name, {})
        for step in _steps(spec, role):
            steps.append(step)
            for title, size in step.kept.items():
                titles[title] = titles.get(title, 0) + size
    held = total = sum(step.size for step in steps)
    highest = total
    for step in reversed(steps):
        highest = max(highest, held + step.working)
        held -= step.size
    return Passes(kept=kept, in_flight=in_flight, working=highest - total)


@frozen(kw_only=True)
class _Step:
    """A block: what its layers keep for their backward pass, and what that needs besides."""

    kept: dict[str, int]
    working: int

    @property
    def size(self) -> int:
        return sum(self.kept.values())


def _steps(spec: Spec, role: ModuleRole) -> Iterator[_Step]:
    share, kind = role_share(spec, role), role.module.kind
    recompute = kind.recompute if isinstance(kind, TransformerKind) else Recompute.NONE
    known: dict[Block, _Step] = {}
    for block in stage_blocks(spec, role):
        if block not in known:
            known[block] = _step(block, share, recompute)
        yield known[block]


def _step(block: Block, share: Share, recompute: Recompute) -> _Step:
    saved = [
        (layer.title, one) for layer in block for one in layer.saved(share) if share.keeps(one)
    ]
    whole = sum(one.size for _, one in saved)
    if not saved:
        return _Step(kept={}, working=0)
    if recompute is Recompute.FULL and block[0].stacked:
        # Of a layer its input is left, which its norm saves first (tensor_parallel/random.py:580).
        saved = [("layer input", saved[0][1])]
    elif recompute is Recompute.SELECTIVE:
        saved = [(title, one) for title, one in saved if not one.core]
    kept: dict[str, int] = {}
    for title, one in saved:
        kept[title] = kept.get(title, 0) + one.size
    again = whole - sum(kept.values())
    return _Step(kept=kept, working=again + max(layer.working(share) for layer in block))
