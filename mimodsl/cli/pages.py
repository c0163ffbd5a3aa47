"""The page of each code, put together from what the code says of itself."""

from textwrap import fill, indent

from mimodsl.check.proof import PROVED
from mimodsl.check.rule import Rule
from mimodsl.check.rules import RULES
from mimodsl.diagnostics.codes import CODES, Code


def known_codes() -> list[str]:
    """Every code of a diagnostic, in order."""
    return sorted([*CODES, *(rule.code for rule in (*RULES, *PROVED))])


def page(code: str) -> str | None:
    """What a code means, why it matters and an example; `None` for an unknown code."""
    if code in CODES:
        return _code_page(CODES[code])
    return next((_rule_page(rule) for rule in (*RULES, *PROVED) if rule.code == code), None)


def _code_page(code: Code) -> str:
    return _page(code.id, code.title, fill(code.why, 88), code.example or "")


def _rule_page(rule: Rule[object]) -> str:
    page = _page(rule.code, rule.title, rule.explanation, rule.example)
    cost = f"Without this {rule.severity}: {rule.cost.value}."
    sources = f"From megatron-core 0.19.2: {', '.join(rule.mirrors)}." if rule.mirrors else ""
    return "\n\n".join(filter(None, [page, cost, sources]))


def _page(code: str, title: str, why: str, example: str) -> str:
    shown = f"For example:\n\n{indent(example.strip(), '  ')}" if example else ""
    return "\n\n".join(filter(None, [f"{code}: {title}", why.strip(), shown]))
