/*
 * Quiescence as liburcu's qsbr flavour has it on 64-bit machines (urcu_qsbr_synchronize_rcu and
 * urcu/static/urcu-qsbr.h of version 0.13), under the names of src/sync/qsbr.h.
 *
 * The model that includes this defines the cells GRACE (the counter, from 1) and READER(t) (what
 * thread t has seen of it; 0: offline).
 */

inline qsbr_online(t)
{
	store(t, READER(t), load(t, GRACE));
#ifndef NO_FENCE_ONLINE
	fence(t)
#endif
}

inline qsbr_offline(t)
{
	fence(t);
	store(t, READER(t), 0);
	fence(t)
}

inline qsbr_quiescent(t)
{
	if
	:: load(t, GRACE) == load(t, READER(t))
	:: else ->
		fence(t);
		store(t, READER(t), load(t, GRACE));
		fence(t)
	fi
}

/* hg_qsbr_wait() of thread t for the readers `first` to `last`. */
inline qsbr_wait(t, first, last, reader)
{
#ifndef NO_FENCE_WAIT
	fence(t);
#endif
	store(t, GRACE, load(t, GRACE) + 1);
#ifndef NO_FENCE_WAIT
	fence(t);
#endif
	reader = first;
	do
	:: reader <= last ->
		(load(t, READER(reader)) == 0 || load(t, READER(reader)) == load(t, GRACE));
		reader++
	:: else -> break
	od;
	reader = 0;
	fence(t)
}
