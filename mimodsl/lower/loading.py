"""Loads a spec from a file or from text."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.draft import Draft
from mimodsl.ir.node import Origin
from mimodsl.ir.spec import Spec
from mimodsl.lower.mistake_list import MistakeList, TooManyMistakes
from mimodsl.lower.names import may_be_used
from mimodsl.lower.spec import lower
from mimodsl.lower.spec_files import Read, SpecFile, SpecFileReader
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.reader import JSON, STANDARD_INPUT, read_source, source_of


@frozen(kw_only=True)
class LoadedSpec:
    """The result of loading a spec.

    `spec` is `None` if and only if a diagnostic is an error; `draft` has the sound declarations in
    any case. `is_library` means that the file declares only what other specs may `use`. `main` is
    the main file with all files that it uses, as far as they could be read.
    """

    spec: Spec | None
    draft: Draft
    sources: tuple[SourceFile, ...]
    diagnostics: tuple[Diagnostic, ...]
    is_library: bool = False
    main: SpecFile | None = None


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> LoadedSpec:
    """Load a spec's file and the files that it uses.

    `overrides` are values of constants by name, as `--set` gives them. A file whose name ends in
    `.json` is a document (`mimodsl.lower.document`).
    """
    return load_source(read_source(Path(path), str(path)), Path(path), overrides)


def load_source(
    source: SourceFile | Diagnostic,
    path: Path | None,
    overrides: Mapping[str, str] | None = None,
    read: Read = read_source,
) -> LoadedSpec:
    """Like `load`, for a file that was read already, or whose reading gave a diagnostic.

    `read` reads the files that it uses.
    """
    if isinstance(source, Diagnostic):
        return LoadedSpec(spec=None, draft=Draft(), sources=(), diagnostics=(source,))
    if path is not None and is_document(path, source):
        return _load_document(source, overrides or {})
    return _load_text(source, path, overrides or {}, read)


def is_document(path: Path, source: SourceFile) -> bool:
    """Whether a text is JSON: by the file's name, or, on standard input, by its first character."""
    begins = path == STANDARD_INPUT and source.text.lstrip().startswith("{")
    return begins or path.suffix == JSON


def _load_document(source: SourceFile, overrides: Mapping[str, str]) -> LoadedSpec:
    from mimodsl.lower.json_spec import read_json  # `.mimo` text needs no JSON

    mistake_list = MistakeList()
    spec = None
    with suppress(TooManyMistakes):
        spec = read_json(source, overrides, mistake_list.report)
    draft = Draft() if spec is None else Draft.from_spec(spec)
    return LoadedSpec(
        spec=spec, draft=draft, sources=(source,), diagnostics=mistake_list.in_order()
    )


def parse(
    text: str, path: str = "<text>", overrides: Mapping[str, str] | None = None
) -> LoadedSpec:
    """Load a spec from text as if it were the content of `path`.

    Its `use` paths are relative to `path`; without a path it can use only shipped presets.
    """
    spec_path = None if path == "<text>" else Path(path)
    return _load_text(source_of(text, path), spec_path, overrides or {})


def _load_text(
    source: SourceFile, path: Path | None, overrides: Mapping[str, str], read: Read = read_source
) -> LoadedSpec:
    mistake_list = MistakeList()
    draft, sources, is_library, main = Draft(), (source,), False, None
    try:
        main = SpecFileReader(report=mistake_list.report, read=read).main(source, path)
        sources = tuple(spec_file.file.source for spec_file in main.reach())
        is_library = may_be_used(main.file)
        draft = lower(main, overrides, mistake_list.report)
    except TooManyMistakes:
        pass
    diagnostics = mistake_list.in_order()
    origin = Origin(span=Span(source, 0, len(source.text)))
    spec = None if any(diagnostic.is_error for diagnostic in diagnostics) else draft.to_spec(origin)
    return LoadedSpec(
        spec=spec,
        draft=draft if spec is None else Draft.from_spec(spec),
        sources=sources,
        diagnostics=diagnostics,
        is_library=is_library,
        main=main,
    )
