"""Assertions for the small programs of `programs`, and how they end."""

from __future__ import annotations

from lockcheck.lockstate.analysis import Analysis
from lockcheck.rules.assertions import AssertionAnalysis, Instance

# What the header shims make of the kernel's assertions.
ASSERTIONS = """\
#define BROKEN(origin) extern void __lockcheck_broken_##origin(void) \\
	__attribute__((__noreturn__, annotate("lockcheck:noreturn")));
#define ASSERT(origin, cond) do { if (!(cond)) __lockcheck_broken_##origin(); } while (0)
BROKEN(lockdep_assert) BROKEN(lockdep_assert_held) BROKEN(might_sleep) BROKEN(rcu_dereference)
BROKEN(lockdep_assert_held_write) BROKEN(lockdep_assert_held_read) BROKEN(lockdep_assert_not_held)
extern int __lockcheck_is_held(const volatile void *lock);
extern int __lockcheck_is_held_type(const volatile void *lock, int read);
extern int __lockcheck_in_atomic(void); extern int __lockcheck_preemption_disabled(void);
extern int __lockcheck_rcu_read_lock_held(void);
#define is_held(l) __lockcheck_is_held(l)
#define assert_that(cond) ASSERT(lockdep_assert, cond)
#define assert_held(l) ASSERT(lockdep_assert_held, __lockcheck_is_held(l))
#define assert_write(l) ASSERT(lockdep_assert_held_write, __lockcheck_is_held_type((l), 0))
#define assert_read(l) ASSERT(lockdep_assert_held_read, __lockcheck_is_held_type((l), 1))
#define assert_not_held(l) ASSERT(lockdep_assert_not_held, !__lockcheck_is_held(l))
#define might_sleep() ASSERT(might_sleep, !__lockcheck_in_atomic())
struct file { void *private; };
struct file_operations { long (*unlocked_ioctl)(struct thing *); int (*mmap)(struct thing *); };
"""

PROVED, VIOLATED, UNPROVED = "proved", "violated", "unproved"


def ending(instance: Instance) -> str:
    """How one promise ended, in the ledger's words."""
    if instance.broken or instance.violations:
        return VIOLATED
    return UNPROVED if instance.unproved else PROVED


def endings(found: Analysis) -> list[str]:
    """How the promises of a program ended, in source order."""
    return [ending(instance) for instance in AssertionAnalysis(found).instances()]


def gaps(found: Analysis) -> list[str]:
    """Why promises are unproved."""
    return [r.text for i in AssertionAnalysis(found).instances() for r in i.unproved]
