"""What a request comes to on each rank: the checkpoint to begin with, the steps that are left, the
steps and ranks to trace."""

from mimodsl.ir.spec import Spec
from mimodsl.planner.plan import plan
from mimodsl.runtime.checkpoint.fit import checkpoint_for, checkpoint_to_resume
from mimodsl.runtime.checkpoint.manifest import Checkpoint
from mimodsl.runtime.request import EVAL_STEPS, STEPS, TrainRequest
from mimodsl.runtime.traces import Tracing
from mimodsl.runtime.train import Evaluating, Saving, Training
from mimodsl.wrong_options import WrongOptions


def to_training(spec: Spec, request: TrainRequest) -> Training:
    """The work of each rank. A resumed run that has all its steps only builds and loads.

    Raises `WrongOptions` where the request does not fit the spec, and `CheckpointError` where the
    checkpoint does not.
    """
    if request.seed is not None:
        spec = spec.with_train(seed=request.seed)
    start = _start(spec, request)
    steps, saves = STEPS if request.steps is None else request.steps, request.save is not None
    if request.resume and start:
        steps = max(0, steps - start.manifest.step)
        saves = steps > 0
    return Training(
        spec=spec,
        steps=steps,
        start=start,
        saving=Saving(folder=request.save, every=request.save_every)
        if request.save and saves
        else None,
        share_groups=request.share_groups,
        data=request.data,
        evaluating=Evaluating(every=request.eval_every, steps=request.eval_steps or EVAL_STEPS)
        if request.eval_every
        else None,
        logs=request.log_dir,
        tracing=_tracing(spec, request, steps),
    )


def _start(spec: Spec, request: TrainRequest) -> Checkpoint | None:
    if request.load:
        return checkpoint_for(spec, request.load)
    if request.resume and request.save:
        return checkpoint_to_resume(spec, request.save)
    return None


def _tracing(spec: Spec, request: TrainRequest, steps: int) -> Tracing | None:
    """What to trace in a run of so many steps: by default the second, on a rank of every role."""
    if not request.profile:
        return None
    first, last = request.profile_steps or (min(2, steps), min(2, steps))
    if last > steps > 0:
        raise WrongOptions(f"{{profile_steps}} goes to {last}, the run has {steps} steps")
    ranks = request.profile_ranks or plan(spec).representatives()
    if max(ranks) >= spec.world:
        raise WrongOptions(f"there is no rank {max(ranks)} to profile among {spec.world}")
    return Tracing(folder=request.profile, first=first, last=last, ranks=ranks)
