"""The thread's series on a 6.1 tree, patch by patch, and ways to get single patches wrong.

Written from scratch for these tests; see `variants` for how edits work.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from variants import HEADER, KVMGT, TRACK, X86, Edit, patch

MMU, MMU_H = "arch/x86/kvm/mmu/mmu.c", "arch/x86/kvm/mmu.h"


class Patch(NamedTuple):
    subject: str
    edits: tuple[Edit, ...]


_HOOK_EDITS = tuple(edit for edit in patch() if edit.file != KVMGT)
ADD = Patch("KVM: x86: add a new page track hook track_remove_slot", _HOOK_EDITS)

SWITCH = Patch(
    "drm/i915/gvt: switch from track_flush_slot to track_remove_slot",
    (
        Edit(
            KVMGT,
            "static void kvmgt_page_track_flush_slot(struct kvm *kvm,\n"
            "		struct kvm_memory_slot *slot,\n"
            "		struct kvm_page_track_notifier_node *node);\n",
            "static void kvmgt_page_track_remove_slot(struct kvm *kvm,\n"
            "		struct kvm_memory_slot *slot,\n"
            "		struct kvm_page_track_notifier_node *node);\n",
        ),
        Edit(
            KVMGT,
            "track_node.track_flush_slot = kvmgt_page_track_flush_slot;",
            "track_node.track_remove_slot = kvmgt_page_track_remove_slot;",
        ),
        Edit(
            KVMGT,
            "static void kvmgt_page_track_flush_slot(struct kvm *kvm,\n"
            "		struct kvm_memory_slot *slot,\n"
            "		struct kvm_page_track_notifier_node *node)\n",
            "static void kvmgt_page_track_remove_slot(struct kvm *kvm,\n"
            "		struct kvm_memory_slot *slot,\n"
            "		struct kvm_page_track_notifier_node *node)\n",
        ),
    ),
)

_FLUSH = "void kvm_page_track_flush_slot(struct kvm *kvm, struct kvm_memory_slot *slot)\n{\n"


def remove(track: str) -> Patch:
    """The last patch; `track` is the text of page_track.c before it."""
    start = track.index(_FLUSH)
    start = track.rindex("\n/*\n", 0, start)
    end = track.index("\n}\n", start) + 3
    return Patch(
        "KVM: x86: remove the unused page track hook track_flush_slot",
        (
            Edit(
                HEADER,
                "	void (*track_flush_slot)(struct kvm *kvm, struct kvm_memory_slot *slot,\n"
                "			    struct kvm_page_track_notifier_node *node);\n",
                "",
            ),
            Edit(
                HEADER,
                "void kvm_page_track_flush_slot(struct kvm *kvm, struct kvm_memory_slot *slot);\n",
                "",
            ),
            Edit(TRACK, track[start:end], ""),
            Edit(
                MMU, "	node->track_flush_slot = kvm_mmu_invalidate_zap_pages_in_memslot;\n", ""
            ),
            Edit(
                MMU,
                "static void kvm_mmu_invalidate_zap_pages_in_memslot(struct kvm *kvm,\n"
                "			struct kvm_memory_slot *slot,\n"
                "			struct kvm_page_track_notifier_node *node)\n"
                "{\n	kvm_mmu_zap_all_fast(kvm);\n}\n\n",
                "",
            ),
            Edit(
                MMU,
                "static void kvm_mmu_zap_all_fast(struct kvm *kvm)\n",
                "void kvm_mmu_zap_all_fast(struct kvm *kvm)\n",
            ),
            Edit(
                MMU_H,
                "void kvm_mmu_sync_roots(struct kvm_vcpu *vcpu);\n",
                "void kvm_mmu_sync_roots(struct kvm_vcpu *vcpu);\n"
                "void kvm_mmu_zap_all_fast(struct kvm *kvm);\n",
            ),
            Edit(
                X86,
                "	kvm_page_track_flush_slot(kvm, slot);\n",
                "	kvm_mmu_zap_all_fast(kvm);\n",
            ),
        ),
    )


def _hook_body(old: str, new: str) -> Edit:
    """An edit inside of the hook of KVMGT, which SWITCH has renamed."""
    begin = (
        "		container_of(node, struct intel_vgpu, track_node);\n\n"
        "	write_lock(&kvm->mmu_lock);\n	for (i"
    )
    assert old in begin
    return Edit(KVMGT, begin, begin.replace(old, new))


SLEEPS = Patch(
    "drm/i915/gvt: keep the vGPU while a slot goes",
    (
        _hook_body(
            "	write_lock(&kvm->mmu_lock);\n",
            "	mutex_lock(&info->vgpu_lock);\n	mutex_unlock(&info->vgpu_lock);\n"
            "	write_lock(&kvm->mmu_lock);\n",
        ),
    ),
)
SLEEPS_NO_MORE = Patch(
    "drm/i915/gvt: do not sleep while a slot goes",
    tuple(Edit(edit.file, edit.new, edit.old) for edit in SLEEPS.edits),
)


class Branch:
    """A git repository of only the files that a series touches, as the tree has them."""

    def __init__(self, folder: Path, tree: Path, files: Sequence[str]) -> None:
        self.root = folder
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes((tree / file).read_bytes())
        self.git("init", "-q", "-b", "base")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "base")
        self.git("tag", "v1")

    def text(self, file: str) -> str:
        return (self.root / file).read_text("utf-8")

    def commit(self, patch: Patch) -> None:
        for edit in patch.edits:
            text = self.text(edit.file)
            count = text.count(edit.old)
            assert count == 1, f"{edit.file}: {count} places match {edit.old!r}"
            (self.root / edit.file).write_text(text.replace(edit.old, edit.new), "utf-8")
        self.git("commit", "-q", "-a", "-m", patch.subject)

    def mbox(self, path: Path) -> Path:
        path.write_bytes(self.git("format-patch", "--stdout", "--cover-letter", "v1..HEAD"))
        return path

    def git(self, *words: str) -> bytes:
        names = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "A U Thor"), ("EMAIL", "author@example.com"))
        }
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root), **names}
        return subprocess.run(
            ["git", *words], cwd=self.root, env=environment, capture_output=True, check=True
        ).stdout
