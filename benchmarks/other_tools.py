"""The same mutants, and the same units without them, under lockcheck and under other tools.

    benchmarks/other_tools.py --work DIR [--tree VERSION] [--limit N] [--files N] [--seed S]
        [--smatch NAME=DIR]… [--passes N] [--spatch COMMAND] [--clang COMMAND] [--sparse COMMAND]
        [--json FILE] [--write]

Mutants of all kinds of mutants_atomic.py and mutants_order.py, each in a function of its own, are
put into copies of a few units under DIR; no other file is touched. Every tool reads the units as
they are and then with the mutants. Found: a message about locks or sleeping in a mutated function,
by its name or at a call of it, that the unmutated unit does not have. Candidates for false ones:
the messages about them that the unmutated units have, and new ones elsewhere. smatch has databases,
see other_smatch.py: the first --smatch makes them, others read the same ones. lockcheck starts
without a cache and has the rules that are on by default. A tool that is not named is left out.
--json keeps the mutants and the messages of each tool, and tools that are there are not asked
again. --write puts the table into benchmarks/other_tools.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mutants import PATHS, ROOT, VERSIONS, _kernel_tree, _say
from mutants_atomic import KINDS, all_mutants, analyse_base, choose_apart
from mutants_order import ENABLED
from mutants_report import replace_part
from mutants_sites import Mutant, Places, Sources
from other_smatch import DEFINING, Smatch

from lockcheck import session
from lockcheck.config import Config
from lockcheck.source.commands import CompileCommand, load_commands
from lockcheck.source.tree import KernelTree

PAGE = ROOT / "benchmarks" / "other_tools.md"
COPIED = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915")  # with the headers of the units
OURS = frozenset({"sleep-in-atomic", "might-sleep", "timer-no-sleep", "rcu-callback-no-sleep",
                  "mmu-notifier-no-sleep", "commit-hook-no-sleep", "unbalanced-lock",
                  "self-deadlock", "lock-inversion", "kvm-lock-order"})  # fmt: skip
_ABOUT = re.compile(r"lock|atomic|sleep|\birqs?\b|irqsave|preempt|context imbalance|GFP_KERNEL",
                    re.IGNORECASE)  # fmt: skip
_MESSAGE = re.compile(r"^(?P<file>/?[^\s:]+\.[ch]):(?P<line>\d+)(?::[\d-]+)?:? (?P<text>.*)$")
_NOT_OURS = re.compile(r"static assertion failed|error: |inconsistent indenting")
_DATABASE = ", database"  # behind the name of a tool that has one
_SPARSE_FLAGS = ("-D__linux__", "-Dlinux", "-D__STDC__", "-Dunix", "-D__unix__", "-D__x86_64__")


class Message(NamedTuple):
    """file: relative to the tree. line: of the unmutated file."""

    file: str
    line: int
    text: str


class Setting(NamedTuple):
    """What a tool reads. root: of the copies; units: those that have mutants, or get them."""

    root: Path
    units: tuple[CompileCommand, ...]
    source: Path
    build: Path


Tool = Callable[[Setting], Iterator[Message]]


def main() -> int:
    """Run the tools and print the table; the exit status is 0 whatever they find."""
    parser = argparse.ArgumentParser(description="the same mutants under other tools")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--tree", choices=VERSIONS, default="6.12")
    parser.add_argument("--limit", type=int, default=8, help="of a kind")
    parser.add_argument("--files", type=int, default=12, help="units that have mutants")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--smatch", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--passes", type=int, default=2, help="for smatch's databases")
    parser.add_argument("--spatch", help="the command")
    parser.add_argument("--clang", help="the command")
    parser.add_argument("--sparse", help="the command")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/lockcheck"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    done: dict[str, Any] = {}
    if options.json is not None and options.json.exists():
        done = json.loads(options.json.read_text())
    tree = _kernel_tree(options.tree)
    config = Config(tree=tree, paths=PATHS, jobs=1, cache=options.cache, enable=ENABLED)
    places = Sources(tree.root)
    if "mutants" not in done:
        done["mutants"] = _choose(tree, config, options)
    mutants = [Mutant(*parts, tuple(map(tuple, lines))) for *parts, lines in done["mutants"]]
    files = sorted({mutant.file for mutant in mutants})
    _say(f"{len(mutants)} mutants in {len(files)} units")
    overlay = places.overlay(mutants)
    units = load_commands(tree, (*PATHS, *DEFINING)).commands
    chosen = tuple(unit for unit in units if unit.file in files)
    settings = []
    for name in ("clean", "broken"):
        root = options.work.absolute() / options.tree / name
        _copy(tree.root, root, overlay if name == "broken" else {})
        settings.append(Setting(root, chosen, tree.root, tree.build))

    def ours(setting: Setting) -> Iterator[Message]:
        broken = setting.root.name == "broken"
        cache = tempfile.mkdtemp(dir=options.work)
        asked = Config(tree=tree, paths=PATHS, jobs=1, cache=cache,
                       overlay=overlay if broken else {})  # fmt: skip
        report = session.analyse(asked)
        for found in report.findings:
            if found.rule_id in OURS:
                steps = (found.location, *(s.location for s in (*found.chain, *found.related)))
                names = " ".join(dict.fromkeys(f"{s.function}()" for s in steps if s.function))
                yield Message(found.location.file, found.location.line,
                              f"{found.message} [{found.rule_id}; {names}]")  # fmt: skip

    tools: dict[str, Tool] = {"lockcheck": ours}
    for number, named in enumerate(options.smatch):
        name, _, directory = named.partition("=")
        smatch = Smatch(Path(directory).absolute(), _run, _for_sparse, options.passes)
        if not number:
            maker = name
            tools[f"{name}{_DATABASE}"] = _smatch_database(smatch, name, units)
        tools[name] = _smatch(smatch, maker)
    if options.sparse:
        tools["sparse"] = _sparse(options.sparse)
    if options.spatch:
        tools["spatch, locks/*.cocci"] = _spatch(options.spatch)
    if options.clang:
        tools["clang -Wthread-safety"] = _clang(options.clang)
    for name, tool in tools.items():
        for setting in settings:
            key = f"{name} {setting.root.name}"
            if key not in done:
                _say(key)
                started, used = time.monotonic(), sum(os.times()[:4])
                messages = sorted(set(tool(setting)))
                done[key] = {
                    "messages": messages,
                    "seconds": time.monotonic() - started,
                    "used": sum(os.times()[:4]) - used,
                }
                if options.json is not None:
                    options.json.write_text(json.dumps(done, indent=1))
    text = _render(list(tools), done, mutants, places)
    print(text)
    if options.write:
        replace_part(PAGE, f"benchmarks/other_tools.py --tree {options.tree}", text)
    return 0


def _choose(tree: KernelTree, config: Config, options: argparse.Namespace) -> list[Mutant]:
    """Some mutants of each kind, all in different functions of a few units."""
    base, analysis = analyse_base(config)
    places = Places(tree.root, analysis)
    made = {kind: all_mutants(places, base, analysis, kind, options.seed) for kind in KINDS}
    counts = Counter(m.file for kind in made.values() for m in kind)
    files = {file for file, _ in counts.most_common(options.files)}
    return choose_apart(made, options.limit, options.seed, files)


def _copy(source: Path, root: Path, overlay: dict[str, bytes]) -> None:
    for directory in COPIED:
        shutil.rmtree(root / directory, ignore_errors=True)
        shutil.copytree(source / directory, root / directory)
    for file, contents in overlay.items():
        (root / file).write_bytes(contents)


# -- tools -----------------------------------------------------------------------------------------


def _arguments(unit: CompileCommand, drop: str) -> list[str]:
    """The arguments of a unit without those for clang, usable in any directory."""
    found = []
    for argument in unit.arguments:
        if re.match(drop, argument):
            continue
        prefix = "-I" if argument.startswith("-I") else ""
        path = argument.removeprefix(prefix)
        if path.startswith("./") or (prefix and path and not path.startswith("/")):
            argument = f"{prefix}{Path(unit.directory) / path}"
        found.append(argument)
    return found


def _run(command: Sequence[str], directory: Path | str) -> str:
    done = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    return done.stdout


def _messages(output: str, root: Path) -> Iterator[Message]:
    """The messages about locks and sleeping among the lines that a tool has printed."""
    for line in output.splitlines():
        found = _MESSAGE.match(line)
        if found is None or not _ABOUT.search(found["text"]) or _NOT_OURS.search(found["text"]):
            continue
        file = found["file"].removeprefix(f"{root}/")
        if not file.startswith("/"):
            yield Message(file, int(found["line"]), found["text"])


_FOR_CLANG = r"--target|-Wno-everything|-ferror-limit|-Qunused-arguments"


def _for_sparse(unit: CompileCommand) -> list[str]:
    return [*_SPARSE_FLAGS, *_arguments(unit, _FOR_CLANG)]


def _smatch_database(smatch: Smatch, name: str, units: Sequence[CompileCommand]) -> Tool:
    def run(setting: Setting) -> Iterator[Message]:
        place = _database(setting, name)
        shutil.rmtree(place, ignore_errors=True)
        if setting.root.name == "clean":
            smatch.make(place, setting.root, setting.source, units)
        else:
            base = _database(setting._replace(root=setting.root.with_name("clean")), name)
            smatch.update(place, base, setting.root, setting.units)
        return iter(())

    return run


def _smatch(smatch: Smatch, name: str) -> Tool:
    def run(setting: Setting) -> Iterator[Message]:
        for output in smatch.check(_database(setting, name), setting.root, setting.units):
            yield from _logical(_messages(output, setting.root), setting.root)

    return run


def _database(setting: Setting, name: str) -> Path:
    return setting.root.with_name(f"db-{setting.root.name}-{name.replace(' ', '-')}")


def _sparse(command: str) -> Tool:
    def run(setting: Setting) -> Iterator[Message]:
        for unit in setting.units:
            output = _run(
                [command, "-Wcontext", *_for_sparse(unit), str(setting.root / unit.file)],
                setting.root,
            )  # fmt: skip
            yield from _logical(_messages(output, setting.root), setting.root)

    return run


def _spatch(command: str) -> Tool:
    def run(setting: Setting) -> Iterator[Message]:
        for script in sorted((setting.source / "scripts" / "coccinelle" / "locks").glob("*.cocci")):
            stated = re.search(r"^// Options: (.*)$", script.read_text(), re.MULTILINE)
            for unit in setting.units:
                output = _run(
                    [command, "-D", "report", "--no-show-diff", "--very-quiet",
                     "--cocci-file", str(script), *(stated[1].split() if stated else ()),
                     str(setting.root / unit.file)], setting.root,
                )  # fmt: skip
                for message in _logical(_messages(output, setting.root), setting.root):
                    yield message._replace(text=f"{message.text} [{script.stem}]")

    return run


def _logical(messages: Iterator[Message], root: Path) -> Iterator[Message]:
    """Messages of tools that do not read #line, with the lines that it states."""
    for message in messages:
        yield message._replace(line=_line_of(root / message.file, message.line))


def _line_of(path: Path, physical: int) -> int:
    logical = 0
    for text in path.read_text("utf-8", "replace").split("\n")[:physical]:
        stated = re.match(r"#line (\d+)$", text)
        logical = int(stated[1]) - 1 if stated else logical + 1
    return logical


def _clang(command: str) -> Tool:
    def run(setting: Setting) -> Iterator[Message]:
        for unit in setting.units:
            output = _run(
                [command, "-fsyntax-only", *unit.arguments, "-Wthread-safety",
                 "-Wthread-safety-beta", str(setting.root / unit.file)], unit.directory,
            )  # fmt: skip
            yield from _messages(output, setting.root)

    return run


# -- the table -------------------------------------------------------------------------------------


def _render(named: list[str], done: dict[str, Any], mutants: list[Mutant], places: Sources) -> str:
    tools = [name for name in named if not name.endswith(_DATABASE)]
    found: dict[str, set[Mutant]] = {}
    others: dict[str, tuple[list[Message], list[Message]]] = {}
    for tool in tools:
        clean = [Message(*m) for m in done[f"{tool} clean"]["messages"]]
        broken = [Message(*m) for m in done[f"{tool} broken"]["messages"]]
        new = _new(clean, broken)
        found[tool] = {m for m in mutants if any(_is_about(n, m, places) for n in new)}
        left = [n for n in new if not any(_is_about(n, m, places) for m in mutants)]
        others[tool] = clean, left
    lines = [f"| kind | made | {' | '.join(tools)} |", "|---" * (len(tools) + 2) + "|"]
    for kind in KINDS:
        mine = [m for m in mutants if m.kind == kind]
        hits = " | ".join(str(sum(m in found[tool] for m in mine)) for tool in tools)
        lines.append(f"| {kind} | {len(mine)} | {hits} |")
    lines.append(f"| all | {len(mutants)} | "
                 f"{' | '.join(str(len(found[tool])) for tool in tools)} |")  # fmt: skip
    rows = (
        ("missed", lambda tool: len(mutants) - len(found[tool])),
        ("messages without mutants", lambda tool: len(others[tool][0])),
        ("new messages elsewhere", lambda tool: len(others[tool][1])),
        ("seconds without mutants", lambda tool: _seconds(done, f"{tool} clean")),
        ("seconds with mutants", lambda tool: _seconds(done, f"{tool} broken")),
        ("seconds for its database", lambda tool: _seconds(done, f"{tool}{_DATABASE} clean")),
        ("seconds to update it", lambda tool: _seconds(done, f"{tool}{_DATABASE} broken")),
    )
    lines += [
        f"| {title} | | {' | '.join(str(of(tool)) for tool in tools)} |" for title, of in rows
    ]
    for tool in tools:
        for title, messages in zip(
            ("without mutants", "new, elsewhere"), others[tool], strict=True
        ):
            if messages:
                lines += ["", f"{tool}, {title}:", ""]
                lines += [f"- {m.file}:{m.line} {_short(m.text)}" for m in messages]
    lines += ["", "Mutants, and who finds them:", "", "| mutant | found by |", "|---|---|"]
    for mutant in mutants:
        who = "; ".join(tool for tool in tools if mutant in found[tool]) or "nobody"
        lines.append(f"| {mutant.kind}, `{mutant.function}()` ({mutant.file}:{mutant.line}): "
                     f"{mutant.edit.replace('|', '¦')} | {who} |")  # fmt: skip
    return "\n".join(lines)


def _new(clean: list[Message], broken: list[Message]) -> list[Message]:
    """The messages with mutants that are not there without: not at their line, nor at another."""
    same = Counter((m.line, _meaning(m)) for m in clean)
    left = list(_without(broken, same, lambda m: (m.line, _meaning(m))))
    moved: Counter[Any] = Counter()
    for (_, meaning), count in same.items():
        moved[meaning] += count
    return list(_without(left, moved, _meaning))


def _without(
    messages: list[Message], known: Counter[Any], key: Callable[[Message], object]
) -> Iterator[Message]:
    """Messages, less as many of each key as are known; those that are met are taken from them."""
    for message in messages:
        if known[key(message)] > 0:
            known[key(message)] -= 1
        else:
            yield message


def _seconds(done: dict[str, Any], key: str) -> str:
    """Of a processor, and by the clock, which goes on while the machine does other things."""
    if key not in done:
        return "–"
    return f"{done[key]['used']:.0f} ({done[key]['seconds']:.0f})"


def _short(text: str) -> str:
    return re.sub(r"; [\w()@. ]*\]$", "]", text)


def _meaning(message: Message) -> tuple[str, str]:
    return message.file, re.sub(r"\d+", "", message.text)


def _is_about(message: Message, mutant: Mutant, places: Sources) -> bool:
    words = f" {message.text} ".translate(str.maketrans("]'", "  "))
    if f" {mutant.function}() " in words or f" imbalance in  {mutant.function} " in words:
        return True
    here = (places.root / message.file).read_text("utf-8", "replace").split("\n")
    if re.search(rf"\b{mutant.function}\(", "".join(here[message.line - 1 : message.line])):
        return True
    if message.file != mutant.file:
        return False
    function = places.source(mutant.file).functions[mutant.function]
    return function.start <= message.line <= function.last


if __name__ == "__main__":
    sys.exit(main())
