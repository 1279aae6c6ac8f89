"""Everything that one run is told, in one frozen value. No stage reads options from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lockcheck.source.commands import CommandSet
from lockcheck.source.tree import KernelTree


class Config(msgspec.Struct, frozen=True):
    """What to analyse and how.

    tree: the kernel tree, found, configured and prepared; `--tree` and `--build`, else the one
        around the current directory.
    paths: files or directories to check, as the user wrote them, relative to the tree; empty for
        every unit that has a compile command. Arguments of `check`.
    rules: rule files and directories of rule files, read beside the rules that come with lockcheck;
        `--rules`.
    enable: ids of rules that are checked although they are off by default; `--enable`.
    preempt_rt: whether the kernel is taken for one with PREEMPT_RT; `--preempt-rt`.
    jobs: how many units are parsed at a time, at least 1; `--jobs`.
    suppressions: the suppression file, None for none; `--suppressions`, else a `lockcheck.toml`
        at the top of the tree or in the current directory.
    command_line: how the run was started, program first; reports record it. Decides nothing.
    overlay: contents that take the place of files of the tree, by path relative to it; None for a
        file that is gone.
    cache: the directory where facts are kept between runs, None to keep none; `--cache`,
        `--no-cache`.
    commands: how the units to analyse are compiled, when somebody knows it already: then `paths`
        say nothing. None to find out.
    """

    tree: KernelTree
    paths: tuple[str, ...]
    rules: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    preempt_rt: bool = False
    jobs: int = 1
    suppressions: str | None = None
    command_line: tuple[str, ...] = ()
    cache: str | None = None
    overlay: Mapping[str, bytes | None] = {}
    commands: CommandSet | None = None
