
/* lockcheck: without PREEMPT_COUNT these expand to barriers, with it to assembly. */
#ifndef LOCKCHECK_PREEMPT
#define LOCKCHECK_PREEMPT
#ifdef preempt_disable
extern void __lockcheck_preempt_disable(void);
extern void __lockcheck_preempt_enable(void);
#undef preempt_disable
#undef preempt_enable
#undef preempt_enable_no_resched
#undef sched_preempt_enable_no_resched
#undef preempt_disable_notrace
#undef preempt_enable_notrace
#undef preempt_enable_no_resched_notrace
#define preempt_disable() __lockcheck_preempt_disable()
#define preempt_enable() __lockcheck_preempt_enable()
#define preempt_enable_no_resched() __lockcheck_preempt_enable()
#define sched_preempt_enable_no_resched() __lockcheck_preempt_enable()
#define preempt_disable_notrace() __lockcheck_preempt_disable()
#define preempt_enable_notrace() __lockcheck_preempt_enable()
#define preempt_enable_no_resched_notrace() __lockcheck_preempt_enable()
#endif
#ifdef in_interrupt
/* The count of what is entered is a per-CPU variable: asked by name, models can tell. */
extern int __lockcheck_in_irq(void);
extern int __lockcheck_in_softirq(void);
extern int __lockcheck_in_interrupt(void);
extern int __lockcheck_in_handler(void);
extern int __lockcheck_counted(void);
#undef in_irq
#undef in_hardirq
#undef in_softirq
#undef in_interrupt
#undef in_task
#undef in_atomic
#define in_irq() __lockcheck_in_irq()
#define in_hardirq() __lockcheck_in_irq()
#define in_softirq() __lockcheck_in_softirq()
#define in_interrupt() __lockcheck_in_interrupt()
#define in_task() (!__lockcheck_in_handler())
#define in_atomic() __lockcheck_counted()
#endif
#ifdef preemptible
extern int __lockcheck_preemption_disabled(void);
#undef preemptible
#define preemptible() (!__lockcheck_preemption_disabled())
#endif
#endif
