"""Rules about image tokens: their width, their number and their placeholders."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from itertools import count as count_from

from attrs import frozen

from mimodsl.checker.arithmetic import next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, count
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import FLOW, ROUTE, SPEC, Held, Route, sequence_shards
from mimodsl.diagnostics import Label
from mimodsl.ir import Encoder, Flow, LanguageModel, Projector
from mimodsl.ir.draft import Draft
from mimodsl.ir.projector import Between


@rule(
    "MIMO606",
    "two flows with the same placeholder",
    scope=SPEC,
    cost=Cost.LATE,
    mirrors=('models/mimo/model/base.py, "elif modality_name in special_token_ids"',),
    seen="The first forward pass stops: `does not match`, `number of`.",
)
def same_token(spec: Context, draft: Draft) -> Findings:
    """Every flow has its own placeholder token.

    Two flows with the same placeholder would both count all of its places, and the first forward
    pass fails because there are fewer embeddings than places.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module left : radio_small {}

        module right : radio_small {}

        module project_left : mlp_projector {}

        module project_right : mlp_projector {}

        module language : nemotron_small {}

        flow left -> project_left -> language {
          token = 511
        }

        flow right -> project_right -> language {
          token = 511
        }
    """
    by_token: defaultdict[int, list[Flow]] = defaultdict(list)
    for flow in draft.flows:
        by_token[flow.token].append(flow)
    for token, (first, *others) in by_token.items():
        near = chain(range(token - 1, -1, -1), count_from(token + 1))
        free = next(other for other in near if other not in by_token)
        for flow in others:
            yield Finding(
                message=f"two flows have the same placeholder {token}",
                primary=spec.label(flow, "token", "again here"),
                secondary=(spec.label(first, "token", "first here"),),
                help=(f"give it its own, such as {code(f'token = {free}')}",),
            )


@rule(
    "MIMO607",
    "a placeholder outside the vocabulary",
    scope=ROUTE,
    cost=Cost.SILENT,
    mirrors=(
        'models/mimo/model/base.py, "text_mask &= input_ids != special_token_id"',
        'tensor_parallel/cross_entropy.py, "target_mask = (target < vocab_start_index)"',
    ),
    seen="The loss is silently wrong, or the GPU reports an illegal memory access.",
)
def token_in_vocabulary(spec: Context, route: Route) -> Findings:
    """The placeholder is an id in the vocabulary of the language model.

    It stands in the input ids and, one place earlier, in the labels. For a label outside the
    vocabulary, one loss silently masks it, and another reads out of bounds.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module projector : mlp_projector {}

        module language : nemotron_small {}

        flow vision -> projector -> language {
          token = 512
        }
    """
    token, kind = route.flow.token, route.language.kind
    if token >= kind.vocabulary:
        yield Finding(
            message=f"the placeholder {token} is outside the vocabulary of "
            f"{code(route.language.name)}",
            primary=spec.label(route.flow, "token", f"not below {kind.vocabulary}"),
            secondary=(spec.label(kind, "vocabulary", f"ids 0 to {kind.vocabulary - 1}"),),
            help=(f"{code(f'token = {kind.vocabulary - 1}')} is the last id",),
        )


@rule(
    "MIMO608",
    "a flow without images",
    scope=FLOW,
    cost=Cost.WASTE,
    seen="Nothing: the language model learns from text, but the encoder does not learn.",
)
def no_images(spec: Context, flow: Flow) -> Findings:
    """A sample has an image for each of its flows: an encoder that never gets an image is idle.

    A sample of your own data can have fewer images than its flows say.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module projector : mlp_projector {}

        module language : nemotron_small {}

        flow vision -> projector -> language {
          token  = 511
          images = 0
        }
    """
    if flow.images == 0 and flow.path:
        yield Finding(
            message=f"a sample has no image for {code(flow.encoder)}",
            primary=spec.label(flow, "images", "no images"),
            secondary=(spec.label(flow, "path[0]", "takes images"),),
            help=(f"write {code('images = 1')}, or leave the flow and its modules out",),
        )


@rule(
    "MIMO611",
    "image embeddings of another width than the language model",
    scope=ROUTE,
    cost=Cost.SILENT,
    mirrors=('models/mimo/model/base.py, "expanded_mask = mask.unsqueeze"',),
    seen="Nothing. The loss falls more slowly than it should: tokens of an image hold parts of "
    "other tokens.",
)
def widths(spec: Context, route: Route) -> Findings:
    """Without a projector, an encoder outputs tokens as wide as the language model.

    megatron-core scatters the embeddings over the placeholders, number by number. Wider embeddings
    spill into the place of the next token, and training goes on with scrambled images.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module language : nemotron_small {}

        flow vision -> language {
          token = 511
        }
    """
    kind, hidden = route.encoder.kind, route.language.kind.hidden
    if route.projector is None and kind.output_width != hidden:
        yield Finding(
            message=f"{code(route.encoder.name)} outputs tokens {kind.output_width} wide, "
            f"but {code(route.language.name)} takes {hidden}",
            primary=spec.label(route.flow, "path", "no projector between them"),
            secondary=(
                _emitted(spec, route.encoder),
                spec.label(route.language.kind, "hidden", f"{hidden} wide"),
            ),
            help=_projector_help(spec, route),
        )


def _projector_help(spec: Context, route: Route) -> tuple[str, ...]:
    taken = spec.draft.module("projector") is not None
    name = f"project_{route.encoder.name}" if taken else "projector"
    grid = f"grid = {route.encoder.grid.name}" if len(spec.draft.grids) > 1 else ""
    module = f"module {name} : mlp_projector {{ {grid} }}".replace("{  }", "{}")
    flow = f"flow {route.encoder.name} -> {name} -> {route.language.name}"
    return (f"declare {code(module)}", f"and write {code(flow)}")


def _emitted(spec: Context, encoder: Held[Encoder]) -> Label:
    """The field that an encoder's output width comes from, or the module where none is known."""
    kind = encoder.kind
    if kind.width_source is None:
        return spec.label(encoder.module, "name", f"{kind.output_width} wide")
    field, formula = kind.width_source
    return spec.label(kind, field, f"{formula} = {kind.output_width}")


@rule(
    "MIMO612",
    "images that leave no room for text",
    scope=SPEC,
    cost=Cost.LATE,
    mirrors=('models/mimo/model/base.py, "num_tokens = mask.sum().item()"',),
    seen="The data cannot be made, or the first forward pass stops: `does not match`, `number of`.",
)
def image_tokens(spec: Context, draft: Draft) -> Findings:
    """The tokens of the images of a sample fit into its sequence, together with text.

    Every image takes one placeholder for each token that its encoder outputs. If a projector
    changes the number of tokens, its output counts.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {
          image = 128x128
        }

        module projector : mlp_projector {}

        module language : nemotron_small {}

        flow vision -> projector -> language {
          token  = 511
          images = 8
        }

        schedule no_pipelining {
          sequence = 64
        }
    """
    schedule = draft.schedule
    counts = list(_tokens(draft))
    total = sum(shown.total for shown in counts)
    if schedule is None or not counts or total < schedule.sequence:
        return
    yield Finding(
        message=f"the images of a sample take {total} of {schedule.sequence} tokens",
        primary=spec.label(schedule, "sequence", "no room for text"),
        secondary=tuple(_taken(spec, shown) for shown in counts),
        help=tuple(_room_help(spec, counts, schedule.sequence, total)),
    )


@frozen
class _Shown:
    """A flow with its encoder, and the number of tokens that the language model gets per image."""

    flow: Flow
    kind: Encoder
    each: int

    @property
    def total(self) -> int:
        return self.flow.images * self.each


def _taken(spec: Context, shown: _Shown) -> Label:
    size = "x".join(map(str, shown.kind.input_shape[1:]))
    images = f"{count(shown.flow.images, 'image')} of {size}"
    return spec.label(shown.flow, "path[0]", f"{images}: {shown.total} tokens")


def _tokens(draft: Draft) -> Iterator[_Shown]:
    for flow in draft.flows:
        kinds = [module and module.kind for module in map(draft.module, flow.path)]
        match kinds:
            case [Encoder() as kind, Projector() as projector, LanguageModel() as language]:
                yield _Shown(flow, kind, projector.tokens(Between.of(kind, language)))
            case [Encoder() as kind] | [Encoder() as kind, LanguageModel()]:
                yield _Shown(flow, kind, kind.tokens)
            case _:
                pass


def _room_help(spec: Context, counts: list[_Shown], sequence: int, total: int) -> Iterator[str]:
    """A longer sequence; fewer or smaller images where a single flow is to blame."""
    shards = max((sequence_shards(route.language) for route in ROUTE.subjects(spec)), default=1)
    longer = next_multiple(total + 1, max(shards, 64))
    yield f"{code(f'sequence = {longer}')} leaves {longer - total} tokens for text"
    if len(counts) > 1:
        return
    (shown,) = counts
    flow, kind = shown.flow, shown.kind
    if flow.images > 1 and shown.each < sequence:
        yield f"or fewer images: {code(f'images = {(sequence - 1) // shown.each}')}"
    elif shown.each == kind.tokens:
        side = kind.square_side((sequence - 1) // flow.images)
        if side:
            yield f"or smaller images: {code(f'image = {side}x{side}')}"
