"""Names: what each file sees, what is declared twice, and what may be lost in broken text."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from attrs import field, frozen

from mimodsl.diagnostics import Diagnostic, Edit, Label, codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.ir.registry import KINDS
from mimodsl.lower.evaluate import LITERAL_WORDS
from mimodsl.lower.units import Unit
from mimodsl.source import Span
from mimodsl.syntax import ast

type Report = Callable[[Diagnostic], None]
type Named = ast.Let | ast.Preset | ast.Grid | ast.Module

KEYWORDS: Final[dict[type[Named], str]] = {
    ast.Let: "let",
    ast.Preset: "preset",
    ast.Grid: "grid",
    ast.Module: "module",
}
_IN_USED_FILES: Final = (ast.Use, *KEYWORDS)


@frozen(kw_only=True)
class Lost:
    """What broken text may have declared. Nothing is said of names that may lie in it."""

    names: frozenset[tuple[str, str]]
    keywords: frozenset[str]
    anything: bool

    @classmethod
    def of(cls, units: Iterable[Unit]) -> "Lost":
        known = tuple(units)
        broken = [one for unit in known for one in unit.file.broken]
        return cls(
            names=frozenset((one.keyword, one.name) for one in broken if one.keyword and one.name),
            keywords=frozenset(one.keyword for one in broken if one.keyword),
            anything=any(unit.incomplete for unit in known)
            or any(one.keyword is None or one.keyword == "use" for one in broken)
            or any(one.name is None and one.keyword in KEYWORDS.values() for one in broken),
        )

    def covers(self, kind: type[Named], name: str) -> bool:
        return self.anything or (KEYWORDS[kind], name) in self.names

    def may_hold(self, keyword: str) -> bool:
        """Whether a declaration with this keyword may be among what is lost."""
        return self.anything or keyword in self.keywords


@frozen(kw_only=True, eq=False, slots=False)
class Scope:
    """What the text of one file can name."""

    unit: Unit
    lost: Lost
    report: Report

    @cached_property
    def _tables(self) -> Mapping[type[Named], Mapping[str, Named]]:
        tables: dict[type[Named], dict[str, Named]] = {kind: {} for kind in KEYWORDS}
        for declaration in declared(self.unit.reach()):
            tables[type(declaration)].setdefault(declaration.name.text, declaration)
        return tables

    def names(self, kind: type[Named]) -> Mapping[str, Named]:
        """The declarations of one kind that can be named here."""
        return self._tables[kind]

    def resolved(self, kind: type[Named], name: ast.Name) -> str | None:
        """A name that is declared: this one, or else, after a report, the one that is meant."""
        return name.text if name.text in self.names(kind) else self.missing(kind, name)

    def missing(
        self,
        kind: type[Named],
        name: ast.Name,
        others: Iterable[str] = (),
        advice: tuple[str, ...] = (),
        edits: tuple[Edit, ...] = (),
    ) -> str | None:
        """Report a name that is not declared, here or among the `others`, unless it may be lost.

        `advice` is given, with its edits, where no known name is near, and without it the names
        that there are. Returns the name that it must have been meant to be, where that is certain,
        to be read on with, so that a misspelt name hides no other mistake.
        """
        if self.lost.covers(kind, name.text):
            return None
        code, word = _UNKNOWN[kind]
        known = (*self.names(kind), *others)
        near = did_you_mean(name.text, known)
        verb = "are" if len(known) > 1 else "is only"
        lists = kind is not ast.Let and known and not near and not advice
        meant = corrected(name.span, known) if near else ()
        self.report(
            code.at(
                name.span,
                f"there is no {word} `{name}`",
                notes=(f"there {verb} {listed(known, 'and')}",) if lists else (),
                help=near or advice,
                edits=meant or (() if near else edits),
            )
        )
        return meant[0].replacement if meant else None


_UNKNOWN: Final = {
    ast.Let: (codes.UNKNOWN_WORD, "constant"),
    ast.Preset: (codes.UNKNOWN_KIND, "kind or preset"),
    ast.Grid: (codes.UNKNOWN_GRID, "grid"),
    ast.Module: (codes.UNKNOWN_MODULE, "module"),
}


@frozen(kw_only=True, eq=False)
class Scopes:
    """The scope of every file of a spec."""

    main: Unit
    lost: Lost
    report: Report
    _made: dict[int, Scope] = field(factory=dict[int, Scope], init=False)

    def of(self, unit: Unit) -> Scope:
        if id(unit) not in self._made:
            self._made[id(unit)] = Scope(unit=unit, lost=self.lost, report=self.report)
        return self._made[id(unit)]

    def each[D: Named](self, kind: type[D]) -> Iterator[tuple[D, Scope]]:
        """All declarations of one kind with their scopes; of those of one name the first."""
        seen: set[str] = set()
        for unit in self.main.reach():
            for declaration in unit.file.declarations_of(kind):
                if declaration.name.text not in seen:
                    seen.add(declaration.name.text)
                    yield declaration, self.of(unit)


def declared(units: Iterable[Unit]) -> Iterator[Named]:
    """Every declaration that has a name, in order."""
    for unit in units:
        for declaration in unit.file.declarations:
            if isinstance(declaration, tuple(KEYWORDS)):
                yield declaration


def check_declarations(main: Unit, report: Report) -> None:
    """Report names declared twice or reserved, and what a used file may not hold."""
    first: dict[tuple[type[Named], str], ast.Name] = {}
    for declaration in declared(main.reach()):
        name = declaration.name
        if _reserved(declaration):
            report(codes.RESERVED.at(name.span, f"`{name}` is a word of the language"))
        earlier = first.setdefault((type(declaration), name.text), name)
        if earlier is not name:
            report(
                declared_twice(f"{KEYWORDS[type(declaration)]} `{name}`", name.span, earlier.span)
            )
    for unit in main.reach():
        if not unit.is_main:
            _check_used(unit, report)


def declared_twice(what: str, second: Span, first: Span) -> Diagnostic:
    return codes.DUPLICATE.at(
        second,
        f"{what} is declared twice",
        "again here",
        secondary=(Label(first, "first here"),),
    )


def _reserved(declaration: Named) -> bool:
    name = declaration.name.text
    if name in LITERAL_WORDS or name == "_":
        return True
    return isinstance(declaration, ast.Preset) and name in KINDS


def may_be_used(file: ast.File) -> bool:
    """Whether a file declares something, and nothing that a used file may not hold."""
    broken = all(one.keyword in (None, "use", *KEYWORDS.values()) for one in file.broken)
    return bool(file.declarations) and broken and not any(_foreign(file))


def _foreign(file: ast.File) -> Iterator[ast.Declaration]:
    return (one for one in file.declarations if not isinstance(one, _IN_USED_FILES))


def _check_used(unit: Unit, report: Report) -> None:
    for declaration in _foreign(unit.file):
        report(
            codes.NOT_IN_USED_FILE.at(
                ast.keyword_span(declaration),
                f"a used file may not declare `{ast.keyword(declaration)}`",
                notes=("only `use`, `let`, `preset`, `grid` and `module` are brought in",),
            )
        )
