"""A rank's share of one microbatch of a module: over how many ranks its layers are split, and on
how many tokens they run."""

from attrs import evolve, frozen

from mimodsl.ir.axes import CP, EP, ETP, TP
from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Role
from mimodsl.ir.train import Precision
from mimodsl.planner.calls import CallGroup, call_groups
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.sizes import element_size


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
        return cls(**{axis: grid.size(axis) for axis in (TP, CP, EP, ETP)})

    @property
    def has_expert_buffer(self) -> bool:
        """Whether DDP reduces the gradients of experts over edp, apart from the dense gradients.

        Where experts are split like dense weights, both are in one buffer, which DDP reduces over
        dp and cp (tensor_parallel/layers.py, "class ColumnParallelLinear … use_expert_pgs").
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


def rank_share(plan: ModulePlan, samples: int, *, first: bool) -> Share:
    """The share of a rank that works on so many samples in one stage of a module.

    A stage that is not the `first` always computes a gradient for the stage before it
    (pipeline_parallel/p2p_communication.py, "def _communicate( … requires_grad=True").
    """
    share = _share(plan, samples, Sharding.of_grid(plan.declared), call_groups(plan.grid))
    return evolve(share, reached=share.reached or not first)


def whole_share(plan: ModulePlan) -> Share:
    """The share of a single rank that does all the work of a module for a whole microbatch."""
    return _share(plan, plan.samples, Sharding(), {})


def _share(
    plan: ModulePlan,
    samples: int,
    sharding: Sharding,
    groups: dict[tuple[str, ...], CallGroup],
) -> Share:
    is_language = plan.role is Role.LANGUAGE
    return Share(
        sharding=sharding,
        sequences=samples * plan.images,
        length=plan.length,
        text=samples * (plan.length - plan.placeholders) if is_language else 0,
        split=sharding.tp > 1 and plan.split_sequence,
        causal=is_language,
        precision=plan.precision,
        residual=element_size(plan.residual),
        dropout=plan.dropout,
        trained=plan.trained,
        reached=plan.reached,
        groups=groups,
    )
