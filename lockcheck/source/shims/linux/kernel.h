
/*
 * lockcheck: without DEBUG_ATOMIC_SLEEP might_sleep() may expand to nothing. It asserts that the
 * context is not atomic, and it may sleep itself.
 */
#ifndef LOCKCHECK_KERNEL
#define LOCKCHECK_KERNEL
#ifdef might_sleep
extern int __lockcheck_in_atomic(void);
extern void __lockcheck_might_sleep(void);
extern void __lockcheck_broken_might_sleep(void)
	__attribute__((__noreturn__, annotate("lockcheck:noreturn")));
#undef might_sleep
#define might_sleep() \
	do { \
		if (__lockcheck_in_atomic()) \
			__lockcheck_broken_might_sleep(); \
		__lockcheck_might_sleep(); \
	} while (0)
#endif
#endif
