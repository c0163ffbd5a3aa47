"""Flows: the path of one modality into the language model."""

from mimodsl.ir.node import AT_LEAST_0, Node, knob, node


@node
class Flow(Node):
    """From an encoder, perhaps through a projector, into the language model."""

    path: tuple[str, ...] = knob(doc="module names, from the encoder to the language model")
    token: int = knob(check=AT_LEAST_0, doc="the placeholder id in the input ids")
    images: int = knob(default=1, check=AT_LEAST_0, unit="images", doc="images a sample")

    @property
    def encoder(self) -> str:
        return self.path[0]

    @property
    def language(self) -> str:
        return self.path[-1]

    @property
    def projector(self) -> str | None:
        return self.path[1] if len(self.path) == 3 else None
