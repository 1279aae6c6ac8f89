"""The report that people reply with: exact, because people and scripts know its form."""

from __future__ import annotations

import msgspec
from reports import finding, report

from lockcheck import __version__
from lockcheck.errors import Notice, Severity
from lockcheck.findings.baseline import compare
from lockcheck.report import robot

EXPECTED = f"""\
lockcheck noticed the following new warning:

tree:      Linux 6.1.7
config:    x86_64, .config 0123
compiler:  gcc 12
checker:   lockcheck {__version__}
reproduce: lockcheck check lib

All warnings (new ones prefixed by >>):

>> lib/a.c:5:2: error: f() changes x without its lock [some-rule]
   lib/a.c:9:2: note: f() calls g()

   lib/a.c:1:2: error: f() changes x without its lock [some-rule]

Gone since the baseline:

   lib/a.c:7:2: error: f() changes x without its lock [some-rule]

Not everything was analysed, there may be more:

   lib/c.c: this unit was not read [unit-not-parsed]
"""


def test_the_whole_form() -> None:
    notice = Notice(Severity.ERROR, "unit-not-parsed", "this unit was not read", "lib/c.c")
    old, new, gone = finding("old"), finding("new", 5, steps=1), finding("gone", 7)
    whole = report(old, new, finding("s", 8, suppressed=True), notices=(notice,), complete=False)
    assert robot.render(compare(whole, [old, gone])) == EXPECTED


def test_without_a_baseline_nothing_is_called_new() -> None:
    shown = robot.render(report(finding("a")))
    assert shown.startswith("lockcheck has the following warnings:\n") and ">>" not in shown


def test_nothing_new() -> None:
    one = report(finding("a"))
    assert robot.render(compare(one, one.findings)).startswith("lockcheck noticed no new warnings.")
    assert robot.render(report()).startswith("lockcheck has no warnings.")


def test_head_and_remote() -> None:
    tree = msgspec.structs.replace(
        report().tree, git_revision="f" * 40, git_remote="https://git.example.org/linux.git"
    )
    shown = robot.render(msgspec.structs.replace(report(), tree=tree))
    assert f"head:      {'f' * 40}\n" in shown
    assert "tree:      https://git.example.org/linux.git 6.1.7\n" in shown
