"""The language server: what a client sends, and what it is answered.

The whole text comes with each change: the position arithmetic of clients and of libraries differs
on form feeds and lone surrogates, and a text that went out of step would be wrong from then on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from lockcheck import __version__
from lockcheck.errors import LockcheckError
from lockcheck.findings.answers import FunctionAnswer, MissingAssertion, PlaceAnswer
from lockcheck.findings.model import Finding
from lockcheck.lsp import actions, hover
from lockcheck.lsp.bar import Bar
from lockcheck.lsp.settings import (
    OPTIONS,
    SECTION,
    Settings,
    make_config,
    read_settings,
    unknown_options,
)
from lockcheck.lsp.text import Text, Word
from lockcheck.lsp.tree import Document, Progress, Tree

_MAX_TEXT = 8 << 20  # characters: no C file is as large
_STILL_READING = "lockcheck is still reading the units."
_WATCHED = ("**/*.{c,h}", "**/lockcheck.toml", "**/.config", "**/autoconf.h")
_WATCHED_BUILD = (".config", "include/generated/autoconf.h")
_BUILDS = "lockcheck-builds"  # the registration of what is watched there
_SETUP_FILES = frozenset({"lockcheck.toml", ".config", "autoconf.h"})


class Server(LanguageServer):
    """The server of one client, with a Tree for each kernel tree among its folders."""

    def __init__(self, base: Settings, cache: str | None) -> None:
        """base: the settings that the client's own go on top of. cache: see `make_config`."""
        super().__init__(
            "lockcheck", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full
        )
        self.base = base
        self.cache = cache
        self.was_shut_down = False
        self.documents: dict[str, Document] = {}
        self.trees: list[Tree] = []
        self._outside: set[str] = set()  # documents that were told to be outside of the trees
        self._configuring = asyncio.Lock()
        self._watched_builds: set[Path] = set()

    # -- what trees need -----------------------------------------------------------------------

    def publish(self, uri: str, version: int | None, diagnostics: list[types.Diagnostic]) -> None:
        """Send the diagnostics of one file."""
        self.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri=uri, version=version, diagnostics=diagnostics)
        )

    def log(self, text: str) -> None:
        """Write into the client's log."""
        self.window_log_message(types.LogMessageParams(types.MessageType.Info, text))

    def complain(self, text: str) -> None:
        """Tell the user of something that only they can mend."""
        self.window_show_message(
            types.ShowMessageParams(types.MessageType.Error, f"lockcheck: {text}")
        )

    def show_progress(self) -> Progress:
        """A bar for one check."""
        return Bar(self)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Whatever a client sends that cannot be understood goes into its log."""
        text = " ".join(str(error).split()) or type(error).__name__
        self.window_log_message(
            types.LogMessageParams(types.MessageType.Error, f"lockcheck: {text}")
        )

    # -- set-up --------------------------------------------------------------------------------

    async def configure(self) -> None:
        """(Re)build the trees from the folders and their settings."""
        async with self._configuring:
            await self._configure()

    def take_options(self, value: Any, base: Settings) -> Settings:
        """The settings that a client sent, on top of others. Raises LockcheckError."""
        unknown = unknown_options(value)
        if unknown:
            names = ", ".join(unknown)
            error = LockcheckError(f"the client sets what there is not: {names}", remedy=OPTIONS)
            self.complain(str(error))
        return read_settings(value, base)

    async def _configure(self) -> None:
        wanted: dict[tuple[object, ...], tuple[Settings, Any]] = {}
        for folder in self._folders():
            try:
                settings = await self._settings(folder)
                config = make_config(settings, folder, self.cache)
            except LockcheckError as error:
                self.complain(str(error))
                continue
            key = (config.tree.root, config.tree.build, config.paths, config.rules)
            wanted.setdefault(key, (settings, config))
        old, self.trees = self.trees, []
        loop = asyncio.get_running_loop()
        for tree in old:
            tree.withdraw()
            await loop.run_in_executor(None, tree.close)
        for settings, config in wanted.values():
            tree = Tree(config, settings.delay, self, self.documents)
            self.trees.append(tree)
            tree.start()
        self._watch_builds({config.tree.build for _, config in wanted.values()})

    def _folders(self) -> list[Path | None]:
        folders = [_path(uri) for uri in self.workspace.folders]
        if not folders and self.workspace.root_uri:
            folders = [_path(self.workspace.root_uri)]
        return [folder for folder in folders if folder is not None] or [None]

    async def _settings(self, folder: Path | None) -> Settings:
        workspace = self.client_capabilities.workspace
        if workspace is None or not workspace.configuration:
            return self.base
        item = types.ConfigurationItem(
            scope_uri=None if folder is None else folder.as_uri(), section=SECTION
        )
        try:
            found = await self.workspace_configuration_async(types.ConfigurationParams([item]))
        except JsonRpcException as error:
            self.log(f"the client did not tell its settings: {error}")
            return self.base
        return self.take_options(found[0] if found else None, self.base)

    def watch(self) -> None:
        """Ask the client to tell of settings, and of files that change outside of it."""
        workspace = self.client_capabilities.workspace
        if workspace is None:
            return
        configuration = workspace.did_change_configuration
        if configuration is not None and configuration.dynamic_registration:
            self._register(
                "lockcheck-settings",
                types.WORKSPACE_DID_CHANGE_CONFIGURATION,
                types.DidChangeConfigurationRegistrationOptions(SECTION),
            )
        watched = workspace.did_change_watched_files
        if watched is not None and watched.dynamic_registration:
            self._register_files("lockcheck-files", _WATCHED)

    def _watch_builds(self, builds: set[Path]) -> None:
        """Have build directories watched, too: they need not be in a folder of the client's."""
        workspace = self.client_capabilities.workspace
        watched = None if workspace is None else workspace.did_change_watched_files
        if watched is None or not (
            watched.dynamic_registration and watched.relative_pattern_support
        ):
            return
        if builds == self._watched_builds:
            return
        if self._watched_builds:
            method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
            self.client_unregister_capability(
                types.UnregistrationParams([types.Unregistration(_BUILDS, method)])
            )
        self._watched_builds = builds
        patterns = [
            types.RelativePattern(build.as_uri(), name)
            for build in sorted(builds)
            for name in _WATCHED_BUILD
        ]
        if patterns:
            self._register_files(_BUILDS, patterns)

    def _register_files(self, name: str, patterns: Sequence[types.GlobPattern]) -> None:
        options = types.DidChangeWatchedFilesRegistrationOptions(
            [types.FileSystemWatcher(pattern) for pattern in patterns]
        )
        self._register(name, types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)

    def _register(self, name: str, method: str, options: Any) -> None:
        self.client_register_capability(
            types.RegistrationParams([types.Registration(name, method, options)])
        )

    # -- documents -----------------------------------------------------------------------------

    def take(self, uri: str) -> None:
        """A document was opened or changed."""
        path = _path(uri)
        if path is None:
            self.log(f"{uri} is no file: it is not checked")
            return
        document = self.workspace.get_text_document(uri)
        if len(document.source) > _MAX_TEXT:
            self.documents.pop(uri, None)
            self.log(f"{path} is too large: it is not checked as long as it is")
            return
        self.documents.pop(uri, None)  # the last one is the one that was changed last
        self.documents[uri] = Document(uri, path, document.version, document.source)
        tree = self.tree_of(path)
        if tree is not None:
            tree.changed()
        elif self.trees and uri not in self._outside:
            self._outside.add(uri)
            self.log(f"{path} is in none of the trees that are checked")

    def drop(self, uri: str) -> None:
        """A document was closed: what is on disk counts again."""
        document = self.documents.pop(uri, None)
        self._outside.discard(uri)
        tree = None if document is None else self.tree_of(document.path)
        if tree is not None:
            tree.changed()

    def tree_of(self, path: Path) -> Tree | None:
        """The tree that a file is in: the innermost one."""
        found = [tree for tree in self.trees if tree.relative(path) is not None]
        return max(found, key=lambda tree: len(tree.config.tree.root.parts), default=None)

    def at(self, uri: str) -> tuple[Document, Tree, str] | None:
        """An open document, its tree, and its path there."""
        document = self.documents.get(uri)
        tree = None if document is None else self.tree_of(document.path)
        file = None if document is None or tree is None else tree.relative(document.path)
        if document is None or tree is None or file is None:
            return None
        return document, tree, file

    def text(self, tree: Tree, file: str) -> tuple[str, int | None, str] | None:
        """URI, version and text of a file of a tree: as it is open, else as on disk."""
        for document in self.documents.values():
            if tree.relative(document.path) == file:
                return document.uri, document.version, document.text
        path = tree.config.tree.root / file
        try:
            return path.as_uri(), None, path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def stop(self) -> None:
        """Have all processes end, and do not wait for them."""
        for tree in self.trees:
            tree.stop()

    def close(self) -> None:
        """End all processes."""
        self.stop()
        for tree in self.trees:
            tree.close()
        self.trees = []


def _path(uri: str) -> Path | None:
    """The absolute path that a URI names, None when it names no file."""
    try:
        path = to_fs_path(uri)
    except ValueError:
        return None
    if not path or "\0" in path or not os.path.isabs(path):
        return None
    return Path(os.path.normpath(path))


def make_server(base: Settings, cache: str | None) -> Server:
    """A server with all that it answers. See `Server` for the arguments."""
    server = Server(base, cache)

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        try:
            server.base = server.take_options(params.initialization_options, base)
        except LockcheckError as error:
            server.complain(str(error))

    @server.feature(types.INITIALIZED)
    async def initialized(params: types.InitializedParams) -> None:
        server.watch()
        await server.configure()

    @server.feature(types.SHUTDOWN)
    def shutdown(params: None) -> None:
        server.was_shut_down = True
        server.stop()  # clients give up on an answer that takes long

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def changed_configuration(params: types.DidChangeConfigurationParams) -> None:
        if isinstance(params.settings, dict) and SECTION in params.settings:
            try:
                server.base = server.take_options(params.settings, base)
            except LockcheckError as error:
                server.complain(str(error))
                return
        await server.configure()

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    async def changed_folders(params: types.DidChangeWorkspaceFoldersParams) -> None:
        await server.configure()

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    async def changed_files(params: types.DidChangeWatchedFilesParams) -> None:
        touched: dict[int, Tree] = {}
        for change in params.changes:
            path = _path(change.uri)
            if path is not None and path.name in _SETUP_FILES:
                await server.configure()
                return
            tree = None if path is None else server.tree_of(path)
            file = None if path is None or tree is None else tree.relative(path)
            if tree is not None and file is not None:
                tree.forget(file, gone=change.type == types.FileChangeType.Deleted)
                touched[id(tree)] = tree
        for tree in touched.values():
            tree.changed()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.take(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        if params.text_document.uri in server.documents or _path(params.text_document.uri):
            server.take(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        found = server.at(params.text_document.uri)
        if found is not None:
            found[1].check(again=True)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.drop(params.text_document.uri)

    @server.feature(types.WINDOW_WORK_DONE_PROGRESS_CANCEL)
    def cancelled(params: types.WorkDoneProgressCancelParams) -> None:
        for tree in server.trees:
            if tree.has_bar(params.token):
                tree.cancel()

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hovered(params: types.HoverParams) -> types.Hover | None:
        found = server.at(params.text_document.uri)
        if found is None:
            return None
        document, tree, file = found
        word = Text(document.text).word_at(params.position)
        return None if word is None else await _hover(tree, file, word, params.position)

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(
            code_action_kinds=[types.CodeActionKind.QuickFix, types.CodeActionKind.Refactor]
        ),
    )
    async def act(params: types.CodeActionParams) -> list[types.CodeAction]:
        found = server.at(params.text_document.uri)
        if found is None:
            return []
        return await _actions(server, *found, params)

    return server


async def _hover(tree: Tree, file: str, word: Word, position: types.Position) -> types.Hover | None:
    if tree.report is None:
        return types.Hover(_markdown(_STILL_READING))
    answer = await tree.about(file, position.line + 1, word.text, is_call=word.is_call)
    if isinstance(answer, FunctionAnswer):
        return types.Hover(_markdown(hover.function_markdown(answer)))
    if isinstance(answer, PlaceAnswer):
        return types.Hover(_markdown(hover.place_markdown(word.text, answer)))
    return None


def _markdown(text: str) -> types.MarkupContent:
    return types.MarkupContent(types.MarkupKind.Markdown, text)


async def _actions(
    server: Server, document: Document, tree: Tree, file: str, params: types.CodeActionParams
) -> list[types.CodeAction]:
    line = params.range.start.line + 1
    last = params.range.end.line + 1
    findings = () if tree.report is None else tuple(
        finding
        for finding in tree.report.findings
        if finding.location.file == file and line <= finding.location.line <= last
    )  # fmt: skip
    related = [d for d in params.context.diagnostics if _is_of(d, findings)]
    found: dict[tuple[str, str], types.CodeAction] = {}
    for missing in await tree.assertions(file, line, findings):
        action = _action(server, tree, missing, file, line, related)
        if action is not None and _is_wanted(action, params.context.only):
            found.setdefault((missing.location.file, action.title), action)
    return list(found.values())


def _is_of(diagnostic: types.Diagnostic, findings: tuple[Finding, ...]) -> bool:
    data = diagnostic.data
    mark = data.get("fingerprint") if isinstance(data, dict) else None
    return any(finding.fingerprint == mark for finding in findings)


def _is_wanted(action: types.CodeAction, only: Any) -> bool:
    kind = str(getattr(action.kind, "value", action.kind))
    return not only or any(
        kind == (name := str(getattr(k, "value", k))) or kind.startswith(f"{name}.") for k in only
    )


def _action(
    server: Server,
    tree: Tree,
    missing: MissingAssertion,
    file: str,
    line: int,
    related: list[types.Diagnostic],
) -> types.CodeAction | None:
    where = missing.location
    now = server.text(tree, where.file)
    if now is None:
        return None
    uri, version, content = now
    made = actions.edit(content, missing)
    if made is None:
        return None
    statement, edit = made
    is_here = where.file == file and where.line <= line
    if (
        not related
        and is_here
        and line > actions.Body(content, where.function, where.line).end_line
    ):
        return None  # behind the function
    capabilities = server.client_capabilities.workspace
    edits = None if capabilities is None else capabilities.workspace_edit
    change = types.WorkspaceEdit(changes={uri: [edit]})
    if edits is not None and edits.document_changes:
        document = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
        change = types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, [edit])])
    return types.CodeAction(
        title=f"Add {statement.rstrip(';')} to {where.function}()",
        kind=types.CodeActionKind.QuickFix if related else types.CodeActionKind.Refactor,
        diagnostics=related or None,
        edit=change,
    )


def serve(base: Settings, cache: str | None) -> int:
    """Talk to a client on standard input and output until it ends; the exit status."""
    if os.environ.get("LOCKCHECK_DEBUG", "0") in ("", "0"):
        # What goes wrong is told to the client; a stack trace would be for us.
        logging.getLogger("pygls").addHandler(logging.NullHandler())
        logging.getLogger("pygls").propagate = False
    server = make_server(base, cache)
    try:
        server.start_io()
    finally:
        server.close()
    return 0 if server.was_shut_down else 1
