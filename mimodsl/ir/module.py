"""Modules: a kind with its values, on a grid."""

from mimodsl.ir.facts import FUNCTION, LAYOUT, SHAPES, TRAINING, Derived, Facts, unnamed
from mimodsl.ir.kinds import Kind, Role
from mimodsl.ir.node import Node, knob, node


@node
class Module(Node):
    """A module of the model; the ranks of one grid hold its parameters."""

    name: str = knob(
        doc="what flows call it",
        facts=unnamed(FUNCTION),
    )
    grid: str = knob(
        doc="the grid whose ranks hold it",
        facts=unnamed(LAYOUT),
    )
    frozen: bool = knob(
        default=False,
        doc="keep the weights as they are",
        facts=Facts(
            TRAINING,
            megatron=None,
            flag=Derived("freeze-lm", "freeze-vit", "freeze-projection"),
            hf=None,
        ),
    )
    kind: Kind = knob(
        doc="what it is, and its sizes",
        facts=unnamed(SHAPES),
    )

    @property
    def role(self) -> Role:
        return self.kind.role
