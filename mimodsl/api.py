"""What Python users call: a spec read, checked, planned and built, each step on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimodsl.build.assembly import Assembly
    from mimodsl.diagnostics import Diagnostic
    from mimodsl.ir.lower import Loaded
    from mimodsl.ir.spec import Spec
    from mimodsl.plan import Plan


class InvalidSpec(ValueError):
    """A spec with errors. `diagnostics` holds them as data; the message shows them in full."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        from mimodsl.diagnostics.render import full

        self.diagnostics = tuple(diagnostics)
        super().__init__(f"the spec has mistakes\n\n{full.render(self.diagnostics)}")


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Spec:
    """The spec of a `.mimo` file and of what it uses, not yet checked.

    `overrides` are values, as text, for the main file's `let` names. Raises `InvalidSpec` where the
    text does not come to a spec.
    """
    from mimodsl.ir import lower

    return _spec(lower.load(Path(path), overrides or {}))


def parse(text: str) -> Spec:
    """The spec of `.mimo` text, not yet checked. Raises `InvalidSpec` as `load` does."""
    from mimodsl.ir import lower

    return _spec(lower.parse(text))


def check(spec: Spec) -> tuple[Diagnostic, ...]:
    """Every mistake in a spec, in order of place; empty where it can be built. Never raises."""
    from mimodsl.check.runner import check as run_rules

    return run_rules(spec)


def plan(spec: Spec) -> Plan:
    """What a spec comes to on every rank, without torch. Raises `InvalidSpec` for a wrong spec."""
    from mimodsl.plan import plan as plan_checked

    _require_sound(spec)
    return plan_checked(spec)


def build(spec: Spec, on_phase: Callable[[str], None] = lambda _: None) -> Assembly:
    """The spec's part on this rank: grids, groups, model, bridges and optimizer, ready to train.

    Every rank of an initialised `torch.distributed` world of the spec's size calls it; `on_phase`
    hears of each phase as it begins. Needs the extra `build`. Raises `InvalidSpec` for a wrong spec
    and `ValueError` for a world of another size.
    """
    from mimodsl.build.assembly import assemble

    _require_sound(spec)
    return assemble(spec, on_phase=on_phase)


def _spec(loaded: Loaded) -> Spec:
    if loaded.spec is None:
        raise InvalidSpec(loaded.diagnostics)
    return loaded.spec


def _require_sound(spec: Spec) -> None:
    errors = [diagnostic for diagnostic in check(spec) if diagnostic.is_error]
    if errors:
        raise InvalidSpec(errors)
