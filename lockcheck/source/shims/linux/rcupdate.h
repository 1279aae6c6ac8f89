
/* lockcheck: the conditions of RCU accesses, as branches; see the text at the end of lockdep.h. */
#ifndef LOCKCHECK_RCUPDATE
#define LOCKCHECK_RCUPDATE
#include <linux/lockdep.h>

LOCKCHECK_BROKEN(rcu_lockdep_warn)
LOCKCHECK_BROKEN(rcu_dereference)
LOCKCHECK_BROKEN(rcu_dereference_check)
LOCKCHECK_BROKEN(rcu_dereference_protected)
LOCKCHECK_BROKEN(lockdep_assert_in_rcu)

extern int __lockcheck_rcu_read_lock_held(void);
extern int __lockcheck_rcu_read_lock_bh_held(void);
extern int __lockcheck_rcu_read_lock_sched_held(void);
extern int __lockcheck_rcu_read_lock_any_held(void);

#ifndef LOCKCHECK_PLAIN
#undef RCU_LOCKDEP_WARN
#define RCU_LOCKDEP_WARN(c, s) LOCKCHECK_ASSERT(rcu_lockdep_warn, !(c))

#ifdef __rcu_dereference_check
#undef __rcu_dereference_check
#define __rcu_dereference_check(p, local, c, space) \
({ \
	typeof(*p) *local = (typeof(*p) *__force)READ_ONCE(p); \
	LOCKCHECK_ASSERT(rcu_dereference_check, c); \
	((typeof(*p) __force __kernel *)(local)); \
})
#endif
#ifdef __rcu_dereference_protected
#undef __rcu_dereference_protected
#define __rcu_dereference_protected(p, local, c, space) \
({ \
	LOCKCHECK_ASSERT(rcu_dereference_protected, c); \
	((typeof(*p) __force __kernel *)(p)); \
})
#endif
#endif

#ifdef __rcu_dereference_check
#undef rcu_dereference
#define rcu_dereference(p) \
({ \
	LOCKCHECK_ASSERT(rcu_dereference, __lockcheck_rcu_read_lock_held()); \
	rcu_dereference_raw(p); \
})
#endif

#ifdef lockdep_assert_in_rcu_read_lock
#undef lockdep_assert_in_rcu_read_lock
#undef lockdep_assert_in_rcu_read_lock_bh
#undef lockdep_assert_in_rcu_read_lock_sched
#undef lockdep_assert_in_rcu_reader
#define lockdep_assert_in_rcu_read_lock() \
	LOCKCHECK_ASSERT(lockdep_assert_in_rcu, __lockcheck_rcu_read_lock_held())
#define lockdep_assert_in_rcu_read_lock_bh() \
	LOCKCHECK_ASSERT(lockdep_assert_in_rcu, __lockcheck_rcu_read_lock_bh_held())
#define lockdep_assert_in_rcu_read_lock_sched() \
	LOCKCHECK_ASSERT(lockdep_assert_in_rcu, __lockcheck_rcu_read_lock_sched_held())
#define lockdep_assert_in_rcu_reader() \
	LOCKCHECK_ASSERT(lockdep_assert_in_rcu, __lockcheck_rcu_read_lock_any_held())
#endif

#endif
