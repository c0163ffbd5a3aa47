"""A rule: a function that checks one kind of subject, with the text of its page."""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from inspect import cleandoc
from textwrap import dedent
from typing import Final

from attrs import frozen

from mimodsl.checker.context import Context
from mimodsl.diagnostics import Diagnostic, Edit, Label, Severity
from mimodsl.source import Span


class Cost(Enum):
    """What a mistake costs a user whom nobody warns before the launch.

    A rule that finds mistakes of several costs has the worst of them: a wrong model costs more than
    ranks that hang, these more than an error, and a late error more than an early one. `RAISES` is
    for a rule whose every mistake is refused.
    """

    RAISES = "megatron-core refuses it while the model is built on the cluster"
    LATE = "the run fails at its first step or later"
    HANGS = "ranks wait for each other forever"
    SILENT = "the run goes on and trains something else"
    WASTE = "a setting or a resource has no effect"
    UNCLEAR = "the spec does not say what to build"


@frozen(eq=False)
class Scope[S]:
    """The subjects that a rule checks: what they are, and how to find them in a spec."""

    words: str
    subjects: Callable[[Context], Iterable[S]]


@frozen(kw_only=True, eq=False)
class Finding:
    """A place where a spec breaks a rule: a diagnostic without the code and the severity."""

    message: str
    primary: Label
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()


type Findings = Iterator[Finding]


@frozen(kw_only=True, eq=False)
class Rule[S]:
    """A rule with its page in the rule reference.

    `mirrors` are the places in megatron-core (`file:line` below `megatron/core`) that the
    rule comes from; a rule of the language itself has none. `seen` describes the mistake on a
    cluster: an error, a hang or a number. Text in backticks is a quote from one of those places.
    `example` is `.mimo` text that breaks this rule only; it is empty where lowering refuses such
    text first.
    """

    code: str
    title: str
    severity: Severity
    cost: Cost
    scope: Scope[S]
    mirrors: tuple[str, ...]
    seen: str
    explanation: str
    example: str
    check: Callable[[Context, S], Iterable[Finding]]

    def run(self, spec: Context) -> Iterator[Diagnostic]:
        """Every place where a spec breaks the rule."""
        for subject in self.scope.subjects(spec):
            for finding in self.check(spec, subject):
                yield self._diagnostic(finding, *_own_file_first(spec, finding))

    def _diagnostic(self, finding: Finding, primary: Label, *secondary: Label) -> Diagnostic:
        return Diagnostic(
            code=self.code,
            severity=self.severity,
            message=finding.message,
            primary=primary,
            secondary=secondary,
            notes=finding.notes,
            help=finding.help,
            edits=finding.edits,
        )


def _own_file_first(spec: Context, finding: Finding) -> list[Label]:
    """The labels of a finding, primary first; labels in the main file before those in presets."""
    labels = [finding.primary, *finding.secondary]
    if isinstance(finding.primary.where, Span) and not spec.in_main_file(finding.primary):
        labels.sort(key=lambda label: not spec.in_main_file(label))
    return labels


_EXAMPLE: Final = "\nExample:\n"


def rule[S](  # noqa: PLR0913 - the parts of a rule's page, by keyword
    code: str,
    title: str,
    *,
    scope: Scope[S],
    cost: Cost,
    mirrors: tuple[str, ...] = (),
    seen: str = "",
    severity: Severity = Severity.ERROR,
) -> Callable[[Callable[[Context, S], Iterable[Finding]]], Rule[S]]:
    """Make a rule from a function that yields the mistakes of one subject.

    The docstring of the function is the page of the rule: what must hold and why, then `Example:`
    and indented `.mimo` text that breaks the rule. The example is also a test.
    """

    def make(check: Callable[[Context, S], Iterable[Finding]]) -> Rule[S]:
        explanation, _, example = cleandoc(check.__doc__ or "").partition(_EXAMPLE)
        return Rule(
            code=code,
            title=title,
            severity=severity,
            cost=cost,
            scope=scope,
            mirrors=mirrors,
            seen=seen,
            explanation=explanation.strip(),
            example=dedent(example).strip("\n") + "\n" if example else "",
            check=check,
        )

    return make
