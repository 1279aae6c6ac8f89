
/* lockcheck: what a function promises of locks, as text; sparse and clang see it as attributes. */
#ifndef LOCKCHECK_CONTRACTS
#define LOCKCHECK_CONTRACTS
#ifdef __must_hold
#undef __must_hold
#undef __acquires
#undef __releases
#define __must_hold(...) __attribute__((annotate("lockcheck:must_hold:" #__VA_ARGS__)))
#define __acquires(...) __attribute__((annotate("lockcheck:acquires:" #__VA_ARGS__)))
#define __releases(...) __attribute__((annotate("lockcheck:releases:" #__VA_ARGS__)))
#endif
#ifdef __must_hold_shared
#undef __must_hold_shared
#define __must_hold_shared(...) __attribute__((annotate("lockcheck:must_hold_shared:" #__VA_ARGS__)))
#endif
#ifdef __acquires_shared
#undef __acquires_shared
#undef __releases_shared
#define __acquires_shared(...) __attribute__((annotate("lockcheck:acquires:" #__VA_ARGS__)))
#define __releases_shared(...) __attribute__((annotate("lockcheck:releases:" #__VA_ARGS__)))
#endif
#ifdef __guarded_by
#undef __guarded_by
#define __guarded_by(...) __attribute__((annotate("lockcheck:guarded_by:" #__VA_ARGS__)))
#endif
#endif
