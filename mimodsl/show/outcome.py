"""What `mimodsl build` came to, trained or built on the meta device: in text and as JSON."""

from typing import Any

from rich.console import Console

from mimodsl.runtime.meta_build import MetaBuild
from mimodsl.runtime.run import Run
from mimodsl.show import meta, run


def show(outcome: Run | MetaBuild, console: Console) -> None:
    """Print a summary for people."""
    if isinstance(outcome, MetaBuild):
        meta.show(outcome, console)
    else:
        run.show(outcome, console)


def document(outcome: Run | MetaBuild, path: str) -> dict[str, Any]:
    """One JSON document; `path` is the spec's file."""
    if isinstance(outcome, MetaBuild):
        return meta.document(outcome, path)
    return run.document(outcome, path)
