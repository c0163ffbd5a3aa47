"""Rules about the learning-rate schedule that megatron-core's scheduler cannot follow."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, count
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import SPEC
from mimodsl.ir import FallingLr, WsdLr
from mimodsl.ir.draft import Draft


@rule(
    "MIMO723",
    "a warm-up that takes all steps",
    scope=SPEC,
    cost=Cost.RAISES,
    mirrors=('optimizer_param_scheduler.py, "assert self.lr_warmup_steps < self"',),
    seen="A bare AssertionError on every rank, while the learning-rate scheduler is built.",
)
def warmup_of_all_steps(spec: Context, draft: Draft) -> Findings:
    """A warm-up is part of the steps of a decaying learning rate, and shorter than these steps.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {}

        train {
          lr_decay = cosine { steps = 500, warmup = 500 }
        }
    """
    decay = _decay_of(draft)
    if decay is None or decay.warmup < decay.steps:
        return
    yield Finding(
        message=f"a warm-up of {count(decay.warmup, 'step')} leaves none of {decay.steps} to decay",
        primary=spec.label(decay, "warmup", "not shorter than all steps"),
        secondary=(spec.label(decay, "steps", "includes the warm-up"),),
        help=_less_warmup(decay.steps),
    )


def _less_warmup(steps: int) -> tuple[str, ...]:
    shorter = f"the warm-up can have at most {count(steps - 1, 'step')} here"
    return (shorter if steps > 1 else f"raise {code('steps')}",)


def _decay_of(draft: Draft) -> FallingLr | None:
    decay = draft.train.lr_decay if draft.train else None
    return decay if isinstance(decay, FallingLr) else None


@rule(
    "MIMO724",
    "a learning rate above that of the optimizer",
    scope=SPEC,
    cost=Cost.RAISES,
    mirrors=(
        'optimizer_param_scheduler.py, "assert self.max_lr >= self.min_lr"',
        'optimizer_param_scheduler.py, "assert self.init_lr <= self.max_lr"',
    ),
    seen="A bare AssertionError on every rank, while the learning-rate scheduler is built.",
)
def learning_rates(spec: Context, draft: Draft) -> Findings:
    """The `lr` of the optimizer is the largest of a run: the warm-up starts below it, and the floor
    is below it.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {}

        train {
          optimizer = adamw { lr = 1e-4 }
          lr_decay  = cosine { steps = 500, min_lr = 1e-3 }
        }
    """
    if draft.train is None:
        return
    lr, decay = draft.train.optimizer.lr, draft.train.lr_decay
    for field in ("init_lr", "min_lr"):
        value = getattr(decay, field, 0.0)
        if value > lr:
            yield Finding(
                message=f"{code(field)} is {value}, but the largest learning rate is {lr}",
                primary=spec.label(decay, field, f"above {lr}"),
                secondary=(spec.label(draft.train.optimizer, "lr", "the largest of the run"),),
                help=(f"{code(field)} can be at most {lr}, or raise {code('lr')}",),
            )


@rule(
    "MIMO725",
    "a decay that starts during the warm-up",
    scope=SPEC,
    cost=Cost.SILENT,
    mirrors=('optimizer_param_scheduler.py, "wsd_anneal_start_ = self"',),
    seen="The learning rate drops suddenly when the warm-up ends.",
)
def anneal(spec: Context, draft: Draft) -> Findings:
    """Warm-up, stable, decay: the decay starts when the warm-up is over, or later.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {}

        train {
          lr_decay = wsd { steps = 500, warmup = 100, anneal = 450 }
        }
    """
    decay = _decay_of(draft)
    if not isinstance(decay, WsdLr) or decay.warmup >= decay.steps:
        return
    room = decay.steps - decay.warmup
    if decay.anneal > room:
        yield Finding(
            message=f"a decay of {count(decay.anneal, 'step')} does not fit into "
            f"the {room} after the warm-up",
            primary=spec.label(decay, "anneal", "starts during the warm-up"),
            secondary=(
                spec.label(decay, "steps", f"{decay.steps} - {decay.warmup} = {room}"),
                spec.label(decay, "warmup", "taken by the warm-up"),
            ),
            help=(f"{code(f'anneal = {room}')} starts right after the warm-up",),
            edits=spec.writing(decay, "anneal", str(room)),
        )
