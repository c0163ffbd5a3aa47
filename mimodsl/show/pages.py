"""The page of each diagnostic code, which `mimodsl explain`, editors and the docs show."""

from collections.abc import Iterator
from functools import cache
from textwrap import fill, indent
from typing import Any, Final

from attrs import frozen

from mimodsl._version import MEGATRON_CORE
from mimodsl.checker.packages import package_rules
from mimodsl.checker.proof import PROVED
from mimodsl.checker.rule import Rule
from mimodsl.checker.rules import RULES
from mimodsl.checker.runner import check
from mimodsl.diagnostics import Diagnostic, Severity, in_order
from mimodsl.diagnostics.codes import CODES, Code
from mimodsl.diagnostics.render import full
from mimodsl.lower import parse
from mimodsl.show.json import fields

_WIDTH: Final = 88
_BOLD: Final = "\x1b[1m"
_RESET: Final = "\x1b[0m"


@frozen(kw_only=True)
class Page:
    """A code with its rule's explanation: `why` and `seen` in words, `example` a text that has it.

    `cost` is what the mistake leads to without the diagnostic, and `mirrors` names the places in
    megatron-core that refuse it.
    """

    code: str
    title: str
    severity: Severity
    why: str
    cost: str = ""
    seen: str = ""
    example: str = ""
    mirrors: tuple[str, ...] = ()

    def diagnostics(self) -> list[Diagnostic]:
        """The diagnostics of the example that have this code."""
        loaded = parse(self.example)
        found = in_order([*loaded.diagnostics, *check(loaded.draft)])
        return [one for one in found if one.code == self.code]


def page_of(code: str) -> Page | None:
    """The page of a code, also of a rule that an installed package brings."""
    return pages().get(code) or package_pages().get(code)


def package_pages() -> dict[str, Page]:
    """The pages of rules that installed packages bring, by code."""
    return {code: _rule_page(rule) for code, rule in sorted(package_rules().items())}


@cache
def pages() -> dict[str, Page]:
    """The pages of mimodsl's own codes, in order."""
    found = [*map(_code_page, CODES.values()), *map(_rule_page, (*RULES, *PROVED))]
    return {page.code: page for page in sorted(found, key=lambda page: page.code)}


def _code_page(code: Code) -> Page:
    return Page(
        code=code.id,
        title=code.title,
        severity=Severity.ERROR,
        why=code.why,
        example=code.example or "",
    )


def _rule_page(rule: Rule[Any]) -> Page:
    return Page(
        code=rule.code,
        title=rule.title,
        severity=rule.severity,
        why=rule.explanation,
        cost=rule.cost.value,
        seen=rule.seen,
        example=rule.example,
        mirrors=rule.mirrors,
    )


def text(page: Page, *, color: bool = False) -> str:
    """The page as `mimodsl explain` prints it, with the diagnostics of its example."""
    return "\n\n".join(_parts(page, color))


def _parts(page: Page, color: bool) -> Iterator[str]:
    yield _bold(f"{page.code}: {page.title}", color)
    yield "\n\n".join(fill(paragraph, _WIDTH) for paragraph in page.why.split("\n\n"))
    if page.cost:
        yield fill(f"Without this {page.severity}: {page.cost}.", _WIDTH)
    if page.seen:
        yield _bold("On the cluster:", color) + "\n" + indent(fill(page.seen, _WIDTH - 2), "  ")
    if page.example:
        yield _bold("For example:", color) + "\n\n" + indent(page.example.strip(), "  ")
        shown = full.render(page.diagnostics(), color=color)
        if shown:
            yield _bold("mimodsl says:", color) + "\n\n" + indent(shown, "  ")
    if page.mirrors:
        yield fill(f"From megatron-core {MEGATRON_CORE}: {', '.join(page.mirrors)}.", _WIDTH)


def _bold(text: str, color: bool) -> str:
    return f"{_BOLD}{text}{_RESET}" if color else text


def document(page: Page) -> dict[str, Any]:
    """The page as plain values, with the help lines of its example's diagnostics."""
    return {
        **fields(page, "code", "title", "severity", "why", "cost", "seen", "example"),
        "help": [line for one in page.diagnostics() for line in one.help] if page.example else [],
        "megatron": {"version": MEGATRON_CORE, "at": list(page.mirrors)},
    }
