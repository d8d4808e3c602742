#include "sync/qsbr.h"

#include <urcu/urcu-qsbr.h>

void hg_qsbr_register(void)
{
    urcu_qsbr_register_thread();
}

void hg_qsbr_unregister(void)
{
    urcu_qsbr_unregister_thread();
}

void hg_qsbr_quiescent(void)
{
    urcu_qsbr_quiescent_state();
}

void hg_qsbr_offline(void)
{
    urcu_qsbr_thread_offline();
}

void hg_qsbr_online(void)
{
    urcu_qsbr_thread_online();
}

void hg_qsbr_wait(void)
{
    urcu_qsbr_synchronize_rcu();
}
