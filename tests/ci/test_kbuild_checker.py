"""`lockcheck kbuild`: what kbuild gives to a checker, what it gets back, and that builds go on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
# As scripts/Makefile.build calls it: the checker's own options, then the compiler's.
CHECKFLAGS = (
    *("-D__linux__", "-Dlinux", "-D__STDC__", "-Dunix", "-D__unix__", "-Wbitwise"),
    *("-Wno-return-void", "-D__x86_64__", "--arch=x86", "-mlittle-endian", "-m64"),
)
C_FLAGS = (
    *("-Wp,-MMD,demo/.x.o.d", "-nostdinc", "-I./include", "-include", "./include/linux/kconfig.h"),
    *("-D__KERNEL__", "-std=gnu11", "-O2", "-march=x86-64", "-Wall"),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "linux"
    shutil.copytree(FIXTURES, root)
    return root


def run(tree: Path, *arguments: str, own: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockcheck.cli", "kbuild", *own, *arguments],
        cwd=tree,
        env={**os.environ, "XDG_CACHE_HOME": str(tree.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def check(tree: Path, source: str, *own: str) -> subprocess.CompletedProcess[str]:
    return run(tree, *CHECKFLAGS, *C_FLAGS, source, own=own)


def warnings(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if ": warning: " in line]


def rules(done: subprocess.CompletedProcess[str]) -> list[str]:
    return sorted(line.rpartition("[")[2].removesuffix("]") for line in warnings(done))


ALL = ["commit-hook-no-sleep", "gfn-track-write", "gvt-protect-table"]  # in demo/kvmgt.c


def test_what_other_units_do_is_known_from_the_cache(tree: Path) -> None:
    alone = check(tree, "demo/kvmgt.c")
    assert (alone.returncode, alone.stdout, rules(alone)) == (0, "", ALL[2:])
    assert "demo/x86.c:" not in alone.stderr
    for unit in ("demo/page_track.c", "demo/x86.c"):
        check(tree, unit)
    together = check(tree, "demo/kvmgt.c")
    assert (together.returncode, together.stdout) == (0, "")
    assert rules(together) == ALL
    assert all(warning.startswith("demo/kvmgt.c:") for warning in warnings(together))
    assert ": note: " in together.stderr and "demo/x86.c:" in together.stderr


def test_a_check_before_fills_the_cache(tree: Path) -> None:
    words = (sys.executable, "-m", "lockcheck.cli", "check", "--quiet", "demo")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tree.parent / "cache")}
    subprocess.run(words, cwd=tree, env=environment, capture_output=True, check=False)
    assert rules(check(tree, "demo/kvmgt.c")) == ALL


def test_a_change_elsewhere_counts(tree: Path) -> None:
    for unit in ("demo/page_track.c", "demo/x86.c", "demo/kvmgt.c"):
        check(tree, unit)
    assert rules(check(tree, "demo/kvmgt.c")) == ALL
    # Until its turn comes, a unit that has changed is not known, and so its calls are not.
    x86 = tree / "demo" / "x86.c"
    x86.write_text("int unrelated;\n")
    assert "gvt-protect-table" not in rules(check(tree, "demo/kvmgt.c"))


def test_fail_ends_the_build_and_names_are_those_of_the_build(tree: Path) -> None:
    for unit in ("demo/page_track.c", "demo/x86.c"):
        check(tree, unit)
    done = check(tree, str(tree / "demo" / "kvmgt.c"), "--fail")
    assert done.returncode == 1
    assert warnings(done)[0].startswith(f"{tree}/demo/kvmgt.c:")
    assert check(tree, "demo/x86.c", "--fail").returncode == 0


def test_suppressed_findings_are_no_warnings(tree: Path) -> None:
    for unit in ("demo/page_track.c", "demo/x86.c", "demo/kvmgt.c"):
        check(tree, unit)
    (tree / "lockcheck.toml").write_text(
        '[[suppress]]\nrule = "gvt-protect-table"\nfunction = "*"\nreason = "known"\n'
    )
    assert rules(check(tree, "demo/kvmgt.c")) == ALL[:2]


def test_many_at_once(tree: Path) -> None:
    units = ["demo/page_track.c", "demo/x86.c", "demo/kvmgt.c"] * 2
    with ThreadPoolExecutor(max_workers=4) as pool:
        done = list(pool.map(lambda unit: check(tree, unit), units))
    assert [d.returncode for d in done] == [0] * len(units)
    assert all("lockcheck: " not in d.stderr for d in done)
    assert rules(check(tree, "demo/kvmgt.c")) == ALL


def test_what_is_no_kernel_code_is_passed_over(tree: Path) -> None:
    host = [word for word in C_FLAGS if word != "-D__KERNEL__"]
    done = run(tree, *CHECKFLAGS, *host, "demo/x86.c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    outside = tree.parent / "module.c"
    outside.write_text("int x;\n")
    done = run(tree, *CHECKFLAGS, *C_FLAGS, str(outside))
    assert (done.returncode, done.stderr) == (0, "")


BAD = {
    "no arguments": ((), (), "no C file"),
    "no file": (CHECKFLAGS, (), "no C file"),
    "missing file": ((*C_FLAGS, "demo/none.c"), (), "no such file"),
    "directory": ((*C_FLAGS, "demo.c"), (), "no such file"),
    "empty cache": ((*C_FLAGS, "demo/x86.c"), ("--cache", ""), "the name is empty"),
    "both caches": ((*C_FLAGS, "demo/x86.c"), ("--cache", "c", "--no-cache"), "exclude"),
    "no rules": ((*C_FLAGS, "demo/x86.c"), ("--rules", "none.yaml"), "none.yaml"),
    "no suppressions": ((*C_FLAGS, "demo/x86.c"), ("--suppressions", "none.toml"), "none.toml"),
    "broken C": ((*C_FLAGS, "demo/broken.c"), (), "read only in part"),
    "missing header": ((*C_FLAGS, "demo/header.c"), (), "read only in part"),
    "no UTF-8": ((*C_FLAGS, "demo/b\udcff.c"), (), "no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_nothing_ends_the_build(case: str, tree: Path) -> None:
    arguments, own, words = BAD[case]
    (tree / "demo.c").mkdir()
    (tree / "demo" / "broken.c").write_text("int f(void) { return }\n")
    (tree / "demo" / "header.c").write_text("#include <none/at/all.h>\n")
    before = sorted(tree.rglob("*"))
    done = run(tree, *arguments, own=own)
    if case != "empty cache":  # a slip in CHECK= itself is an error of usage
        assert done.returncode == 0
    assert words in done.stderr and done.stdout == "" and "Traceback" not in done.stderr
    failing = run(tree, *arguments, own=("--fail", *own))
    assert failing.returncode in (2, 3) and words in failing.stderr
    assert sorted(tree.rglob("*")) == before


def test_outside_of_a_tree(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    done = run(tmp_path, *C_FLAGS, "x.c")
    assert done.returncode == 0 and "no kernel tree here" in done.stderr
