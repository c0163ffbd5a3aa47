"""The specs that a client has open, unsaved changes included, and what is known of each."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from attrs import define, evolve, field, frozen
from lsprotocol import types
from pygls.uris import to_fs_path
from pygls.workspace import Workspace

from mimodsl.checker.file_check import CheckedFile, check_file
from mimodsl.diagnostics import Diagnostic
from mimodsl.lower.names import LostDeclarations, NameScope
from mimodsl.lower.spec_files import SpecFile
from mimodsl.lsp.names import Occurrence, Symbol, at, occurrences
from mimodsl.lsp.positions import Positions
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.parser import parse_source
from mimodsl.syntax.reader import read_source


@frozen(kw_only=True, eq=False, slots=False)
class Analysis:
    """What is known of one text, as it is in the editor."""

    specs: "Specs"
    uri: str
    path: Path | None
    source: SourceFile

    @cached_property
    def checked(self) -> CheckedFile:
        """The text and all that it uses, checked by every rule."""
        return self.check(self.source)

    def check(self, source: SourceFile) -> CheckedFile:
        """Another text in this one's place, checked."""
        return check_file(self.path, source, {}, read=self.specs.read)

    def trying(self, text: str) -> "Analysis":
        """What would be known of another text in this one's place."""
        return evolve(self, source=evolve(self.source, text=text))

    @cached_property
    def main(self) -> SpecFile:
        """The text's tree, with those of the files that it uses."""
        found = self.checked.loaded.main
        return found or SpecFile(file=parse_source(self.source).file, is_main=True, incomplete=True)

    @cached_property
    def scope(self) -> NameScope:
        """What the text can name."""
        return scope_of(self.main)

    @cached_property
    def positions(self) -> Positions:
        return self.specs.positions(self.source)

    def depends_on(self, uri: str) -> bool:
        """Whether another text is part of this one, or may be what it misses."""
        path = _path(uri)
        if uri == self.uri or any(spec_file.incomplete for spec_file in self.main.reach()):
            return True
        files = (Path(source.path).resolve() for source in self.checked.loaded.sources)
        return path is not None and path.resolve() in files

    def occurrence(self, offset: int) -> Occurrence | None:
        """The name at an offset."""
        return at(occurrences(self.main.file, self.scope), lambda one: one.span, offset)

    def occurrences(self, symbol: Symbol) -> Iterator[Occurrence]:
        """Every place that means a symbol, in this file and in those that it uses."""
        for spec_file in self.main.reach():
            found = occurrences(spec_file.file, scope_of(spec_file))
            yield from (one for one in found if one.symbol == symbol)

    def declared(self, symbol: Symbol) -> Occurrence | None:
        """Where a symbol is declared."""
        return next((one for one in self.occurrences(symbol) if one.declares), None)


def scope_of(spec_file: SpecFile) -> NameScope:
    """What the text of a file can name; mistakes in it are not reported again."""
    return NameScope(spec_file=spec_file, lost=LostDeclarations.in_files(()), report=lambda _: None)


@define(eq=False)
class Specs:
    """Open texts by URI. What is known of them is kept until any of them changes."""

    workspace: Workspace
    _known: dict[str, Analysis] = field(factory=dict[str, Analysis], init=False)

    def forget(self, uri: str | None = None) -> frozenset[str]:
        """A text has changed or, without a URI, some file on disk: what has to be checked again."""
        stale = {one for one, known in self._known.items() if uri is None or known.depends_on(uri)}
        for one in stale:
            del self._known[one]
        return frozenset(self.uris()) if uri is None else frozenset((*stale, uri))

    def uris(self) -> tuple[str, ...]:
        """What is open, as the client calls it; pygls itself lists names without their escapes."""
        return tuple(one.uri for one in self.workspace.text_documents.values())

    def analysis(self, uri: str) -> Analysis:
        """What is known of the text at a URI."""
        if uri not in self._known:
            path = _path(uri)
            text = _unmarked(self.workspace.get_text_document(uri).source)
            source = SourceFile(uri if path is None else str(path), text)
            self._known[uri] = Analysis(specs=self, uri=uri, path=path, source=source)
        return self._known[uri]

    def read(self, path: Path, shown: str) -> SourceFile | Diagnostic:
        """The text of a file that another one uses: as it is in the editor, where it is open."""
        uri = self._open_at(path)
        if uri is None:
            return read_source(path, shown)
        return SourceFile(shown, _unmarked(self.workspace.get_text_document(uri).source))

    def positions(self, source: SourceFile) -> Positions:
        agreed = self.workspace.position_encoding or types.PositionEncodingKind.Utf16
        encoding = types.PositionEncodingKind(agreed).value
        return Positions(text=source.text, encoding=encoding)

    def location(self, span: Span) -> types.Location:
        """A span in whatever file, as the client knows it."""
        return types.Location(uri=self.uri(span.file), range=self.positions(span.file).of(span))

    def uri(self, source: SourceFile) -> str:
        """The URI of a source, the client's own where it is open there."""
        if source.path in self.uris():
            return source.path  # it lies nowhere, and is known by its URI
        path = Path(source.path).absolute()
        return self._open_at(path.resolve()) or path.as_uri()

    def _open_at(self, resolved: Path) -> str | None:
        for uri in self.uris():
            path = _path(uri)
            if path is not None and path.resolve() == resolved:
                return uri
        return None


def _path(uri: str) -> Path | None:
    """Where a text lies, or will when it is saved; `None` for one without a place."""
    found = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(found) if found else None


def _unmarked(text: str) -> str:
    """A byte order mark is no part of a spec; as a blank it leaves all positions as they are."""
    return f" {text[1:]}" if text.startswith("\ufeff") else text
