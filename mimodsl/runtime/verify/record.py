"""What a rank writes down while a layout is verified: sums over its shards, never the tensors."""

from collections.abc import Mapping

from attrs import frozen


@frozen(kw_only=True)
class Shard:
    """Which part of which logical parameter a rank holds.

    `key`, `index` and `offset` are those of megatron-core's sharded state dict: the parameter, its
    place on the axes in front of it (layer, expert), and where the part begins in it.
    """

    key: str
    index: tuple[int, ...]
    offset: tuple[int, ...]
    numel: int
    expert: bool

    @property
    def parameter(self) -> tuple[str, tuple[int, ...]]:
        """The logical parameter, whichever part of it this is."""
        return self.key, self.index


@frozen(kw_only=True)
class Piece:
    """A rank's shard beside the same part of the reference, as sums of products.

    `expected` and `found` are squared norms, `dot` their product, `distance` the squared norm of
    their difference. `mark` is a projection of what was found: equal for equal contents. `even`
    says that all its numbers are the same; `trained` is false where the rank computes no gradient.
    """

    shard: Shard
    expected: float
    found: float
    dot: float
    distance: float
    mark: float
    even: bool = False
    trained: bool = True


@frozen(kw_only=True)
class Point:
    """A place in the forward pass: the output of a layer, or what arrives at a module."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}: {self.name}"


@frozen(kw_only=True)
class SampleNorm:
    """What passed a point for one sample of a step: the squared norm of this rank's part of it.

    `part` tells parts of one sample apart, by tp and cp coordinates, where they are to be added.
    """

    point: Point
    sample: int
    part: tuple[int, ...]
    value: float


@frozen(kw_only=True)
class StepRecord:
    """One step on one rank. `norms` are by megatron-core's module, before clipping."""

    loss: float
    weight: float
    grad_norm: float | None
    norms: Mapping[str, float]
    seen: tuple[SampleNorm, ...]
    gradients: tuple[Piece, ...]


@frozen(kw_only=True)
class RankRecord:
    """One rank's share of a run.

    `fresh` are the weights that the layout itself would start from, `start` those that it loaded,
    and `end` what the steps have added to them.
    """

    fresh: tuple[Piece, ...]
    start: tuple[Piece, ...]
    steps: tuple[StepRecord, ...]
    end: tuple[Piece, ...]
