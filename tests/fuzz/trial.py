"""What must hold of any text, within the work and memory that a laptop's editor would grant."""

import resource
from pathlib import Path

from mimodsl.checker.runner import CRASH, check
from mimodsl.diagnostics.render import concise, full, github, json
from mimodsl.ir.spec import Spec
from mimodsl.limits import MAX_CHARACTERS
from mimodsl.lower import load_source, parse
from mimodsl.planner.plan import plan
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import format_source
from mimodsl.syntax.reader import decoded

STEPS = 18_000_000
"""Of the interpreter, which are the same on a busy machine as on an idle one (`tests.work`)."""

SECONDS = 20
"""Of CPU, which stop what hangs; what is slow is told by its steps, on any machine."""

MEGABYTES = 200


def trial(text: str | bytes) -> str | None:
    """Lead a text through all that `check` and `plan` do; the code of its first mistake, if any.

    Raises `AssertionError` where a law does not hold, and whatever the product raises, which it
    must not.
    """
    data = text if isinstance(text, bytes) else text.encode()
    source = decoded(data, "any.mimo")
    loaded = load_source(source, Path("any.mimo"))
    found = check(loaded.spec or loaded.draft)
    crashes = [one for one in found if one.code == CRASH]
    assert not crashes, crashes
    every = [*loaded.diagnostics, *found]
    assert (loaded.spec is None) == any(one.is_error for one in loaded.diagnostics)
    first = every[:200]
    assert full.render(first).count("\n") >= len(first) - 1
    assert len(concise.render(first).split("\n")) == max(1, len(first))
    assert len(github.render(first).split("\n")) == max(1, len(first))
    assert len(json.objects(first)) == len(first)
    if loaded.spec is not None:
        if len(data) < MAX_CHARACTERS // 4:
            assert parse(str(loaded.spec)).spec == loaded.spec
        if not any(one.is_error for one in found):
            _plan(loaded.spec)
    return every[0].code if every else None


def format_trial(text: str | bytes) -> None:
    """Lead a text through all that `fmt` does."""
    source = decoded(text if isinstance(text, bytes) else text.encode(), "any.mimo")
    tidy = format_source(source).text if isinstance(source, SourceFile) else None
    if tidy is not None and len(tidy) < MAX_CHARACTERS // 4:
        assert format_source(SourceFile("tidy.mimo", tidy)).text == tidy


def _plan(spec: Spec) -> None:
    whole = plan(spec)
    for rank in {0, spec.world // 2, spec.world - 1}:
        assert whole.rank(rank) is not None


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
