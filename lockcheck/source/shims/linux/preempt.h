
/* lockcheck: without PREEMPT_COUNT these expand to barriers, with it to assembly. */
#ifndef LOCKCHECK_PREEMPT
#define LOCKCHECK_PREEMPT
#ifdef preempt_disable
extern void __lockcheck_preempt_disable(void);
extern void __lockcheck_preempt_enable(void);
#undef preempt_disable
#undef preempt_enable
#undef preempt_enable_no_resched
#undef preempt_disable_notrace
#undef preempt_enable_notrace
#undef preempt_enable_no_resched_notrace
#define preempt_disable() __lockcheck_preempt_disable()
#define preempt_enable() __lockcheck_preempt_enable()
#define preempt_enable_no_resched() __lockcheck_preempt_enable()
#define preempt_disable_notrace() __lockcheck_preempt_disable()
#define preempt_enable_notrace() __lockcheck_preempt_enable()
#define preempt_enable_no_resched_notrace() __lockcheck_preempt_enable()
#endif
#endif
