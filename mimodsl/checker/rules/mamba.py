"""Rules about Mamba mixers: heads, groups that share B and C, and context parallelism."""

from mimodsl.checker.arithmetic import (
    divides_one_way,
    division,
    divisors,
    nearest,
    next_multiple,
)
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import HYBRID, Held
from mimodsl.ir import Hybrid, Mamba, TransformerLanguage
from mimodsl.ir.axes import CP, TP


def _heads(kind: TransformerLanguage, mamba: Mamba) -> int | None:
    """Heads of a mixer; `None` where heads of that width do not fill the mixer."""
    return mamba.head_count(kind.hidden) if mamba.fits(kind.hidden) else None


@rule(
    "MIMO511",
    "Mamba heads that do not divide into groups",
    scope=HYBRID,
    cost=Cost.RAISES,
    mirrors=('ssm/mamba_mixer.py, "assert self.nheads % self.ngroups"',),
    seen="A rank stops while it builds the mixer: `nheads must be evenly divisible by ngroups`.",
)
def heads_by_groups(spec: Context, language: Held[Hybrid]) -> Findings:
    """In a Mamba mixer, every group shares its B and C with the same number of heads.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:1 * dp:2
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid  = llm
          mamba = { heads = 8, groups = 3 }
        }
    """
    mamba = language.kind.used.mamba
    heads = _heads(language.kind, mamba) if mamba else None
    if mamba is not None and heads is not None and heads % mamba.groups:
        options = [code(f"groups = {size}") for size in nearest(mamba.groups, divisors(heads))]
        yield Finding(
            message=f"{heads} Mamba heads do not divide into {mamba.groups} groups",
            primary=spec.label(mamba, "groups", division(heads, mamba.groups)),
            secondary=(spec.label(mamba, "heads", f"{heads} heads"),),
            help=(f"{either(options)} divides them",),
        )


@rule(
    "MIMO512",
    "a Mamba width that does not divide into heads",
    scope=HYBRID,
    cost=Cost.RAISES,
    mirrors=('ssm/mamba_mixer.py, "assert self.d_inner % self.headdim"',),
    seen="A rank stops while it builds the mixer: `d_inner must be evenly divisible by headdim`.",
)
def inner_width(spec: Context, language: Held[Hybrid]) -> Findings:
    """If `heads` is not set, a mixer is twice as wide as the model, and this width divides into
    heads.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:1 * dp:2
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid  = llm
          mamba = { heads = none, head_dim = 48 }
        }
    """
    mamba = language.kind.used.mamba
    width = 2 * language.kind.hidden
    if mamba is None or mamba.heads is not None or width % mamba.head_dim == 0:
        return
    options = [code(f"head_dim = {size}") for size in nearest(mamba.head_dim, divisors(width))]
    heads = next_multiple(width, mamba.head_dim) // mamba.head_dim
    yield Finding(
        message=f"a Mamba mixer {width} wide does not divide into heads {mamba.head_dim} wide",
        primary=spec.label(mamba, "head_dim", division(width, mamba.head_dim)),
        secondary=(spec.label(language.kind, "hidden", f"2 · {language.kind.hidden} = {width}"),),
        help=(f"{either(options)} divides it, or set the heads: {code(f'heads = {heads}')}",),
    )


@rule(
    "MIMO513",
    "context parallelism that does not divide a Mamba mixer",
    scope=HYBRID,
    cost=Cost.RAISES,
    mirrors=(
        'ssm/mamba_context_parallel.py, "self.nheads_local_tp % self.cp_size == 0"',
        'ssm/mamba_context_parallel.py, "self.cp_size % self.ngroups_local_tp == 0"',
        'ssm/mamba_context_parallel.py, "self.ngroups_local_tp % self.cp_size == 0"',
    ),
    seen="A rank stops while it builds the mixer: `nheads must be evenly divisible by tp_size * "
    "cp_size` or `cp_size must be evenly divisible by ngroups/tp_size`.",
)
def context_parallel(spec: Context, language: Held[Hybrid]) -> Findings:
    """Over cp ranks, a mixer exchanges its sequence for heads: each rank gets whole heads and
    groups.

    The heads of a tp rank divide by cp; its groups are a multiple or a divisor of cp.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:4 * cp:4  * dp:1
          expert = ep:2 * edp:8 * pp
        }

        module language : nemotron_small {
          grid  = llm
          mamba = { heads = 8, groups = 4 }
        }
    """
    mamba, tp, cp = language.kind.used.mamba, language.size(TP), language.size(CP)
    heads = _heads(language.kind, mamba) if mamba else None
    if mamba is None or heads is None or cp == 1 or heads % tp or mamba.groups % tp:
        return
    fits = [size for size in divisors(heads // tp) if divides_one_way(mamba.groups // tp, size)]
    if cp not in fits:
        options = [code(f"cp:{size}") for size in nearest(cp, fits)]
        yield Finding(
            message=f"{code(f'cp:{cp}')} does not divide the Mamba mixer of {code(language.name)}",
            primary=spec.axis_label(language.grid, CP, f"{cp} ranks"),
            secondary=(
                spec.label(mamba, "heads", f"{heads // tp} per tp rank"),
                spec.label(mamba, "groups", f"{mamba.groups // tp} per tp rank"),
            ),
            help=(f"{either(options)} divides heads and groups",),
        )
