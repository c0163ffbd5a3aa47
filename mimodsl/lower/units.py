"""The files of a spec: what `use` brings in, and from where it may."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.limits import MAX_CHAIN, MAX_CHARACTERS, MAX_DECLARATIONS, MAX_FILES
from mimodsl.resources import presets_folder
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.parser import parse_source
from mimodsl.syntax.reader import read_source

type Read = Callable[[Path, str], SourceFile | Diagnostic]
"""Reads the file at a path, which users know by another name."""

PRESETS: Final = "presets/"
_NO_PATH: Final = (OSError, ValueError, RuntimeError)  # the last for links that go round in circles


@frozen(kw_only=True, eq=False)
class Unit:
    """One file with the files that it uses. `incomplete` says that a `use` of it failed."""

    file: ast.File
    used: "tuple[Unit, ...]" = ()
    is_main: bool = False
    incomplete: bool = False

    def reach(self) -> "Iterator[Unit]":
        """This file and all that it uses, directly or not, each once, used ones first."""
        seen: set[int] = set()
        stack: list[tuple[Unit, bool]] = [(self, False)]
        while stack:
            unit, done = stack.pop()
            if done:
                yield unit
            elif id(unit) not in seen:
                seen.add(id(unit))
                stack.append((unit, True))
                stack.extend((used, False) for used in reversed(unit.used))


@frozen(kw_only=True)
class _Place:
    """Where a file lies, and the folder that what it uses may not leave."""

    path: Path
    root: Path


@define(kw_only=True)
class UnitReader:
    """Reads a main file and, depth first, what it uses; each file once."""

    report: Callable[[Diagnostic], None]
    read: Read = read_source
    _characters: int = field(default=0, init=False)
    _declarations: int = field(default=0, init=False)
    _is_too_large: bool = field(default=False, init=False)
    _units: dict[Path, Unit] = field(factory=dict[Path, Unit], init=False)
    _open: list[tuple[Path, Span]] = field(factory=list[tuple[Path, Span]], init=False)

    def main(self, source: SourceFile, path: Path | None) -> Unit:
        """The unit of the main file; without a path it can only use shipped presets."""
        if path is None:
            return evolve(self._unit(source, None), is_main=True)
        place = _Place(path=path.resolve(), root=path.parent.resolve())
        self._open.append((place.path, Span(source, 0, 0)))
        return evolve(self._unit(source, place), is_main=True)

    def _unit(self, source: SourceFile, place: _Place | None) -> Unit:
        parsed = parse_source(source)
        for one in parsed.diagnostics:
            self._say(one)
        file = self._within_limit(parsed.file)
        self._characters += len(source.text)
        self._declarations += len(file.declarations)
        used = [self._use(use, place) for use in file.declarations_of(ast.Use)]
        found = tuple(unit for unit in used if unit is not None)
        return Unit(file=file, used=found, incomplete=len(found) < len(used))

    def _say(self, diagnostic: Diagnostic) -> None:
        """Report a mistake; that the spec is too large is one, however many files make it so."""
        if diagnostic.code == codes.TOO_LARGE.id:
            if self._is_too_large:
                return
            self._is_too_large = True
        self.report(diagnostic)

    def _within_limit(self, file: ast.File) -> ast.File:
        """The file without those declarations that are too many for the spec."""
        room = MAX_DECLARATIONS - self._declarations
        if len(file.declarations) <= room:
            return file
        first = file.declarations[room]
        self._say(
            codes.TOO_LARGE.at(
                ast.keyword_span(first), f"the spec has more than {MAX_DECLARATIONS} declarations"
            )
        )
        rest = ast.Broken(keyword=None, name=None, span=first.span)
        return evolve(file, declarations=file.declarations[:room], broken=(*file.broken, rest))

    def _use(self, use: ast.Use, user: _Place | None) -> Unit | None:
        place = self._locate(use, user)
        if isinstance(place, Diagnostic):
            self._say(place)
            return None
        if place.path in self._units:
            return self._units[place.path]
        source = self._obstacle(use, place) or self._source(use, place)
        if isinstance(source, Diagnostic):
            self._say(source)
            return None
        self._open.append((place.path, use.path.span))
        self._units[place.path] = self._unit(source, place)
        self._open.pop()
        return self._units[place.path]

    def _source(self, use: ast.Use, place: _Place) -> SourceFile | Diagnostic:
        source = self.read(place.path, _shown(place.path, use))
        if isinstance(source, Diagnostic):
            if source.code == codes.UNREADABLE.id:  # a file without text has no place of its own
                return evolve(source, primary=Label(use.path.span))
            return source
        if self._characters + len(source.text) > MAX_CHARACTERS:
            return codes.TOO_LARGE.at(
                use.path.span,
                f"the spec with all that it uses has more than {MAX_CHARACTERS:,} characters",
            )
        return source

    def _obstacle(self, use: ast.Use, place: _Place) -> Diagnostic | None:
        """Why a file that lies where it may is not read."""
        if any(path == place.path for path, _ in self._open):
            return self._cycle(use, place.path)
        if len(self._open) > MAX_CHAIN:
            return codes.USE_CYCLE.at(
                use.path.span, f"more than {MAX_CHAIN} files use each other in turn"
            )
        if len(self._units) >= MAX_FILES:
            return codes.TOO_LARGE.at(use.path.span, f"the spec has more than {MAX_FILES} files")
        return None

    def _locate(self, use: ast.Use, user: _Place | None) -> _Place | Diagnostic:
        written = use.path.value
        span = use.path.span
        try:
            for place in _candidates(written, user):
                if not place.path.exists():
                    continue
                path = place.path.resolve()
                if not path.is_relative_to(place.root):
                    return _escapes(span, written, place.root)
                return _Place(path=path, root=place.root)
        except _NO_PATH:
            pass
        if user is not None and _leaves(user.path.parent / written, user.root):
            return _escapes(span, written, user.root)
        return codes.USE_MISSING.at(
            span,
            f"there is no file `{written}`",
            notes=("paths are relative to the using file",),
            help=_shipped_help(written),
        )

    def _cycle(self, use: ast.Use, path: Path) -> Diagnostic:
        start = next(index for index, (one, _) in enumerate(self._open) if one == path)
        cycle = self._open[start:]
        names = [one.name for one, _ in cycle] + [path.name]
        return codes.USE_CYCLE.at(
            use.path.span,
            f"files use each other: {' -> '.join(names)}",
            secondary=tuple(Label(span, "used from here") for _, span in cycle[1:]),
        )


def _candidates(written: str, user: _Place | None) -> Iterator[_Place]:
    """Beside the using file, and for `presets/…` among the shipped presets."""
    if user is not None:
        yield _Place(path=user.path.parent / written, root=user.root)
    if written.startswith(PRESETS):
        presets = presets_folder().resolve()
        yield _Place(path=presets / written.removeprefix(PRESETS), root=presets)


def _leaves(path: Path, root: Path) -> bool:
    try:
        return not path.resolve().is_relative_to(root)
    except _NO_PATH:
        return False


def _escapes(span: Span, written: str, root: Path) -> Diagnostic:
    return codes.USE_ESCAPES.at(
        span,
        f"`{written}` lies outside the spec's folder",
        notes=(f"the folder is {root}",),
    )


def _shipped_help(written: str) -> tuple[str, ...]:
    if not written.startswith(PRESETS):
        return ()
    names = sorted(path.name for path in presets_folder().glob("*.mimo"))
    return (f"shipped presets: {', '.join(f'`{PRESETS}{name}`' for name in names)}",)


def _shown(path: Path, use: ast.Use) -> str:
    """A used file as users know it: beside the path of the using file, where it lies there."""
    beside = Path(use.span.file.path).parent / use.path.value
    try:
        if beside.resolve() == path:
            return str(beside)
        return str(path.relative_to(Path.cwd()))
    except _NO_PATH:
        return str(path)
