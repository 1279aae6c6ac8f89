"""`lockcheck b4`: one mail, one line a finding, nothing on standard error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockcheck.stamp import stamp

FIXTURES = Path(__file__).parents[2] / "fixtures"
HOOK = Path(__file__).parents[2] / "docs" / "ci" / "sendemail-validate"
GOOD = ("read_lock(&kvm->mmu_lock);\n\tif (gfn_is", "write_lock(&kvm->mmu_lock);\n\tif (gfn_is")


class Branch:
    """A git tree whose last two commits are a bad patch and a harmless one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "linux"
        self.root.mkdir()
        for name in (".config", "Kbuild", "Kconfig", "Makefile", "compile_commands.json"):
            shutil.copy(FIXTURES / name, self.root)
        for name in ("demo", "include"):
            shutil.copytree(FIXTURES / name, self.root / name)
        self.git("init", "-q", "-b", "main")
        unit = self.root / "demo" / "kvmgt.c"
        bad = unit.read_text()
        unit.write_text(bad.replace(*GOOD).replace("read_unlock", "write_unlock"))
        self.commit("base")
        unit.write_text(bad)
        self.commit("hold it for read only")
        (self.root / "demo" / "x86.c").open("a").write("/* harmless */\n")
        self.commit("a comment")
        self.git("format-patch", "-q", "--cover-letter", "-o", str(folder / "out"), "-2")
        self.cover, self.bad, self.good = sorted((folder / "out").iterdir())

    def commit(self, subject: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)

    @property
    def environment(self) -> dict[str, str]:
        who = {
            f"GIT_{w}_{k}": "a@example.org"
            for w in ("AUTHOR", "COMMITTER")
            for k in ("NAME", "EMAIL")
        }
        bin_directory = Path(sys.executable).parent
        cache = {"XDG_CACHE_HOME": str(self.folder / "cache"), "HOME": str(self.folder)}
        return {**os.environ, **who, **cache, "PATH": f"{bin_directory}:{os.environ['PATH']}"}

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.root, env=self.environment, check=True)

    def check(self, mail: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-m", "lockcheck.cli", "b4", *options]
        return subprocess.run(
            words, cwd=self.root, env=self.environment, input=mail, capture_output=True, check=False
        )


@pytest.fixture(scope="module")
def branch(tmp_path_factory: pytest.TempPathFactory) -> Branch:
    return Branch(tmp_path_factory.mktemp("b4"))


def test_a_line_for_each_finding(branch: Branch) -> None:
    done = branch.check(branch.bad.read_bytes(), "--stamp", stamp(), "demo")
    (line,) = done.stdout.decode().splitlines()
    assert line.startswith("demo/kvmgt.c:") and ": ERROR: " in line
    assert line.endswith("[gfn-track-write]")
    assert (done.returncode, done.stderr) == (1, b"")


def test_what_is_fine_says_nothing(branch: Branch) -> None:
    for mail in (branch.cover, branch.good):
        done = branch.check(mail.read_bytes(), "--stamp", stamp(), "demo")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_json_for_review(branch: Branch) -> None:
    (answer,) = json.loads(branch.check(branch.bad.read_bytes(), "--json", "demo").stdout)
    assert (answer["tool"], answer["status"]) == ("lockcheck", "fail")
    (detail,) = json.loads(answer["details"])
    assert detail["status"] == "fail" and "[gfn-track-write]" in detail["description"]
    (answer,) = json.loads(branch.check(branch.cover.read_bytes(), "--json", "demo").stdout)
    assert (answer["status"], answer["summary"]) == ("pass", "nothing to check")


def test_another_stamp_is_told(branch: Branch) -> None:
    done = branch.check(branch.good.read_bytes(), "--stamp", "0.0.1-0000000000", "demo")
    (line,) = done.stdout.decode().splitlines()
    assert line.startswith("WARNING: --stamp 0.0.1-0000000000") and stamp() in line


def test_the_lines_for_the_configuration(branch: Branch) -> None:
    shown = branch.check(b"", "--print-config", "--build", "../my build").stdout.decode()
    assert (
        f"prep-perpatch-check-cmd = lockcheck b4 --stamp {stamp()} --build '../my build'" in shown
    )


def test_the_hook_stops_what_is_bad(branch: Branch) -> None:
    branch.git("config", "lockcheck.paths", "demo")
    status = [
        subprocess.run(
            ["sh", str(HOOK), str(mail)], cwd=branch.root, env=branch.environment, check=False
        ).returncode
        for mail in (branch.cover, branch.bad, branch.good)
    ]
    assert status == [0, 1, 0]


_CUT = b"Subject: [PATCH] x\n\n---\n--- a/demo/x86.c\n+++ b/demo/x86.c\n@@ -1,3 +1,3 @@\n a\n"
BAD = {
    "empty": b"",
    "no mail": b"\0\1\2",
    "no diff": b"From: a@example.org\nSubject: [PATCH] x\n\nwords\n",
    "cut off": _CUT,
    "no such file": b"Subject: x\n\n--- a/no.c\n+++ b/no.c\n@@ -1 +1 @@\n-a\n+b\n",
    "does not apply": b"Subject: x\n\n--- a/demo/x86.c\n+++ b/demo/x86.c\n@@ -1 +1 @@\n-a\n+b\n",
    "outside": b"Subject: x\n\n--- a/../x.c\n+++ b/../x.c\n@@ -1 +1 @@\n-a\n+b\n",
    "bad header": b"Subject: =?none?q?x?=\n\nwords\n",
    "bad hunk": b"Subject: x\n\n--- a/demo/x86.c\n+++ b/demo/x86.c\n@@ -x +y @@\n-a\n+b\n",
    "not UTF-8": b"Subject: \xff\xfe\n\n\xff\n",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_mail(case: str, branch: Branch) -> None:
    done = branch.check(BAD[case], "demo")
    assert (done.returncode, done.stderr) == (2, b"")
    assert done.stdout.startswith(b"ERROR: not checked: ") and done.stdout.count(b"\n") == 1
    (answer,) = json.loads(branch.check(BAD[case], "--json", "demo").stdout)
    assert answer["status"] == "fail"
