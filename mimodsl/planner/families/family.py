"""What every family of kinds answers, ours and those of other packages alike.

A family has one file of the same name in every package that treats it differently from others.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Kind, Recompute
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.node import Node
from mimodsl.ir.vision import Encoder
from mimodsl.planner.module import ModulePlan, Widths
from mimodsl.planner.program.values import Part

if TYPE_CHECKING:  # rules ask families, too, and make no layers
    from mimodsl.planner.layers import Layer

type Block = tuple[Layer, ...]
"""What is one layer to Megatron-Core, and recomputed as one: in a `gpt` or an encoder attention
and an MLP or experts, else a single layer."""


@frozen
class Split:
    """A size that tensor parallelism cuts into equal parts, where a spec gives it.

    `what` is the name for messages. A `free` size can be rounded up at will.
    """

    node: Node
    field: str
    what: str
    size: int
    free: bool = False


@frozen(kw_only=True)
class SharedWidth:
    """A width of `hidden` that heads of attention share, and the node that gives their number."""

    node: Node
    width: int
    heads: int


@frozen(kw_only=True)
class Neighbours:
    """The kinds at both ends of a module's flow; `None` where a draft does not know them."""

    encoder: Encoder | None = None
    language: LanguageModel | None = None


@frozen(kw_only=True)
class Stage:
    """One of the `count` pipeline stages of a module.

    `layers` are its layers by their index in the whole module, and `pattern` their symbols where
    the spec writes some. `symbols` says of every kind what its layers are: `M` Mamba, `*`
    attention, `-` an MLP, `E` experts, so that equal symbols are equal layers.
    """

    index: int = 0
    count: int = 1
    layers: range = range(0)
    pattern: str = ""
    symbols: str = ""

    @property
    def first(self) -> bool:
        """Whether this is the module's first stage: the one with the embeddings."""
        return self.index == 0

    @property
    def last(self) -> bool:
        """Whether this is the module's last stage: the one with the output."""
        return self.index == self.count - 1


@frozen(kw_only=True)
class Room:
    """What a small form of a module has to fit into.

    The small form divides over `grid` as the module does. With `keeps_tokens` an encoder gives as
    many tokens as before, and with `keeps_width` tokens as wide as before: what takes them is of
    another package, and may take no others. Encoders without a projector give tokens `emitted` wide
    to the language model.
    """

    grid: Grid
    keeps_tokens: bool = False
    keeps_width: bool = False
    emitted: int | None = None


class Family[K: Kind](ABC):
    """What planner, rules and `verify` ask of a family of kinds. The defaults suit a module that
    nothing splits, and that is whole in one pipeline stage."""

    kinds: ClassVar[tuple[type[Kind], ...]]
    """The classes of the family's kinds."""

    takes_any_tokens: ClassVar[bool] = True
    """Whether a projector of the family takes any number of tokens."""

    takes_any_width: ClassVar[bool] = True
    """Whether the small form of a language model of the family takes tokens of any width."""

    @abstractmethod
    def widths(self, kind: K, near: Neighbours) -> Widths:
        """The module's widths and heads. All neighbours are known."""

    @abstractmethod
    def blocks(self, kind: K, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        """The layers of one stage, in order."""

    @abstractmethod
    def part(self, kind: K, plan: ModulePlan) -> Part:
        """How a program describes the module. The plan has resolved kernels, not `auto`."""

    def splits(self, kind: K, near: Neighbours) -> Iterator[Split]:  # noqa: ARG002
        """The sizes that tp cuts; without those that follow from an unknown neighbour."""
        return iter(())

    def shared_width(self, kind: K) -> SharedWidth | None:  # noqa: ARG002
        """The width that heads of attention divide among each other; `None` where there are no
        heads, and where the spec gives the width of one."""
        return None

    def key_value_groups(self, kind: K) -> int | None:  # noqa: ARG002
        """The key and value heads that tp splits or copies; `None` without attention."""
        return None

    def stage(self, kind: K, index: int, count: int) -> Stage:  # noqa: ARG002
        """The layers of one of `count` stages, given that the kind divides into so many."""
        return Stage(index=index, count=count)

    def even_layers(self, kind: K) -> tuple[str, int] | None:  # noqa: ARG002
        """The field that gives the layers, and their number, where each stage gets as many;
        `None` where the spec says which stage has which, and where there are none."""
        return None

    def on_stages(self, kind: K, stages: Sequence[int], count: int) -> K:  # noqa: ARG002
        """The kind with the layers of some of its `count` stages alone."""
        return kind

    def length(self, kind: K, tokens: int) -> int:  # noqa: ARG002
        """Tokens that a sequence of `tokens` has inside the module."""
        return tokens

    def recompute(self, kind: K) -> Recompute:  # noqa: ARG002
        """Which activations are computed again in the backward pass."""
        return Recompute.NONE

    def fully_recomputed(self, kind: K) -> K | None:  # noqa: ARG002
        """The kind with `recompute = full`; `None` where its layers cannot be computed again."""
        return None

    def dropout(self, kind: K) -> float:  # noqa: ARG002
        """The share of hidden states that are dropped."""
        return 0.0

    def residual_fp32(self, kind: K) -> bool:  # noqa: ARG002
        """Whether the residual stream is in fp32 whatever the model's precision."""
        return False

    def ties_embeddings(self, kind: K) -> bool:  # noqa: ARG002
        """Whether the first stage and the last share the embeddings of tokens."""
        return False

    def small(self, kind: K, room: Room) -> K:  # noqa: ARG002
        """The kind at laptop size, with layers of every sort and ratios kept; what is small
        already stays, and so does a kind that nobody here knows how to make smaller."""
        return kind

    def on_one_rank(self, kind: K) -> K:
        """The kind as it is written for a single rank, without stages and sequence parallelism."""
        return kind

    def comparable(self, kind: K) -> K:
        """The kind without what two layouts compute differently by design: random draws, and
        losses over a rank's own tokens."""
        return kind
