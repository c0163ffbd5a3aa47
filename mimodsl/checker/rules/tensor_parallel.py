"""Rules about tensor parallelism: the sizes that it divides, and the settings that need it."""

from collections.abc import Iterator
from math import gcd

from mimodsl.checker.arithmetic import (
    divides_one_way,
    division,
    divisors,
    legal_neighbours,
    nearest,
    next_multiple,
)
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import LANGUAGE, MODULE, Held
from mimodsl.ir import LanguageModel, TransformerLanguage
from mimodsl.ir.axes import TP
from mimodsl.ir.kinds import Kind
from mimodsl.ir.vision import Encoder
from mimodsl.planner.families import Neighbours, Split, family_of


def _splits(spec: Context, module: Held[Kind]) -> Iterator[Split]:
    """The sizes of a module that tp divides, as far as its neighbours are known."""
    flow = spec.flow_through(module.module)
    ends = (spec.draft.module(flow.encoder), spec.draft.module(flow.language)) if flow else ()
    kinds = [end.kind for end in ends if end is not None]
    encoder = next((kind for kind in kinds if isinstance(kind, Encoder)), None)
    language = next((kind for kind in kinds if isinstance(kind, LanguageModel)), None)
    near = Neighbours(encoder=encoder, language=language)
    return family_of(module.kind).splits(module.kind, near)


@rule(
    "MIMO501",
    "a size that tensor parallelism does not divide",
    scope=MODULE,
    cost=Cost.RAISES,
    mirrors=(
        'transformer/transformer_config.py, "if self.num_attention_heads % self"',
        'tensor_parallel/layers.py, "self.output_size_per_partition ="',
        'tensor_parallel/layers.py, "self.input_size_per_partition ="',
        'ssm/mamba_mixer.py, "assert self.nheads % tp_size == 0"',
        'ssm/mamba_mixer.py, "assert self.ngroups % tp_size == 0"',
    ),
    seen="A rank stops while it builds the module: `must be a multiple of`, `nheads must be evenly "
    "divisble by tp_size`, `ngroups must be evenly divisible by tp_size`, or an assertion "
    "that one number is not divisible by another.",
)
def undivided(spec: Context, module: Held[Kind]) -> Findings:
    """Each tp rank holds an equal part of the heads, of the width of an MLP and of the vocabulary.

    Attention heads, Mamba heads and groups, `ffn`, `shared_ffn` and `vocabulary` divide by tp; so
    do RADIO's `hidden` (its patch embedding is split) and the output width of an affine projector.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:3 * dp:2
          expert = ep:2 * edp:3 * pp
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    tp = module.size(TP)
    splits = list(_splits(spec, module))
    odd = [split for split in splits if split.size % tp]
    if not odd:
        return
    names = either((f"{split.what} = {split.size}" for split in odd), "and")
    yield Finding(
        message=f"{code(f'tp:{tp}')} does not divide {names} of {code(module.name)}",
        primary=spec.axis_label(module.grid, TP, f"{tp} equal parts"),
        secondary=tuple(
            spec.label(split.node, split.field, division(split.size, tp)) for split in odd
        ),
        help=tuple(_undivided_help(module.kind, splits, odd, tp)),
    )


def _undivided_help(kind: Kind, splits: list[Split], odd: list[Split], tp: int) -> Iterator[str]:
    common = gcd(*(split.size for split in splits))
    fits = nearest(tp, (size for size in divisors(common) if _groups_fit(kind, size)))
    options = [code(f"tp:{size}") for size in fits]
    what = "all that tp splits" if len(splits) > 1 else "it"
    yield f"{either(options, 'and')} {'divide' if len(options) > 1 else 'divides'} {what}"
    if all(split.free for split in odd):
        sizes = [f"{split.field} = {next_multiple(split.size, tp)}" for split in odd]
        yield f"or round up: {either(map(code, sizes), 'and')}"


def _groups_fit(kind: Kind, tp: int) -> bool:
    groups = family_of(kind).key_value_groups(kind)
    return groups is None or divides_one_way(groups, tp)


@rule(
    "MIMO502",
    "key-value groups that tensor parallelism neither splits nor copies evenly",
    scope=LANGUAGE,
    cost=Cost.RAISES,
    mirrors=(
        'transformer/transformer_config.py, "self.num_query_groups % self"',
        'transformer/attention.py, "self.num_query_groups_per_partition = divide"',
        'transformer/attention.py, "self.linear_qkv = submodules.linear_qkv"',
    ),
    seen="A rank stops while it builds the language model: `must be a multiple or divisor of`, or "
    "an assertion about a division.",
)
def key_value_groups(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """The number of key-value groups is a multiple or a divisor of tp.

    With fewer groups than tp ranks, several ranks hold a copy of one group; with more, each rank
    holds several groups. Other numbers have no even split. Copied groups are first computed in
    equal parts, so the width of all keys and values also divides by tp.

    Example:
        grid llm {
          dense = tp:4 * dp:2
        }

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 96
          vocabulary = 512
          attention  = { heads = 12, kv_groups = 6 }
        }
    """
    attention, tp = language.kind.used.attention, language.size(TP)
    if attention is None or attention.kv_groups is None or attention.heads % tp:
        return
    groups = attention.kv_groups
    if not divides_one_way(groups, tp):
        fits = legal_neighbours(groups, attention.heads, lambda size: divides_one_way(size, tp))
        options = [code(f"kv_groups = {size}") for size in fits]
        yield Finding(
            message=f"{groups} key-value groups are neither a multiple nor a divisor of "
            f"{code(f'tp:{tp}')}",
            primary=spec.label(attention, "kv_groups", f"{groups} groups"),
            secondary=(spec.axis_label(language.grid, TP, f"{tp} ranks"),),
            help=(f"{either(options)} fits {tp} ranks and {attention.heads} heads",),
        )
    elif (width := 2 * groups * attention.width(language.kind.hidden)) % tp:
        yield Finding(
            message=f"keys and values of width {width} do not divide by {code(f'tp:{tp}')}",
            primary=spec.label(attention, "kv_groups", division(width, tp)),
            secondary=(spec.axis_label(language.grid, TP, f"{tp} equal parts"),),
            help=(f"{code(f'kv_groups = {tp}')} gives each rank one group",),
        )


@rule(
    "MIMO503",
    "attention heads that do not divide into key-value groups",
    scope=LANGUAGE,
    cost=Cost.LATE,
    mirrors=('transformer/attention.py, "mixed_qkv = mixed_qkv.view(*new_tensor_shape)"',),
    seen="A shape error in the first forward pass, where `mixed_qkv` is given its heads.",
)
def heads_by_groups(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """Every key-value group serves the same number of query heads.

    megatron-core does not check this: the first forward pass cannot reshape the split of queries,
    keys and values.

    Example:
        grid llm {
          dense = tp:1 * dp:2
        }

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 64
          vocabulary = 512
          attention  = { heads = 8, kv_groups = 3 }
        }
    """
    attention = language.kind.used.attention
    if attention is None or attention.heads % attention.key_value_groups == 0:
        return
    groups, tp = attention.key_value_groups, language.size(TP)
    fits = legal_neighbours(groups, attention.heads, lambda size: divides_one_way(size, tp))
    options = [code(f"kv_groups = {size}") for size in fits]
    yield Finding(
        message=f"{attention.heads} heads do not divide into {groups} key-value groups",
        primary=spec.label(attention, "kv_groups", division(attention.heads, groups)),
        secondary=(spec.label(attention, "heads", f"{attention.heads} heads"),),
        help=(f"{either(options)} gives each group the same number of heads",),
    )


@rule(
    "MIMO504",
    "heads that do not divide the hidden width",
    scope=MODULE,
    cost=Cost.SILENT,
    mirrors=('transformer/transformer_config.py, "self.kv_channels = self.hidden_size"',),
    seen="Nothing. Attention is narrower than written, and a checkpoint of the right width "
    "does not load.",
)
def head_width(spec: Context, module: Held[Kind]) -> Findings:
    """If `head_dim` is not set, a head is `hidden / heads` wide, and this is a whole number.

    megatron-core rounds it down: attention becomes narrower than the spec says, and the run goes
    on.

    Example:
        grid llm {
          dense = tp:1 * dp:2
        }

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 100
          vocabulary = 512
          attention  = { heads = 8 }
        }
    """
    shared = family_of(module.kind).shared_width(module.kind)
    if shared is None or shared.width % shared.heads == 0:
        return
    node, hidden, heads = shared.node, shared.width, shared.heads
    fits = nearest(heads, divisors(hidden))
    wide = next_multiple(hidden, heads)
    yield Finding(
        message=f"{heads} heads do not divide the hidden width {hidden} of {code(module.name)}",
        primary=spec.label(node, "heads", division(hidden, heads)),
        secondary=(spec.label(module.kind, "hidden", f"{hidden} wide"),),
        notes=("megatron-core would round the width of a head down and go on",),
        help=(
            f"{either(code(f'heads = {size}') for size in fits)} divides it",
            f"{code(f'hidden = {wide}')} fits {heads} heads",
        ),
    )


@rule(
    "MIMO505",
    "sequence parallelism without tensor parallelism",
    scope=LANGUAGE,
    cost=Cost.RAISES,
    mirrors=('model_parallel_config.py, "if self.tensor_model_parallel_size <= 1"',),
    seen="Every rank stops: `Cannot use sequence parallelism without tensor parallelism`.",
)
def lone_sequence_parallel(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """`sequence_parallel = true` splits the sequence over the tp ranks, so there must be several.

    If it is not set, it is on exactly when tp is above 1, which is right for most models.

    Example:
        grid llm {
          dense = tp:1 * dp:2
        }

        module language : gpt {
          grid              = llm
          layers            = 2
          hidden            = 64
          vocabulary        = 512
          attention         = { heads = 4 }
          sequence_parallel = true
        }
    """
    if language.splits_sequence and language.size(TP) == 1:
        yield Finding(
            message=f"{code(language.name)} splits its sequence over one tp rank",
            primary=spec.label(language.kind, "sequence_parallel", "split over tp"),
            secondary=(spec.axis_label(language.grid, TP, "tp is 1"),),
            help=("leave `sequence_parallel` out: it is on when tp is above 1",),
            edits=spec.writing(language.kind, "sequence_parallel", "none"),
        )
