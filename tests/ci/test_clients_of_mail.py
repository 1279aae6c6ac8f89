"""b4 and git send-email themselves, on a real repository: they run the check and are told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mail_branch import Branch

B4 = Path(sys.executable).parent / "b4"
HOOK = Path(__file__).parents[2] / "docs" / "ci" / "sendemail-validate"
FINDING = "demo/kvmgt.c:44: ERROR: update of slot->arch.gfn_track"
# What `b4 review` does with its commands: the answers go into its store, and out of it again.
REVIEW = """
import argparse, email, json, sys
import b4
from b4.review import checks
b4.setup_config(argparse.Namespace(config={}))
commands, _ = checks.load_check_cmds()
mails = [(name, email.message_from_binary_file(open(name, "rb"))) for name in sys.argv[1:]]
store = checks.get_db()
for name, answers in checks.run_perpatch_checks(mails, commands, b4.git_get_toplevel()).items():
    checks.store_results(store, name, answers)
print(json.dumps(checks.get_cached_results(store, sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def branch(tmp_path_factory: pytest.TempPathFactory) -> Branch:
    """What `lockcheck b4 --print-config` says is in the configuration."""
    made = Branch(tmp_path_factory.mktemp("clients"))
    with (made.root / ".git" / "config").open("ab") as config:
        config.write(made.check(b"", "--print-config", "demo").stdout)
    for key, value in (("name", "A U Thor"), ("email", "a@example.org")):
        made.git("config", f"user.{key}", value)
    return made


def test_b4_prep_check(branch: Branch) -> None:
    branch.git("checkout", "-q", "-b", "base", "main~2")
    assert branch.run(B4, "prep", "-n", "topic", "-f", "base").returncode == 0
    branch.git("cherry-pick", "main~1", "main")
    try:
        done = branch.run(B4, "prep", "--check")
    finally:
        branch.git("checkout", "-q", "main")

    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if "lockcheck: " in line]
    (line,) = lines
    assert f"lockcheck: {FINDING}" in line and line.endswith("[gfn-track-write]")
    assert "Success: 1, Warning: 0, Error: 1" in done.stdout


def test_b4_review_checks(branch: Branch) -> None:
    mails = [str(branch.cover), str(branch.bad), str(branch.good)]
    done = branch.run(sys.executable, "-c", REVIEW, *mails)
    assert done.returncode == 0, done.stdout
    kept = json.loads(done.stdout.splitlines()[-1])

    answers = {name: [(a["tool"], a["status"], a["summary"]) for a in kept[name]] for name in kept}
    assert answers == {
        mails[0]: [("lockcheck", "pass", "nothing to check")],
        mails[1]: [("lockcheck", "fail", "1 new finding")],
        mails[2]: [("lockcheck", "pass", "0 new findings")],
    }
    (detail,) = json.loads(kept[mails[1]][0]["details"])
    assert detail["description"].startswith(FINDING)


def _has_send_email() -> bool:
    folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True)
    return shutil.which("git-send-email", path=folder.stdout.strip()) is not None


@pytest.mark.skipif(not _has_send_email(), reason="git send-email is not installed")
def test_git_send_email(branch: Branch) -> None:
    hook = branch.root / ".git" / "hooks" / "sendemail-validate"
    hook.parent.mkdir(exist_ok=True)
    shutil.copy(HOOK, hook)
    hook.chmod(0o755)
    branch.git("config", "lockcheck.paths", "demo")
    words = ("git", "send-email", "--dry-run", "--confirm=never", "--to", "b@example.org")
    bad = branch.run(*words, branch.bad)
    assert bad.returncode != 0 and FINDING in bad.stdout, bad.stdout
    assert "rejected by sendemail-validate hook" in bad.stdout
    good = branch.run(*words, branch.good)
    assert good.returncode == 0 and "Result: OK" in good.stdout, good.stdout
