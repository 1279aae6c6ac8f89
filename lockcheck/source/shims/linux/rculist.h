
/* lockcheck: the condition of a list walk, as a branch; see the text at the end of lockdep.h. */
#ifndef LOCKCHECK_RCULIST
#define LOCKCHECK_RCULIST
#include <linux/lockdep.h>
#if defined(__list_check_rcu) && !defined(LOCKCHECK_PLAIN)
LOCKCHECK_BROKEN(list_for_each_entry_rcu)
LOCKCHECK_BROKEN(list_for_each_entry_srcu)
#undef __list_check_rcu
#undef __list_check_srcu
#define __list_check_rcu(dummy, cond, extra...) \
({ \
	LOCKCHECK_ASSERT(list_for_each_entry_rcu, \
			 (cond) || __lockcheck_rcu_read_lock_any_held()); \
})
#define __list_check_srcu(cond) ({ LOCKCHECK_ASSERT(list_for_each_entry_srcu, cond); })
#endif
#endif
