
/*
 * lockcheck: assertions as branches. Whether a lock is held is asked of a marker function, and the
 * branch on which it is not ends in another one, named after the assertion. So what a condition
 * says is decided like every other branch, in any configuration; LOCKCHECK_PLAIN leaves conditions
 * out that do not compile in this one.
 */
#ifndef LOCKCHECK_LOCKDEP
#define LOCKCHECK_LOCKDEP

#define LOCKCHECK_BROKEN(origin) \
	extern void __lockcheck_broken_##origin(void) \
		__attribute__((__noreturn__, annotate("lockcheck:noreturn")));
#define LOCKCHECK_ASSERT(origin, cond) \
	do { if (!(cond)) __lockcheck_broken_##origin(); } while (0)

LOCKCHECK_BROKEN(lockdep_assert)
LOCKCHECK_BROKEN(lockdep_assert_held)
LOCKCHECK_BROKEN(lockdep_assert_held_write)
LOCKCHECK_BROKEN(lockdep_assert_held_read)
LOCKCHECK_BROKEN(lockdep_assert_held_once)
LOCKCHECK_BROKEN(lockdep_assert_not_held)
LOCKCHECK_BROKEN(lockdep_assert_irqs_enabled)
LOCKCHECK_BROKEN(lockdep_assert_irqs_disabled)
LOCKCHECK_BROKEN(lockdep_assert_in_irq)
LOCKCHECK_BROKEN(lockdep_assert_no_hardirq)
LOCKCHECK_BROKEN(lockdep_assert_preemption_enabled)
LOCKCHECK_BROKEN(lockdep_assert_preemption_disabled)
LOCKCHECK_BROKEN(lockdep_assert_in_softirq)

extern int __lockcheck_is_held(const volatile void *lock);
extern int __lockcheck_is_held_type(const volatile void *lock, int read);
extern int __lockcheck_irqs_disabled(void);
extern int __lockcheck_in_irq(void);
extern int __lockcheck_preemption_disabled(void);
extern int __lockcheck_in_softirq(void);

#undef lockdep_is_held
#undef lockdep_is_held_type
#define lockdep_is_held(lock) __lockcheck_is_held(lock)
#define lockdep_is_held_type(lock, r) __lockcheck_is_held_type((lock), (r))

#ifndef LOCKCHECK_PLAIN
#undef lockdep_assert
#undef lockdep_assert_once
#define lockdep_assert(cond) LOCKCHECK_ASSERT(lockdep_assert, cond)
#define lockdep_assert_once(cond) LOCKCHECK_ASSERT(lockdep_assert, cond)
#endif

#undef lockdep_assert_held
#undef lockdep_assert_held_write
#undef lockdep_assert_held_read
#undef lockdep_assert_held_once
#undef lockdep_assert_not_held
#define lockdep_assert_held(l) LOCKCHECK_ASSERT(lockdep_assert_held, __lockcheck_is_held(l))
#define lockdep_assert_held_write(l) \
	LOCKCHECK_ASSERT(lockdep_assert_held_write, __lockcheck_is_held_type((l), 0))
#define lockdep_assert_held_read(l) \
	LOCKCHECK_ASSERT(lockdep_assert_held_read, __lockcheck_is_held_type((l), 1))
#define lockdep_assert_held_once(l) \
	LOCKCHECK_ASSERT(lockdep_assert_held_once, __lockcheck_is_held(l))
#define lockdep_assert_not_held(l) \
	LOCKCHECK_ASSERT(lockdep_assert_not_held, !__lockcheck_is_held(l))

#undef lockdep_assert_irqs_enabled
#undef lockdep_assert_irqs_disabled
#undef lockdep_assert_in_irq
#undef lockdep_assert_no_hardirq
#undef lockdep_assert_preemption_enabled
#undef lockdep_assert_preemption_disabled
#undef lockdep_assert_in_softirq
#define lockdep_assert_irqs_enabled() \
	LOCKCHECK_ASSERT(lockdep_assert_irqs_enabled, !__lockcheck_irqs_disabled())
#define lockdep_assert_irqs_disabled() \
	LOCKCHECK_ASSERT(lockdep_assert_irqs_disabled, __lockcheck_irqs_disabled())
#define lockdep_assert_in_irq() \
	LOCKCHECK_ASSERT(lockdep_assert_in_irq, __lockcheck_in_irq())
#define lockdep_assert_no_hardirq() \
	LOCKCHECK_ASSERT(lockdep_assert_no_hardirq, \
			 !__lockcheck_in_irq() && !__lockcheck_irqs_disabled())
#define lockdep_assert_preemption_enabled() \
	LOCKCHECK_ASSERT(lockdep_assert_preemption_enabled, !__lockcheck_preemption_disabled())
#define lockdep_assert_preemption_disabled() \
	LOCKCHECK_ASSERT(lockdep_assert_preemption_disabled, __lockcheck_preemption_disabled())
#define lockdep_assert_in_softirq() \
	LOCKCHECK_ASSERT(lockdep_assert_in_softirq, __lockcheck_in_softirq())

#endif
