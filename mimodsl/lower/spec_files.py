"""The files of a spec: the main file and the files that it uses."""

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
"""Reads the file at a path. Users see it under another name."""

PRESETS: Final = "presets/"
_PATH_ERRORS: Final = (
    OSError,
    ValueError,
    RuntimeError,
)  # RuntimeError: symbolic links in a circle


@frozen(kw_only=True, eq=False)
class SpecFile:
    """A file with the files that it uses. `incomplete` means that a `use` of it failed."""

    file: ast.File
    used: "tuple[SpecFile, ...]" = ()
    is_main: bool = False
    incomplete: bool = False

    def reach(self) -> "Iterator[SpecFile]":
        """This file and all files that it uses, directly or not: each once, used files first."""
        seen: set[int] = set()
        stack: list[tuple[SpecFile, bool]] = [(self, False)]
        while stack:
            spec_file, done = stack.pop()
            if done:
                yield spec_file
            elif id(spec_file) not in seen:
                seen.add(id(spec_file))
                stack.append((spec_file, True))
                stack.extend((used, False) for used in reversed(spec_file.used))


@frozen(kw_only=True)
class _Place:
    """The path of a file, and the folder that its `use` paths must stay in."""

    path: Path
    root: Path


@define(kw_only=True, eq=False)
class SpecFileReader:
    """Reads a main file and the files that it uses, depth first, each once."""

    report: Callable[[Diagnostic], None]
    read: Read = read_source
    _characters: int = field(default=0, init=False)
    _declarations: int = field(default=0, init=False)
    _is_too_large: bool = field(default=False, init=False)
    _files: dict[Path, SpecFile] = field(factory=dict[Path, SpecFile], init=False)
    _open: list[tuple[Path, Span]] = field(factory=list[tuple[Path, Span]], init=False)

    def main(self, source: SourceFile, path: Path | None) -> SpecFile:
        """The main file. Without a path it can use only shipped presets."""
        if path is None:
            return evolve(self._spec_file(source, None), is_main=True)
        place = _Place(path=path.resolve(), root=path.parent.resolve())
        self._open.append((place.path, Span(source, 0, 0)))
        return evolve(self._spec_file(source, place), is_main=True)

    def _spec_file(self, source: SourceFile, place: _Place | None) -> SpecFile:
        parsed = parse_source(source)
        for diagnostic in parsed.diagnostics:
            self._report(diagnostic)
        file = self._within_limit(parsed.file)
        self._characters += len(source.text)
        self._declarations += len(file.declarations)
        used = [self._use(use, place) for use in file.declarations_of(ast.Use)]
        used_files = tuple(spec_file for spec_file in used if spec_file is not None)
        return SpecFile(file=file, used=used_files, incomplete=len(used_files) < len(used))

    def _report(self, diagnostic: Diagnostic) -> None:
        """Report a mistake; report only once that the spec is too large."""
        if diagnostic.code == codes.TOO_LARGE.id:
            if self._is_too_large:
                return
            self._is_too_large = True
        self.report(diagnostic)

    def _within_limit(self, file: ast.File) -> ast.File:
        """The file without the declarations beyond the limit of the spec."""
        remaining = MAX_DECLARATIONS - self._declarations
        if len(file.declarations) <= remaining:
            return file
        first = file.declarations[remaining]
        self._report(
            codes.TOO_LARGE.at(
                ast.keyword_span(first), f"the spec has more than {MAX_DECLARATIONS} declarations"
            )
        )
        rest = ast.Broken(keyword=None, name=None, span=first.span)
        return evolve(file, declarations=file.declarations[:remaining], broken=(*file.broken, rest))

    def _use(self, use: ast.Use, user: _Place | None) -> SpecFile | None:
        place = self._locate(use, user)
        if isinstance(place, Diagnostic):
            self._report(place)
            return None
        if place.path in self._files:
            return self._files[place.path]
        source = self._obstacle(use, place) or self._source(use, place)
        if isinstance(source, Diagnostic):
            self._report(source)
            return None
        self._open.append((place.path, use.path.span))
        self._files[place.path] = self._spec_file(source, place)
        self._open.pop()
        return self._files[place.path]

    def _source(self, use: ast.Use, place: _Place) -> SourceFile | Diagnostic:
        source = self.read(place.path, _shown(place.path, use))
        if isinstance(source, Diagnostic):
            if source.code == codes.UNREADABLE.id:  # there is no text to point at
                return evolve(source, primary=Label(use.path.span))
            return source
        if self._characters + len(source.text) > MAX_CHARACTERS:
            return codes.TOO_LARGE.at(
                use.path.span,
                f"the spec with all that it uses has more than {MAX_CHARACTERS:,} characters",
            )
        return source

    def _obstacle(self, use: ast.Use, place: _Place) -> Diagnostic | None:
        """The reason not to read a file that exists; `None` without one."""
        if any(path == place.path for path, _ in self._open):
            return self._cycle(use, place.path)
        if len(self._open) > MAX_CHAIN:
            return codes.USE_CYCLE.at(
                use.path.span, f"more than {MAX_CHAIN} files use each other in turn"
            )
        if len(self._files) >= MAX_FILES:
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
        except _PATH_ERRORS:
            pass
        if user is not None and _leaves(user.path.parent / written, user.root):
            return _escapes(span, written, user.root)
        return codes.USE_MISSING.at(
            span,
            f"there is no file `{written}`",
            notes=("paths are relative to the file that uses them",),
            help=_shipped_help(written),
        )

    def _cycle(self, use: ast.Use, path: Path) -> Diagnostic:
        start = next(index for index, (open_path, _) in enumerate(self._open) if open_path == path)
        cycle = self._open[start:]
        names = [open_path.name for open_path, _ in cycle] + [path.name]
        return codes.USE_CYCLE.at(
            use.path.span,
            f"files use each other: {' -> '.join(names)}",
            secondary=tuple(Label(span, "used from here") for _, span in cycle[1:]),
        )


def _candidates(written: str, user: _Place | None) -> Iterator[_Place]:
    """Paths beside the using file and, for `presets/…`, among the shipped presets."""
    if user is not None:
        yield _Place(path=user.path.parent / written, root=user.root)
    if written.startswith(PRESETS):
        presets = presets_folder().resolve()
        yield _Place(path=presets / written.removeprefix(PRESETS), root=presets)


def _leaves(path: Path, root: Path) -> bool:
    try:
        return not path.resolve().is_relative_to(root)
    except _PATH_ERRORS:
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
    """The name of a used file for users: relative to the using file if possible."""
    beside = Path(use.span.file.path).parent / use.path.value
    try:
        if beside.resolve() == path:
            return str(beside)
        return str(path.relative_to(Path.cwd()))
    except _PATH_ERRORS:
        return str(path)
