"""The two ways in: from a file and from text."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.draft import Draft
from mimodsl.ir.node import Origin
from mimodsl.ir.spec import Spec
from mimodsl.lower.mistakes import Mistakes, TooManyMistakes
from mimodsl.lower.names import may_be_used
from mimodsl.lower.spec import lower
from mimodsl.lower.units import Read, Unit, UnitReader
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.reader import JSON, STANDARD_INPUT, read_source, source_of


@frozen(kw_only=True)
class Loaded:
    """What became of a spec's text.

    `spec` is `None` exactly where a diagnostic is an error; `draft` is what is sound nevertheless.
    `is_library` says that the file declares only what other specs may `use`. `main` is the main
    file with all that it uses, as far as they could be read.
    """

    spec: Spec | None
    draft: Draft
    sources: tuple[SourceFile, ...]
    diagnostics: tuple[Diagnostic, ...]
    is_library: bool = False
    main: Unit | None = None


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a spec's file and what it uses; `overrides` are constants by name, as `--set` gives.

    A file whose name ends in `.json` is a document (`mimodsl.lower.document`).
    """
    return load_source(read_source(Path(path), str(path)), Path(path), overrides)


def load_source(
    source: SourceFile | Diagnostic,
    path: Path | None,
    overrides: Mapping[str, str] | None = None,
    read: Read = read_source,
) -> Loaded:
    """As `load`, of what was read, or could not be read, already. `read` reads what it uses."""
    if isinstance(source, Diagnostic):
        return Loaded(spec=None, draft=Draft(), sources=(), diagnostics=(source,))
    if path is not None and is_document(path, source):
        return _of_document(source, overrides or {})
    return _loaded(source, path, overrides or {}, read)


def is_document(path: Path, source: SourceFile) -> bool:
    """Whether a text is JSON: by its file's name, and of standard input by how it begins."""
    begins = path == STANDARD_INPUT and source.text.lstrip().startswith("{")
    return begins or path.suffix == JSON


def _of_document(source: SourceFile, overrides: Mapping[str, str]) -> Loaded:
    from mimodsl.lower.json_spec import read_json  # text needs no JSON

    mistakes = Mistakes()
    spec = None
    with suppress(TooManyMistakes):
        spec = read_json(source, overrides, mistakes.report)
    draft = Draft() if spec is None else Draft.of(spec)
    return Loaded(spec=spec, draft=draft, sources=(source,), diagnostics=mistakes.in_order())


def parse(text: str, path: str = "<text>", overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a spec from text. It is treated as the content of `path`, so its `use` is relative to
    that; without a path it can use shipped presets alone."""
    known = None if path == "<text>" else Path(path)
    return _loaded(source_of(text, path), known, overrides or {})


def _loaded(
    source: SourceFile, path: Path | None, overrides: Mapping[str, str], read: Read = read_source
) -> Loaded:
    mistakes = Mistakes()
    draft, sources, is_library, main = Draft(), (source,), False, None
    try:
        main = UnitReader(report=mistakes.report, read=read).main(source, path)
        sources = tuple(unit.file.source for unit in main.reach())
        is_library = may_be_used(main.file)
        draft = lower(main, overrides, mistakes.report)
    except TooManyMistakes:
        pass
    diagnostics = mistakes.in_order()
    origin = Origin(span=Span(source, 0, len(source.text)))
    spec = None if any(one.is_error for one in diagnostics) else draft.whole(origin)
    return Loaded(
        spec=spec,
        draft=draft if spec is None else Draft.of(spec),
        sources=sources,
        diagnostics=diagnostics,
        is_library=is_library,
        main=main,
    )
