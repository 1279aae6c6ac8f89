"""The patch of the thread on a 6.1 tree, and ways to get it wrong.

An edit replaces one place of a file. Anchors are a few words of the kernel's source, each of which
must occur exactly once, so that a tree that has moved on fails loudly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HEADER = "arch/x86/include/asm/kvm_page_track.h"
TRACK = "arch/x86/kvm/mmu/page_track.c"
X86 = "arch/x86/kvm/x86.c"
KVMGT = "drivers/gpu/drm/i915/gvt/kvmgt.c"


class Edit(NamedTuple):
    file: str
    old: str
    new: str


class Expected(NamedTuple):
    """A finding: its rule, the function it is reported in, and words of its message."""

    rule: str
    function: str
    words: tuple[str, ...]


class Variant(NamedTuple):
    name: str
    edits: tuple[Edit, ...]
    expected: tuple[Expected, ...]


def apply(root: Path, edits: Sequence[Edit]) -> dict[str, bytes]:
    """The edited files, by path relative to the tree."""
    texts: dict[str, str] = {}
    for edit in edits:
        text = texts.get(edit.file) or (root / edit.file).read_text("utf-8")
        count = text.count(edit.old)
        assert count == 1, f"{edit.file}: {count} places match {edit.old!r}"
        texts[edit.file] = text.replace(edit.old, edit.new)
    return {file: text.encode() for file, text in texts.items()}


_WALK = """\
	idx = srcu_read_lock(&head->track_srcu);
	hlist_for_each_entry_srcu(n, &head->track_notifier_list, node,
				  srcu_read_lock_held(&head->track_srcu))
		if (n->track_remove_slot)
			n->track_remove_slot(kvm, slot, n);
	srcu_read_unlock(&head->track_srcu, idx);
"""

_NOTIFY = """
void kvm_page_track_remove_slot(struct kvm *kvm, struct kvm_memory_slot *slot)
{
	struct kvm_page_track_notifier_head *head;
	struct kvm_page_track_notifier_node *n;
	int idx;

	head = &kvm->arch.track_notifier_head;

	if (hlist_empty(&head->track_notifier_list))
		return;

@WALK@}
"""

_HOOK_BODY = """\
	write_lock(&kvm->mmu_lock);
	for (i = 0; i < slot->npages; i++) {
		gfn = slot->base_gfn + i;
		if (kvmgt_gfn_is_write_protected(info, gfn)) {
			kvm_slot_page_track_remove_page(kvm, slot, gfn,
						KVM_PAGE_TRACK_WRITE);
			kvmgt_protect_table_del(info, gfn);
		}
	}
	write_unlock(&kvm->mmu_lock);
"""

_HOOK = """\
@BEFORE@static void kvmgt_page_track_remove_slot(struct kvm *kvm,
		struct kvm_memory_slot *slot,
		struct kvm_page_track_notifier_node *node)
{
	int i;
	gfn_t gfn;
	struct intel_vgpu *info =
		container_of(node, struct intel_vgpu, track_node);

@BODY@}

void intel_vgpu_detach_regions(struct intel_vgpu *vgpu)
"""

_HOOK_DECLARATION = """\
static void kvmgt_page_track_remove_slot(struct kvm *kvm,
		struct kvm_memory_slot *slot,
		struct kvm_page_track_notifier_node *node);

static ssize_t intel_vgpu_show_description("""


def patch(walk: str = _WALK, body: str = _HOOK_BODY, before: str = "") -> tuple[Edit, ...]:
    """The thread's series on 6.1: the hook, its call at commit, and KVMGT as its user."""
    return (
        Edit(
            HEADER,
            "};\n\nint kvm_page_track_init",
            "	void (*track_remove_slot)(struct kvm *kvm, struct kvm_memory_slot *slot,\n"
            "				  struct kvm_page_track_notifier_node *node);\n"
            "};\n\nint kvm_page_track_init",
        ),
        Edit(
            HEADER,
            "void kvm_page_track_flush_slot(",
            "void kvm_page_track_remove_slot(struct kvm *kvm, struct kvm_memory_slot *slot);\n"
            "void kvm_page_track_flush_slot(",
        ),
        Edit(
            TRACK,
            "/*\n * Notify the node that memory slot is being removed or moved",
            _NOTIFY.replace("@WALK@", walk).lstrip()
            + "\n/*\n * Notify the node that memory slot is being removed or moved",
        ),
        Edit(
            X86,
            "	if (!kvm->arch.n_requested_mmu_pages &&\n	    (change == KVM_MR_CREATE",
            "	if (change == KVM_MR_DELETE || change == KVM_MR_MOVE)\n"
            "		kvm_page_track_remove_slot(kvm, old);\n\n"
            "	if (!kvm->arch.n_requested_mmu_pages &&\n	    (change == KVM_MR_CREATE",
        ),
        Edit(KVMGT, "static ssize_t intel_vgpu_show_description(", _HOOK_DECLARATION),
        Edit(
            KVMGT,
            "	vgpu->track_node.track_flush_slot = kvmgt_page_track_flush_slot;\n",
            "	vgpu->track_node.track_flush_slot = kvmgt_page_track_flush_slot;\n"
            "	vgpu->track_node.track_remove_slot = kvmgt_page_track_remove_slot;\n",
        ),
        Edit(
            KVMGT,
            "void intel_vgpu_detach_regions(struct intel_vgpu *vgpu)\n",
            _HOOK.replace("@BODY@", body).replace("@BEFORE@", before),
        ),
    )


GFN, SRCU, SLEEP, TABLE = (
    "gfn-track-write",
    "track-notifier-srcu",
    "commit-hook-no-sleep",
    "gvt-protect-table",
)
HOOK = "kvmgt_page_track_remove_slot"
NOTIFY = "kvm_page_track_remove_slot"


def _without_lock(read: bool = False) -> str:
    lock, unlock = ("read_lock", "read_unlock") if read else ("", "")
    body = _HOOK_BODY
    for old, new in (("write_lock", lock), ("write_unlock", unlock)):
        line = f"	{old}(&kvm->mmu_lock);\n"
        body = body.replace(line, f"	{new}(&kvm->mmu_lock);\n" if new else "")
    return body


def _in_hook(statement: str) -> str:
    return f"	{statement}\n" + _HOOK_BODY


def _sleeps(name: str, statement: str, primitive: str, before: str = "") -> Variant:
    return Variant(
        name,
        patch(body=_in_hook(statement), before=before),
        (Expected(SLEEP, HOOK, (HOOK, primitive, "kvm_arch_commit_memory_region")),),
    )


_UNLOCKED = (
    Expected(GFN, HOOK, ("gfn_track", "kvm->mmu_lock held for write")),
    Expected(TABLE, HOOK, ("p->hnode", "kvm->mmu_lock")),
)
_UNWALKED = Expected(SRCU, NOTIFY, ("track_notifier_list", "head->track_srcu"))
# A walk that asserts its section itself: the rule relies on that, so the assertion is what fails.
_UNASSERTED = Expected("rcu-access", NOTIFY, ("list_for_each_entry_srcu", "track_srcu"))

_TWO_DEEP = """\
static void *kvmgt_new_entry(size_t size)
{
	return kzalloc(size, GFP_KERNEL);
}

static void kvmgt_remember_slot(struct intel_vgpu *info)
{
	kfree(kvmgt_new_entry(sizeof(struct kvmgt_pgfn)));
}

"""

_BY_FLAGS = """\
static void kvmgt_remember_slot(struct intel_vgpu *info, gfp_t flags)
{
	kfree(kzalloc(sizeof(struct kvmgt_pgfn), flags));
}

"""

_BY_POINTER = """\
struct kvmgt_slot_ops {
	void (*forget)(struct intel_vgpu *info);
};

static void kvmgt_forget(struct intel_vgpu *info)
{
	mutex_lock(&info->vgpu_lock);
	mutex_unlock(&info->vgpu_lock);
}

static const struct kvmgt_slot_ops kvmgt_slot_ops = {
	.forget = kvmgt_forget,
};

static const struct kvmgt_slot_ops *kvmgt_ops = &kvmgt_slot_ops;

"""

WRONG: tuple[Variant, ...] = (
    # the SRCU section of the walk
    Variant(
        "srcu_dropped",
        patch(
            _WALK.replace(
                "	idx = srcu_read_lock(&head->track_srcu);\n", "	idx = 0;\n"
            ).replace("	srcu_read_unlock(&head->track_srcu, idx);\n", "")
        ),
        (_UNASSERTED,),
    ),
    Variant(
        "srcu_of_the_vm_instead",
        patch(
            _WALK.replace(
                "srcu_read_lock(&head->track_srcu)", "srcu_read_lock(&kvm->srcu)"
            ).replace("srcu_read_unlock(&head->track_srcu", "srcu_read_unlock(&kvm->srcu")
        ),
        (_UNASSERTED,),
    ),
    Variant(
        "srcu_left_before_the_walk",
        patch(
            _WALK.replace("	srcu_read_unlock(&head->track_srcu, idx);\n", "").replace(
                "	hlist_for_each",
                "	srcu_read_unlock(&head->track_srcu, idx);\n	hlist_for_each",
            )
        ),
        (_UNASSERTED,),
    ),
    Variant(
        "rcu_instead_of_srcu",
        patch(
            _WALK.replace(
                "	idx = srcu_read_lock(&head->track_srcu);\n",
                "	idx = 0;\n	rcu_read_lock();\n",
            ).replace("	srcu_read_unlock(&head->track_srcu, idx);\n", "	rcu_read_unlock();\n")
        ),
        (_UNASSERTED,),
    ),
    Variant(
        "plain_safe_walk",
        patch(
            "	struct hlist_node *tmp;\n\n	idx = 0;\n"
            "	hlist_for_each_entry_safe(n, tmp, &head->track_notifier_list, node)\n"
            "		if (n->track_remove_slot)\n"
            "			n->track_remove_slot(kvm, slot, n);\n"
        ),
        (_UNWALKED,),
    ),
    Variant(
        "walk_by_hand",
        patch(
            "	struct hlist_node *p;\n\n	idx = 0;\n"
            "	for (p = head->track_notifier_list.first; p; p = p->next) {\n"
            "		n = container_of(p, struct kvm_page_track_notifier_node, node);\n"
            "		if (n->track_remove_slot)\n"
            "			n->track_remove_slot(kvm, slot, n);\n"
            "	}\n"
        ),
        (_UNWALKED,),
    ),
    # the lock of the counts
    Variant("lock_for_read", patch(body=_without_lock(read=True)), _UNLOCKED),
    Variant("lock_dropped", patch(body=_without_lock()), _UNLOCKED),
    Variant(
        "unlocked_too_early",
        patch(
            body=_HOOK_BODY.replace(
                "			kvm_slot_page_track_remove_page",
                "			write_unlock(&kvm->mmu_lock);\n"
                "			kvm_slot_page_track_remove_page",
            ).replace(
                "			kvmgt_protect_table_del",
                "			write_lock(&kvm->mmu_lock);\n			kvmgt_protect_table_del",
            )
        ),
        (Expected(GFN, HOOK, ("gfn_track", "kvm->mmu_lock held for write")),),
    ),
    Variant(
        "unlocked_when_a_flag_is_clear",
        patch(
            body=_HOOK_BODY.replace(
                "	write_lock(&kvm->mmu_lock);\n",
                "	if (info->active)\n		write_lock(&kvm->mmu_lock);\n",
            ).replace(
                "	write_unlock(&kvm->mmu_lock);\n",
                "	if (info->active)\n		write_unlock(&kvm->mmu_lock);\n",
            )
        ),
        _UNLOCKED,
    ),
    Variant(
        "write_once_is_no_lock",
        (
            *patch(body=_without_lock()),
            Edit(
                TRACK,
                "	slot->arch.gfn_track[mode][index] += count;\n",
                "	WRITE_ONCE(slot->arch.gfn_track[mode][index], val + count);\n",
            ),
        ),
        _UNLOCKED,
    ),
    Variant(
        "count_through_a_pointer",
        (
            *patch(body=_without_lock()),
            Edit(
                TRACK,
                "	slot->arch.gfn_track[mode][index] += count;\n",
                "	{\n		unsigned short *cnt = &slot->arch.gfn_track[mode][index];\n\n"
                "		*cnt += count;\n	}\n",
            ),
        ),
        _UNLOCKED,
    ),
    Variant(
        "plain_read_of_the_count",
        (
            *patch(),
            Edit(
                TRACK,
                "	return !!READ_ONCE(slot->arch.gfn_track[mode][index]);\n",
                "	return !!slot->arch.gfn_track[mode][index];\n",
            ),
        ),
        (Expected(GFN, "", ("read of slot->arch.gfn_track[mode][index]", "kvm->mmu_lock held")),),
    ),
    Variant(
        "count_updated_from_a_new_unlocked_place",
        (
            *patch(),
            Edit(
                X86,
                "	if (!kvm->arch.n_requested_mmu_pages &&\n	    (change == KVM_MR_CREATE",
                "	if (change == KVM_MR_DELETE)\n"
                "		kvm_slot_page_track_remove_page(kvm, old, old->base_gfn,\n"
                "						KVM_PAGE_TRACK_WRITE);\n"
                "	if (!kvm->arch.n_requested_mmu_pages &&\n	    (change == KVM_MR_CREATE",
            ),
        ),
        (Expected(GFN, "kvm_arch_commit_memory_region", ("gfn_track", "kvm->mmu_lock")),),
    ),
    # the list itself
    Variant(
        "registered_under_a_read_lock",
        (
            *patch(),
            Edit(
                TRACK,
                "	write_lock(&kvm->mmu_lock);\n	hlist_add_head_rcu(&n->node, "
                "&head->track_notifier_list);\n	write_unlock(&kvm->mmu_lock);\n",
                "	read_lock(&kvm->mmu_lock);\n	hlist_add_head_rcu(&n->node, "
                "&head->track_notifier_list);\n	read_unlock(&kvm->mmu_lock);\n",
            ),
        ),
        (
            Expected(
                SRCU,
                "kvm_page_track_register_notifier",
                ("hlist_add_head_rcu()", "kvm->mmu_lock held for write", "for read"),
            ),
        ),
    ),
    Variant(
        "unregistered_without_a_lock",
        (
            *patch(),
            Edit(
                TRACK,
                "	write_lock(&kvm->mmu_lock);\n	hlist_del_rcu(&n->node);\n"
                "	write_unlock(&kvm->mmu_lock);\n",
                "	hlist_del_rcu(&n->node);\n",
            ),
        ),
        (Expected(SRCU, "kvm_page_track_unregister_notifier", ("n->node", "mmu_lock")),),
    ),
    # sleeping in the hook
    _sleeps(
        "mutex_in_the_hook",
        "mutex_lock(&info->vgpu_lock);\n	mutex_unlock(&info->vgpu_lock);",
        "mutex_lock(&info->vgpu_lock)",
    ),
    _sleeps("gfp_kernel_in_the_hook", "kfree(kzalloc(64, GFP_KERNEL));", "kzalloc()"),
    _sleeps("two_calls_deep", "kvmgt_remember_slot(info);", "kzalloc()", _TWO_DEEP),
    _sleeps("flags_by_parameter", "kvmgt_remember_slot(info, GFP_KERNEL);", "kzalloc()", _BY_FLAGS),
    _sleeps(
        "behind_a_second_pointer",
        "kvmgt_ops->forget(info);",
        "mutex_lock(&info->vgpu_lock)",
        _BY_POINTER,
    ),
    _sleeps("might_sleep", "might_sleep();", "might_sleep()"),
    _sleeps("msleep", "msleep(1);", "msleep()"),
    _sleeps("grace_period", "synchronize_srcu(&kvm->srcu);", "synchronize_srcu()"),
    _sleeps(
        "user_memory",
        "if (copy_to_user((void __user *)slot->userspace_addr, &i, 1))\n		return;",
        "copy_to_user()",
    ),
    _sleeps("cond_resched", "cond_resched();", "cond_resched()"),
    _sleeps("kvmalloc", "kvfree(kvmalloc(1 << 20, GFP_KERNEL_ACCOUNT));", "kvmalloc"),
    _sleeps("vmalloc", "kvfree(vzalloc(1 << 20));", "vzalloc()"),
    _sleeps(
        "semaphore",
        "down_read(&kvm->mm->mmap_lock);\n	up_read(&kvm->mm->mmap_lock);",
        "down_read(",
    ),
)

_FLAG = (
    ("struct kvm_memory_slot *slot,\n				  struct kvm_page_track_notifier_node *node)",
     "struct kvm_memory_slot *slot,\n				  struct kvm_page_track_notifier_node *node,"
     " bool may_sleep)"),
    ("		struct kvm_memory_slot *slot,\n		struct kvm_page_track_notifier_node *node)",
     "		struct kvm_memory_slot *slot,\n		struct kvm_page_track_notifier_node *node,"
     " bool may_sleep)"),
)  # fmt: skip


def _with_flag(passed: str) -> tuple[Edit, ...]:
    """The hook gets a flag that tells whether it may sleep, and takes a mutex if so."""
    edits = patch(
        _WALK.replace("(kvm, slot, n)", f"(kvm, slot, n, {passed})"),
        _in_hook(
            "if (may_sleep) {\n		mutex_lock(&info->vgpu_lock);\n"
            "		mutex_unlock(&info->vgpu_lock);\n	}"
        ),
    )
    changed = []
    for edit in edits:
        new = edit.new
        for old, flagged in _FLAG:
            new = new.replace(old, flagged)
        changed.append(edit._replace(new=new))
    return tuple(changed)


WRONG += (
    Variant(
        "hook_called_through_a_local",
        patch(
            _WALK.replace(
                "		if (n->track_remove_slot)\n			n->track_remove_slot(kvm, slot, n);\n",
                "	{\n		void (*fn)(struct kvm *, struct kvm_memory_slot *,\n"
                "			   struct kvm_page_track_notifier_node *) = "
                "READ_ONCE(n->track_remove_slot);\n\n		if (fn)\n"
                "			fn(kvm, slot, n);\n	}\n",
            ),
            _in_hook("mutex_lock(&info->vgpu_lock);\n	mutex_unlock(&info->vgpu_lock);"),
        ),
        (Expected(SLEEP, HOOK, ("mutex_lock(&info->vgpu_lock)",)),),
    ),
    Variant(
        "two_sleepers",
        patch(
            body=_in_hook(
                "kfree(kzalloc(64, GFP_KERNEL));\n	mutex_lock(&info->vgpu_lock);\n"
                "	mutex_unlock(&info->vgpu_lock);"
            )
        ),
        (Expected(SLEEP, HOOK, ("mutex_lock(",)), Expected(SLEEP, HOOK, ("kzalloc()",))),
    ),
    Variant(
        "hook_told_that_it_may_sleep",
        _with_flag("true"),
        (Expected(SLEEP, HOOK, ("mutex_lock(&info->vgpu_lock)",)),),
    ),
    Variant(
        "only_the_lock_line_removed",
        patch(body=_HOOK_BODY.replace("	write_lock(&kvm->mmu_lock);\n", "")),
        _UNLOCKED,
    ),
)

RIGHT: tuple[Variant, ...] = (
    Variant("hook_told_not_to_sleep", _with_flag("false"), ()),
    Variant("patch", patch(), ()),
    Variant("gfp_atomic", patch(body=_in_hook("kfree(kzalloc(64, GFP_ATOMIC));")), ()),
    Variant(
        "atomic_flags_by_parameter",
        patch(body=_in_hook("kvmgt_remember_slot(info, GFP_ATOMIC);"), before=_BY_FLAGS),
        (),
    ),
    Variant(
        "trylock",
        patch(
            body=_in_hook(
                "if (mutex_trylock(&info->vgpu_lock))\n		mutex_unlock(&info->vgpu_lock);"
            )
        ),
        (),
    ),
    Variant(
        "walk_under_the_lock_of_the_writers",
        patch(
            "	idx = 0;\n	write_lock(&kvm->mmu_lock);\n"
            "	hlist_for_each_entry(n, &head->track_notifier_list, node)\n"
            "		kvm->arch.n_requested_mmu_pages += !!n->track_remove_slot;\n"
            "	write_unlock(&kvm->mmu_lock);\n"
        ),
        (),
    ),
)

WRONG_6_12: tuple[Variant, ...] = (
    Variant(
        "count_updated_under_a_read_lock",
        (
            Edit(
                TRACK,
                "	write_lock(&kvm->mmu_lock);\n	__kvm_write_track_add_gfn(kvm, slot, gfn);\n"
                "	write_unlock(&kvm->mmu_lock);\n",
                "	read_lock(&kvm->mmu_lock);\n	__kvm_write_track_add_gfn(kvm, slot, gfn);\n"
                "	read_unlock(&kvm->mmu_lock);\n",
            ),
        ),
        # __kvm_write_track_add_gfn() asserts the lock, and the rule relies on that.
        (
            Expected(
                "lock-assertion",
                "kvm_write_track_add_gfn",
                ("lockdep_assert_held_write", "for read"),
            ),
        ),
    ),
)
