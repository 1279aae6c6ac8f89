"""A small kernel tree, and a client that drives `lockcheck lsp` as an editor does."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lsprotocol import types
from pytest_lsp import LanguageClient

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
PROGRAM = "from lockcheck.cli import main; main()"
SECONDS = 60  # the machine may be busy; nothing is measured here

TRACK = """\
#include "track.h"

static void update_count(struct kvm_memory_slot *slot, gfn_t gfn, short count)
{
	slot->arch.gfn_track[0][gfn] += count;
}

void track_add(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn)
{
	short one = 1;

	update_count(slot, gfn, one);
}
"""

DEVICE = """\
#include <linux/gvt.h>

#include "track.h"

static int device_protect(struct intel_vgpu *info, gfn_t gfn)
{
	struct kvm *kvm = info->vfio_device.kvm;

	write_lock(&kvm->mmu_lock);
	track_add(kvm, gfn_to_memslot(kvm, gfn), gfn);
	write_unlock(&kvm->mmu_lock);
	mutex_lock(&info->vgpu_lock);
	mutex_unlock(&info->vgpu_lock);
	return 0;
}

const struct vfio_device_ops device_ops = {
	.protect = device_protect,
};
"""

WRONG = DEVICE.replace("write_lock", "read_lock").replace("write_unlock", "read_unlock")


def make_tree(root: Path, device: str = WRONG, others: int = 0) -> Path:
    """A tree with two units and, to keep the analysis busy, copies of the second."""
    root.mkdir(parents=True)
    for name in ("Kbuild", "Kconfig", "Makefile", ".config"):
        shutil.copy(FIXTURES / name, root)
    shutil.copytree(FIXTURES / "include", root / "include")
    (root / "drivers").mkdir()
    (root / "drivers/track.h").write_text(
        "#include <linux/kvm_host.h>\n"
        "void track_add(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn);\n"
    )
    (root / "drivers/track.c").write_text(TRACK)
    (root / "drivers/device.c").write_text(device)
    files = ["drivers/track.c", "drivers/device.c"]
    for number in range(others):
        files.append(f"drivers/other{number}.c")
        text = DEVICE.replace("device_ops", f"device_ops{number}")
        (root / files[-1]).write_text(text)
    (example, *_) = json.loads((FIXTURES / "compile_commands.json").read_text())
    entries = [json.loads(json.dumps(example).replace(example["file"], file)) for file in files]
    (root / "compile_commands.json").write_text(json.dumps(entries))
    return root.resolve()


class Editor:
    """What a test does with a server, and what came of it."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.published: dict[str, list[types.PublishDiagnosticsParams]] = {}
        self.progress: list[types.ProgressParams] = []
        self.registered: dict[str, types.Registration] = {}
        self._news = asyncio.Event()

        def publish(params: types.PublishDiagnosticsParams) -> None:
            self.published.setdefault(params.uri, []).append(params)
            self._news.set()

        def progress(params: types.ProgressParams) -> None:
            self.progress.append(params)
            self._news.set()

        def register(params: types.RegistrationParams) -> None:
            self.registered.update({one.id: one for one in params.registrations})
            self._news.set()

        client.protocol.fm.features[types.CLIENT_REGISTER_CAPABILITY] = register
        # In place of the client's own, which keep the last one only.
        client.protocol.fm.features[types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS] = publish
        client.protocol.fm.features[types.PROGRESS] = progress

    async def initialize(
        self,
        *folders: Path,
        options: Any = None,
        configuration: bool = False,
        progress: bool = True,
        registers: bool = False,
    ) -> types.InitializeResult:
        return await asyncio.wait_for(
            self.client.initialize_session(
                types.InitializeParams(
                    capabilities=types.ClientCapabilities(
                        window=types.WindowClientCapabilities(work_done_progress=progress),
                        workspace=types.WorkspaceClientCapabilities(
                            configuration=configuration,
                            did_change_configuration=types.DidChangeConfigurationClientCapabilities(
                                dynamic_registration=registers
                            ),
                            did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(
                                dynamic_registration=registers, relative_pattern_support=registers
                            ),
                        ),
                        text_document=types.TextDocumentClientCapabilities(
                            publish_diagnostics=types.PublishDiagnosticsClientCapabilities(
                                related_information=True
                            )
                        ),
                    ),
                    workspace_folders=[
                        types.WorkspaceFolder(folder.as_uri(), folder.name) for folder in folders
                    ],
                    initialization_options=options,
                )
            ),
            SECONDS,
        )

    def open(self, path: Path, text: str | None = None) -> str:
        """Open a file; `text` is what the editor has of it, if that is not what the file has."""
        uri = path.as_uri()
        content = path.read_text() if text is None else text
        item = types.TextDocumentItem(uri, "c", 1, content)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def change(self, uri: str, version: int, text: str) -> None:
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(version, uri),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    def save(self, uri: str) -> None:
        self.client.text_document_did_save(
            types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri))
        )

    def close(self, uri: str) -> None:
        self.client.text_document_did_close(
            types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri))
        )

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something that messages of the server bring about."""

        async def wait() -> Any:
            while not (value := condition()):
                try:
                    await asyncio.wait_for(self._news.wait(), 0.1)
                except TimeoutError:
                    continue
                self._news.clear()
            return value

        return await asyncio.wait_for(wait(), SECONDS)

    async def diagnostics(self, uri: str, version: int | None = None) -> list[types.Diagnostic]:
        """The diagnostics of a version of a file, once they have come."""

        def found() -> types.PublishDiagnosticsParams | None:
            for params in reversed(self.published.get(uri, [])):
                if version is None or params.version == version:
                    return params
            return None

        params = await self.until(found)
        return list(params.diagnostics)

    async def hover(self, uri: str, line: int, character: int) -> str | None:
        found = await asyncio.wait_for(
            self.client.text_document_hover_async(
                types.HoverParams(
                    types.TextDocumentIdentifier(uri), types.Position(line, character)
                )
            ),
            SECONDS,
        )
        if found is None:
            return None
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value

    async def actions(
        self, uri: str, line: int, diagnostics: list[types.Diagnostic] | None = None
    ) -> list[types.CodeAction]:
        place = types.Position(line, 0)
        found = await asyncio.wait_for(
            self.client.text_document_code_action_async(
                types.CodeActionParams(
                    types.TextDocumentIdentifier(uri),
                    types.Range(place, place),
                    types.CodeActionContext(diagnostics or []),
                )
            ),
            SECONDS,
        )
        return list(found or [])

    @property
    def shown(self) -> str:
        """All that the user was shown."""
        return "\n".join(m.message for m in self.client.messages)

    @property
    def logged(self) -> str:
        return "\n".join(m.message for m in self.client.log_messages)


Start = Callable[..., Awaitable[Editor]]


def text_after(content: str, edits: list[types.TextEdit]) -> str:
    """A text with edits at beginnings of lines."""
    lines = content.split("\n")
    for edit in sorted(edits, key=lambda e: e.range.start.line, reverse=True):
        assert edit.range.start == edit.range.end
        assert edit.range.start.character == 0
        lines[edit.range.start.line : edit.range.start.line] = edit.new_text.split("\n")[:-1]
    return "\n".join(lines)
