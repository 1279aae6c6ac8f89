
/*
 * lockcheck: what a WARN() says cannot be is taken for what it says, as with any other assertion:
 * control does not go on from a warning.
 */
#ifndef LOCKCHECK_BUG
#define LOCKCHECK_BUG
extern void __lockcheck_warned(void)
	__attribute__((__noreturn__, annotate("lockcheck:noreturn")));
#ifdef __WARN_FLAGS
#undef __WARN_FLAGS
#define __WARN_FLAGS(flags) __lockcheck_warned()
#endif
#endif
