"""What a run of lockcheck would find here, and what is missing: `lockcheck doctor`."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Iterator, Sequence
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import msgspec

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.source.commands import load_commands
from lockcheck.source.tree import KernelTree, check_architecture, find_tree

# The Python that the package is made for; see `requires-python`.
_LEAST_PYTHON = (3, 11)

# Options that change what locks are, or what the source says about them. Whether they are
# set is for the reader to know; nothing here is wrong.
LOCK_OPTIONS = (
    "SMP",
    "PREEMPT",
    "PREEMPT_VOLUNTARY",
    "PREEMPT_NONE",
    "PREEMPT_DYNAMIC",
    "PREEMPT_RT",
    "PREEMPT_COUNT",
    "LOCKDEP",
    "PROVE_LOCKING",
    "PROVE_RCU",
    "PROVE_RCU_LIST",
    "DEBUG_LOCK_ALLOC",
    "DEBUG_ATOMIC_SLEEP",
    "DEBUG_SPINLOCK",
    "DEBUG_MUTEXES",
    "TREE_RCU",
    "TINY_RCU",
    "MODULES",
)


class State(StrEnum):
    """How a check came out. FAIL means that a run would end with an error."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One line of the report; `remedy` says what to do when it is not OK."""

    name: str
    state: State
    detail: str
    remedy: str | None = None


class DoctorReport(msgspec.Struct, frozen=True):
    """Everything that was looked at, in the order in which a run needs it."""

    checks: tuple[Check, ...]

    @property
    def is_healthy(self) -> bool:
        """Say whether a run would start: no check failed."""
        return all(check.state is not State.FAIL for check in self.checks)


def examine(
    tree_path: Path | None = None, build_path: Path | None = None, paths: Sequence[str] = ()
) -> DoctorReport:
    """Look at everything that `check` with the same options would need.

    Never raises for what a user can mend: that becomes a failed check with its remedy.
    With no `paths`, kbuild is asked about the whole tree, which takes some seconds.
    """
    checks = [_python(), _libclang()]
    try:
        tree = find_tree(tree_path, build_path)
    except LockcheckError as error:
        checks.append(_failed("kernel tree", error))
        return DoctorReport(tuple(checks))
    checks.extend(_tree_checks(tree))
    checks.extend(_command_checks(tree, paths))
    return DoctorReport(tuple(checks))


def render(report: DoctorReport) -> str:
    """Return the report as plain text, one check a line, remedies below."""
    width = max((len(check.name) for check in report.checks), default=0)
    indent = " " * (8 + width)
    lines: list[str] = []
    for check in report.checks:
        first, *rest = check.detail.splitlines() or [""]
        wrapped = textwrap.wrap(first, 100, break_long_words=False, break_on_hyphens=False)
        lines.append(f"{check.state:<4}  {check.name:<{width}}  {wrapped[0] if wrapped else ''}")
        lines.extend(f"{indent}{line}" for line in [*wrapped[1:], *rest])
        if check.remedy and check.state is not State.OK:
            lines.append(f"{indent}remedy: {check.remedy}")
    return "\n".join(lines) + "\n"


def _python() -> Check:
    new_enough = tuple(map(int, platform.python_version_tuple()[:2])) >= _LEAST_PYTHON
    return Check(
        "Python",
        State.OK if new_enough else State.FAIL,
        platform.python_version(),
        f"use Python {'.'.join(map(str, _LEAST_PYTHON))} or newer",
    )


def _libclang() -> Check:
    """Load libclang and ask for its version."""
    remedy = "install lockcheck's requirements: `pip install libclang==18.1.1`"
    try:
        from clang import cindex

        package = metadata.version("libclang")
        library = cindex.conf.lib
        # Not among the functions that the Python bindings declare.
        library.clang_getClangVersion.restype = cindex._CXString
        library.clang_getClangVersion.argtypes = []
        version = cindex._CXString.from_result(library.clang_getClangVersion(), None, ())
        cindex.Index.create()
    except Exception as error:  # whatever is wrong with the library is the finding
        return Check("libclang", State.FAIL, f"cannot be loaded: {error}", remedy)
    return Check("libclang", State.OK, f"{package} ({version})")


def _tree_checks(tree: KernelTree) -> Iterator[Check]:
    yield Check("kernel tree", State.OK, f"{tree.version} in {tree.root}")
    built_in_place = tree.build == tree.root
    yield Check("build", State.OK, "in the tree" if built_in_place else str(tree.build))
    yield _architecture(tree)
    text = tree.option("CC_VERSION_TEXT")
    yield Check("compiler", State.OK, f"{tree.compiler} ({text})" if text else tree.compiler)
    yield _prepared(tree)
    set_options = [f"{n}={tree.option(n)}" for n in LOCK_OPTIONS if tree.option(n) is not None]
    yield Check("options set", State.OK, " ".join(set_options) or "none of those about locks")
    unset = [name for name in LOCK_OPTIONS if tree.option(name) is None]
    yield Check("options not set", State.OK, " ".join(unset) or "none of those about locks")
    revision = tree.git_revision()
    yield Check("git", State.OK, revision or "no work tree: reports will not name a revision")


def _architecture(tree: KernelTree) -> Check:
    try:
        check_architecture(tree)
    except LockcheckError as error:
        return _failed("architecture", error)
    return Check("architecture", State.OK, tree.arch)


def _prepared(tree: KernelTree) -> Check:
    """Say whether the generated headers belong to this configuration and this source."""
    remedy = f"run `{tree.make_command('prepare')}`"
    if tree.is_configuration_newer():
        detail = "the headers are older than .config: the configuration before is analysed"
        return Check("prepared", State.WARN, detail, remedy)
    try:
        release = (tree.build / "include" / "config" / "kernel.release").read_text().strip()
    except OSError:
        release = ""
    # The release is the version and what CONFIG_LOCALVERSION and git add to it.
    if release and not release.startswith(tree.version):
        detail = f"the headers were generated from version {release}, the tree is {tree.version}"
        return Check("prepared", State.WARN, detail, remedy)
    return Check("prepared", State.OK, f"headers of {release or tree.version} are there")


def _command_checks(tree: KernelTree, paths: Sequence[str]) -> Iterator[Check]:
    try:
        found = load_commands(tree, paths)
    except LockcheckError as error:
        yield _failed("units", error)
        return
    where = f" below {' '.join(paths)}" if paths else ""
    yield Check("units", State.OK, f"{len(found.commands)}{where}, commands from {found.origin}")
    for notice in found.notices:
        yield _from_notice(notice)


def _from_notice(notice: Notice) -> Check:
    state = State.OK if notice.severity is Severity.NOTE else State.WARN
    file = f"{notice.file}: " if notice.file else ""
    return Check(notice.code, state, f"{file}{notice.message}", notice.remedy)


def _failed(name: str, error: LockcheckError) -> Check:
    where = ":".join(str(part) for part in (error.file, error.line) if part is not None)
    detail = f"{where}: {error.message}" if where else error.message
    return Check(name, State.FAIL, detail, error.remedy)
