
/*
 * lockcheck: what BUG_ON() says cannot be is taken for what it says, also where the configuration
 * leaves it out. Nothing of it is evaluated.
 */
#ifndef LOCKCHECK_BUILD_BUG
#define LOCKCHECK_BUILD_BUG
extern void __lockcheck_claim(int so);
#ifdef BUILD_BUG_ON_INVALID
#undef BUILD_BUG_ON_INVALID
#define BUILD_BUG_ON_INVALID(e) __lockcheck_claim(!(e))
#endif
#endif
