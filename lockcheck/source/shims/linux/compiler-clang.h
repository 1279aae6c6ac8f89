
/* lockcheck: compiler-clang.h defines __cleanup() once more. */
#ifndef LOCKCHECK_COMPILER_CLANG
#define LOCKCHECK_COMPILER_CLANG
#ifdef __cleanup
#undef __cleanup
#define __cleanup(func) \
	__attribute__((__cleanup__(func))) __attribute__((annotate("lockcheck:cleanup:" #func)))
#endif
#endif
