"""A rule of the user's over a struct that no built-in rule knows, from file to report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lockcheck.config import Config
from lockcheck.findings.model import Report, StepKind
from lockcheck.session import analyse
from lockcheck.source.tree import find_tree

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

CODE = """\
#include <linux/kvm_host.h>

struct box;
struct box_ops { void (*commit)(struct box *b); void (*tick)(struct box *b); };
struct box {
	spinlock_t lock; rwlock_t names_lock; struct srcu_struct srcu;
	unsigned long count; int *names; struct list_head items;
	const struct box_ops *ops; unsigned long ticks[4];
};

BODY
"""
COMMON = """\
title: A box is touched without its lock
level: error
cwe: [CWE-667]
rationale: A box is shared.
examples: {bad: b->count++;, good: spin_lock(&b->lock);}
"""
COUNT = f"""\
id: box-count
{COMMON}kind: guarded-data
where: {{b: struct box *}}
data: [b->count]
write: [{{lock: b->lock}}]
read: [{{lock: b->lock}}]
lock-free: [once]
"""
NAMES = f"""\
id: box-names
{COMMON}kind: guarded-data
where: {{b: struct box *}}
data: ['b->names[*]']
write: [{{lock: b->names_lock, mode: write}}]
read: [{{lock: b->names_lock, mode: read}}, {{lock: b->srcu, mode: read}}]
"""
EITHER = f"""\
id: box-ticks
{COMMON}kind: guarded-data
where: {{b: struct box *}}
data: ['b->ticks[*]']
one-lock-of: [{{lock: b->lock}}, {{lock: b->names_lock, mode: write}}]
"""
HOOK = f"""\
id: box-hook
{COMMON}kind: hook-no-sleep
from: box_commit
through: [struct box_ops]
"""
# Nobody here calls what these fields hold: entry points.
ENTRIES = "\nstruct entry { void (*run)(struct box *b); };\n"


class Bench:
    """A copy of the fixture tree with one more unit, box.c."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        shutil.copytree(FIXTURES, self.root)
        self.folder = folder
        self.lines: list[str] = []

    def check(self, body: str, *rules: str, enable: tuple[str, ...] = ()) -> Report:
        text = CODE.replace("BODY", ENTRIES + body)
        self.lines = text.splitlines()
        (self.root / "box").mkdir(exist_ok=True)
        (self.root / "box/box.c").write_text(text)
        database = self.root / "compile_commands.json"
        entries = json.loads(database.read_text())
        extra = json.loads(json.dumps(entries[0]).replace(entries[0]["file"][:-2], "box/box"))
        database.write_text(json.dumps([*entries, extra]))
        for number, rule in enumerate(rules):
            (self.folder / f"{number}.yaml").write_text(rule)
        return analyse(
            Config(
                tree=find_tree(self.root),
                paths=("box/box.c",),
                rules=tuple(str(self.folder / f"{n}.yaml") for n in range(len(rules))),
                enable=enable,
            )
        )

    def found(self, report: Report) -> list[tuple[str, str]]:
        """(rule, the source line) of each finding."""
        assert report.complete, report.notices
        return [(f.rule_id, self.lines[f.location.line - 1].strip()) for f in report.findings]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- guarded data ------------------------------------------------------------------------------


def test_violated(bench: Bench) -> None:
    body = """
static void bad(struct box *b)
{
	b->count++;
}
struct entry e = { bad };"""
    report = bench.check(body, COUNT)

    assert bench.found(report) == [("box-count", "b->count++;")]
    (finding,) = report.findings
    assert "update of b->count needs b->lock" in finding.message
    assert finding.level == "error"
    assert finding.location.file == "box/box.c"
    assert finding.location.function == "bad"
    assert [step.kind for step in finding.chain] == [StepKind.ENTRY, StepKind.ACCESS]
    (count,) = (line for line in report.ledger if line.origin == "box-count")
    assert (count.proved, count.violated, count.unproved) == (0, 1, 0)


def test_rule_that_is_off_by_default(bench: Bench) -> None:
    body = "static void bad(struct box *b) { b->count++; } struct entry e = { bad };"
    rule = COUNT.replace("level: error", "level: error\ndefault: off")

    assert bench.found(bench.check(body, rule)) == []
    report = bench.check(body, rule, enable=("box-count",))
    assert [name for name, _ in bench.found(report)] == ["box-count"]


def test_fine(bench: Bench) -> None:
    body = """
static void inner(struct box *b) { b->count++; }
static void good(struct box *b)
{
	spin_lock(&b->lock);
	inner(b);
	b->count = 3;
	spin_unlock(&b->lock);
	if (READ_ONCE(b->count))
		return;
}
struct entry e = { good };"""
    report = bench.check(body, COUNT)

    assert bench.found(report) == []
    (count,) = (line for line in report.ledger if line.origin == "box-count")
    assert (count.proved, count.violated, count.unproved) == (2, 0, 0)


def test_violated_by_a_caller_is_reported_at_the_caller(bench: Bench) -> None:
    body = """
static void inner(struct box *b) { b->count++; }
static void good(struct box *b) { spin_lock(&b->lock); inner(b); spin_unlock(&b->lock); }
static void bad(struct box *b)
{
	inner(b);
}
struct entry e = { good }, f = { bad };"""
    report = bench.check(body, COUNT)

    assert bench.found(report) == [("box-count", "inner(b);")]
    assert "bad() calls inner() without it" in report.findings[0].message


def test_unproved_without_a_caller(bench: Bench) -> None:
    report = bench.check("void lonely(struct box *b) { b->count++; }", COUNT)

    assert bench.found(report) == []
    (count,) = (line for line in report.ledger if line.origin == "box-count")
    assert (count.proved, count.violated, count.unproved) == (0, 0, 1)


def test_lock_of_another_box(bench: Bench) -> None:
    body = """
static void two(struct box *b, struct box *c)
{
	spin_lock(&c->lock);
	b->count++;
	spin_unlock(&c->lock);
}
struct pair { void (*run)(struct box *b, struct box *c); } e = { two };"""

    assert bench.found(bench.check(body, COUNT)) == [("box-count", "b->count++;")]


def test_object_that_nobody_else_knows(bench: Bench) -> None:
    body = """
struct box *the_box;
static void make(struct box *b)
{
	struct box *mine = kmalloc(sizeof(*mine), GFP_KERNEL);
	if (!mine)
		return;
	mine->count = 0;
	the_box = mine;
	mine->count = 1;
}
struct entry e = { make };"""

    assert bench.found(bench.check(body, COUNT)) == [("box-count", "mine->count = 1;")]


def test_modes(bench: Bench) -> None:
    body = """
static void readers(struct box *b, int i)
{
	int idx;

	read_lock(&b->names_lock);
	i = b->names[i];
	b->names[i] = 1;
	read_unlock(&b->names_lock);
	idx = srcu_read_lock(&b->srcu);
	i = b->names[i];
	srcu_read_unlock(&b->srcu, idx);
	b->names = NULL;
}
static void reader(struct box *b)
{
	readers(b, 1);
}
static void writer(struct box *b)
{
	write_lock(&b->names_lock);
	b->names[0] = b->names[1];
	write_unlock(&b->names_lock);
}
struct entry e = { reader }, f = { writer };"""
    report = bench.check(body, NAMES)

    assert bench.found(report) == [("box-names", "b->names[i] = 1;")]
    assert "held for write" in report.findings[0].message
    assert "for read" in report.findings[0].message


def test_read_without_any_of_two_locks_names_both(bench: Bench) -> None:
    body = """
static void bad(struct box *b)
{
	use(b->names[3]);
}
struct entry e = { bad };"""
    report = bench.check("void use(int n);" + body, NAMES)

    assert bench.found(report) == [("box-names", "use(b->names[3]);")]
    assert "b->names_lock" in report.findings[0].message
    assert "b->srcu" in report.findings[0].message


def test_one_lock_of_is_the_writers_lock(bench: Bench) -> None:
    body = """
static void writer(struct box *b)
{ spin_lock(&b->lock); b->ticks[0]++; b->ticks[1]++; spin_unlock(&b->lock); }
static void again(struct box *b) { spin_lock(&b->lock); b->ticks[2] = 0; spin_unlock(&b->lock); }
void use(unsigned long n);
static void reader(struct box *b)
{
	write_lock(&b->names_lock);
	use(b->ticks[0]);
	write_unlock(&b->names_lock);
}
struct entry e = { writer }, f = { reader }, g = { again };"""
    report = bench.check(body, EITHER)

    assert bench.found(report) == [("box-ticks", "use(b->ticks[0]);")]


# -- hooks -------------------------------------------------------------------------------------


def test_hook_rule(bench: Bench) -> None:
    body = """
struct mutex m;
static void sleepy(struct box *b)
{
	mutex_lock(&m);
	mutex_unlock(&m);
}
static void quick(struct box *b) { spin_lock(&b->lock); spin_unlock(&b->lock); }
static const struct box_ops one = { .commit = sleepy }, two = { .commit = quick, .tick = sleepy };
void box_commit(struct box *b) { b->ops->commit(b); }"""
    report = bench.check(body, HOOK)

    assert bench.found(report) == [("box-hook", "mutex_lock(&m);")]
    (finding,) = report.findings
    assert "sleepy() may sleep" in finding.message
    assert [step.kind for step in finding.chain] == [
        StepKind.ENTRY,
        StepKind.CALL,
        StepKind.SLEEP,
    ]


# -- rules that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("b->count]", "b->cuont]", "struct box has no field 'cuont'"),
        ("struct box *", "struct bxo *", "uses struct bxo"),
        ("write: [{lock: b->lock}]", "write: [{lock: b->lokc}]", "has no field 'lokc'"),
    ],
)
def test_user_rule_that_does_not_fit_is_an_error(
    bench: Bench, old: str, new: str, words: str
) -> None:
    assert old in COUNT
    body = "static void bad(struct box *b) { b->count++; } struct entry e = { bad };"
    report = bench.check(body, COUNT.replace(old, new))

    assert not report.complete
    errors = [n for n in report.notices if n.severity == "error"]
    assert [n.code for n in errors] == ["rule-not-applicable"]
    assert words in errors[0].message
    assert errors[0].file is not None and errors[0].file.endswith("0.yaml")


def test_user_hook_rule_whose_function_is_not_there(bench: Bench) -> None:
    report = bench.check("void f(struct box *b) { }", HOOK)

    assert not report.complete
    assert "box_commit() is not in the units read" in " ".join(n.message for n in report.notices)


def test_built_in_rule_that_does_not_fit_is_no_error(bench: Bench) -> None:
    report = bench.check("void f(struct box *b) { b->count++; }")

    assert report.complete
    assert {n.severity for n in report.notices} <= {"note"}


def test_report_is_the_same_each_time(bench: Bench, tmp_path: Path) -> None:
    body = """
static void bad(struct box *b)
{
	b->count++;
	b->names[1] = 2;
}
struct entry e = { bad };"""
    first = bench.check(body, COUNT, NAMES)
    second = bench.check(body, COUNT, NAMES)

    assert bench.found(first) == [
        ("box-count", "b->count++;"),
        ("box-names", "b->names[1] = 2;"),
    ]
    assert first.findings == second.findings


def test_fingerprints_do_not_hang_on_lines(bench: Bench) -> None:
    body = "static void bad(struct box *b)\n{\n\tb->count++;\n}\nstruct entry e = { bad };"
    first = bench.check(body, COUNT)
    second = bench.check("/* moved */\n\n" + body, COUNT)

    (one,), (two,) = first.findings, second.findings
    assert one.location.line + 2 == two.location.line
    assert one.fingerprint == two.fingerprint
