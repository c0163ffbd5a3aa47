"""`--select` and `--ignore`: which warnings are shown. Errors always are."""

from collections.abc import Iterable

from attrs import frozen

from mimodsl.checker.packages import package_rules
from mimodsl.checker.rules import RULES
from mimodsl.cli.trouble import UsageError, unknown
from mimodsl.diagnostics import Diagnostic, Severity
from mimodsl.diagnostics.codes import CODES


@frozen(kw_only=True)
class Choice:
    """Codes, or what codes begin with; no `select` selects all."""

    select: tuple[str, ...]
    ignore: tuple[str, ...]

    def shows(self, diagnostic: Diagnostic) -> bool:
        if diagnostic.is_error:
            return True
        selected = not self.select or diagnostic.code.startswith(self.select)
        return selected and not diagnostic.code.startswith(self.ignore)


def choice(select: Iterable[str], ignore: Iterable[str]) -> Choice:
    """Raises `UsageError` for what is no warning's code, nor the beginning of one."""
    return Choice(
        select=tuple(_warnings(code, "--select") for code in select),
        ignore=tuple(_warnings(code, "--ignore") for code in ignore),
    )


def _warnings(code: str, option: str) -> str:
    severities = dict.fromkeys(CODES, Severity.ERROR) | {one.code: one.severity for one in RULES}
    if not any(one.startswith(code) for one in severities):
        severities |= {one.code: one.severity for one in package_rules().values()}
    found = {severity for one, severity in severities.items() if one.startswith(code)}
    if not found:
        raise UsageError(f"{option}: {unknown('code', code, severities)}")
    if found == {Severity.ERROR}:
        what = f"{code} is an error" if code in severities else f"all of {code} are errors"
        raise UsageError(f"{option}: {what}, and errors are always shown")
    return code
