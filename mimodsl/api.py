"""What Python users call: a spec read, checked, planned and built, each step on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from attrs import frozen

if TYPE_CHECKING:
    from mimodsl.builder.assembly import Assembly
    from mimodsl.data import Data
    from mimodsl.diagnostics import Diagnostic
    from mimodsl.ir.spec import Spec
    from mimodsl.lower import LoadedSpec
    from mimodsl.planner.difference import Difference
    from mimodsl.planner.plan import Plan
    from mimodsl.runtime.meta_build import MetaBuild
    from mimodsl.runtime.run import Run
    from mimodsl.runtime.verify.verify import Verification
    from mimodsl.runtime.workers import Observer


class InvalidSpec(ValueError):
    """A spec with errors. `diagnostics` holds them as data; the message shows them in full."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        from mimodsl.diagnostics.render import full

        self.diagnostics = tuple(diagnostics)
        super().__init__(f"the spec has mistakes\n\n{full.render(self.diagnostics)}")

    def __reduce__(self) -> tuple[type[InvalidSpec], tuple[tuple[Diagnostic, ...]]]:
        """So that it comes back from a worker process."""
        return InvalidSpec, (self.diagnostics,)


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Spec:
    """The spec of a `.mimo` file and of what it uses, or of a `.json` document, not yet checked.

    `overrides` are values, as text, for the main file's `let` names. Raises `InvalidSpec` where the
    text does not come to a spec.
    """
    from mimodsl import lower

    return _spec(lower.load(Path(path), overrides or {}))


def parse(text: str) -> Spec:
    """The spec of `.mimo` text, not yet checked. Raises `InvalidSpec` as `load` does."""
    from mimodsl import lower

    return _spec(lower.parse(text))


def to_json(spec: Spec) -> str:
    """The spec as one JSON document, every field in it, of the form that `json_schema` gives."""
    from mimodsl.lower.document import as_text

    return as_text(spec)


def from_json(text: str) -> Spec:
    """The spec of a JSON document, not yet checked. Raises `ValueError` where it is none."""
    from mimodsl.lower.document import from_document
    from mimodsl.lower.json_spec import decoded

    return from_document(decoded(text))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a spec's JSON document."""
    from mimodsl.lower import json_schema as schema

    return schema.json_schema()


@frozen(kw_only=True)
class Variant:
    """One combination of a sweep, and what it comes to.

    `spec` is `None` where the values make none; `diagnostics` are all mistakes in it.
    """

    values: Mapping[str, Any]
    spec: Spec | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def is_sound(self) -> bool:
        """Whether it can be built."""
        return not any(one.is_error for one in self.diagnostics)


def sweep(spec: Spec | str | Path, choices: Mapping[str, Iterable[Any]]) -> Iterator[Variant]:
    """A spec with every combination of some values, each checked; the last name varies fastest.

    Of a file the names are those of its `let` constants, and values that are strings stand for
    themselves, as `--set` has them; of a `Spec` the names are the object paths that
    `Spec.substitute` takes. Raises `ValueError` as `substitute` does.
    """
    for values in product(*choices.values()):
        named = dict(zip(choices, values, strict=True))
        try:
            found = _with(spec, named)
        except InvalidSpec as invalid:
            yield Variant(values=named, spec=None, diagnostics=invalid.diagnostics)
        else:
            yield Variant(values=named, spec=found, diagnostics=check(found))


def _with(spec: Spec | str | Path, values: Mapping[str, Any]) -> Spec:
    if isinstance(spec, str | Path):
        return load(spec, {name: _text(value) for name, value in values.items()})
    return spec.substitute(values)


def _text(value: Any) -> str:
    from mimodsl.lower.printer import print_value

    return value if isinstance(value, str) else print_value(value)


def check(spec: Spec) -> tuple[Diagnostic, ...]:
    """Every mistake in a spec, in order of place; empty where it can be built. Never raises."""
    from mimodsl.checker.runner import check as run_rules
    from mimodsl.ir.spec import Spec

    if not isinstance(spec, Spec):  # pyright: ignore[reportUnnecessaryIsInstance] - a path, perhaps
        raise TypeError(f"expected a Spec, as mimodsl.load makes of a file, found {spec!r:.80}")
    return run_rules(spec)


def plan(spec: Spec) -> Plan:
    """What a spec comes to on every rank, without torch. Raises `InvalidSpec` for a wrong spec."""
    from mimodsl.planner.plan import plan as plan_checked

    _require_sound(spec)
    return plan_checked(spec)


def build(
    spec: Spec,
    on_phase: Callable[[str], None] = lambda _: None,
    *,
    share_groups: bool = True,
) -> Assembly:
    """The spec's part on this rank: grids, groups, model, bridges and optimizer, ready to train.

    Every rank of an initialised `torch.distributed` world of the spec's size calls it; `on_phase`
    hears of each phase as it begins. Without `share_groups`, every name has a process group of its
    own, as in Megatron-Core, where names of the same ranks may share one else. Needs the extra
    `build`. Raises `InvalidSpec` for a wrong spec and `ValueError` for a world of another size.
    """
    from mimodsl.builder.assembly import assemble

    _require_sound(spec)
    return assemble(spec, share_groups=share_groups, on_phase=on_phase)


def join(device: Literal["auto", "cpu", "cuda"] = "auto", timeout: float = 300.0) -> None:
    """Make this process, which torchrun or the like has started, a rank of its world.

    That is over NCCL where the machine has a GPU for each of its ranks, else as a CPU process over
    gloo, with megatron-core made to believe in it: call it before `build`. A collective gives up
    after twice `timeout` seconds. Needs the extra `build`. Raises `ValueError` without a launcher,
    and `NoDevice` where there are too few GPUs for `cuda`.
    """
    from mimodsl.runtime.launcher import join as join_world
    from mimodsl.runtime.request import DeviceChoice

    join_world(DeviceChoice(device), timeout)


def train(  # noqa: PLR0913
    spec: Spec,
    *,
    steps: int | None = None,
    seed: int | None = None,
    data: str | Callable[[Spec], Data] | None = None,
    save: str | Path | None = None,
    save_every: int | None = None,
    load: str | Path | None = None,
    resume: bool = False,
    eval_every: int | None = None,
    eval_steps: int | None = None,
    log_dir: str | Path | None = None,
    profile: str | Path | None = None,
    profile_steps: tuple[int, int] | None = None,
    profile_ranks: Iterable[int] | None = None,
    share_groups: bool = True,
    timeout: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    observer: Observer | None = None,
    verbose: bool = False,
) -> Run:
    """Train a spec, as `mimodsl build` does, and return its losses and all else that it came to.

    Outside a launcher this starts the spec's whole world on this machine and waits for it; under
    torchrun this process is one rank, and every rank gets the same result. Nothing is printed:
    `observer` is told of phases, steps, evaluations and checkpoints while the run lasts, in this
    process. Needs the extra `build`.

    - `steps`: training steps, those before a loaded checkpoint not counted; 10 by default. 0 only
      builds, loads and saves.
    - `seed`: in place of the spec's own seed.
    - `data`: a function that gives samples (`mimodsl.data.Data`) for the spec, such a class, or the
      name of one, `"module:name"`; synthetic samples by default. Ranks on CPUs are forked and take
      any function. Ranks on GPUs and those of a launcher are other processes: there it has to be
      one that pickles, of a module.
    - `save`, `save_every`: the folder of checkpoints, one after the last step and, if given, after
      every so many steps.
    - `load`: a checkpoint to go on from, or a folder of them for the latest, in whatever layout.
    - `resume`: go on from the latest checkpoint in `save`, if it has one, and count its steps.
    - `eval_every`, `eval_steps`: evaluate on held-out samples after every so many steps and the
      last, on as many samples as so many steps have; 4 by default.
    - `log_dir`: write all curves for TensorBoard there. Needs the extra `log`.
    - `profile`, `profile_steps`, `profile_ranks`: trace steps, from a first to a last of this run,
      counted from 1, on these ranks, to a folder; the second on one rank of every role by default.
    - `share_groups`: as in `build`.
    - `timeout`: seconds after which a run in which no rank moves is ended; 300 by default.
    - `device`: what the ranks compute on; `auto` is CUDA where there are GPUs for all.
    - `verbose`: let libraries print.

    Raises `InvalidSpec` for a wrong spec, `ValueError` for options that do not go together or do
    not fit the spec, and `mimodsl.runtime.errors.RunError` where the run fails: `NoDevice` without
    the devices, `CheckpointError` for a checkpoint that does not fit, `RankFailed` for the first
    rank that fails, `RanksHung` when none moves any more.
    """
    from mimodsl.runtime.request import DeviceChoice, TrainRequest
    from mimodsl.runtime.run import train as train_checked

    if DeviceChoice(device) is DeviceChoice.META:
        raise ValueError("the meta device trains nothing: mimodsl.build_on_meta builds there")
    _require_sound(spec)
    request = TrainRequest(
        steps=steps,
        seed=seed,
        data=data,
        save=save,
        save_every=save_every,
        load=load,
        resume=resume,
        eval_every=eval_every,
        eval_steps=eval_steps,
        log_dir=log_dir,
        profile=profile,
        profile_steps=profile_steps,
        profile_ranks=profile_ranks,
        share_groups=share_groups,
        timeout=timeout,
        device=device,
    )
    return train_checked(spec, request, observer=observer, verbose=verbose)


def build_on_meta(
    spec: Spec, *, observer: Observer | None = None, verbose: bool = False
) -> MetaBuild:
    """Build one rank of every role in this process, with shapes and groups but no memory.

    It is what `mimodsl build --device meta` does, for worlds of any size. `observer` is told of
    each role as it begins. Needs the extra `build`. Raises `InvalidSpec` for a wrong spec,
    `ValueError` under a launcher, and `RankFailed` where a rank fails.
    """
    from mimodsl.runtime.request import TrainRequest
    from mimodsl.runtime.run import train_or_build

    _require_sound(spec)
    request = TrainRequest(device="meta")
    outcome = train_or_build(spec, request, observer=observer, verbose=verbose)
    return cast("MetaBuild", outcome)


def verify(  # noqa: PLR0913
    spec: Spec,
    *,
    steps: int = 2,
    full_size: bool = False,
    tolerance: float = 1e-3,
    device: Literal["cpu", "cuda"] = "cpu",
    timeout: float | None = None,
    observer: Observer | None = None,
    verbose: bool = False,
) -> Verification:
    """Train a spec on one rank and on its layout, and compare the two, as `mimodsl verify` does.

    Both runs begin with the same weights and see the same samples. Unless `full_size`, a large spec
    is shrunk first; its layout and its kinds of layers stay. `tolerance` is the relative distance
    that counts as rounding. `verdict.equal` of the result says whether they agree. The other
    options are those of `train`. Needs the extra `build`. Raises `InvalidSpec` for a wrong spec,
    `ValueError` for wrong options and for a spec that can't be compared, and
    `mimodsl.runtime.errors.RunError` where a run fails.
    """
    from mimodsl.planner.device import Device
    from mimodsl.runtime.verify.request import VerifyRequest
    from mimodsl.runtime.verify.verify import prepared
    from mimodsl.runtime.verify.verify import verify as verify_checked
    from mimodsl.runtime.workers import Watch

    _require_sound(spec)
    request = VerifyRequest(steps=steps, tolerance=tolerance, device=device, timeout=timeout)
    return verify_checked(
        spec,
        prepared(spec, full_size=full_size),
        steps=request.steps,
        tolerance=request.tolerance,
        device=Device(request.device),
        watch=Watch.over(timeout=timeout, observer=observer, verbose=verbose),
    )


def export(spec: Spec, to: str, *, name: str = "model", source: str = "", **options: Any) -> str:
    """The text that `mimodsl export --to` writes: a launch script, a Python script, flags or JSON.

    `to` is `torchrun`, `slurm`, `python`, `json` or `megatron-args`. `name` is what scripts call
    the run, and `source` what they say the spec comes from. `options` are the other fields of
    `mimodsl.exporter.target.Launch` that the target makes use of, such as `steps`.
    Raises `InvalidSpec` for a wrong spec, and `ValueError` for an unknown target, for an option
    that the target has no use for and for a value that the cluster would not take.
    """
    from mimodsl.exporter.targets import target

    launch = target(to).launch(options, name=name, source=source)
    return target(to).write(launch.nodes(plan(spec)), launch)


def diff(a: Spec, b: Spec) -> tuple[Difference, ...]:
    """The fields whose values differ between two specs, as `mimodsl diff` shows them; empty for
    specs that say the same."""
    from mimodsl.planner.difference import differences

    return tuple(differences(a, b))


def _spec(loaded: LoadedSpec) -> Spec:
    if loaded.spec is None:
        raise InvalidSpec(loaded.diagnostics)
    return loaded.spec


def _require_sound(spec: Spec) -> None:
    errors = [diagnostic for diagnostic in check(spec) if diagnostic.is_error]
    if errors:
        raise InvalidSpec(errors)
