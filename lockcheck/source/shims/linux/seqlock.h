
/*
 * lockcheck: whether a sequence counter's writer turns preemption off, by the type of the counter:
 * the front end does not say what a _Generic selects.
 */
#ifndef LOCKCHECK_SEQLOCK
#define LOCKCHECK_SEQLOCK
#ifdef seqprop_preemptible
#undef seqprop_preemptible
#define seqprop_preemptible(s) \
	__builtin_types_compatible_p(__typeof__(*(s)), seqcount_mutex_t)
#endif
#endif
