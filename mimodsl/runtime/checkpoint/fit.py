"""Whether a checkpoint fits a spec, as far as both specs can tell: before any rank starts."""

from pathlib import Path

from mimodsl.ir.spec import Spec
from mimodsl.planner.transfer import transfers
from mimodsl.runtime.checkpoint.folder import find, has_any
from mimodsl.runtime.checkpoint.manifest import Checkpoint, CheckpointError


def checkpoint_for(spec: Spec, path: Path) -> Checkpoint:
    """The whole checkpoint at a path, all of whose modules a spec can take.

    Raises `CheckpointError` as `find` does, and for the first module that does not fit.
    """
    checkpoint = find(path)
    for one in transfers(checkpoint.manifest.spec, spec):
        if not one.loads:
            raise CheckpointError(
                f"the checkpoint {checkpoint.folder} does not fit the spec\n"
                f"  module {one.module}: {one.reason}\n"
                f"help: `mimodsl diff {checkpoint.folder} SPEC` shows all that differs"
            )
    return checkpoint


def checkpoint_to_resume(spec: Spec, root: Path) -> Checkpoint | None:
    """The latest checkpoint in a run's folder, as `checkpoint_for`; `None` while it has none."""
    return checkpoint_for(spec, root) if has_any(root) else None
