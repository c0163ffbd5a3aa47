"""Names: which names a file sees, which are declared twice, and which may be in broken text."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from attrs import field, frozen

from mimodsl.diagnostics import Diagnostic, Edit, Label, codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.ir.registry import KINDS
from mimodsl.lower.evaluate import LITERAL_WORDS
from mimodsl.lower.spec_files import SpecFile
from mimodsl.source import Span
from mimodsl.syntax import ast

type Report = Callable[[Diagnostic], None]
type NamedDeclaration = ast.Let | ast.Preset | ast.Grid | ast.Module

NAMED_KEYWORDS: Final[dict[type[NamedDeclaration], str]] = {
    ast.Let: "let",
    ast.Preset: "preset",
    ast.Grid: "grid",
    ast.Module: "module",
}
_ALLOWED_IN_USED_FILES: Final = (ast.Use, *NAMED_KEYWORDS)


@frozen(kw_only=True, eq=False)
class LostDeclarations:
    """Declarations that broken text may contain.

    An unknown name that may be among them is not reported.
    """

    names: frozenset[tuple[str, str]]
    keywords: frozenset[str]
    anything: bool

    @classmethod
    def in_files(cls, spec_files: Iterable[SpecFile]) -> "LostDeclarations":
        files = tuple(spec_files)
        broken = [declaration for spec_file in files for declaration in spec_file.file.broken]
        return cls(
            names=frozenset(
                (declaration.keyword, declaration.name)
                for declaration in broken
                if declaration.keyword and declaration.name
            ),
            keywords=frozenset(
                declaration.keyword for declaration in broken if declaration.keyword
            ),
            anything=any(spec_file.incomplete for spec_file in files)
            or any(
                declaration.keyword is None or declaration.keyword == "use"
                for declaration in broken
            )
            or any(
                declaration.name is None and declaration.keyword in NAMED_KEYWORDS.values()
                for declaration in broken
            ),
        )

    def covers(self, kind: type[NamedDeclaration], name: str) -> bool:
        return self.anything or (NAMED_KEYWORDS[kind], name) in self.names

    def may_hold(self, keyword: str) -> bool:
        """Whether a declaration with this keyword may be lost."""
        return self.anything or keyword in self.keywords


@frozen(kw_only=True, eq=False, slots=False)
class NameScope:
    """The names that the text of one file can use."""

    spec_file: SpecFile
    lost: LostDeclarations
    report: Report

    @cached_property
    def _tables(self) -> Mapping[type[NamedDeclaration], Mapping[str, NamedDeclaration]]:
        tables: dict[type[NamedDeclaration], dict[str, NamedDeclaration]] = {
            kind: {} for kind in NAMED_KEYWORDS
        }
        for declaration in named_declarations(self.spec_file.reach()):
            tables[type(declaration)].setdefault(declaration.name.text, declaration)
        return tables

    def names(self, kind: type[NamedDeclaration]) -> Mapping[str, NamedDeclaration]:
        """The declarations of one kind that this file can use, by name."""
        return self._tables[kind]

    def resolved(self, kind: type[NamedDeclaration], name: ast.Name) -> str | None:
        """The name if it is declared; else, after a report, the name that is certainly meant."""
        return name.text if name.text in self.names(kind) else self.missing(kind, name)

    def missing(
        self,
        kind: type[NamedDeclaration],
        name: ast.Name,
        others: Iterable[str] = (),
        advice: tuple[str, ...] = (),
        edits: tuple[Edit, ...] = (),
    ) -> str | None:
        """Report a name that is neither declared nor among the `others`, unless it may be lost.

        If no known name is close, the report gives `advice` with its `edits` or, without advice,
        lists the known names. Returns the name that is certainly meant, so that reading can go on
        and a misspelt name hides no other mistake.
        """
        if self.lost.covers(kind, name.text):
            return None
        code, word = _UNKNOWN[kind]
        known = (*self.names(kind), *others)
        near = did_you_mean(name.text, known)
        verb = "are" if len(known) > 1 else "is only"
        lists = kind is not ast.Let and known and not near and not advice
        correction = corrected(name.span, known) if near else ()
        self.report(
            code.at(
                name.span,
                f"there is no {word} `{name}`",
                notes=(f"there {verb} {listed(known, 'and')}",) if lists else (),
                help=near or advice,
                edits=correction or (() if near else edits),
            )
        )
        return correction[0].replacement if correction else None


_UNKNOWN: Final = {
    ast.Let: (codes.UNKNOWN_WORD, "constant"),
    ast.Preset: (codes.UNKNOWN_KIND, "kind or preset"),
    ast.Grid: (codes.UNKNOWN_GRID, "grid"),
    ast.Module: (codes.UNKNOWN_MODULE, "module"),
}


@frozen(kw_only=True, eq=False)
class NameScopes:
    """The name scope of every file of a spec."""

    main: SpecFile
    lost: LostDeclarations
    report: Report
    _scopes: dict[int, NameScope] = field(factory=dict[int, NameScope], init=False)

    def scope_of(self, spec_file: SpecFile) -> NameScope:
        if id(spec_file) not in self._scopes:
            self._scopes[id(spec_file)] = NameScope(
                spec_file=spec_file, lost=self.lost, report=self.report
            )
        return self._scopes[id(spec_file)]

    def each[D: NamedDeclaration](self, kind: type[D]) -> Iterator[tuple[D, NameScope]]:
        """Every declaration of one kind with its scope; the first one of each name."""
        seen: set[str] = set()
        for spec_file in self.main.reach():
            for declaration in spec_file.file.declarations_of(kind):
                if declaration.name.text not in seen:
                    seen.add(declaration.name.text)
                    yield declaration, self.scope_of(spec_file)


def named_declarations(spec_files: Iterable[SpecFile]) -> Iterator[NamedDeclaration]:
    """Every declaration that has a name, in order."""
    for spec_file in spec_files:
        for declaration in spec_file.file.declarations:
            if isinstance(declaration, tuple(NAMED_KEYWORDS)):
                yield declaration


def check_declarations(main: SpecFile, report: Report) -> None:
    """Report names that are declared twice or reserved, and wrong declarations in used files."""
    first: dict[tuple[type[NamedDeclaration], str], ast.Name] = {}
    for declaration in named_declarations(main.reach()):
        name = declaration.name
        if _reserved(declaration):
            report(codes.RESERVED.at(name.span, f"`{name}` is a reserved word"))
        earlier = first.setdefault((type(declaration), name.text), name)
        if earlier is not name:
            report(
                declared_twice(
                    f"{NAMED_KEYWORDS[type(declaration)]} `{name}`", name.span, earlier.span
                )
            )
    for spec_file in main.reach():
        if not spec_file.is_main:
            _check_used(spec_file, report)


def declared_twice(what: str, second: Span, first: Span) -> Diagnostic:
    return codes.DUPLICATE.at(
        second,
        f"{what} is declared twice",
        "again here",
        secondary=(Label(first, "first here"),),
    )


def _reserved(declaration: NamedDeclaration) -> bool:
    name = declaration.name.text
    if name in LITERAL_WORDS or name == "_":
        return True
    return isinstance(declaration, ast.Preset) and name in KINDS


def may_be_used(file: ast.File) -> bool:
    """Whether a file has declarations, and only declarations that a used file may have."""
    broken_are_allowed = all(
        declaration.keyword in (None, "use", *NAMED_KEYWORDS.values())
        for declaration in file.broken
    )
    return bool(file.declarations) and broken_are_allowed and not any(_main_file_only(file))


def _main_file_only(file: ast.File) -> Iterator[ast.Declaration]:
    return (
        declaration
        for declaration in file.declarations
        if not isinstance(declaration, _ALLOWED_IN_USED_FILES)
    )


def _check_used(spec_file: SpecFile, report: Report) -> None:
    for declaration in _main_file_only(spec_file.file):
        report(
            codes.NOT_IN_USED_FILE.at(
                ast.keyword_span(declaration),
                f"a used file may not declare `{ast.keyword(declaration)}`",
                notes=("it may declare only `use`, `let`, `preset`, `grid` and `module`",),
            )
        )
