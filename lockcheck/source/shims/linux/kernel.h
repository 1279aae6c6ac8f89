
/* lockcheck: without DEBUG_ATOMIC_SLEEP might_sleep() may expand to nothing. */
#ifndef LOCKCHECK_KERNEL
#define LOCKCHECK_KERNEL
#ifdef might_sleep
extern void __lockcheck_might_sleep(void);
#undef might_sleep
#define might_sleep() __lockcheck_might_sleep()
#endif
#endif
