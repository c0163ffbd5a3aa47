"""The functions that Python users call, each for one step: load, check, plan, build, train."""

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
        """Lets the exception return from a worker process."""
        return InvalidSpec, (self.diagnostics,)


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Spec:
    """Read the spec of a `.mimo` file, with the files that it uses, or of a `.json` document.

    The spec is not checked yet. `overrides` gives `let` names of the main file other values, as
    text. Raises `InvalidSpec` if the text has mistakes that leave no spec.
    """
    from mimodsl import lower

    return _spec(lower.load(Path(path), overrides or {}))


def parse(text: str) -> Spec:
    """Read the spec of `.mimo` text, not checked yet. Raises `InvalidSpec` as `load` does."""
    from mimodsl import lower

    return _spec(lower.parse(text))


def to_json(spec: Spec) -> str:
    """Write a spec as one JSON document with all its fields, as `json_schema` describes it."""
    from mimodsl.lower.document import as_text

    return as_text(spec)


def from_json(text: str) -> Spec:
    """Read the spec of a JSON document, not checked yet. Raises `ValueError` for other text."""
    from mimodsl.lower.document import from_document
    from mimodsl.lower.json_spec import decoded

    return from_document(decoded(text))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a spec's JSON document."""
    from mimodsl.lower import json_schema as schema

    return schema.json_schema()


@frozen(kw_only=True)
class Variant:
    """One combination of the values of a sweep, with its spec and all mistakes in it.

    `spec` is `None` if the values lead to mistakes that leave no spec.
    """

    values: Mapping[str, Any]
    spec: Spec | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def is_sound(self) -> bool:
        """Whether the spec can be built: it has no errors."""
        return not any(diagnostic.is_error for diagnostic in self.diagnostics)


def sweep(spec: Spec | str | Path, choices: Mapping[str, Iterable[Any]]) -> Iterator[Variant]:
    """Yield the spec with every combination of some values, checked. The last name varies fastest.

    For a file, the names are its `let` constants, and strings are values as `--set` takes them. For
    a `Spec`, the names are the paths that `Spec.substitute` takes. Raises `ValueError` as
    `substitute` does.
    """
    for values in product(*choices.values()):
        named = dict(zip(choices, values, strict=True))
        try:
            combined = _with(spec, named)
        except InvalidSpec as invalid:
            yield Variant(values=named, spec=None, diagnostics=invalid.diagnostics)
        else:
            yield Variant(values=named, spec=combined, diagnostics=check(combined))


def _with(spec: Spec | str | Path, values: Mapping[str, Any]) -> Spec:
    if isinstance(spec, str | Path):
        return load(spec, {name: _text(value) for name, value in values.items()})
    return spec.substitute(values)


def _text(value: Any) -> str:
    from mimodsl.lower.printer import print_value

    return value if isinstance(value, str) else print_value(value)


def check(spec: Spec) -> tuple[Diagnostic, ...]:
    """All mistakes in a spec, in the order of the text; empty if there are none."""
    from mimodsl.checker.runner import check as run_rules
    from mimodsl.ir.spec import Spec

    if not isinstance(spec, Spec):  # pyright: ignore[reportUnnecessaryIsInstance] - a path, perhaps
        raise TypeError(f"expected a Spec, as mimodsl.load makes of a file, found {spec!r:.80}")
    return run_rules(spec)


def plan(spec: Spec) -> Plan:
    """Compute the plan of all ranks, without torch. Raises `InvalidSpec` for a wrong spec."""
    from mimodsl.planner.plan import plan as plan_checked

    _require_sound(spec)
    return plan_checked(spec)


def build(
    spec: Spec,
    on_phase: Callable[[str], None] = lambda _: None,
    *,
    share_groups: bool = True,
) -> Assembly:
    """Build this rank's part of a spec: grids, groups, model, bridges and optimizer.

    All ranks of an initialised `torch.distributed` world of the spec's size must call this
    function. It calls `on_phase` with the name of each phase when the phase begins. Names with the
    same ranks may share a process group; without `share_groups`, each name gets its own, as in
    Megatron-Core. Needs the extra `build`. Raises `InvalidSpec` for a wrong spec and `ValueError`
    for a world of another size.
    """
    from mimodsl.builder.assembly import assemble

    _require_sound(spec)
    return assemble(spec, share_groups=share_groups, on_phase=on_phase)


def join(device: Literal["auto", "cpu", "cuda"] = "auto", timeout: float = 300.0) -> None:
    """Make this process, which a launcher such as torchrun has started, a rank of its world.

    Call it before `build`. The ranks communicate over NCCL if the machine has a GPU for each of its
    ranks. Otherwise they run on CPUs over gloo, with corrections that let megatron-core run there.
    A collective gives up after twice `timeout` seconds. Needs the extra `build`. Raises
    `ValueError` without a launcher, and `NoDevice` if there are too few GPUs for `cuda`.
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
    """Train a spec, as `mimodsl build` does, and return its losses and other results.

    Without a launcher, this function starts all ranks of the spec on this machine and waits for
    them. Under torchrun, this process is one rank, and all ranks return the same result. Nothing is
    printed: this process calls `observer` for each phase, step, evaluation and checkpoint while the
    run lasts. Needs the extra `build`.

    - `steps`: the number of training steps to add to those of a loaded checkpoint; 10 by default.
      With 0, the run only builds, loads and saves.
    - `seed`: replaces the spec's seed.
    - `data`: a function that returns samples (`mimodsl.data.Data`) for the spec, a class of such
      samples, or the name of either, `"module:name"`; synthetic samples by default. Ranks on CPUs
      are forks of this process and take any function. Ranks on GPUs and under a launcher are
      separate processes: for them, the function must be one of a module, so that it pickles.
    - `save`, `save_every`: the folder for checkpoints. The run saves one after the last step and,
      with `save_every`, also after every so many steps.
    - `load`: the checkpoint to continue from, in any layout, or a folder of checkpoints for its
      latest one.
    - `resume`: continue from the latest checkpoint in `save`, if there is one, and count its steps.
    - `eval_every`, `eval_steps`: evaluate after every `eval_every` steps and after the last, on as
      many held-out samples as `eval_steps` steps have; 4 by default.
    - `log_dir`: the folder for TensorBoard curves. Needs the extra `log`.
    - `profile`, `profile_steps`, `profile_ranks`: the folder for traces, the first and last step of
      this run to trace, counted from 1, and the ranks to trace; by default the second step, on one
      rank of each role.
    - `share_groups`: as in `build`.
    - `timeout`: end the run when no rank reports anything for so many seconds; 300 by default.
    - `device`: the device of the ranks; `auto` is CUDA if there are GPUs for all ranks.
    - `verbose`: let libraries print.

    Raises `InvalidSpec` for a wrong spec, `ValueError` for options that contradict each other or do
    not fit the spec, and `mimodsl.runtime.errors.RunError` if the run fails: `NoDevice` if devices
    are missing, `CheckpointError` for a checkpoint that does not fit, `RankFailed` for the first
    rank that fails, and `RanksHung` when all ranks wait.
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
    """Build one rank of each role in this process, with shapes and groups but no memory.

    It does what `mimodsl build --device meta` does, and works for worlds of any size. It calls
    `observer` when it begins a role. Needs the extra `build`. Raises `InvalidSpec` for a wrong
    spec, `ValueError` under a launcher, and `RankFailed` if a rank fails.
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

    Both runs begin with the same weights and see the same samples. Unless `full_size` is true, a
    large spec is shrunk first; its layout and its kinds of layers stay. Differences up to the
    relative distance `tolerance` count as rounding. The result's `verdict.equal` says whether the
    runs agree. The other options are those of `train`. Needs the extra `build`. Raises
    `InvalidSpec` for a wrong spec, `ValueError` for wrong options and for a spec that can't be
    compared, and `mimodsl.runtime.errors.RunError` if a run fails.
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
    """Return the text that `mimodsl export --to` writes: a script, flags or JSON.

    `to` is `torchrun`, `slurm`, `python`, `json` or `megatron-args`. `name` is the name of the run
    in scripts, and `source` names the spec in their heads. `options` are the other fields of
    `mimodsl.exporter.target.Launch` that the target uses, such as `steps`. Raises `InvalidSpec` for
    a wrong spec, and `ValueError` for an unknown target, an option that the target does not use, or
    a value that the cluster refuses.
    """
    from mimodsl.exporter.targets import target

    launch = target(to).launch(options, name=name, source=source)
    return target(to).write(launch.nodes(plan(spec)), launch)


def diff(a: Spec, b: Spec) -> tuple[Difference, ...]:
    """List the fields whose values differ between two specs, as `mimodsl diff` shows them."""
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
