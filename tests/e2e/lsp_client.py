"""A language client that starts `mimodsl lsp` as an editor does, and waits for what it is sent."""

import asyncio
import sys
from pathlib import Path

from lsprotocol import types
from pygls.lsp.client import LanguageClient

PATIENCE = 60
"""Seconds after which a server that says nothing has failed."""


class Editor:
    """An editor with one server. Its methods are plain calls; the loop runs while they wait."""

    def __init__(self, *, snippets=True, encodings=None):
        self._loop = asyncio.new_event_loop()
        self._client = LanguageClient("tests", "1")
        self._published = {}
        self._arrived = asyncio.Event()
        self._client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(
            lambda params: self._keep(params)
        )
        self._versions = {}
        self._texts = {}
        self._opened = 0
        self.started = self._run(self._start(snippets, encodings))

    def _run(self, awaited):
        return self._loop.run_until_complete(asyncio.wait_for(awaited, PATIENCE))

    async def _start(self, snippets, encodings):
        await self._client.start_io(sys.executable, "-m", "mimodsl", "lsp")
        item = types.ClientCompletionItemOptions(snippet_support=snippets)
        completion = types.CompletionClientCapabilities(completion_item=item)
        found = await self._client.initialize_async(
            types.InitializeParams(
                capabilities=types.ClientCapabilities(
                    text_document=types.TextDocumentClientCapabilities(completion=completion),
                    general=types.GeneralClientCapabilities(position_encodings=encodings),
                )
            )
        )
        self._client.initialized(types.InitializedParams())
        return found

    def leave(self):
        """Ends the server as the protocol has it; its exit code and what it complained about."""
        self._run(self._client.shutdown_async(None))
        self._client.exit(None)
        self._run(self._client.stop())
        server = self._client._server
        complaints = self._run(server.stderr.read())
        self._loop.close()
        return server.returncode, complaints.decode()

    # Texts.

    def open(self, text, path="untitled:spec"):
        """Opens a text, as the content of a path or in a tab of its own; its URI."""
        uri = path.as_uri() if isinstance(path, Path) else path
        if uri in self._texts:
            self.close(uri)
        # A version is used once, so that no publication is taken for one of an earlier text.
        self._opened += 1
        self._versions[uri], self._texts[uri] = 1000 * self._opened, text
        item = types.TextDocumentItem(uri, "mimo", self._versions[uri], text)
        self._client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def change(self, uri, text):
        """Replaces a text, which is not saved."""
        self._versions[uri] += 1
        self._texts[uri] = text
        self._client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(uri=uri, version=self._versions[uri]),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    def close(self, uri):
        del self._texts[uri]
        self._client.text_document_did_close(
            types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri))
        )

    def _keep(self, params):
        self._published.setdefault(params.uri, []).append(params)
        self._arrived.set()

    def diagnostics(self, uri, *, after=0):
        """What the server says of the text as it is now, its `after`-th publication or later."""
        return self._run(self._diagnostics(uri, after))

    async def _diagnostics(self, uri, after):
        while True:
            found = await self._publication(uri, after)
            if found.version == self._versions[uri]:
                return found.diagnostics
            after = len(self._published[uri])

    async def _publication(self, uri, after):
        while len(self._published.get(uri, [])) <= after:
            self._arrived.clear()
            await self._arrived.wait()
        return self._published[uri][-1]

    def published(self, uri, after):
        """The diagnostics of the next publication for a text, of whatever version."""
        return self._run(self._publication(uri, after)).diagnostics

    def publications(self, uri):
        """Every publication so far."""
        return list(self._published.get(uri, []))

    def text(self, uri):
        """A text as it was last sent."""
        return self._texts[uri]

    def offset(self, uri, place):
        return offset(self._texts[uri], place)

    def saved_elsewhere(self, path):
        """Tells the server that a file has changed on disk."""
        event = types.FileEvent(path.as_uri(), types.FileChangeType.Changed)
        params = types.DidChangeWatchedFilesParams([event])
        self._client.workspace_did_change_watched_files(params)

    # Requests.

    def ask(self, method, params):
        """Sends a request, and returns its result."""
        return self._run(self._ask(method, params))

    async def _ask(self, method, params):
        return await self._client.protocol.send_request_async(method, params)

    def at(self, uri, marked, offset=0):
        """Where some text begins, and so many characters on, in UTF-16 as editors count."""
        text = self._texts[uri]
        assert text.count(marked) == 1, f"{marked!r} is not unique"
        return position(text, text.index(marked) + offset)

    def complete(self, text, path="untitled:spec"):
        """What is offered where `‸` stands; the mark is no part of the text."""
        before, after = text.split("‸")
        uri = self.open(before + after, path)
        place = position(before + after, len(before))
        params = types.CompletionParams(types.TextDocumentIdentifier(uri), place)
        items = self.ask(types.TEXT_DOCUMENT_COMPLETION, params) or []
        return {item.label: item for item in sorted(items, key=lambda one: one.sort_text)}

    def applied(self, uri, edits):
        """The text after some edits."""
        return applied(self._texts[uri], edits)


def position(text, offset):
    """An offset as editors count it."""
    before = text[:offset].splitlines(keepends=True) or [""]
    if before[-1].endswith(("\n", "\r")):
        before.append("")
    return types.Position(len(before) - 1, len(before[-1].encode("utf-16-le")) // 2)


def offset(text, place):
    """A position, as editors count it, as an offset."""
    lines = [*text.splitlines(keepends=True), ""]
    units = lines[place.line].encode("utf-16-le")[: 2 * place.character]
    return sum(map(len, lines[: place.line])) + len(units.decode("utf-16-le"))


def applied(text, edits):
    """A text after edits of it, none of which overlap."""
    spans = [(offset(text, e.range.start), offset(text, e.range.end), e.new_text) for e in edits]
    for start, end, new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    return text
