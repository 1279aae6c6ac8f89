"""A session of a client: diagnostics, hover, code actions, progress, and its end."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from lsp_editor import DEVICE, TRACK, WRONG, Editor, Start, make_tree, text_after
from lsprotocol import types

pytestmark = pytest.mark.asyncio


HELD = "`info->vfio_device.kvm->mmu_lock` (read), `preemption off`"


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "linux")


async def opened(start: Start, tree: Path) -> tuple[Editor, str]:
    editor = await start()
    await editor.initialize(tree)
    return editor, editor.open(tree / "drivers/device.c")


async def test_a_finding_comes_with_its_chain(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    (found,) = await editor.diagnostics(uri, 1)
    assert found.code == "gfn-track-write"
    assert found.source == "lockcheck"
    assert found.severity is types.DiagnosticSeverity.Error
    assert "holds kvm->mmu_lock for read" in found.message
    assert found.range.start == types.Position(line_of(WRONG, "track_add"), 1)
    assert found.range.end.character == 1 + len("track_add")
    assert found.code_description is not None
    assert found.code_description.href.startswith("https://")
    related = found.related_information or []
    assert any("kvm->mmu_lock is taken for read" in step.message for step in related)
    last = related[-1].location
    assert last.uri == (tree / "drivers/track.c").as_uri()
    assert last.range.start.line == line_of(TRACK, "slot->arch")


async def test_unsaved_text_counts_and_saving_changes_nothing(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    assert len(await editor.diagnostics(uri, 1)) == 1
    editor.change(uri, 2, DEVICE)
    assert await editor.diagnostics(uri, 2) == []
    editor.change(uri, 3, WRONG)
    assert len(await editor.diagnostics(uri, 3)) == 1
    editor.change(uri, 4, DEVICE)
    assert await editor.diagnostics(uri, 4) == []
    (tree / "drivers/device.c").write_text(DEVICE)
    before = len(editor.published[uri])
    editor.save(uri)
    await editor.until(lambda: len(editor.published[uri]) > before)
    assert not editor.published[uri][-1].diagnostics


async def test_closing_brings_the_file_on_disk_back(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    editor.change(uri, 2, DEVICE)
    assert await editor.diagnostics(uri, 2) == []
    before = len(editor.published[uri])
    editor.close(uri)
    await editor.until(lambda: len(editor.published[uri]) > before)
    assert len(editor.published[uri][-1].diagnostics) == 1
    assert editor.published[uri][-1].version is None


async def test_an_unsaved_header_counts(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    assert len(await editor.diagnostics(uri, 1)) == 1
    header = tree / "drivers/track.h"
    text = header.read_text() + "#define read_lock write_lock\n#define read_unlock write_unlock\n"
    before = len(editor.published[uri])
    editor.open(header, text)
    await editor.until(lambda: len(editor.published[uri]) > before)
    assert not editor.published[uri][-1].diagnostics


async def test_a_finding_in_a_header_is_told_there(start: Start, tree: Path) -> None:
    header = tree / "drivers/track.h"
    inline = (
        "static inline void look(struct kvm *kvm)\n{\n\tread_lock(&kvm->mmu_lock);\n"
        "\ttrack_add(kvm, gfn_to_memslot(kvm, 1), 1);\n\tread_unlock(&kvm->mmu_lock);\n}\n"
    )
    header.write_text(header.read_text() + inline)
    device = DEVICE.replace("\twrite_lock", "\tlook(kvm);\n\twrite_lock")
    (tree / "drivers/device.c").write_text(device)
    editor, uri = await opened(start, tree)
    assert await editor.diagnostics(uri, 1) == []
    (found,) = await editor.diagnostics(header.as_uri())
    assert found.code == "gfn-track-write"


async def test_columns_are_in_utf16(start: Start, tree: Path) -> None:
    text = WRONG.replace("\ttrack_add", "\t/* 😀é */ track_add")
    editor = await start()
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c", text)
    (found,) = await editor.diagnostics(uri, 1)
    assert found.range.start.character == 1 + len("/* ") + 2 + 1 + len(" */ ")
    line = line_of(text, "track_add")
    hover = await editor.hover(uri, line, found.range.end.character)
    assert hover is not None and "track_add()" in hover


async def test_text_with_errors_keeps_what_was_found(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    (before,) = await editor.diagnostics(uri, 1)
    editor.change(uri, 2, WRONG.replace("return 0;", "return 0"))
    found = await editor.diagnostics(uri, 2)
    assert [d.code for d in found] == ["gfn-track-write", "unit-has-errors"]
    assert found[0] == before
    assert "last text without errors" in found[1].message
    editor.change(uri, 3, DEVICE)
    assert await editor.diagnostics(uri, 3) == []


async def test_hover_tells_of_a_function(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    await editor.diagnostics(uri, 1)
    hover = await editor.hover(uri, line_of(WRONG, "track_add"), 3)
    assert hover is not None
    assert "**`track_add()`**" in hover
    assert "Held on entry, in one context: `kvm->mmu_lock` (read)" in hover
    assert "kvm->mmu_lock held for write (for `update_count()`)" in hover
    hover = await editor.hover(uri, line_of(WRONG, "device_protect"), 14)
    assert hover is not None
    assert "May sleep: `mutex_lock()` (takes a mutex)" in hover
    assert "Requires" not in hover


async def test_hover_tells_what_is_held_at_a_lock(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    await editor.diagnostics(uri, 1)
    for part, held in (("read_lock(", "nothing"), ("read_unlock(", HELD)):
        line = line_of(WRONG, part)
        column = WRONG.splitlines()[line].index("mmu_lock") + 2
        hover = await editor.hover(uri, line, column)
        assert hover is not None and f"Held in the context: {held}" in hover
    assert await editor.hover(uri, line_of(WRONG, "return 0"), 2) is None
    assert await editor.hover(uri, 9999, 2) is None


async def test_the_missing_assertion_is_offered_and_is_right(start: Start, tree: Path) -> None:
    (tree / "drivers/device.c").write_text(DEVICE)
    editor = await start()
    await editor.initialize(tree)
    track = tree / "drivers/track.c"
    uri = editor.open(track)
    assert await editor.diagnostics(uri, 1) == []
    (action,) = await editor.actions(uri, line_of(TRACK, "short one"))
    assert action.title == "Add lockdep_assert_held_write(&kvm->mmu_lock) to track_add()"
    assert action.kind == types.CodeActionKind.Refactor
    assert action.edit is not None and action.edit.changes is not None
    text = text_after(TRACK, list(action.edit.changes[uri]))
    assert "\tshort one = 1;\n\n\tlockdep_assert_held_write(&kvm->mmu_lock);\n\n\tupd" in text
    editor.change(uri, 2, text)
    assert await editor.diagnostics(uri, 2) == []
    assert await editor.actions(uri, line_of(text, "short one")) == []
    # Nothing leads from update_count() to the lock.
    assert await editor.actions(uri, line_of(text, "slot->arch")) == []
    hover = await editor.hover(uri, line_of(text, "track_add"), 6)
    assert hover is not None and "asserted" in hover


async def test_a_finding_offers_the_assertion_below_it(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    (found,) = await editor.diagnostics(uri, 1)
    (action,) = await editor.actions(uri, found.range.start.line, [found])
    assert action.kind == types.CodeActionKind.QuickFix
    assert list(action.diagnostics or []) == [found]
    assert action.edit is not None and action.edit.changes is not None
    assert list(action.edit.changes) == [(tree / "drivers/track.c").as_uri()]


async def test_a_long_check_shows_progress_and_can_be_cancelled(
    start: Start, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "large", others=60)
    editor = await start("--jobs", "1", "--no-cache")
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c")
    begin = await editor.until(lambda: next(iter(editor.progress), None))
    assert begin.value["kind"] == "begin"
    assert begin.value["cancellable"]
    editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(begin.token))
    end = await editor.until(
        lambda: next((p for p in editor.progress if p.value["kind"] == "end"), None)
    )
    assert (end.token, end.value["message"]) == (begin.token, "cancelled")
    assert uri not in editor.published
    hover = await editor.hover(uri, line_of(WRONG, "track_add"), 3)
    assert hover is not None and "still reading" in hover
    editor.change(uri, 2, WRONG)
    assert len(await editor.diagnostics(uri, 2)) == 1


async def test_a_change_overtakes_the_check_that_runs(start: Start, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "large", others=30)
    editor = await start("--jobs", "1", "--no-cache")
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c")
    await asyncio.sleep(0.3)
    for version in range(2, 8):
        editor.change(uri, version, WRONG if version % 2 else DEVICE)
    editor.change(uri, 8, DEVICE)
    assert await editor.diagnostics(uri, 8) == []
    assert {p.version for p in editor.published[uri]} == {8}


async def test_two_roots(start: Start, tmp_path: Path) -> None:
    first, second = make_tree(tmp_path / "one"), make_tree(tmp_path / "two", DEVICE)
    editor = await start()
    await editor.initialize(first, second)
    here, there = (editor.open(root / "drivers/device.c") for root in (first, second))
    assert len(await editor.diagnostics(here, 1)) == 1
    assert await editor.diagnostics(there, 1) == []
    editor.change(there, 2, WRONG)
    assert len(await editor.diagnostics(there, 2)) == 1


async def test_a_deleted_unit_is_no_error(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    assert len(await editor.diagnostics(uri, 1)) == 1
    gone = tree / "drivers/track.c"
    gone.unlink()
    before = len(editor.published[uri])
    editor.client.workspace_did_change_watched_files(
        types.DidChangeWatchedFilesParams(
            [types.FileEvent(gone.as_uri(), types.FileChangeType.Deleted)]
        )
    )
    await editor.until(lambda: len(editor.published[uri]) > before)
    assert not editor.published[uri][-1].diagnostics  # nothing is known of what it calls


async def test_settings_of_the_client(start: Start, tree: Path) -> None:
    editor = await start()
    editor.client.set_configuration({"lockcheck": {"paths": ["drivers/track.c"]}})
    await editor.initialize(tree, configuration=True)
    uri = editor.open(tree / "drivers/device.c")
    (found,) = await editor.diagnostics(uri, 1)
    assert found.code == "not-read"
    editor.client.set_configuration({"lockcheck": {"paths": ["drivers"]}})
    editor.client.workspace_did_change_configuration(
        types.DidChangeConfigurationParams(settings=None)
    )
    await editor.until(
        lambda: [d.code for d in editor.published[uri][-1].diagnostics] == ["gfn-track-write"]
    )


async def test_options_of_other_names_are_left_alone(start: Start, tree: Path) -> None:
    editor = await start()
    settings = {"trace": {"server": "verbose"}, "path": ["x"], "paths": ["drivers/track.c"]}
    editor.client.set_configuration({"lockcheck": settings})
    await editor.initialize(tree, configuration=True)
    uri = editor.open(tree / "drivers/device.c")
    (found,) = await editor.diagnostics(uri, 1)
    assert found.code == "not-read"  # so `paths` counts
    assert "the client sets what there is not: path\n" in editor.shown
    assert "trace" not in editor.shown


async def test_what_the_client_is_asked_to_tell_of(start: Start, tree: Path) -> None:
    build = tree.parent / "build"
    (build / "include").mkdir(parents=True)
    (tree / ".config").rename(build / ".config")
    (tree / "include/generated").rename(build / "include/generated")
    shutil.copy(tree / "compile_commands.json", build)
    editor = await start()
    await editor.initialize(tree, options={"build": "../build"}, registers=True)
    await editor.until(lambda: "lockcheck-builds" in editor.registered)
    plain = editor.client.protocol._converter.unstructure
    options = {name: plain(one.register_options) for name, one in editor.registered.items()}
    assert options["lockcheck-settings"] == {"section": "lockcheck"}
    patterns = [one["globPattern"] for one in options["lockcheck-files"]["watchers"]]
    assert "**/*.{c,h}" in patterns
    patterns = [one["globPattern"] for one in options["lockcheck-builds"]["watchers"]]
    assert {"baseUri": build.as_uri(), "pattern": ".config"} in patterns


async def test_the_end_leaves_nothing_running(start: Start, tree: Path) -> None:
    editor, uri = await opened(start, tree)
    await editor.diagnostics(uri, 1)
    server = editor.client._server
    assert server is not None
    children = children_of(server.pid)
    assert children
    await editor.client.shutdown_session()
    assert server.returncode == 0
    editor.client.capabilities = None  # the fixture has nothing to end any more
    await editor.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def children_of(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found
