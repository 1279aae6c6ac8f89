
/* lockcheck: libclang shows no cleanup and no noreturn attribute, but it shows annotations. */
#ifndef LOCKCHECK_COMPILER_ATTRIBUTES
#define LOCKCHECK_COMPILER_ATTRIBUTES
#ifdef __cleanup
#undef __cleanup
#define __cleanup(func) \
	__attribute__((__cleanup__(func))) __attribute__((annotate("lockcheck:cleanup:" #func)))
#endif
#ifdef __noreturn
#undef __noreturn
#define __noreturn __attribute__((__noreturn__, annotate("lockcheck:noreturn")))
#endif
#endif
