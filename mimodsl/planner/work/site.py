"""Where a module's layers run: over how many ranks each is cut, and on how many tokens."""

from attrs import frozen

from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import VisionEncoder
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.layers import Cut
from mimodsl.planner.layers.share import element_size
from mimodsl.planner.traffic.call import Line, lines_of


@frozen(kw_only=True)
class Site:
    """A rank's share of one microbatch of a module.

    `sequences` of `length` tokens each pass it, `images` of an encoder's or samples of text; `text`
    are the tokens that word embeddings are looked up for. `element` is the size of an activation
    in bytes. `lines` are the groups along axes of the module's grid.
    """

    cut: Cut
    sequences: int
    length: int
    text: int
    element: int
    split: bool
    causal: bool
    lines: dict[tuple[str, ...], Line]

    @property
    def tokens(self) -> int:
        """Tokens that a tp rank's products see."""
        return self.sequences * self.length // self.cut.cp

    @property
    def shard(self) -> int:
        """Tokens outside of products, where the sequence is split over tp."""
        return self.tokens // self.cut.tp if self.split else self.tokens

    def line(self, *axes: str) -> Line | None:
        """The group along axes; `None` where a rank is alone in it, and calls nobody."""
        line = self.lines.get(axes)
        return line if line is not None and line.members > 1 else None


def site(spec: Spec, module: Module, grid: GridPlan) -> Site:
    """The site of a module on any of its grid's ranks."""
    samples = spec.schedule.micro_batch * _replicas(spec) // grid.axis("dp")
    cut = Cut.of(spec.grid_of(module))
    return _site(spec, module, samples, cut, lines_of(grid))


def whole_site(spec: Spec, module: Module) -> Site:
    """A whole microbatch on one rank."""
    samples = spec.schedule.micro_batch * _replicas(spec)
    return _site(spec, module, samples, Cut(), {})


def _replicas(spec: Spec) -> int:
    return spec.grid_of(spec.language).size("dp")


def _site(
    spec: Spec, module: Module, samples: int, cut: Cut, lines: dict[tuple[str, ...], Line]
) -> Site:
    sequences, length, text = _tokens(spec, module, samples)
    return Site(
        cut=cut,
        sequences=sequences,
        length=length,
        text=text,
        element=element_size(spec.train.precision),
        split=cut.tp > 1 and spec.splits_sequence(module),
        causal=module is spec.language,
        lines=lines,
    )


def _tokens(spec: Spec, module: Module, samples: int) -> tuple[int, int, int]:
    """Sequences, tokens of each, and word embeddings among them."""
    flow = spec.flow_through(module.name)
    if flow is None:
        shown = sum(spec.sample_tokens(flow) for flow in spec.flows)
        length = spec.schedule.sequence
        return samples, length, samples * (length - shown)
    kind, encoder = module.kind, spec.encoder(flow)
    images = samples * flow.images
    if isinstance(kind, VisionEncoder):
        return images, kind.patches + kind.class_tokens, 0
    return images, encoder.tokens, 0
