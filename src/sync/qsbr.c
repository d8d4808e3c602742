/*
 * liburcu is built without ThreadSanitizer, which therefore sees none of its barriers. Under TSan
 * each call also states the two orderings that a grace period gives, so that the checker knows
 * exactly those and no more:
 *
 *   what a reader did before a quiescent state, control sees after hg_qsbr_wait();
 *   what control did before hg_qsbr_wait(), a reader sees after its next quiescent state.
 */
#include "sync/qsbr.h"

#include <urcu/urcu-qsbr.h>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

#ifdef UNDER_TSAN
#include <sanitizer/tsan_interface.h>

static char by_reader, by_control; /* only their addresses matter */

static void state_release(char *by)
{
    __tsan_release(by);
}

static void state_acquire(char *by)
{
    __tsan_acquire(by);
}
#else
#define state_release(by) ((void)0)
#define state_acquire(by) ((void)0)
#endif

void hg_qsbr_register(void)
{
    urcu_qsbr_register_thread();
    state_acquire(&by_control);
}

void hg_qsbr_unregister(void)
{
    state_release(&by_reader);
    urcu_qsbr_unregister_thread();
}

void hg_qsbr_quiescent(void)
{
    state_release(&by_reader);
    urcu_qsbr_quiescent_state();
    state_acquire(&by_control);
}

void hg_qsbr_offline(void)
{
    state_release(&by_reader);
    urcu_qsbr_thread_offline();
}

void hg_qsbr_online(void)
{
    urcu_qsbr_thread_online();
    state_acquire(&by_control);
}

void hg_qsbr_wait(void)
{
    state_release(&by_control);
    urcu_qsbr_synchronize_rcu();
    state_acquire(&by_reader);
}
