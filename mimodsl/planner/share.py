"""A rank's share of one microbatch of a module: over how many ranks its layers are split, and on
how many tokens they run."""

from attrs import evolve, frozen

from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import TransformerKind
from mimodsl.ir.language import TransformerLanguage
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels, Precision
from mimodsl.ir.vision import VisionEncoder
from mimodsl.planner.calls import CallGroup, call_groups
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.sizes import FP32, element_size


@frozen(kw_only=True)
class Sharding:
    """The number of ranks over which one replica of a layer is split.

    Dense weights are split over tp, experts over ep, and each expert over etp. The sequence is
    split into cp parts.
    """

    tp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1

    @classmethod
    def of_grid(cls, grid: Grid) -> "Sharding":
        """The sharding of the layers of a grid's modules."""
        return cls(**{axis: grid.size(axis) for axis in ("tp", "cp", "ep", "etp")})

    @property
    def has_expert_buffer(self) -> bool:
        """Whether DDP reduces the gradients of experts over edp, apart from the dense gradients.

        Where experts are split like dense weights, both are in one buffer, which DDP reduces over
        dp and cp (tensor_parallel/layers.py:961).
        """
        return self.ep > 1 or self.etp != self.tp


@frozen(kw_only=True)
class Share:
    """What one rank of a module works on in one microbatch, and how.

    `sequences` of `length` tokens pass the module: samples of text, or images of an encoder with
    their class tokens. Each rank along cp has its part of every sequence, and with `split` each tp
    rank has its own tokens outside of products. `text` tokens are looked up in word embeddings.
    Attention is `causal` in a language model.

    An element of an activation has the size of `precision`, an element of the residual stream has
    `residual` bytes. `trained` says that the module's weights need gradients, `reached` that its
    input does. `groups` are the process groups along axes of the module's grid; a share of one rank
    has none.
    """

    sharding: Sharding
    sequences: int
    length: int
    text: int
    split: bool
    causal: bool
    precision: Precision
    residual: int
    kernels: Kernels
    dropout: bool
    trained: bool
    reached: bool
    groups: dict[tuple[str, ...], CallGroup]

    @property
    def element(self) -> int:
        """Bytes of an element of an activation."""
        return element_size(self.precision)

    @property
    def local_length(self) -> int:
        """Tokens of each sequence that this rank has along cp."""
        return self.length // self.sharding.cp

    @property
    def tokens(self) -> int:
        """Tokens that the products of this rank see."""
        return self.sequences * self.length // self.sharding.cp

    @property
    def rows(self) -> int:
        """Tokens that this rank has outside of products: norms, routers, residual sums."""
        return self.tokens // self.sharding.tp if self.split else self.tokens

    def group(self, *axes: str) -> CallGroup | None:
        """The process group along these axes; `None` where the rank is alone and calls nobody."""
        group = self.groups.get(axes)
        return group if group is not None and group.members > 1 else None


def role_share(spec: Spec, role: ModuleRole, grid: GridPlan) -> Share:
    """The share of a rank with this role. `grid` is the plan of the module's grid."""
    sharding = Sharding.of_grid(spec.grid_of(role.module))
    share = _share(spec, role.module, role.samples_each, sharding, call_groups(grid))
    # A later stage always computes a gradient for the stage before it
    # (pipeline_parallel/p2p_communication.py:333).
    return evolve(share, reached=share.reached or not role.first)


def whole_share(spec: Spec, module: Module) -> Share:
    """The share of a single rank that does all the work of a module for a whole microbatch."""
    samples = spec.schedule.micro_batch * spec.grid_of(spec.language).size("dp")
    return _share(spec, module, samples, Sharding(), {})


def _share(
    spec: Spec,
    module: Module,
    samples: int,
    sharding: Sharding,
    groups: dict[tuple[str, ...], CallGroup],
) -> Share:
    kind = module.kind
    sequences, length, text = _tokens(spec, module, samples)
    has_fp32_residual = isinstance(kind, TransformerLanguage) and kind.residual_fp32
    return Share(
        sharding=sharding,
        sequences=sequences,
        length=length,
        text=text,
        split=sharding.tp > 1 and spec.splits_sequence(module),
        causal=module is spec.language,
        precision=spec.train.precision,
        residual=FP32 if has_fp32_residual else element_size(spec.train.precision),
        kernels=spec.train.kernels,
        dropout=isinstance(kind, TransformerKind) and kind.dropout > 0,
        trained=not module.frozen,
        reached=_is_trained_before(spec, module),
        groups=groups,
    )


def _tokens(spec: Spec, module: Module, samples: int) -> tuple[int, int, int]:
    """The number of sequences, the tokens of each, and how many of all tokens are text."""
    flow = spec.flow_through(module.name)
    if flow is None:
        placeholders = sum(spec.sample_tokens(flow) for flow in spec.flows)
        length = spec.schedule.sequence
        return samples, length, samples * (length - placeholders)
    kind, images = module.kind, samples * flow.images
    if isinstance(kind, VisionEncoder):
        return images, kind.patches + kind.class_tokens, 0
    return images, spec.encoder(flow).tokens, 0


def _is_trained_before(spec: Spec, module: Module) -> bool:
    """Whether a module before this one is trained, and waits for a gradient through it."""
    paths = [flow.path for flow in spec.flows if module.name in flow.path]
    before = (name for path in paths for name in path[: path.index(module.name)])
    return any(not spec.module(name).frozen for name in before)
