"""What a verification comes to: the numbers of both runs, and the first place where they part."""

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen


class Check(StrEnum):
    """What is compared, in the order in which it is looked at."""

    FRESH = "initial weights"
    START = "loaded weights"
    FORWARD = "forward pass"
    LOSS = "loss"
    GRADIENTS = "gradients"
    NORMS = "gradient norm"
    WEIGHTS = "weights after the steps"


class Cause(StrEnum):
    """Why two layouts most likely differ."""

    EQUAL_SEEDS = "shards start with equal weights"
    UNEQUAL_SEEDS = "copies start with unequal weights"
    NOT_HELD = "no rank holds the parameter"
    NOT_LOADED = "a shard of other weights was loaded"
    SHIFTED_SAMPLES = "modules work on different samples"
    SWAPPED_EMBEDDINGS = "samples get each other's images"
    COMPUTATION = "a layer computes something else"
    LOSS_COUNT = "losses are not counted once each"
    NOT_TRAINED = "the parameter is not trained"
    TOKEN_NORMALISATION = "gradients are not divided by the tokens of the global batch"
    DP_RATIO = "gradients are off by a ratio of data-parallel sizes"
    SCALE = "gradients are off by a constant factor"
    MISSING_REDUCTION = "ranks' parts of a gradient are not added up"
    SEQUENCE_PARALLEL = "a sequence-parallel reduction is missing"
    WRONG_GROUP = "a sum runs over the wrong group"
    BACKWARD = "the backward pass of a layer differs"
    NORM_GROUP = "the norm is taken over the wrong group"
    OPTIMIZER = "the optimizer's step differs"


type Finding = tuple[Cause, str, tuple[str, ...]]
"""A cause, the sentence for it, and what was seen."""


@frozen(kw_only=True)
class FirstDifference:
    """The first place where the layout parts from one rank.

    `how` says it in numbers, `reason` is the likely cause in a sentence. `scope` counts, by module,
    the parameters that differ in the same check and all that were compared.
    """

    check: Check
    step: int | None = None
    module: str
    where: str
    how: tuple[str, ...]
    cause: Cause
    reason: str
    scope: Mapping[str, tuple[int, int]] = field(factory=dict[str, tuple[int, int]])


@frozen(kw_only=True)
class Worst:
    """The parameter or point whose relative distance is the largest."""

    distance: float = 0.0
    where: str = ""


@frozen(kw_only=True)
class ModuleNorm:
    """A module's gradient norm on one rank and in the layout."""

    module: str
    alone: float
    layout: float


@frozen(kw_only=True)
class StepVerdict:
    """One step in both runs. Distances are relative; pairs are one rank's and the layout's."""

    step: int
    loss: tuple[float, float]
    grad_norm: tuple[float | None, float | None]
    norms: tuple[ModuleNorm, ...]
    forward: Worst
    gradients: Worst


@frozen(kw_only=True)
class Verdict:
    """Both runs side by side."""

    steps: tuple[StepVerdict, ...]
    weights: Worst
    parameters: int
    difference: FirstDifference | None

    @property
    def equal(self) -> bool:
        return self.difference is None
