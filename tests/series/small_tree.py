"""A small kernel tree under git, and series of patches on it as git itself writes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

HEADER = """\
#ifndef BOX_H
#define BOX_H
#include <linux/kvm_host.h>
struct box {
	spinlock_t lock;
	unsigned long count;
	unsigned long size;
};
struct entry { void (*run)(struct box *b); };
static inline void box_grow(struct box *b)
{
	spin_lock(&b->lock);
	b->size++;
	spin_unlock(&b->lock);
}
#endif
"""
# Two units that are right, and one that the base has a finding in.
UNIT = """\
#include "box.h"

static void NAME_helper(struct box *b)
{
	b->count++;
}

static void NAME_run(struct box *b)
{
	spin_lock(&b->lock);
	NAME_helper(b);
	spin_unlock(&b->lock);
	box_grow(b);
}

struct entry NAME_entry = { NAME_run };
"""
BROKEN = """\
#include "box.h"

static void old_run(struct box *b)
{
	b->size = 0;
}

struct entry old_entry = { old_run };
"""
RULE = """\
id: box
title: A box is touched without its lock
rationale: A box is shared.
kind: guarded-data
where: {b: struct box *}
data: [b->count, b->size]
write: [{lock: b->lock}]
examples: {bad: b->count++;, good: spin_lock(&b->lock);}
"""
KBUILD = "obj-y := one.o two.o old.o\n"
LOCK = "\tspin_lock(&b->lock);\n"
UNLOCK = "\tspin_unlock(&b->lock);\n"

Files = Mapping[str, str | bytes | None]


def unit(name: str) -> str:
    return UNIT.replace("NAME", name)


class SmallTree:
    """`root` is a git work tree with one commit, `base`; `rule` is about its records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "tree"
        self.root.mkdir()
        self.rule = folder / "rule.yaml"
        self.rule.write_text(RULE)
        for name in ("Kbuild", "Kconfig", "Makefile", ".config"):
            shutil.copy(FIXTURES / name, self.root / name)
        shutil.copytree(FIXTURES / "include", self.root / "include")
        self.git("init", "-q", "-b", "base")
        self.write(
            {
                "box/box.h": HEADER,
                "box/one.c": unit("one"),
                "box/two.c": unit("two"),
                "box/old.c": BROKEN,
                "box/Kbuild": KBUILD,
                "box/README": "Boxes.\n",
            }
        )
        self.compile("one", "two", "old")
        self.commit_all("Boxes")
        self.git("tag", "v1")

    def compile(self, *units: str) -> None:
        """Name units in the compile database; `.` in front of a slash is another directory."""
        template = json.loads((FIXTURES / "compile_commands.json").read_text())[0]
        old = template["file"].removesuffix(".c")
        entries = [json.dumps(template).replace(old, f"box/{name}") for name in units]
        text = f"[{','.join(entries)}]"
        (self.root / "compile_commands.json").write_text(text)

    def write(self, files: Files) -> None:
        for name, content in files.items():
            path = self.root / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def edit(self, name: str, *changes: tuple[str, str]) -> str:
        """A file with places replaced, each of which must be there exactly once."""
        text = (self.root / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, (name, old, text.count(old))
            text = text.replace(old, new)
        return text

    def commit_all(self, subject: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)

    def commit(self, subject: str, files: Files) -> None:
        self.write(files)
        self.commit_all(subject)

    def mbox(self, *options: str, name: str = "series.mbox") -> Path:
        """The commits since the base as one mbox; the tree goes back to the base."""
        text = self.git("format-patch", "--stdout", *options, "v1..HEAD")
        path = self.folder / name
        path.write_bytes(text)
        self.git("checkout", "-q", "v1")
        return path

    def git(self, *words: str) -> bytes:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A U Thor",
            "GIT_AUTHOR_EMAIL": "author@example.com",
            "GIT_COMMITTER_NAME": "A U Thor",
            "GIT_COMMITTER_EMAIL": "author@example.com",
            "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
            "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
        }
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=environment, capture_output=True, check=True
        )
        return done.stdout
