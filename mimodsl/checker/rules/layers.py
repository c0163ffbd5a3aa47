"""Rules about layers: the pattern of a language model, and its division into stages."""

from itertools import pairwise
from typing import Final

from mimodsl._version import MEGATRON_CORE
from mimodsl.checker.arithmetic import division, divisors, nearest, next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, count, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import HYBRID, LANGUAGE, Held
from mimodsl.diagnostics import Edit, Label, Severity
from mimodsl.ir import Hybrid, TransformerLanguage
from mimodsl.ir.axes import DP, PP
from mimodsl.planner.families import family_of
from mimodsl.source import Span

_WORDS: Final = {"M": "Mamba", "*": "attention", "-": "MLP", "E": "experts", "|": "stage mark"}
_FOREIGN: Final = {
    "G": "gated delta nets are not a layer of this language",
    "D": "sparse attention is not a layer of this language",
    "+": "latent attention is not a layer of this language",
    "/": f"multi-token prediction reads parallel_state in megatron-core {MEGATRON_CORE}",
}


def _symbols_known(kind: Hybrid) -> bool:
    return bool(kind.layers) and set(kind.pattern) <= set(_WORDS)


@rule(
    "MIMO521",
    "a pattern symbol that is not a layer",
    scope=HYBRID,
    cost=Cost.RAISES,
    mirrors=(
        'models/hybrid/hybrid_layer_allocation.py, "is not a valid layer symbol"',
        'models/hybrid/hybrid_layer_allocation.py, "All MTP patterns must be identical"',
        'models/hybrid/hybrid_layer_allocation.py, "def _validate_pattern … supported"',
        'transformer/multi_token_prediction.py, "pp_rank = parallel_state"',
    ),
    seen="A rank stops while it builds the language model: `is not a valid layer symbol`.",
)
def unknown_symbol(spec: Context, language: Held[Hybrid]) -> Findings:
    """Each symbol of a pattern is a layer: `M` Mamba, `*` attention, `-` MLP, `E` experts.

    `|` stands between pipeline stages. A pattern has at least one layer.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:1 * dp:2
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid    = llm
          pattern = "MEM*EX"
        }
    """
    kind = language.kind
    known = [f"{code(symbol)} {words}" for symbol, words in _WORDS.items()]
    for symbol in dict.fromkeys(kind.pattern):
        if symbol not in _WORDS:
            upper = symbol.upper()
            yield Finding(
                message=f"{code(symbol)} in a pattern is not a layer",
                primary=_part(spec, kind, kind.pattern.index(symbol), 1, "no such layer"),
                notes=(_FOREIGN[symbol],) if symbol in _FOREIGN else (),
                help=(
                    (f"did you mean {code(upper)}?",)
                    if upper in _WORDS
                    else (f"the symbols are {', '.join(known)}",)
                ),
                edits=_in_capitals(spec, kind, symbol) if upper in _WORDS else (),
            )
    if not kind.layers:
        yield Finding(
            message=f"the pattern of {code(language.name)} has no layer",
            primary=spec.label(kind, "pattern", "no layer"),
            help=(f"the symbols are {', '.join(known)}",),
        )


def _in_capitals(spec: Context, kind: Hybrid, symbol: str) -> tuple[Edit, ...]:
    """The edits that write every occurrence of a symbol as a capital letter."""
    if not spec.writing(kind, "pattern", ""):
        return ()
    places = [place for place, other in enumerate(kind.pattern) if other == symbol]
    spans = [_part(spec, kind, place, 1, "").where for place in places]
    if not all(isinstance(span, Span) and span.text == symbol for span in spans):
        return ()
    return tuple(Edit(span, symbol.upper()) for span in spans if isinstance(span, Span))


def _part(spec: Context, kind: Hybrid, start: int, length: int, text: str) -> Label:
    """A label on some symbols of a pattern."""
    return spec.part_label(kind, "pattern", range(start, start + length), text)


@rule(
    "MIMO522",
    "a layer without its block",
    scope=HYBRID,
    cost=Cost.SILENT,
    mirrors=(
        'ssm/mamba_mixer.py, "if self.config.mamba_num_heads is not None"',
        'transformer/moe/moe_layer.py, "assert self.config.num_moe_experts"',
    ),
    seen="Nothing. The layers have 128 states, heads 64 wide and the other default sizes of "
    "megatron-core.",
)
def missing_block(spec: Context, language: Held[Hybrid]) -> Findings:
    """The blocks `mamba`, `attention` and `moe` give the sizes of the layers in a pattern.

    Without a block, megatron-core uses its own default sizes and trains those.

    Example:
        grid llm {
          dense = tp:1 * dp:2
        }

        module language : hybrid {
          grid       = llm
          hidden     = 64
          vocabulary = 512
          pattern    = "M*"
          mamba      = { head_dim = 32, groups = 2 }
        }
    """
    kind = language.kind
    for symbol, block in kind.blocks.items():
        if symbol in kind.pattern and getattr(kind, block) is None:
            layers = count(kind.pattern.count(symbol), f"{_WORDS[symbol]} layer")
            yield Finding(
                message=f"{code(language.name)} has {layers} and no {code(block)} block",
                primary=_part(spec, kind, kind.pattern.index(symbol), 1, _WORDS[symbol]),
                secondary=(spec.label(language.module, "name", f"no {code(block)}"),),
                help=(f"write {code(_block_text(block))}",),
            )


def _block_text(block: str) -> str:
    fields = {
        "mamba": "groups = 8",
        "attention": "heads = 8",
        "moe": "experts = 8, topk = 2, ffn = 64",
    }
    return f"{block} = {{ {fields[block]} }}"


@rule(
    "MIMO523",
    "a block without layers",
    scope=HYBRID,
    cost=Cost.WASTE,
    seen="Nothing: no layer reads the block.",
    severity=Severity.WARNING,
)
def unused_block(spec: Context, language: Held[Hybrid]) -> Findings:
    """A block has no effect if the pattern has none of its layers.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense = tp:1 * dp:2
        }

        module language : nemotron_small {
          grid    = llm
          pattern = "M*M*"
        }
    """
    kind = language.kind
    if not _symbols_known(kind):
        return
    for symbol, block in kind.blocks.items():
        if symbol not in kind.pattern and (node := getattr(kind, block)) is not None:
            yield Finding(
                message=f"the {code(block)} block of {code(language.name)} has no layer",
                primary=spec.label(kind, "pattern", f"no {code(symbol)}"),
                secondary=(spec.label(node, None, "no layer reads it"),),
                help=(f"write {code(f'{block} = none')}, or add {code(symbol)} to the pattern",),
            )


@rule(
    "MIMO524",
    "different numbers of stages in the pattern and in the grid",
    scope=HYBRID,
    cost=Cost.SILENT,
    mirrors=(
        'models/hybrid/hybrid_layer_allocation.py, "number of pipe-delimited segments"',
        'models/hybrid/hybrid_layer_allocation.py, "segment_index = vp_rel * pp_size"',
        'models/hybrid/hybrid_layer_allocation.py, "Pipeline segment index"',
    ),
    seen="Nothing, if the number of parts is a multiple of the number of stages: a smaller model "
    "trains, faster than expected. Otherwise `must be evenly divisible by`.",
)
def stage_marks(spec: Context, language: Held[Hybrid]) -> Findings:
    """A pattern with `|` has as many parts as its grid has pipeline stages.

    megatron-core reads a multiple as virtual stages, which the schedule over several modules does
    not run: it would drop every part after the first pp parts, and train a smaller model.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2  * dp:1 * pp:2
          expert = etp:1 * ep:2 * pp
        }

        module language : nemotron_small {
          grid    = llm
          pattern = "ME|M*|EM|ME"
        }
    """
    kind, pp = language.kind, language.size(PP)
    parts = kind.pattern.split("|")
    if len(parts) == 1 or len(parts) == pp or not _symbols_known(kind):
        return
    lost = sum(map(len, parts[pp:]))
    dropped = (
        (f"megatron-core would silently drop the last {count(lost, 'layer')}",)
        if lost and len(parts) % pp == 0
        else ()
    )
    yield Finding(
        message=f"the pattern of {code(language.name)} has {count(len(parts), 'stage')}, "
        f"but its grid has {pp}",
        primary=spec.label(kind, "pattern", f"{len(parts)} parts"),
        secondary=(spec.axis_label(language.grid, PP, _stages(pp)),),
        notes=dropped,
        help=(
            f"{code(f'pp:{len(parts)}')} has a stage for each part",
            *(() if pp > len(kind.layers) else (f"or {_fill_help(kind, pp)}",)),
        ),
    )


def _stages(pp: int) -> str:
    return count(pp, "stage")


def _offset(parts: list[str], stage: int) -> int:
    """The position in a pattern where a stage begins, or the mark before an empty last stage."""
    start = sum(len(part) + 1 for part in parts[: stage - 1])
    return start - (stage == len(parts))


def _even_parts(kind: Hybrid, pp: int) -> str:
    """The same layers in `pp` parts that are as even as possible; `pp` is at most their number."""
    layers = kind.layers
    cuts = [stage * len(layers) // pp for stage in range(pp + 1)]
    return "|".join(layers[a:b] for a, b in pairwise(cuts))


@rule(
    "MIMO525",
    "layers that do not divide into pipeline stages",
    scope=LANGUAGE,
    cost=Cost.RAISES,
    mirrors=(
        'models/hybrid/hybrid_layer_allocation.py, "by pipeline-model-parallel-size"',
        'transformer/transformer_block.py, "def get_num_layers_to_build … should"',
    ),
    seen="A rank stops while it builds its stage: `must be evenly divisible` or `should be "
    "divisible by`.",
)
def uneven_stages(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """Without `|` in the pattern, all pipeline stages have the same number of layers.

    Example:
        grid llm {
          dense = tp:1 * dp:2 * pp:2
        }

        module language : gpt {
          grid       = llm
          layers     = 5
          hidden     = 64
          vocabulary = 512
          attention  = { heads = 4 }
        }
    """
    kind, pp = language.kind, language.size(PP)
    even = family_of(kind).even_layers(kind)
    if even is None or even[1] % pp == 0:
        return
    field, layers = even
    options = [code(f"pp:{size}") for size in nearest(pp, divisors(layers))]
    yield Finding(
        message=f"the {layers} layers of {code(language.name)} do not divide into "
        f"{count(pp, 'stage')}",
        primary=spec.label(kind, field, division(layers, pp)),
        secondary=(spec.axis_label(language.grid, PP, _stages(pp)),),
        help=(f"{either(options)} divides them, {_uneven_help(kind, layers, pp)}",),
    )


def _uneven_help(kind: TransformerLanguage, layers: int, pp: int) -> str:
    if not isinstance(kind, Hybrid):
        return f"and so does {code(f'layers = {next_multiple(layers, pp)}')} by {code(f'pp:{pp}')}"
    if layers < pp:
        return f"or give it {count(pp - layers, 'more layer')}"
    return f"or say where stages end: {code(f'pattern = "{_even_parts(kind, pp)}"')}"


@rule(
    "MIMO526",
    "a pipeline stage without layers",
    scope=HYBRID,
    cost=Cost.WASTE,
    mirrors=('models/hybrid/hybrid_layer_allocation.py, "my_segment = segments[segment_index]"',),
    seen="Nothing. The ranks of that stage are idle, as a profile shows.",
)
def empty_stage(spec: Context, language: Held[Hybrid]) -> Findings:
    """Every pipeline stage has a layer: the ranks of an empty stage only pass tensors on.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2  * dp:1 * pp:3
          expert = etp:1 * ep:2 * pp
        }

        module language : nemotron_small {
          grid    = llm
          pattern = "MEM||*EM"
        }
    """
    kind, pp = language.kind, language.size(PP)
    parts = kind.pattern.split("|")
    if len(parts) != pp or not _symbols_known(kind):
        return
    for stage, layers in enumerate(parts, start=1):
        if not layers:
            yield Finding(
                message=f"stage {stage} of {pp} of {code(language.name)} has no layer",
                primary=_part(spec, kind, _offset(parts, stage), 1, f"part {stage} is empty"),
                secondary=(spec.axis_label(language.grid, PP, _stages(pp)),),
                help=(_fill_help(kind, pp),),
            )


def _fill_help(kind: Hybrid, pp: int) -> str:
    if len(kind.layers) < pp:
        return f"{code(f'pp:{len(kind.layers)}')} has a layer for every stage"
    return f"write {code(f'pattern = "{_even_parts(kind, pp)}"')}"


@rule(
    "MIMO528",
    "a pipeline that sends tensors of width one",
    scope=LANGUAGE,
    cost=Cost.LATE,
    mirrors=('pipeline_parallel/multimodule_communicator.py, "assert tensor.ndim != 3 or tensor"',),
    seen="A rank stops in the first step: `is ambiguous for`.",
)
def one_wide(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """In a pipeline, the residual stream is more than one number wide.

    To send a tensor of two dimensions, a stage adds a third dimension of size 1. So it refuses to
    send a tensor that already looks like that.

    Example:
        grid llm {
          dense = tp:1 * dp:2 * pp:2
        }

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 1
          vocabulary = 512
          attention  = { heads = 1, head_dim = 2 }
        }
    """
    kind, pp = language.kind, language.size(PP)
    if kind.hidden == 1 and pp > 1:
        dp = language.size(DP)
        yield Finding(
            message=f"the stages of {code(language.name)} send tensors of width one",
            primary=spec.label(kind, "hidden", "one wide"),
            secondary=(spec.axis_label(language.grid, PP, _stages(pp)),),
            help=(f"use {code('hidden = 2')}, or {code('pp:1')} with {code(f'dp:{dp * pp}')}",),
        )
