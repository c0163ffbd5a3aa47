"""A module of a plan: every value about it that follows from the rest of the spec."""

from attrs import field, frozen

from mimodsl.ir.blocks import Moe
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Kind, Recompute, Role
from mimodsl.ir.module import Module
from mimodsl.ir.package import CustomModule
from mimodsl.ir.train import Kernels, Precision
from mimodsl.planner.grids import GridPlan


@frozen(kw_only=True)
class Widths:
    """Widths and heads of one module, resolved. `None` stands for what its layers do not have.

    `hidden` is the width of the residual stream, or of what a module without one emits. A head of
    attention has `head_width` channels; `mamba_heads` are the heads of a Mamba mixer.
    """

    hidden: int
    ffn: int | None = None
    heads: int | None = None
    kv_groups: int | None = None
    head_width: int | None = None
    mamba_heads: int | None = None


@frozen(kw_only=True)
class ExpertKernels:
    """How kernels run the experts of one module (planner/experts.py).

    `grouped` experts are one product. `fused_permutation` orders tokens by expert in one kernel,
    `fused_routing` chooses experts in kernels of Transformer Engine, and `weighted_activation`
    applies the weights of tokens in the kernel of the activation.
    """

    grouped: bool
    fused_permutation: bool
    fused_routing: bool
    weighted_activation: bool


@frozen(kw_only=True)
class ModulePlan:
    """One module with every value that several places derive from it.

    `kind` has only the blocks that describe some layer; `moe` is its block of experts. `grid` has
    every axis, `declared` those that the spec names. `flow` is that of an encoder or a projector.
    `claims` are what a kind of another package says of itself.

    All ranks together work on `samples` samples of a microbatch. Each is `images` sequences to an
    encoder and a projector, and one to the language model. A sequence has `length` tokens inside
    the module, class tokens included; `placeholders` of them are not text. `inputs` is the shape of
    what one sequence is made of: an image `(3, height, width)`, else `(tokens, width)`; `outputs`
    are the tokens that the module emits for one sequence, and their width.

    With `split_sequence` each tp rank has its own tokens outside of products. The residual stream
    is in `residual`, other activations in `precision`. Where embeddings are `tied`, the first stage
    and the last share them. A `trained` module's weights need gradients; a `reached` module passes
    a gradient on to a trained one before it.
    """

    module: Module
    kind: Kind
    grid: GridPlan
    declared: Grid = field(repr=False)
    flow: Flow | None
    widths: Widths
    moe: Moe | None
    experts: ExpertKernels | None
    claims: CustomModule | None
    samples: int
    images: int
    length: int
    placeholders: int
    inputs: tuple[int, ...]
    outputs: tuple[int, int]
    split_sequence: bool
    kernels: Kernels
    precision: Precision
    residual: Precision
    recompute: Recompute
    dropout: bool
    tied: bool
    trained: bool
    reached: bool

    @property
    def name(self) -> str:
        return self.module.name

    @property
    def role(self) -> Role:
        return self.module.role
