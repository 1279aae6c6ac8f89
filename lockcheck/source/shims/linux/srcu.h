
/* lockcheck: the condition of an SRCU access, as a branch; see the text at the end of lockdep.h. */
#ifndef LOCKCHECK_SRCU
#define LOCKCHECK_SRCU
#include <linux/lockdep.h>
#if defined(srcu_dereference_check) && !defined(LOCKCHECK_PLAIN)
LOCKCHECK_BROKEN(srcu_dereference)
LOCKCHECK_BROKEN(srcu_dereference_check)
#undef srcu_dereference
#undef srcu_dereference_check
#define srcu_dereference(p, ssp) \
({ \
	LOCKCHECK_ASSERT(srcu_dereference, srcu_read_lock_held(ssp)); \
	rcu_dereference_raw(p); \
})
#define srcu_dereference_check(p, ssp, c) \
({ \
	LOCKCHECK_ASSERT(srcu_dereference_check, (c) || srcu_read_lock_held(ssp)); \
	rcu_dereference_raw(p); \
})
#endif
#endif
