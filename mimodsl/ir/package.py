"""Kinds of other packages: the bases that they have, and what such a kind claims of its modules."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self, cast

from attrs import frozen

from mimodsl.ir.kinds import Kind
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.node import node
from mimodsl.ir.projector import Between, Projector
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import Encoder

_NOT_THEIRS: Final = ("mimodsl", "megatron", "torch", "attr", "importlib")
"""Packages that call a package's code or are called by it; a mistake is rarely theirs."""


class BrokenKind(ValueError):
    """A kind of another package that is none, cannot be imported, or makes no sense."""


@node
class CustomKind(Kind):
    """What every kind of another package has.

    Its fields are `knob`s, and so are checked, documented and completed like the built-in ones.
    `builder` names a function, as `package.module:function`, that every rank with the module calls,
    and that returns megatron-core's `ModuleSpec`. `rules`, if given, names a tuple of rules in the
    same way. Both are imported when they are needed: nothing else may import torch.
    """

    builder: ClassVar[str]
    rules: ClassVar[str] = ""


@node
class CustomEncoder(Encoder, CustomKind):
    """The base of an encoder of a package of one's own: any torch module, replicated over dp.

    It says what goes in and comes out (`input_shape`, `tokens`, `output_width`), what it holds
    (`weights`) and, for estimates, what one input costs (`saved_bytes`, `flops`). Its `builder` is
    called with the kind; the module leads from `[n, *input_shape]` to `[n, tokens, output_width]`.
    """

    @property
    def weights(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    def saved_bytes(self, element: int) -> int:  # noqa: ARG002 - a kind's own may ask
        """Bytes that one input's forward pass keeps for the backward pass; 0 where not known.

        An activation has `element` bytes an element: 4 in fp32, 2 in bf16 and fp16.
        """
        return 0

    @property
    def flops(self) -> int:
        """Floating-point operations of one input's forward pass; 0 where not known."""
        return 0


@node
class CustomProjector(Projector, CustomKind):
    """The base of a projector of a package of one's own: any torch module, whole on every rank.

    What it says may follow from what it stands `between`: the encoder's tokens and their width, and
    the width of the language model. `tokens(between)` is how many it gives for one input, as many
    as it takes unless it says otherwise. Its `builder` is called with the kind and `between`; the
    module leads from `[n, between.tokens, between.width]` to `[n, tokens, between.hidden]`.
    """

    def weights(self, between: Between) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    def saved_bytes(self, between: Between, element: int) -> int:  # noqa: ARG002 - as above
        """Bytes that one input's forward pass keeps for the backward pass; 0 where not known.

        An activation has `element` bytes an element: 4 in fp32, 2 in bf16 and fp16.
        """
        return 0

    def flops(self, between: Between) -> int:  # noqa: ARG002 - as above
        """Floating-point operations of one input's forward pass; 0 where not known."""
        return 0


@node
class CustomLanguage(LanguageModel, CustomKind):
    """The base of a language model of a package of one's own: any torch decoder.

    It is whole on every rank, and replicas over dp share its work: tp, cp and pp are 1. A subclass
    has the fields `hidden`, the width of embeddings, and `vocabulary`, the number of token ids.
    What it says may follow from `sequence`, the tokens of a sample.

    Its `builder` is called with the kind and `sequence`. The method `embed` of the module leads
    from token ids `[n, s]` to embeddings `[n, s, hidden]`, in which images take the places of their
    placeholders. The module itself leads from embeddings to logits `[n, s, vocabulary]`; those of a
    token follow from it and from earlier tokens alone. mimodsl computes the loss.
    """

    def weights(self, sequence: int) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    def saved_bytes(self, sequence: int, element: int) -> int:  # noqa: ARG002 - as above
        """Bytes that one sample's forward pass keeps for the backward pass, logits included; 0
        where not known.

        An activation has `element` bytes an element: 4 in fp32, 2 in bf16 and fp16.
        """
        return 0

    def flops(self, sequence: int) -> int:  # noqa: ARG002 - as above
        """Floating-point operations of one sample's forward pass; 0 where not known."""
        return 0


@frozen(kw_only=True)
class Claims:
    """What a kind of another package says of itself at its place in a spec.

    A projector is `between` two modules, and a language model has samples of `sequence` tokens.
    Each of the values is asked of the package, and `BrokenKind` says what is wrong with the answer.
    """

    kind: CustomEncoder | CustomProjector | CustomLanguage
    between: Between | None = None
    sequence: int | None = None

    @classmethod
    def of(cls, spec: Spec, module: Module) -> Self:
        """The claims of one module of a spec."""
        match module.kind:
            case CustomEncoder() as kind:
                return cls(kind=kind)
            case CustomProjector() as kind:
                flow = spec.flow_through(module.name)
                assert flow is not None, "every projector is in a flow"
                return cls(kind=kind, between=spec.between(flow))
            case CustomLanguage() as kind:
                return cls(kind=kind, sequence=spec.schedule.sequence)
            case kind:
                raise TypeError(f"{kind.keyword} is no kind of another package")

    @property
    def place(self) -> tuple[Between | int, ...]:
        """What the kind's methods and its builder are given besides the kind itself."""
        return tuple(one for one in (self.between, self.sequence) if one is not None)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The shape of what the module takes of one input."""
        if self.between is not None:
            return self.between.tokens, self.between.width
        if self.sequence is not None:
            return self.sequence, self._number("hidden", 1)
        return self._sizes("input_shape", self._asked("input_shape"))

    @property
    def outputs(self) -> tuple[int, int]:
        """Tokens that the module gives for one input, and their width."""
        if self.sequence is not None:
            return self.sequence, self._number("vocabulary", 1)
        tokens = self._number("tokens", 1, *self.place)
        if self.between is not None:
            return tokens, self.between.hidden
        return tokens, self._number("output_width", 1)

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter by name."""
        said = self._asked("weights", *self.place)
        if not isinstance(said, Mapping):
            raise self._wrong("weights", said, "shapes by name")
        items = cast("Mapping[object, Any]", said).items()
        return {str(name): self._sizes(f"weights[{name!r}]", shape) for name, shape in items}

    @property
    def flops(self) -> int:
        """Operations of one input's forward pass."""
        return self._number("flops", 0, *self.place)

    def saved_bytes(self, element: int) -> int:
        """What one input's forward pass keeps, with activations of `element` bytes an element."""
        return self._number("saved_bytes", 0, *self.place, element)

    def mistakes(self) -> Iterator[str]:
        """What is wrong with each of the values."""
        for ask in (
            lambda: self.inputs,
            lambda: self.outputs,
            lambda: self.weights,
            lambda: self.flops,
            lambda: self.saved_bytes(4),
        ):
            try:
                ask()
            except BrokenKind as error:
                yield str(error)

    def _asked(self, name: str, *arguments: object) -> object:
        try:
            said: Any = getattr(self.kind, name)
            return said(*arguments) if arguments else said
        except NotImplementedError:
            raise BrokenKind(f"`{self.kind.keyword}` does not say its `{name}`") from None
        except Exception as error:  # whatever a package does wrong
            told = told_of(error)
            raise BrokenKind(f"`{self.kind.keyword}` fails at its `{name}`: {told}") from error

    def _number(self, name: str, least: int, *arguments: object) -> int:
        said = self._asked(name, *arguments)
        if not _is_size(said, least):
            raise self._wrong(name, said, f"an integer, at least {least}")
        return cast(int, said)

    def _sizes(self, name: str, said: object) -> tuple[int, ...]:
        sizes = cast("tuple[int, ...]", said)
        if isinstance(said, tuple | list) and all(_is_size(size, 1) for size in sizes):
            return tuple(sizes)
        raise self._wrong(name, cast(object, said), "a tuple of sizes")

    def _wrong(self, name: str, said: object, wanted: str) -> BrokenKind:
        return BrokenKind(f"`{self.kind.keyword}` says {said!r} of its `{name}`, not {wanted}")


def _is_size(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def told_of(error: BaseException) -> str:
    """What a package's own code raised, in a line, and where."""
    import traceback  # slow, and for mistakes alone

    said = " ".join("".join(traceback.format_exception_only(error)).split())
    return f"{said}{theirs(error)}"


def theirs(error: BaseException) -> str:
    """The innermost line of a package's own code that an exception went through, as ` (file:line
    in function)`; nothing where there is none."""
    import traceback

    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THEIRS:
            code = frame.f_code
            where = f" ({Path(code.co_filename).name}:{line} in {code.co_name})"
    return where
