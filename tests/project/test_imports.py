"""Imports point one way: from later stages of the pipeline to earlier ones.

source → parse → lower → facts → call graph → lock state → rules → findings → report

Two names sit elsewhere in the order of imports than in the order of the work. `facts` is what
`lower` makes, so `lower` imports its types; `findings` is what `rules` makes, likewise.
"""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from sources import imports, modules, name_of

# What anybody may use: it knows nothing of the work.
LEAVES = frozenset({"__version__", "child", "errors"})

# Part of the package → the parts that it may import, beside LEAVES and itself; and why no more.
ALLOWED: dict[str, tuple[frozenset[str], str]] = {
    "__version__": (frozenset(), "a leaf"),
    "child": (frozenset(), "a leaf"),
    "errors": (frozenset(), "a leaf"),
    "yamlfile": (frozenset(), "reads any data file, whatever is in it"),
    "progress": (frozenset(), "is told, asks nobody"),
    "beside": (frozenset(), "runs a function in a process, whatever it does"),
    "facts": (frozenset(), "plain data: parsed and cached without any knowledge of locks"),
    "source": (frozenset(), "finds files and flags; what they mean is for later"),
    "parse": (frozenset(), "wraps libclang, knows no kernel"),
    "models": (frozenset({"facts", "yamlfile"}), "data about primitives, not about what is wrong"),
    "config": (frozenset({"source"}), "names the tree; otherwise plain values"),
    "lower": (
        frozenset({"facts", "parse"}),
        "AST to facts: the same facts serve every rule and every model, and are cached",
    ),
    "quick": (
        frozenset({"facts", "parse", "lower"}),
        "what lowering would give after an edit, for less",
    ),
    "queries": (frozenset(), "keeps answers, whatever they are about"),
    "callgraph": (frozenset({"facts", "models", "queries"}), "who calls whom, from facts alone"),
    "lockstate": (
        frozenset({"facts", "models", "queries", "callgraph"}),
        "what is held where; what should be held is for rules",
    ),
    "findings": (frozenset(), "plain data and suppressions: rules make them, reports show them"),
    "rules": (
        frozenset({"facts", "models", "queries", "callgraph", "lockstate", "findings", "yamlfile"}),
        "query states; never the source, which facts stand for",
    ),
    "report": (frozenset({"findings"}), "only renders: everything it says is in the Report"),
    "inturn": (frozenset(), "keeps an order, whatever is told in it"),
    "lastrun": (
        frozenset({"config", "source", "parse", "lower", "facts", "models"}),
        "finds what may be of use again; whether it is, is for whoever reads units",
    ),
    "units": (
        frozenset(
            {
                *("config", "progress", "source", "lower", "quick", "facts", "models"),
                *("inturn", "lastrun"),
            }
        ),
        "from file contents to facts; what is asked of them is for others",
    ),
    "kept": (
        frozenset({"queries", "lockstate"}),
        "answers on disk: which objects are each run's own is for lock states to tell",
    ),
    "runs": (
        frozenset({"config", "facts", "kept", "stamp", "models", "callgraph", "rules"}),
        "what is known already when rules are checked; what came of it is for whoever asked",
    ),
    "workspace": (
        frozenset(
            {
                *("beside", "config", "progress", "source", "models", "lastrun", "units"),
                *("runs", "callgraph", "rules", "findings"),
            }
        ),
        "one configuration, checked as often as contents change",
    ),
    "early": (
        frozenset({"config", "facts", "models", "lastrun", "runs", "rules"}),
        "a question put to the units of the last run; whether these are the ones is told later",
    ),
    "session": (
        frozenset(
            {
                *("beside", "config", "progress", "source", "lastrun", "units"),
                *("early", "workspace", "rules", "findings"),
            }
        ),
        "one run; how it is shown is for whoever asked",
    ),
    "stamp": (frozenset(), "looks at the program's own files"),
    "oneunit": (
        frozenset(
            {
                *("config", "stamp", "source", "facts", "models", "lastrun"),
                *("rules", "findings", "session"),
            },
        ),
        "runs the session on what the cache knows: which units those are is the store's to tell",
    ),
    "series": (
        frozenset({"config", "progress", "source", "findings", "workspace"}),
        "from patches to states of the tree, and from their reports to a verdict",
    ),
    "exitstatus": (frozenset(), "how a command ends, whichever it is"),
    "cli_options": (
        frozenset({"config", "source"}),
        "options that commands share: what they stand for, before anything runs",
    ),
    "cli_configurations": (
        frozenset({"config", "progress", "findings", "session", "cli_outputs"}),
        "what --build given twice means, for the commands that take it so",
    ),
    "message": (
        frozenset({"config", "progress", "findings", "series"}),
        "one mail is a series of one patch",
    ),
    "cli_b4": (
        frozenset({"progress", "findings", "report", "message", "stamp", "exitstatus"})
        | {"cli_options", "cli_outputs"},
        "one command: what b4 wants of a check",
    ),
    "cli_baseline": (
        frozenset({"findings", "report", "exitstatus", "cli_options", "cli_configurations"}),
        "one command, and one option of `check`: what is new is for findings to tell",
    ),
    "cli_kbuild": (
        frozenset({"config", "source", "findings", "report", "oneunit", "exitstatus"})
        | {"cli_options", "cli_outputs"},
        "one command: what kbuild wants of a checker",
    ),
    "cli_outputs": (
        frozenset({"source", "cli_options"}),
        "options that commands share: where results go",
    ),
    "cli_series": (
        frozenset(
            {
                *("progress", "findings", "report", "series"),
                *("exitstatus", "cli_options", "cli_outputs"),
            }
        ),
        "one command: options and exit status",
    ),
    "cli_ledger": (
        frozenset({"progress", "findings", "report", "session", "exitstatus", "cli_options"}),
        "one command: options and exit status",
    ),
    "cli_cache": (
        frozenset({"facts", "kept", "cli_options"}),
        "one command: what the store says of itself",
    ),
    "cli_questions": (
        frozenset(
            {"config", "progress", "rules", "report", "session", "exitstatus", "cli_options"}
        ),
        "two commands: options and exit status",
    ),
    "lsp": (
        frozenset({"config", "source", "workspace", "rules", "findings", "report"}),
        "another front end: asks a workspace, and places in its program",
    ),
    "cli_lsp": (
        frozenset({"lsp", "exitstatus", "cli_options"}),
        "one command: options and exit status",
    ),
    "cli_order": (
        frozenset({"report", "exitstatus", "cli_options", "cli_questions"}),
        "one command: asks as the other questions do",
    ),
    "cli": (
        frozenset(
            {
                *("config", "progress", "source", "rules", "findings", "report", "session"),
                *("exitstatus", "cli_options", "cli_outputs", "cli_cache", "cli_configurations"),
                *("cli_b4", "cli_baseline", "cli_kbuild"),
                *("cli_ledger", "cli_lsp", "cli_order", "cli_questions", "cli_series"),
            }
        ),
        "options and exit status: no stage is driven from here but through the session",
    ),
}

# Third-party module → the only places that import it, so that it can be replaced there.
CONFINED = {
    "clang": {"parse", "source.doctor"},
    "click": {
        *("cli", "cli_options", "cli_outputs", "cli_b4", "cli_baseline", "cli_kbuild"),
        *("cli_cache", "cli_ledger", "cli_lsp", "cli_order", "cli_questions", "cli_series"),
        "exitstatus",
    },
    "lsprotocol": {"lsp"},
    "networkx": {"callgraph", "lockstate", "rules.order_questions"},
    "pebble": {"lower.worker"},
    "pycparser": {"rules", "lower.contracts"},
    "pygls": {"lsp"},
    "rich": {"progress", "report.ledger_table"},
    "ruamel": {"yamlfile"},
    "sarif_om": {"report.sarif"},
    "unidiff": {"series.diffs"},
}

MODULES = [pytest.param(path, id=name_of(path)) for path in modules()]


def part_of(name: str) -> str:
    """Return the part of the package that a dotted name belongs to: `source`, `cli`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__version__"


def test_every_part_has_its_place() -> None:
    assert {part_of(name_of(path)) for path in modules()} <= set(ALLOWED)


def test_there_is_an_order() -> None:
    """Raises CycleError when the table itself goes in a circle."""
    graph = {part: allowed | (LEAVES - {part}) for part, (allowed, _) in ALLOWED.items()}
    for leaf in LEAVES:
        graph[leaf] = frozenset()
    assert set(TopologicalSorter(graph).static_order()) == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(name_of(path))
    allowed, reason = ALLOWED[part]
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for line, name in imports(path)
        if name.split(".")[0] == "lockcheck" and part_of(name) not in allowed | LEAVES | {part}
    ]
    assert wrong == [], f"{part}: {reason}"


@pytest.mark.parametrize("path", MODULES)
def test_third_party_modules_stay_in_their_place(path: Path) -> None:
    name = name_of(path).removeprefix("lockcheck.")
    for line, imported in imports(path):
        places = CONFINED.get(imported.split(".")[0])
        if places is not None:
            inside = any(name == place or name.startswith(f"{place}.") for place in places)
            assert inside, f"{name}:{line} imports {imported}, which belongs to {places}"
