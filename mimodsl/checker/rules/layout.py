"""Rules about the layout: which modules share ranks."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.rules.placement import placed_grids, places_by_grid
from mimodsl.checker.scopes import COMPLETE, SPEC, is_sound, spans_of
from mimodsl.ir import Role
from mimodsl.ir.draft import Draft


@rule(
    "MIMO405",
    "a language model that shares ranks with some encoders only",
    scope=SPEC,
    cost=Cost.HANGS,
    mirrors=(
        'models/mimo/model/base.py, "if self.role.has_modality_modules"',
        'models/mimo/config/role.py, "def _all_grids_colocated"',
    ),
    seen="The run hangs in its first step until NCCL's timeout: the ranks of the language model "
    "run only encoders.",
)
def mixed_layout(spec: Context, draft: Draft) -> Findings:
    """The language model shares the ranks of every encoder, or of none.

    As soon as one grid lies elsewhere, megatron-core runs only encoders on every rank that has one.
    A language model on such ranks never runs, and every rank that waits for it waits forever.

    Example:
        use "presets/nemotron_small.mimo"

        grid seeing {
          dense = dp:2
        }

        grid hearing {
          dense = dp:2
        }

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        place seeing & llm | hearing

        module vision : radio_small {
          grid = seeing
        }

        module audio : radio_small {
          grid = hearing
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    spans = spans_of(draft)
    language = next((m for m in draft.modules if m.role is Role.LANGUAGE), None)
    language_ranks = spans.get(language.grid) if language else None
    if language is None or language_ranks is None or len(set(spans.values())) == 1:
        return
    language_place = places_by_grid(draft.place)[language.grid][0]
    for placed in placed_grids(draft.place):
        if placed.grid != language.grid and spans[placed.grid] == language_ranks:
            others = [name for name, span in spans.items() if span != language_ranks]
            yield Finding(
                message=f"the language model shares its ranks with {code(placed.grid)}, "
                f"but not with {either(map(code, others), 'and')}",
                primary=spec.label(language_place, None, f"{code(language.name)} is here"),
                secondary=(spec.label(placed, None, "on the same ranks"),),
                help=_separate_help(spans, language.grid),
            )


def _separate_help(spans: dict[str, range], language: str) -> tuple[str, ...]:
    encoders = " | ".join(name for name in spans if name != language)
    together = " & ".join(spans)
    return (
        f"{code(f'place {encoders} | {language}')} gives it its own ranks",
        f"or write {code(f'place {together}')}, with grids of equal size",
    )


@rule(
    "MIMO406",
    "a grid without a module",
    scope=COMPLETE,
    cost=Cost.WASTE,
    mirrors=('models/mimo/config/role.py, "if not modules"',),
    seen="The idle ranks stop with `is not in any module grid`, and the ranks beside them wait.",
)
def idle_grid(spec: Context, draft: Draft) -> Findings:
    """Every grid holds a module; otherwise its ranks have nothing to run.

    megatron-core refuses a rank without a module if encoders and language model are side by side.
    If all modules share their ranks, it does not notice.

    Example:
        grid spare {
          dense = dp:2
        }

        grid llm {
          dense = dp:2
        }

        place spare | llm

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 64
          vocabulary = 512
          attention  = { heads = 4 }
        }

        schedule 1f1b {
          sequence = 64
        }
    """
    used = {module.grid for module in draft.modules}
    places = places_by_grid(draft.place)
    for grid in draft.grids:
        if grid.name in places and grid.name not in used:
            ranks = f"{grid.world} ranks with nothing to run" if is_sound(grid) else "no module"
            yield Finding(
                message=f"no module is on grid {code(grid.name)}",
                primary=spec.label(grid, "name", ranks),
                secondary=(spec.label(places[grid.name][0], None, "placed here"),),
                help=(f"put a module on it with {code(f'grid = {grid.name}')}, or leave it out",),
            )
