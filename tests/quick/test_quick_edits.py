"""The quick way gives the facts that reading the whole unit gives, or none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from edits import Both, random_edit

from lockcheck.quick.reading import Command

HEADER = """\
#define LINE_HERE __LINE__
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define MIN(a, b) ({ int PASTE(min_, __COUNTER__) = (a); (b); })
union role {
	unsigned long word;
	struct {
		unsigned a : 4;
		unsigned b : 4;
	};
};
struct thing {
	int count;
	void (*act)(struct thing *thing);
	union { int left; int right; };
};
struct rare { int value; };
void note(int line);
static inline int far_away(struct thing *thing) { return thing->count; }
static inline int further(struct rare *rare) { return rare->value; }
"""
TEXT = """\
#include "x.h"

/*
 * Some text to begin with.
 */
static int counter;
static void later(struct thing *thing);

static int first(struct thing *thing)
{
	union role role = {0};

	role.a = 1;
	note(LINE_HERE);
	return far_away(thing) + MIN(1, 2);
}

static void act(struct thing *thing)
{
	static int seen;

	seen++;
	if (thing->left)
		later(thing);
	thing->count = MIN(3, 4);
}

static void later(struct thing *thing)
{
	note(LINE_HERE);
	counter += thing->count;
}

struct thing thing = {
	.act = act,
};

const struct thing fixed = {
	.count = 3,
	.act = later,
};

int last(void)
{
	int value = MIN(5, first(&thing));

	return value;
}
"""
ARGUMENTS = ("-std=gnu11", "--target=x86_64-linux-gnu", "-nostdinc", "-Wno-everything")


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    root = tmp_path.resolve()
    (root / "x.h").write_text(HEADER)
    (root / "x.c").write_text(TEXT)
    command = Command("x.c", str(root), ARGUMENTS)
    both = Both(root, command, frozenset(), frozenset())
    assert both.prepare(TEXT.encode())
    yield both
    both.editor.close()


def edited(old: str, new: str, text: str = TEXT) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/*\n", "\n\n/*\n"),
        ("static int first", "/* one { */\n\nstatic int first"),
        ("	role.a = 1;\n", "	role.a = 1;\n\n	role.b = 2;\n"),
        ("	role.a = 1;\n", ""),
        ("	role.a = 1;\n", "	counter = LINE_HERE;\n"),
        ("	if (thing->left)\n", "	if (thing->right)\n		/* } */\n"),
        ("	seen++;", "	seen--;"),
        ("MIN(3, 4)", "MIN(4, 3)"),
        ("	return value;", "	return value + far_away(&thing);"),
        ("union role role = {0};", "union role role = {.b = 1};"),
        ("union role role = {0};", "union role role = {};"),
    ],
)
def test_what_is_read_the_quick_way(both: Both, old: str, new: str) -> None:
    assert both.check(edited(old, new))
    assert both.check(TEXT.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("static int counter", "static long counter"),
        ("	.count = 3", "	.count = 4"),
        ("int last(void)", "int last(int a)"),
        ("static int first", "static int\nfirst"),  # only a line more, but within a declaration
        ("	role.a = 1;\n", "	role.a = ;\n"),
        ("	role.a = 1;\n", "	role.a = 1; }\n"),
        ("	role.a = 1;\n", "#define LINE_HERE 1\n"),
        ("	role.a = 1;\n", "	extern int other;\n"),
        ("	role.a = 1;\n", "	int other(void);\n"),
        ("	role.a = 1;\n", "	other();\n"),
        ("	role.a = 1;\n", "	later(thing), last();\n"),  # last() is declared further down
        ("MIN(1, 2)", "1"),  # the names that the counter makes change further down
        ("MIN(1, 2)", "further((struct rare *)0)"),  # nothing has reached it before
        ("/*\n * Some", "/*\n * Some */ /"),
    ],
)
def test_what_is_left_to_reading_in_full(both: Both, old: str, new: str) -> None:
    assert not both.check(edited(old, new))
    assert both.check(edited("	seen++;", "	seen--;"))  # it is still as good as it was


def test_edits_in_several_places(both: Both) -> None:
    text = edited("	seen++;", "	seen += 2;\n\n").decode()
    text = edited("	return value;", "\n	return 2 * value;", text).decode()
    text = edited("/*\n", "\n/*\n", text).decode()
    assert both.check(text.encode())
    assert both.check(edited("	role.a = 1;\n", "	role.a = 2;\n\n", text))


def test_a_header_that_changed(both: Both) -> None:
    (both.root / "x.h").write_text(HEADER + "\n")
    assert not both.check(edited("	seen++;", "	seen--;"))


def test_what_cannot_be_prepared(both: Both) -> None:
    text = edited("	seen++;", "	seen = ;")
    assert not both.prepare(text)
    assert not both.check(TEXT.encode())
    assert both.prepare(TEXT.encode())
    assert both.check(edited("	seen++;", "	seen--;"))


@pytest.mark.parametrize("seed", range(6))
def test_random_edits(both: Both, seed: int) -> None:
    """Whatever is typed: the facts are those of the text, or it is said that they are not known."""
    chance = random.Random(seed)
    good = TEXT.encode()
    for _ in range(12):
        text = random_edit(good, chance)
        if both.check(text):
            good = text
    assert both.taken >= 3


def test_the_process_may_die(both: Both) -> None:
    process = both.editor._process
    process.kill()
    process.join()
    assert not both.check(edited("	seen++;", "	seen--;"))
    assert both.prepare(TEXT.encode())
    assert both.check(edited("	seen++;", "	seen--;"))


def test_nothing_is_left_on_the_disk(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.editor.close()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    assert both.prepare(TEXT.encode())
    assert both.check(edited("	seen++;", "	seen--;"))
    both.editor.close()  # which kills the process

    assert list(scratch.iterdir()) == []
