"""Kinds of other packages: their base classes, and what they state about their modules."""

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

_INFRASTRUCTURE: Final = ("mimodsl", "megatron", "torch", "attr", "importlib")
"""Packages around a kind's own code; they rarely cause its errors."""


class BrokenKind(ValueError):
    """A kind of another package that is invalid, cannot be imported, or has impossible sizes."""


@node
class CustomKind(Kind):
    """The base of every kind of another package.

    Its fields are `knob`s, so they are checked, documented and completed like built-in fields.
    `builder` names a function, as `package.module:function`, that every rank with the module calls;
    it returns megatron-core's `ModuleSpec`. `rules`, if given, names a tuple of rules in the same
    way. Both are imported only when they are needed; nothing else may import torch.
    """

    builder: ClassVar[str]
    rules: ClassVar[str] = ""


@node
class CustomEncoder(Encoder, CustomKind):
    """The base of an encoder from another package: any torch module, replicated over dp.

    It states its input and output (`input_shape`, `tokens`, `output_width`), its parameters
    (`weights`) and, for estimates, the cost of one input (`saved_bytes`, `flops`). Its `builder` is
    called with the kind; the module maps `[n, *input_shape]` to `[n, tokens, output_width]`.
    """

    @property
    def weights(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    def saved_bytes(self, element: int) -> int:  # noqa: ARG002 - subclasses may use it
        """Bytes that the forward pass of one input keeps for the backward pass; 0 if unknown.

        `element` is the bytes per element of an activation: 4 in fp32, 2 in bf16 and fp16.
        """
        return 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass of one input; 0 if unknown."""
        return 0


@node
class CustomProjector(Projector, CustomKind):
    """The base of a projector from another package: any torch module, whole on every rank.

    Its answers may depend on `between`: the encoder's tokens and width, and the width of the
    language model. `tokens(between)` is the number of output tokens for one input; by default the
    number of input tokens. Its `builder` is called with the kind and `between`; the module maps
    `[n, between.tokens, between.width]` to `[n, tokens, between.hidden]`.
    """

    def weights(self, between: Between) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    def saved_bytes(self, between: Between, element: int) -> int:  # noqa: ARG002 - subclasses may use it
        """Bytes that the forward pass of one input keeps for the backward pass; 0 if unknown.

        `element` is the bytes per element of an activation: 4 in fp32, 2 in bf16 and fp16.
        """
        return 0

    def flops(self, between: Between) -> int:  # noqa: ARG002 - subclasses may use it
        """Floating-point operations of the forward pass of one input; 0 if unknown."""
        return 0


@node
class CustomLanguage(LanguageModel, CustomKind):
    """The base of a language model from another package: any torch decoder.

    It is whole on every rank, and replicas over dp share its work: tp, cp and pp are 1. A subclass
    has the fields `hidden`, the width of embeddings, and `vocabulary`, the number of token ids. Its
    answers may depend on `sequence`, the tokens of a sample.

    Its `builder` is called with the kind and `sequence`. The module's method `embed` maps token ids
    `[n, s]` to embeddings `[n, s, hidden]`, each of one token alone; image tokens then replace the
    placeholders. The module itself maps the embeddings of whole samples to logits
    `[n, s, vocabulary]`, and adds positions if it has any. The logits of a token depend only on it
    and on earlier tokens. mimodsl computes the loss.
    """

    def weights(self, sequence: int) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    def saved_bytes(self, sequence: int, element: int) -> int:  # noqa: ARG002 - subclasses may use it
        """Bytes that the forward pass of one sample keeps for the backward pass, with the logits.

        0 if unknown. `element` is the bytes per element of an activation: 4 in fp32, 2 in bf16 and
        fp16.
        """
        return 0

    def flops(self, sequence: int) -> int:  # noqa: ARG002 - subclasses may use it
        """Floating-point operations of the forward pass of one sample; 0 if unknown."""
        return 0


@frozen(kw_only=True)
class CustomModule:
    """A module whose kind is of another package, with the kind's checked answers.

    A projector is `between` two modules, and a language model has samples of `sequence` tokens.
    Every property raises `BrokenKind` if the package's answer is wrong.
    """

    kind: CustomEncoder | CustomProjector | CustomLanguage
    between: Between | None = None
    sequence: int | None = None

    @classmethod
    def in_spec(cls, spec: Spec, module: Module) -> Self:
        """The custom module of a spec. Raises `TypeError` for a kind of mimodsl."""
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
                raise TypeError(f"{kind.keyword} is not a kind of another package")

    @property
    def place(self) -> tuple[Between | int, ...]:
        """The arguments, besides the kind, of the kind's methods and of its builder."""
        return tuple(argument for argument in (self.between, self.sequence) if argument is not None)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The shape of one input of the module."""
        if self.between is not None:
            return self.between.tokens, self.between.width
        if self.sequence is not None:
            return self.sequence, self._number("hidden", 1)
        return self._sizes("input_shape", self._ask("input_shape"))

    @property
    def outputs(self) -> tuple[int, int]:
        """The number of output tokens for one input, and their width."""
        if self.sequence is not None:
            return self.sequence, self._number("vocabulary", 1)
        tokens = self._number("tokens", 1, *self.place)
        if self.between is not None:
            return tokens, self.between.hidden
        return tokens, self._number("output_width", 1)

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        answer = self._ask("weights", *self.place)
        if not isinstance(answer, Mapping):
            raise self._wrong("weights", answer, "shapes by name")
        items = cast("Mapping[object, Any]", answer).items()
        return {str(name): self._sizes(f"weights[{name!r}]", shape) for name, shape in items}

    @property
    def flops(self) -> int:
        """Operations of the forward pass of one input."""
        return self._number("flops", 0, *self.place)

    def saved_bytes(self, element: int) -> int:
        """Bytes that the forward pass of one input keeps, with `element` bytes per element."""
        return self._number("saved_bytes", 0, *self.place, element)

    def mistakes(self) -> Iterator[str]:
        """A message for each wrong answer of the kind."""
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

    def _ask(self, name: str, *arguments: object) -> object:
        try:
            answer: Any = getattr(self.kind, name)
            return answer(*arguments) if arguments else answer
        except NotImplementedError:
            raise BrokenKind(f"`{self.kind.keyword}` does not define `{name}`") from None
        except Exception as error:  # a package can raise anything
            message = describe_error(error)
            raise BrokenKind(f"`{self.kind.keyword}` fails in `{name}`: {message}") from error

    def _number(self, name: str, least: int, *arguments: object) -> int:
        answer = self._ask(name, *arguments)
        if not _is_size(answer, least):
            raise self._wrong(name, answer, f"an integer, at least {least}")
        return cast(int, answer)

    def _sizes(self, name: str, answer: object) -> tuple[int, ...]:
        sizes = cast("tuple[int, ...]", answer)
        if isinstance(answer, tuple | list) and all(_is_size(size, 1) for size in sizes):
            return tuple(sizes)
        raise self._wrong(name, cast(object, answer), "a tuple of sizes")

    def _wrong(self, name: str, answer: object, expected: str) -> BrokenKind:
        return BrokenKind(
            f"`{self.kind.keyword}` gives {answer!r} for `{name}`, expected {expected}"
        )


def _is_size(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def describe_error(error: BaseException) -> str:
    """An exception from a package's code on one line, with its place."""
    import traceback  # slow to import, and only needed for errors

    message = " ".join("".join(traceback.format_exception_only(error)).split())
    return f"{message}{package_line(error)}"


def package_line(error: BaseException) -> str:
    """The innermost line of a package's own code in a traceback, ` (file:line in function)`.

    Empty if the traceback has no such line.
    """
    import traceback

    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _INFRASTRUCTURE:
            code = frame.f_code
            where = f" ({Path(code.co_filename).name}:{line} in {code.co_name})"
    return where
