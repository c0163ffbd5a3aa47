"""The specs that are open in an editor, with unsaved changes, and their analyses."""

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
from mimodsl.lsp.names import Occurrence, Symbol, covering, occurrences
from mimodsl.lsp.positions import TextPositions
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.parser import parse_source
from mimodsl.syntax.reader import read_source


@frozen(kw_only=True, eq=False, slots=False)
class Analysis:
    """The analysis of one text as it is in the editor."""

    specs: "Specs"
    uri: str
    path: Path | None
    source: SourceFile

    @cached_property
    def checked(self) -> CheckedFile:
        """The text and all files that it uses, checked by every rule."""
        return self.check(self.source)

    def check(self, source: SourceFile) -> CheckedFile:
        """Check another text in place of this one."""
        return check_file(self.path, source, {}, read=self.specs.read)

    def trying(self, text: str) -> "Analysis":
        """The analysis of another text in place of this one."""
        return evolve(self, source=evolve(self.source, text=text))

    @cached_property
    def main(self) -> SpecFile:
        """The syntax tree of the text, with the files that it uses."""
        loaded_main = self.checked.loaded.main
        return loaded_main or SpecFile(
            file=parse_source(self.source).file, is_main=True, incomplete=True
        )

    @cached_property
    def scope(self) -> NameScope:
        """The names that the text can use."""
        return scope_of(self.main)

    @cached_property
    def positions(self) -> TextPositions:
        return self.specs.positions(self.source)

    def depends_on(self, uri: str) -> bool:
        """Whether this text uses another text, or may be missing it."""
        path = _path(uri)
        if uri == self.uri or any(spec_file.incomplete for spec_file in self.main.reach()):
            return True
        files = (Path(source.path).resolve() for source in self.checked.loaded.sources)
        return path is not None and path.resolve() in files

    def occurrence(self, offset: int) -> Occurrence | None:
        """The name at an offset."""
        return covering(
            occurrences(self.main.file, self.scope), lambda occurrence: occurrence.span, offset
        )

    def occurrences(self, symbol: Symbol) -> Iterator[Occurrence]:
        """Every place that refers to a symbol, in this file and in the files that it uses."""
        for spec_file in self.main.reach():
            in_file = occurrences(spec_file.file, scope_of(spec_file))
            yield from (occurrence for occurrence in in_file if occurrence.symbol == symbol)

    def declared(self, symbol: Symbol) -> Occurrence | None:
        """The declaration of a symbol."""
        return next(
            (occurrence for occurrence in self.occurrences(symbol) if occurrence.declares), None
        )


def scope_of(spec_file: SpecFile) -> NameScope:
    """The names that a file can use; mistakes in it are not reported again."""
    return NameScope(spec_file=spec_file, lost=LostDeclarations.in_files(()), report=lambda _: None)


@define(eq=False)
class Specs:
    """Open texts by URI. An analysis is cached until a text that it depends on changes."""

    workspace: Workspace
    _analyses: dict[str, Analysis] = field(factory=dict[str, Analysis], init=False)

    def forget(self, uri: str | None = None) -> frozenset[str]:
        """Drop analyses after a change of a text or, without a URI, of some file.

        Returns the texts that need a new check.
        """
        stale = {
            stale_uri
            for stale_uri, analysis in self._analyses.items()
            if uri is None or analysis.depends_on(uri)
        }
        for stale_uri in stale:
            del self._analyses[stale_uri]
        return frozenset(self.uris()) if uri is None else frozenset((*stale, uri))

    def uris(self) -> tuple[str, ...]:
        """The URIs of open texts as the client writes them; pygls lists them without escapes."""
        return tuple(document.uri for document in self.workspace.text_documents.values())

    def analysis(self, uri: str) -> Analysis:
        """The analysis of the text at a URI."""
        if uri not in self._analyses:
            path = _path(uri)
            text = _unmarked(self.workspace.get_text_document(uri).source)
            source = SourceFile(uri if path is None else str(path), text)
            self._analyses[uri] = Analysis(specs=self, uri=uri, path=path, source=source)
        return self._analyses[uri]

    def read(self, path: Path, shown: str) -> SourceFile | Diagnostic:
        """The text of a used file; from the editor if it is open there."""
        uri = self._open_at(path)
        if uri is None:
            return read_source(path, shown)
        return SourceFile(shown, _unmarked(self.workspace.get_text_document(uri).source))

    def positions(self, source: SourceFile) -> TextPositions:
        agreed = self.workspace.position_encoding or types.PositionEncodingKind.Utf16
        encoding = types.PositionEncodingKind(agreed).value
        return TextPositions(text=source.text, encoding=encoding)

    def location(self, span: Span) -> types.Location:
        """A span in any file, as a location for the client."""
        return types.Location(uri=self.uri(span.file), range=self.positions(span.file).of(span))

    def uri(self, source: SourceFile) -> str:
        """The URI of a source; the client's own URI if the source is open."""
        if source.path in self.uris():
            return source.path  # a text without a file has its URI as path
        path = Path(source.path).absolute()
        return self._open_at(path.resolve()) or path.as_uri()

    def _open_at(self, resolved: Path) -> str | None:
        for uri in self.uris():
            path = _path(uri)
            if path is not None and path.resolve() == resolved:
                return uri
        return None


def _path(uri: str) -> Path | None:
    """The file of a text, which may not be saved yet; `None` for a text without a file."""
    path = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(path) if path else None


def _unmarked(text: str) -> str:
    """Replace a byte order mark by a blank, so that all positions stay the same."""
    return f" {text[1:]}" if text.startswith("\ufeff") else text
