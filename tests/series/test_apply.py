"""Diffs against contents: what git applies is applied with the same result, and nothing else is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockcheck.errors import LockcheckError
from lockcheck.findings.series import PatchInfo
from lockcheck.series.apply import apply_patch
from lockcheck.series.diffs import read_diff
from lockcheck.series.matching import line_map
from lockcheck.series.patches import TreeFiles

PATCH = PatchInfo(2, 3, "Boxes", "A <a@example.com>")
LINES = [f"line {number}" for number in range(1, 21)]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def diff(old: str, new: str, folder: Path, *options: str) -> str:
    """What git says of two versions of lib/a.c."""
    for name, content in (("a", old), ("b", new)):
        path = folder / name / "lib/a.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    done = subprocess.run(
        ["git", "diff", "--no-index", "--no-prefix", *options, "a/lib/a.c", "b/lib/a.c"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    return done.stdout.decode()


def applied(patch: str, root: Path, **files: str) -> dict[str, bytes | None]:
    tree = TreeFiles(root, {f"lib/{name}.c": content.encode() for name, content in files.items()})
    apply_patch(PATCH, read_diff(patch.encode()), tree)
    return tree.contents


def refused(patch: str, root: Path, **files: str) -> str:
    with pytest.raises(LockcheckError) as caught:
        applied(patch, root, **files)
    return caught.value.message


def changed(number: int, to: str, lines: list[str] = LINES) -> list[str]:
    return [to if line == f"line {number}" else line for line in lines]


def test_in_its_place(tmp_path: Path) -> None:
    new = text(changed(10, "other"))
    contents = applied(diff(text(LINES), new, tmp_path), tmp_path, a=text(LINES))
    assert contents["lib/a.c"] == new.encode()


@pytest.mark.parametrize("shift", [-3, 2, 40])
def test_found_elsewhere(tmp_path: Path, shift: int) -> None:
    patch = diff(text(LINES), text(changed(10, "other")), tmp_path)
    have = LINES[-shift:] if shift < 0 else [*(["above"] * shift), *LINES]
    contents = applied(patch, tmp_path, a=text(have))
    assert contents["lib/a.c"] == text(changed(10, "other", have)).encode()


def test_nearest_place_wins(tmp_path: Path) -> None:
    block = ["{", "\tx = 1;", "}", ""]
    old = [*block * 5]
    new = list(old)
    new[9] = "\tx = 2;"
    patch = diff(text(old), text(new), tmp_path, "-U1")
    contents = applied(patch, tmp_path, a=text(["// one more", *old]))
    assert contents["lib/a.c"] == text(["// one more", *new]).encode()


def test_hunk_that_does_not_apply_is_named(tmp_path: Path) -> None:
    old = [f"line {number}" for number in range(1, 61)]
    new = changed(50, "other", changed(10, "other", old))
    patch = diff(text(old), text(new), tmp_path)
    message = refused(patch, tmp_path, a=text(changed(49, "is not what it was", old)))
    assert message == (
        'patch 2/3 "Boxes": hunk 2 of lib/a.c at line 47 does not apply: it wants "line 49", but '
        'line 49 is "is not what it was"; the series was made for another base'
    )


def test_what_is_applied_already_is_told(tmp_path: Path) -> None:
    new = text(changed(10, "other"))
    assert "the tree has this patch" in refused(diff(text(LINES), new, tmp_path), tmp_path, a=new)


def test_end_of_the_file_stays_the_end(tmp_path: Path) -> None:
    patch = diff(text(LINES), text([*LINES, "last"]), tmp_path)
    assert applied(patch, tmp_path, a=text(LINES))["lib/a.c"] == text([*LINES, "last"]).encode()
    assert "at line 18 does not apply" in refused(patch, tmp_path, a=text([*LINES, "more"]))


def test_no_newline_at_the_end(tmp_path: Path) -> None:
    for old, new in (("a\nb", "a\nc"), ("a\nb\n", "a\nb"), ("a\nb", "a\nb\n")):
        assert applied(diff(old, new, tmp_path), tmp_path, a=old)["lib/a.c"] == new.encode()


def test_other_line_ends_are_kept(tmp_path: Path) -> None:
    old, new = "a\r\nb\x0cb\nc\u2028\n", "a\r\nB\x0cb\nc\u2028\n"
    assert applied(diff(old, new, tmp_path), tmp_path, a=old)["lib/a.c"] == new.encode()


MOVED = """\
diff --git a/lib/a.c b/lib/b.c
similarity index 100%
{how} from lib/a.c
{how} to lib/b.c
"""


def test_rename_and_copy(tmp_path: Path) -> None:
    assert applied(MOVED.format(how="rename"), tmp_path, a="x\n") == {
        "lib/a.c": None,
        "lib/b.c": b"x\n",
    }
    assert applied(MOVED.format(how="copy"), tmp_path, a="x\n") == {
        "lib/a.c": b"x\n",
        "lib/b.c": b"x\n",
    }
    assert "it renames or copies a file to lib/b.c, which is there already" in refused(
        MOVED.format(how="rename"), tmp_path, a="x\n", b="y\n"
    )
    assert "there is no lib/a.c" in refused(MOVED.format(how="rename"), tmp_path)


def test_two_files_change_places(tmp_path: Path) -> None:
    back = MOVED.replace("a.c", "?").replace("b.c", "a.c").replace("?", "b.c")
    patch = MOVED.format(how="rename") + back.format(how="rename")
    assert applied(patch, tmp_path, a="x\n", b="y\n") == {"lib/a.c": b"y\n", "lib/b.c": b"x\n"}


def test_new_and_deleted_files(tmp_path: Path) -> None:
    new = (
        "diff --git a/lib/a.c b/lib/a.c\nnew file mode 100644\nindex 0000000..1111111\n"
        "--- /dev/null\n+++ b/lib/a.c\n@@ -0,0 +1,2 @@\n+x\n+y\n"
    )
    assert applied(new, tmp_path)["lib/a.c"] == b"x\ny\n"
    assert "it adds lib/a.c, which is there already" in refused(new, tmp_path, a="z\n")
    gone = (
        "diff --git a/lib/a.c b/lib/a.c\ndeleted file mode 100644\nindex 1111111..0000000\n"
        "--- a/lib/a.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n"
    )
    assert applied(gone, tmp_path, a="x\ny\n")["lib/a.c"] is None
    assert "does not apply" in refused(gone, tmp_path, a="x\ny\nz\n")


def test_quoted_names(tmp_path: Path) -> None:
    name = r"lib/k\303\244se \"x\".c"
    patch = (
        f'diff --git "a/{name}" "b/{name}"\nindex 1111111..2222222 100644\n'
        f'--- "a/{name}"\n+++ "b/{name}"\n@@ -1 +1 @@\n-x\n+y\n'
    )
    tree = TreeFiles(tmp_path, {'lib/käse "x".c': b"x\n"})
    apply_patch(PATCH, read_diff(patch.encode()), tree)
    assert tree.contents == {'lib/käse "x".c': b"y\n"}


@pytest.mark.parametrize(
    "name", ["../out.c", "lib/../../out.c", "/etc/out.c", ".git/hooks/out", "lib//out.c", "./out.c"]
)
@pytest.mark.parametrize("form", ["plain", "git", "rename"])
def test_paths_that_lead_out(tmp_path: Path, name: str, form: str) -> None:
    if form == "rename":
        patch = MOVED.format(how="rename").replace("rename to lib/b.c", f"rename to {name}")
    else:
        patch = f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n"
        if form == "git":
            patch = f"diff --git a/{name} b/{name}\nnew file mode 100644\n" + patch
    with pytest.raises(LockcheckError, match="no file of the tree"):
        read_diff(patch.encode())


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "secret.c").write_text("x\n")
    (tmp_path / "tree/lib").symlink_to(tmp_path)
    patch = "--- a/lib/secret.c\n+++ b/lib/secret.c\n@@ -1 +1 @@\n-x\n+y\n"
    assert "lib is a symbolic link" in refused(patch, tmp_path / "tree")
    (tmp_path / "tree/b.c").symlink_to(tmp_path / "secret.c")
    assert "it is a symbolic link" in refused(
        patch.replace("lib/secret.c", "b.c"), tmp_path / "tree"
    )


def test_new_link_is_told(tmp_path: Path) -> None:
    patch = (
        "diff --git a/lib/a.h b/lib/a.h\nnew file mode 120000\nindex 0000000..1111111\n"
        "--- /dev/null\n+++ b/lib/a.h\n@@ -0,0 +1 @@\n+/etc/passwd\n"
        "\\ No newline at end of file\n"
    )
    tree = TreeFiles(tmp_path)
    _, notices = apply_patch(PATCH, read_diff(patch.encode()), tree)
    assert tree.contents == {}
    assert [(n.code, n.severity.value) for n in notices] == [("change-not-followed", "error")]


def test_stray_hunk_is_refused() -> None:
    with pytest.raises(LockcheckError, match="damaged"):
        read_diff(b"diff --git a/a.c b/a.c\n--- a/a.c\n+++ b/a.c\n@@ -x,1 +1 @@\n-x\n+y\n")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_as_git_applies(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The same result as `git apply`, or a refusal where git refuses."""
    line = st.sampled_from(["{", "}", "", "a", "b", "c"])
    old = data.draw(st.lists(line, min_size=1, max_size=25))
    new = data.draw(st.lists(line, max_size=25))
    have = data.draw(
        st.one_of(st.just(old), st.lists(line, min_size=1, max_size=4).map(lambda x: x + old))
    )
    folder = tmp_path_factory.mktemp("git")
    patch = diff(text(old), text(new), folder)
    if not patch or not new:
        return
    (folder / "w/lib").mkdir(parents=True)
    (folder / "w/lib/a.c").write_text(text(have))
    done = subprocess.run(
        ["git", "apply"], cwd=folder / "w", input=patch, capture_output=True, text=True, check=False
    )
    try:
        result = applied(patch, folder / "nowhere", a=text(have))["lib/a.c"]
    except LockcheckError:
        assert done.returncode != 0
        return
    assert done.returncode == 0, done.stderr
    assert result == (folder / "w/lib/a.c").read_bytes()


@given(
    st.lists(st.sampled_from(b"abcx"), max_size=30), st.lists(st.sampled_from(b"abcx"), max_size=30)
)
def test_lines_that_are_followed_are_the_same(old: list[int], new: list[int]) -> None:
    before, after = [bytes([x]) for x in old], [bytes([x]) for x in new]
    found = line_map(before, after)
    assert found is not None
    assert all(before[a - 1] == after[b - 1] for a, b in found.items())
    assert sorted(found.values()) == list(dict(sorted(found.items())).values())
