"""The report about what a run would find."""

from __future__ import annotations

import os
from pathlib import Path

from fake_tree import CONFIG, command, echoed, kbuild_makefile, make_root, write

from lockcheck.source.doctor import Check, DoctorReport, State, examine, render


def states(report: DoctorReport) -> dict[str, State]:
    return {check.name: check.state for check in report.checks}


def detail(report: DoctorReport, name: str) -> str:
    return next(check.detail for check in report.checks if check.name == name)


def healthy_tree(tmp_path: Path) -> Path:
    makefile = kbuild_makefile(echoed(command("lib/a.c")), goal="lib/ ./")
    return make_root(tmp_path / "linux", makefile, CONFIG + "CONFIG_PROVE_LOCKING=y\n")


def test_healthy(tmp_path: Path) -> None:
    report = examine(healthy_tree(tmp_path))
    assert report.is_healthy
    assert set(states(report).values()) == {State.OK}
    assert "18.1.1" in detail(report, "libclang")
    assert detail(report, "options set") == "PROVE_LOCKING=y"
    assert "LOCKDEP" in detail(report, "options not set")
    assert detail(report, "units") == "1, commands from kbuild (make -n): 1 units"


def test_no_tree(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert not report.is_healthy
    assert states(report)["kernel tree"] is State.FAIL
    assert states(report)["libclang"] is State.OK
    assert "remedy: run lockcheck inside a kernel tree" in render(report)


def test_architecture_that_check_refuses(tmp_path: Path) -> None:
    root = healthy_tree(tmp_path)
    write(root / ".config", CONFIG.replace("Linux/x86_64", "Linux/arm64"))
    report = examine(root)
    assert not report.is_healthy
    assert states(report)["architecture"] is State.FAIL
    assert "ARCH=x86_64 defconfig prepare" in render(report)


def test_bad_path_and_corrupt_database(tmp_path: Path) -> None:
    root = healthy_tree(tmp_path)
    assert states(examine(root, None, ["none"]))["units"] is State.FAIL
    write(root / "compile_commands.json", "[\n{")
    report = examine(root)
    assert states(report)["units"] is State.FAIL
    assert "compile_commands.json:2: " in detail(report, "units")


def test_headers_that_do_not_fit(tmp_path: Path) -> None:
    root = healthy_tree(tmp_path)
    release = write(root / "include/config/kernel.release", "6.1.7-rc2-local+\n")
    assert states(examine(root))["prepared"] is State.OK
    release.write_text("6.0.1\n")
    assert "generated from version 6.0.1" in detail(examine(root), "prepared")
    os.utime(root / "include/config/auto.conf", (500, 500))
    report = examine(root)
    assert states(report)["prepared"] is states(report)["stale-configuration"] is State.WARN
    assert report.is_healthy


def test_notices_are_warnings(tmp_path: Path) -> None:
    report = examine(healthy_tree(tmp_path), None, ["lib/a.c", "lib/b.c"])
    assert states(report)["not-built"] is State.WARN


def test_render_aligns_and_hides_remedies_of_what_is_fine() -> None:
    report = DoctorReport(
        (
            Check("a", State.OK, "fine", "not shown"),
            Check("longer", State.FAIL, "first\nsecond", "do this"),
        )
    )
    assert render(report) == (
        "ok    a       fine\n"
        "fail  longer  first\n"
        "              second\n"
        "              remedy: do this\n"
    )
