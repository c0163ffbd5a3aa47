"""What a program that trains is told: arguments of megatron-core, and numbers.

The planner makes these values with `Name`s in place of objects of other packages. The builder
imports the objects. An exported script holds these classes and the same values as literals.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class View(NamedTuple):
    """One more factorization of a grid's ranks. `shared` axes are those of the base view."""

    name: str
    sizes: list[int]
    axes: list[str]
    shared: list[str]


class RankGrid(NamedTuple):
    """The ranks from `offset` on, factored into `axes` with megatron-core's names.

    The first axis varies fastest. `views` holds the `expert` view in any case; `has_experts` says
    whether the spec declares it.
    """

    offset: int
    sizes: list[int]
    axes: list[str]
    views: list[View]
    has_experts: bool


class Part(NamedTuple):
    """One module: `build(config, kernels, groups, **arguments)` gives its ModuleSpec.

    `config` holds the fields of its TransformerConfig. Weights that are `frozen` do not train.
    """

    grid: str
    build: Callable[..., Any]
    config: dict[str, Any]
    arguments: dict[str, Any]
    frozen: bool = False


class Modality(NamedTuple):
    """An encoder and its projector, whose tokens take the places of `token` in the text."""

    token: int
    encoder: Part
    projector: Part | None


class Batches(NamedTuple):
    """The samples of a step: `micro_batch` for each of the `replicas`, `microbatches` times.

    The replicas are data-parallel ranks of the language model. A sample has `sequence` tokens.
    """

    microbatches: int
    micro_batch: int
    replicas: int
    sequence: int


class Images(NamedTuple):
    """What a synthetic sample shows to an encoder: `inputs` of a `shape`, and the `tokens`
    that the language model gets for each, in the places of `token`."""

    token: int
    inputs: int
    tokens: int
    shape: list[int]


class Samples(NamedTuple):
    """What synthetic samples are made from. `letters` are the token ids of text.

    `images` is by encoder.
    """

    seed: int
    sequence: int
    letters: list[int]
    images: dict[str, Images]


class Program(NamedTuple):
    """Everything that a rank needs to know to train a spec.

    `modalities` is by the encoder's name. `ddp`, `optimizer` and `scheduler` are arguments of
    megatron-core's classes. `seed_names` says, by megatron-core's module key, whose name seeds what
    a rank draws in a step.
    """

    world: int
    seed: int
    dtype: Any
    grids: dict[str, RankGrid]
    modalities: dict[str, Modality]
    language: Part
    kernels: Any
    batches: Batches
    loss_per: str
    ddp: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    seed_names: dict[str, str]
    samples: Samples
