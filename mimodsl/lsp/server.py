"""The language server: all features for an editor, over standard input and output."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from typing import Any, Final, cast

from attrs import define, field
from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from mimodsl._version import __version__
from mimodsl.lsp import navigation, outline
from mimodsl.lsp.actions import actions
from mimodsl.lsp.completion import completions
from mimodsl.lsp.edits import formatted
from mimodsl.lsp.hover import hover
from mimodsl.lsp.reports import reports
from mimodsl.lsp.specs import Analysis, Specs
from mimodsl.lsp.tokens import LEGEND, tokens

DELAY: Final = 0.05
"""Seconds after the last keystroke until a text is checked."""


@define(eq=False)
class Session:
    """One editor: its texts, and the check that waits until typing stops."""

    server: LanguageServer
    ended: bool = field(default=False, init=False)
    _specs: Specs | None = field(default=None, init=False)
    _due: set[str] = field(factory=set[str], init=False)
    _waiting: asyncio.TimerHandle | None = field(default=None, init=False)

    @property
    def specs(self) -> Specs:
        if self._specs is None:
            self._specs = Specs(self.server.workspace)
        return self._specs

    def analysis(self, document: types.TextDocumentIdentifier) -> Analysis:
        return self.specs.analysis(document.uri)

    def changed(self, uri: str | None, delay: float = 0.0) -> None:
        """A text or, without a URI, any file has changed: check it and its users later."""
        self._due |= self.specs.forget(uri)
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(delay, self.publish)

    def publish(self) -> None:
        """Send the diagnostics of the texts that changed, and of the texts that use them."""
        due, self._due = self._due, set()
        for uri in due.intersection(self.specs.uris()):
            document = self.server.workspace.get_text_document(uri)
            self.server.text_document_publish_diagnostics(
                types.PublishDiagnosticsParams(
                    uri=uri,
                    version=document.version,
                    diagnostics=reports(self.specs.analysis(uri)),
                )
            )

    def closed(self, uri: str) -> None:
        """Remove the diagnostics of a text that is no longer open."""
        self.server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri=uri, diagnostics=[])
        )
        self.changed(uri)

    @property
    def snippets(self) -> bool:
        """Whether the client supports templates."""
        text = self.server.client_capabilities.text_document
        item = text.completion.completion_item if text and text.completion else None
        return bool(item and item.snippet_support)


def serve() -> bool:
    """Serve one editor over standard input and output.

    Returns whether the editor ended the session before it left. Only the protocol uses standard
    output; everything else that is printed goes to standard error.
    """
    _log_bugs()
    session = make_session()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output, redirect_stdout(sys.stderr):
        session.server.start_io(sys.stdin.buffer, output)
    return session.ended


def _log_bugs() -> None:
    """Log errors only, since editors show the log to their users.

    The client gets a refusal as an answer. A late cancellation or an unknown notification is only a
    warning of pygls.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(
        lambda record: not (record.exc_info and record.exc_info[0] is JsonRpcInvalidParams)
    )
    logging.basicConfig(handlers=[handler], level=logging.ERROR)


def make_session() -> Session:
    """A session with a server that has all features."""
    server = LanguageServer(
        "mimodsl", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full
    )
    session = Session(server)
    for add_features in (_add_texts, _add_reading, _add_names, _add_writing):
        add_features(session, partial(_feature, server))
    return session


type Offer = Callable[..., Callable[[Callable[..., Any]], Any]]


def _feature(server: LanguageServer, name: str, options: Any = None) -> Any:
    return cast(Any, server).feature(name, options)


def _add_texts(session: Session, feature: Offer) -> None:
    @feature(types.SHUTDOWN)
    def _(_: Any) -> None:
        session.ended = True

    @feature(types.TEXT_DOCUMENT_DID_OPEN)
    def _(params: types.DidOpenTextDocumentParams) -> None:
        session.changed(params.text_document.uri)

    @feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def _(params: types.DidChangeTextDocumentParams) -> None:
        session.changed(params.text_document.uri, DELAY)

    @feature(types.TEXT_DOCUMENT_DID_SAVE)
    @feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def _(_: Any) -> None:
        session.changed(None)

    @feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def _(params: types.DidCloseTextDocumentParams) -> None:
        session.closed(params.text_document.uri)


def _add_reading(session: Session, feature: Offer) -> None:
    @feature(types.TEXT_DOCUMENT_HOVER)
    def _(params: types.HoverParams) -> types.Hover | None:
        return hover(session.analysis(params.text_document), params.position)

    @feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def _(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        return outline.symbols(session.analysis(params.text_document))

    @feature(types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, LEGEND)
    def _(params: types.SemanticTokensParams) -> types.SemanticTokens:
        return tokens(session.analysis(params.text_document))

    @feature(types.TEXT_DOCUMENT_FOLDING_RANGE)
    def _(params: types.FoldingRangeParams) -> list[types.FoldingRange]:
        return outline.folds(session.analysis(params.text_document))


def _add_names(session: Session, feature: Offer) -> None:
    @feature(types.TEXT_DOCUMENT_DEFINITION)
    def _(params: types.DefinitionParams) -> types.Location | None:
        return navigation.definition(session.analysis(params.text_document), params.position)

    @feature(types.TEXT_DOCUMENT_REFERENCES)
    def _(params: types.ReferenceParams) -> list[types.Location]:
        analysis = session.analysis(params.text_document)
        return navigation.references(
            analysis, params.position, declaration=params.context.include_declaration
        )

    @feature(types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def _(params: types.DocumentHighlightParams) -> list[types.DocumentHighlight]:
        return navigation.highlights(session.analysis(params.text_document), params.position)

    @feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    def _(params: types.PrepareRenameParams) -> types.Range:
        try:
            return navigation.renamable(session.analysis(params.text_document), params.position)
        except navigation.RenameRefused as refused:
            raise JsonRpcInvalidParams(str(refused)) from refused

    @feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    def _(params: types.RenameParams) -> types.WorkspaceEdit:
        analysis = session.analysis(params.text_document)
        try:
            return navigation.rename(analysis, params.position, params.new_name)
        except navigation.RenameRefused as refused:
            raise JsonRpcInvalidParams(str(refused)) from refused


def _add_writing(session: Session, feature: Offer) -> None:
    @feature(
        types.TEXT_DOCUMENT_COMPLETION,
        types.CompletionOptions(trigger_characters=[":", "=", '"', "*", "|", "&", ">"]),
    )
    async def _(params: types.CompletionParams) -> list[types.CompletionItem]:
        analysis = session.analysis(params.text_document)
        return await completions(analysis, params.position, snippets=session.snippets)

    @feature(types.TEXT_DOCUMENT_FORMATTING)
    def _(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        return formatted(session.analysis(params.text_document))

    @feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(
            code_action_kinds=[types.CodeActionKind.QuickFix, types.CodeActionKind.SourceFixAll]
        ),
    )
    def _(params: types.CodeActionParams) -> list[types.CodeAction]:
        analysis = session.analysis(params.text_document)
        return actions(analysis, params.range, params.context.only)
