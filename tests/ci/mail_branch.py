"""A git tree with a bad patch and a harmless one, for tests of what checks mail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures"
GOOD = ("read_lock(&kvm->mmu_lock);\n\tif (gfn_is", "write_lock(&kvm->mmu_lock);\n\tif (gfn_is")


class Branch:
    """A git tree whose last two commits are a bad patch and a harmless one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "linux"
        self.root.mkdir()
        for name in (".config", "Kbuild", "Kconfig", "Makefile", "compile_commands.json"):
            shutil.copy(FIXTURES / name, self.root)
        for name in ("demo", "include"):
            shutil.copytree(FIXTURES / name, self.root / name)
        self.git("init", "-q", "-b", "main")
        unit = self.root / "demo" / "kvmgt.c"
        bad = unit.read_text()
        unit.write_text(bad.replace(*GOOD).replace("read_unlock", "write_unlock"))
        self.commit("base")
        unit.write_text(bad)
        self.commit("hold it for read only")
        (self.root / "demo" / "x86.c").open("a").write("/* harmless */\n")
        self.commit("a comment")
        self.git("format-patch", "-q", "--cover-letter", "-o", str(folder / "out"), "-2")
        self.cover, self.bad, self.good = sorted((folder / "out").iterdir())

    def commit(self, subject: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)

    @property
    def environment(self) -> dict[str, str]:
        who = {
            f"GIT_{w}_{k}": "a@example.org"
            for w in ("AUTHOR", "COMMITTER")
            for k in ("NAME", "EMAIL")
        }
        bin_directory = Path(sys.executable).parent
        places = {"HOME": str(self.folder)}
        places |= {f"XDG_{n}_HOME": str(self.folder / n.lower()) for n in ("CACHE", "DATA")}
        return {**os.environ, **who, **places, "PATH": f"{bin_directory}:{os.environ['PATH']}"}

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.root, env=self.environment, check=True)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command in the tree, with both streams as one."""
        return subprocess.run(
            words,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def check(self, mail: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-m", "lockcheck.cli", "b4", *options]
        return subprocess.run(
            words, cwd=self.root, env=self.environment, input=mail, capture_output=True, check=False
        )
