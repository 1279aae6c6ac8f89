"""Mail as lists, archives and programs write it; what is damaged is told."""

from __future__ import annotations

import gzip
from email.message import EmailMessage
from pathlib import Path

import pytest
from small_tree import SmallTree, unit

from lockcheck.errors import LockcheckError, Severity
from lockcheck.series import mail
from lockcheck.series.mail import read_mail
from lockcheck.series.mailseries import series_from_mail

DIFF = """\
diff --git a/box/README b/box/README
index 1111111..2222222 100644
--- a/box/README
+++ b/box/README
@@ -1 +1 @@
-Boxes.
+{text}
"""


def message(
    subject: str,
    body: str,
    *,
    sender: str = "A <a@example.com>",
    number: object = None,
    charset: str = "utf-8",
    cte: str | None = None,
) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = sender
    mail["Message-ID"] = f"<{number or abs(hash(subject))}@example.com>"
    mail.set_content(body, charset=charset, cte=cte)
    return b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + mail.as_bytes() + b"\n"


def patch(number: int, total: int, text: str = "Many boxes.", tag: str = "PATCH") -> bytes:
    body = f"Words.\n\n---\n box/README | 2 +-\n\n{DIFF.format(text=text)}-- \n2.39.5\n"
    return message(f"[{tag} {number}/{total}] box: number {number}", body)


def box(folder: Path, *mails: bytes, name: str = "series.mbox") -> str:
    path = folder / name
    path.write_bytes(b"".join(mails))
    return str(path)


def test_format_patch(tree: SmallTree) -> None:
    tree.commit("One\n\nFrom here on, boxes.\nFrom 1 to 2.\n", {"box/README": "One.\n"})
    tree.commit("Zwei — zwei", {"box/README": "Two.\n"})
    found = read_mail([str(tree.mbox())])

    assert [p.subject for p in found.patches] == ["One", "Zwei — zwei"]
    assert [(p.number, p.total) for p in found.patches] == [(1, 2), (2, 2)]
    assert found.patches[0].author == "A U Thor <author@example.com>"
    assert found.cover == ""


def test_order_is_that_of_the_numbers(tmp_path: Path) -> None:
    found = read_mail([box(tmp_path, *(patch(n, 11) for n in (10, 2, 11, 1, *range(3, 10))))])

    assert [p.number for p in found.patches] == list(range(1, 12))


@pytest.mark.parametrize(
    ("subject", "cover"),
    [("Better boxes", "Better boxes"), ("*** SUBJECT HERE ***", "")],
)
def test_cover_letter(tmp_path: Path, subject: str, cover: str) -> None:
    letter = message(f"[PATCH 0/1] {subject}", "*** BLURB HERE ***\n" + DIFF)
    found = read_mail([box(tmp_path, letter, patch(1, 1))])

    assert found.cover == cover
    assert len(found.patches) == 1


def test_empty_cover_letter(tmp_path: Path) -> None:
    found = read_mail([box(tmp_path, message("[PATCH 0/1] Boxes", ""), patch(1, 1))])

    assert (found.cover, len(found.patches)) == ("Boxes", 1)


def test_thread_of_an_archive(tmp_path: Path) -> None:
    """Replies are left out, with diffs or without; a mail that came twice is taken once."""
    reply = message("Re: [PATCH 1/2] box: number 1", "> diff --git\n\nNo:\n" + DIFF)
    talk = message("Boxes in general", "Who needs them?\n")
    mails = (patch(1, 2), reply, patch(2, 2), talk, patch(1, 2))
    path = tmp_path / "t.mbox.gz"
    path.write_bytes(gzip.compress(b"".join(mails)))
    found = read_mail([str(path)])

    assert [p.number for p in found.patches] == [1, 2]
    assert found.left_out == 2


def test_newest_version_is_taken(tree: SmallTree) -> None:
    old = [patch(n, 2, tag="PATCH RFC") for n in (1, 2)]
    path = box(tree.folder, *old, patch(1, 1, text="New.", tag="PATCH net-next v3"))
    series = series_from_mail(tree.root, [path])

    assert series.steps[0].overlay == {"box/README": b"New.\n"}
    assert [n.code for n in series.notices] == ["older-version"]


@pytest.mark.parametrize("cte", ["quoted-printable", "base64", "8bit"])
def test_transfer_encodings(tree: SmallTree, cte: str) -> None:
    body = "Words.\n\n" + DIFF.format(text="Größere Kisten = 1.")
    path = box(tree.folder, message("[PATCH] box: größer", body, cte=cte))
    series = series_from_mail(tree.root, [path])

    assert series.steps[0].overlay == {"box/README": "Größere Kisten = 1.\n".encode()}
    assert series.steps[0].patch.subject == "box: größer"


def test_mail_that_is_not_utf_8(tree: SmallTree) -> None:
    """The diff is bytes, whatever the mail says of them; so are odd words around it."""
    raw = patch(1, 1, text="KISTE").replace(b"KISTE", b"K\xe4sten").replace(b"Words", b"W\xf6rds")
    raw = raw.replace(b"box: number 1", b"box: n\xfcmmer 1")
    series = series_from_mail(tree.root, [box(tree.folder, raw)])

    assert series.steps[0].overlay == {"box/README": b"K\xe4sten\n"}
    assert series.steps[0].patch.subject.startswith("box: n")


def test_lines_as_on_the_wire(tree: SmallTree) -> None:
    raw = patch(1, 1).partition(b"\n")[2].replace(b"\n", b"\r\n")
    series = series_from_mail(tree.root, [box(tree.folder, raw)])

    assert series.steps[0].overlay == {"box/README": b"Many boxes.\n"}


def test_author_in_the_body(tmp_path: Path) -> None:
    raw = message("[PATCH] One", "From: B <b@example.com>\n\nWords.\n" + DIFF)
    assert read_mail([box(tmp_path, raw)]).patches[0].author == "B <b@example.com>"


def test_bare_diff(tree: SmallTree) -> None:
    path = tree.folder / "fix.diff"
    path.write_text(DIFF.format(text="Many boxes."))
    series = series_from_mail(tree.root, [str(path)])

    assert series.steps[0].patch.subject == "fix.diff"
    assert series.steps[0].overlay == {"box/README": b"Many boxes.\n"}


def test_directory_of_patches(tree: SmallTree) -> None:
    tree.commit("One", {"box/README": "One.\n"})
    tree.commit("Two", {"box/README": "Two.\n"})
    tree.git("format-patch", "-q", "--cover-letter", "-o", "../outgoing", "v1")
    tree.git("checkout", "-q", "v1")
    series = series_from_mail(tree.root, [str(tree.folder / "outgoing")])

    assert [step.overlay["box/README"] for step in series.steps] == [b"One.\n", b"Two.\n"]


def test_maildir(tree: SmallTree) -> None:
    folder = tree.folder / "mail"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "new" / "2").write_bytes(patch(1, 2, text="One.").partition(b"\n")[2])
    second = patch(2, 2, text="Two.").replace(b"-Boxes.", b"-One.")
    (folder / "cur" / "1:2,S").write_bytes(second.partition(b"\n")[2])
    series = series_from_mail(tree.root, [str(folder)])

    assert [step.overlay["box/README"] for step in series.steps] == [b"One.\n", b"Two.\n"]


def test_single_files_of_a_longer_series(tree: SmallTree) -> None:
    path = box(tree.folder, patch(2, 3), name="0002-box.patch")
    series = series_from_mail(tree.root, [path])

    assert (series.steps[0].patch.number, series.steps[0].patch.total) == (2, 3)
    assert [n.code for n in series.notices] == ["patches-not-named"]


# -- what is damaged ---------------------------------------------------------------------------


def refused(root: Path, path: str) -> str:
    with pytest.raises(LockcheckError) as caught:
        series_from_mail(root, [path])
    return str(caught.value)


def test_one_patch_of_the_series_is_missing(tree: SmallTree) -> None:
    text = refused(tree.root, box(tree.folder, patch(1, 3), patch(3, 3)))
    assert "of 3 patches, 2 is missing" in text


def test_cut_off_in_a_hunk(tree: SmallTree) -> None:
    tree.commit("One", {"box/one.c": tree.edit("box/one.c", ("b->count++", "++b->count"))})
    path = tree.mbox()
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"+\t++b->count")])

    text = refused(tree.root, str(path))
    assert 'patch 1/1 "One": the diff ends in the middle of a hunk' in text
    assert "line 9 of its diff" in text


def test_cut_off_between_hunks(tree: SmallTree) -> None:
    """The diff is whole as it is, but its mail speaks of more."""
    text = unit("one").replace("struct entry", "/* end */\nstruct entry")
    tree.commit(
        "One", {"box/one.c": "/* one */\n" + text, "box/two.c": "/* two */\n" + unit("two")}
    )
    path = tree.mbox()
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"diff --git a/box/two.c")])
    series = series_from_mail(tree.root, [str(path)])

    (notice,) = series.steps[0].notices
    assert notice.code == "patch-cut-off"
    assert notice.severity is Severity.ERROR


def test_cut_off_before_the_diff(tree: SmallTree) -> None:
    raw = patch(1, 1)
    text = refused(tree.root, box(tree.folder, raw[: raw.index(b"diff --git")]))
    assert 'the mail "box: number 1" has no diff' in text


def test_compressed_and_cut_off(tree: SmallTree) -> None:
    path = tree.folder / "t.mbox.gz"
    path.write_bytes(gzip.compress(patch(1, 1))[:-20])
    assert "it is compressed, and cut off" in refused(tree.root, str(path))


def test_huge(tree: SmallTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MAX_BYTES", 1 << 10)
    path = box(tree.folder, patch(1, 1), b"x" * 2000)
    assert "of mail" in refused(tree.root, path)
    packed = tree.folder / "bomb.gz"
    packed.write_bytes(gzip.compress(b"\0" * 100_000))
    assert "of mail" in refused(tree.root, str(packed))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0\xff" * 100, b"From: a\nSubject: b\n\nc\n"])
def test_no_patch(tree: SmallTree, content: bytes) -> None:
    assert "there is no patch in it" in refused(tree.root, box(tree.folder, content))


@pytest.mark.parametrize("tag", ["1/99999999", "1" * 5000 + "/" + "1" * 5000, "v" + "9" * 5000])
def test_numbers_that_no_series_has(tree: SmallTree, tag: str) -> None:
    raw = message(f"[PATCH {tag}] box", DIFF.format(text="Many."))
    (step,) = series_from_mail(tree.root, [box(tree.folder, raw)]).steps
    assert (step.patch.number, step.patch.total) == (1, 1)


def test_two_series(tree: SmallTree) -> None:
    other = message("[PATCH 2/2] box: another", DIFF, number="other")
    text = refused(tree.root, box(tree.folder, patch(1, 2), patch(2, 2), other))
    assert "two patches have the number 2" in text
    text = refused(tree.root, box(tree.folder, patch(1, 2), patch(3, 3)))
    assert "more than one series, of 2 and 3 patches" in text
