"""Which diagnostics a user wants to see: all errors, and the selected warnings."""

from collections.abc import Iterable

from attrs import frozen

from mimodsl.checker.packages import package_rules
from mimodsl.checker.rules import RULES
from mimodsl.diagnostics import Diagnostic, Severity
from mimodsl.diagnostics.codes import CODES
from mimodsl.diagnostics.suggest import unknown
from mimodsl.wrong_options import WrongOptions, literal


@frozen(kw_only=True)
class Selection:
    """The warnings to show, by code or by how codes begin; no `select` selects all."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def shows(self, diagnostic: Diagnostic) -> bool:
        if diagnostic.is_error:
            return True
        selected = not self.select or diagnostic.code.startswith(self.select)
        return selected and not diagnostic.code.startswith(self.ignore)


def selection(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Selection:
    """Raises `WrongOptions` for text that no warning's code begins with."""
    return Selection(
        select=tuple(_warnings(code, "select") for code in select),
        ignore=tuple(_warnings(code, "ignore") for code in ignore),
    )


def _warnings(code: str, option: str) -> str:
    severities = dict.fromkeys(CODES, Severity.ERROR) | {rule.code: rule.severity for rule in RULES}
    if not any(known.startswith(code) for known in severities):
        severities |= {rule.code: rule.severity for rule in package_rules().values()}
    meant = {severity for known, severity in severities.items() if known.startswith(code)}
    if not meant:
        raise WrongOptions(f"{{{option}}}: {literal(unknown('code', code, severities))}")
    if meant == {Severity.ERROR}:
        what = f"{code} is an error" if code in severities else f"all of {code} are errors"
        raise WrongOptions(f"{{{option}}}: {what}, and errors are always shown")
    return code
