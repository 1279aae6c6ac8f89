"""`lockcheck b4`: one mail, one line a finding, nothing on standard error."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from mail_branch import Branch

from lockcheck.stamp import stamp

HOOK = Path(__file__).parents[2] / "docs" / "ci" / "sendemail-validate"


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


def test_the_lines_for_the_configuration(branch: Branch, tmp_path: Path) -> None:
    """As git reads them, and splits them as b4 does, whatever is in a name."""
    odd = r"""../my #1; "build"\'s"""
    options = ("--build", odd, "--rules", "my.yaml", "--enable", "irq-unsafe-lock", "demo")
    file = tmp_path / "config"
    file.write_bytes(branch.check(b"", "--print-config", *options).stdout)
    for key, first in (("prep", []), ("am", []), ("review", ["--json"])):
        key = f"b4.{key}-perpatch-check-cmd"
        value = subprocess.run(
            ["git", "config", "-f", file, key], capture_output=True, text=True, check=True
        ).stdout.removesuffix("\n")
        words = shlex.split(value)
        assert words == ["lockcheck", "b4", *first, "--stamp", stamp(), *options]


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
    "numbers": b"Subject: [PATCH v" + b"9" * 5000 + b" 1/" + b"9" * 5000 + b"] x\n\nwords\n",
    "messages in messages": b"Subject: x\nContent-Type: message/rfc822\n\n" * 2000,
    "git's own files": b"Subject: x\n\n--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+x\n",
    "too large": b"Subject: x\n\n" + b"\n" * (32 << 20),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_mail(case: str, branch: Branch) -> None:
    done = branch.check(BAD[case], "demo")
    assert (done.returncode, done.stderr) == (2, b"")
    assert done.stdout.startswith(b"ERROR: not checked: ") and done.stdout.count(b"\n") == 1
    (answer,) = json.loads(branch.check(BAD[case], "--json", "demo").stdout)
    assert answer["status"] == "fail"
