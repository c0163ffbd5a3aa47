"""Makes the edits that diagnostics are sure of, as far as these end their mistakes."""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import evolve, frozen

from mimodsl.checker.checked import Checked
from mimodsl.diagnostics import Diagnostic
from mimodsl.diagnostics.fixes import fixed
from mimodsl.source import SourceFile

type Check = Callable[[SourceFile], Checked]
"""Checks another text of a file, as the first one was."""

_ROUNDS: Final = 10


@frozen(kw_only=True)
class Repair:
    """A text after its fixes, and how many mistakes these end."""

    count: int
    after: Checked


def repaired(before: Checked, check: Check) -> Repair:
    """All fixes of a text.

    A fix may bring another mistake to light, and so this goes on while there are any.
    """
    count, now = 0, before
    for _ in range(_ROUNDS):
        better = fixed_once(now, now.diagnostics, check)
        if better is None:
            break
        count, now = count + better.count, better.after
    return Repair(count=count, after=now)


def fixed_once(now: Checked, diagnostics: Sequence[Diagnostic], check: Check) -> Repair | None:
    """The text with the fixes of some of its diagnostics made, all at once.

    Those that do not end their mistake are left out; `None` where no other is known.
    """
    wanted = [one for one in diagnostics if one.edits]
    while wanted and now.source is not None:
        tried = fixed(now.source, wanted)
        if tried.count == 0:
            break
        after = check(evolve(now.source, text=tried.text))
        stay = {_what(one) for one in after.diagnostics}
        lasting = [one for one in wanted if _what(one) not in stay]
        if len(lasting) == len(wanted):
            return Repair(count=tried.count, after=after)
        wanted = lasting
    return None


def _what(one: Diagnostic) -> tuple[str, str]:
    return one.code, one.message
