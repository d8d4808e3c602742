/*
 * How a worker goes to sleep and is woken: by a guest that publishes work and then looks whether it must
 * signal, and by control that exchanges the set of pollers, pauses a ring or stops the worker. The
 * mirror of it, a device that publishes used buffers and a guest that asks for an interrupt, is the
 * same protocol with the parts exchanged. docs/models.md says which line of the program each step is.
 *
 * Properties
 *   - whenever nothing moves any more, all work has been taken, or the worker has been stopped;
 *   - an order is carried out: control does not wait for ever;
 *   - a set of pollers is not touched after it has been freed.
 *
 * Run by tools/model:
 *   holds                       notifications by flags
 *   holds    EVENT_IDX          notifications by event index
 *   holds    NO_LOOK_AT_ORDERS  the look at orders before the wait saves a wait and nothing else
 *   refuted  NO_FENCE_WORKER    the worker asks, then looks, without a barrier in between
 *   refuted  NO_FENCE_GUEST     the guest publishes, then looks, without a barrier in between
 *   refuted  NO_RECHECK         the worker asks and sleeps without another look
 *   refuted  EVENT_IDX,NO_RECHECK  the same by event index
 *   refuted  LOSE_EDGES         a signal counts only for a wait that is under way
 *   refuted  SIGNAL_FIRST       control signals before it stores its order
 *   refuted  ONLINE_SLEEP       the worker sleeps without going offline
 *   refuted  FREE_AT_ONCE       the old set is freed without a grace period
 *   refuted  DISARM_OLD_SET     a woken worker disarms the set that it armed
 *   refuted  NO_KICK            no kick follows when a paused ring is shown again
 *   holds    ANSWERS            work needs translations, which control answers
 *   refuted  ANSWERS,NO_FENCE_WAITING  the worker says that it waits, then looks, without a barrier
 *   refuted  ANSWERS,NO_FENCE_CONTROL  control answers, then looks who waits, without a barrier
 *   refuted  ANSWERS,NO_SECOND_LOOK    the worker says that it waits and sleeps without another look
 *   refuted  ANSWERS,CLEAR_BEHIND_KICK control clears the flag after the kick instead of before
 */

#define GUEST 0
#define WORKER 1
#define CONTROL 2
#define THREADS 3

#define AVAIL 0		/* the guest's index of published work */
#define WISH 1		/* what the worker asked for: flag or event index */
#define SET 2		/* which set of pollers is in force: 1 or 2 */
#define STOP 3
#define LIVE 4		/* the ring is not paused */
#define GRACE 5
#define READER(t) (5 + (t))	/* 6: the worker's */
#define ANSWERED 7	/* how many items have their translation */
#define WAITING 8	/* the worker sleeps until more of them have */
#define CELLS 9

#ifdef ANSWERS
#define WORK 2
#else
#define WORK 3		/* items that the guest publishes */
#endif

#define REACHED(t, a, v) skip

#include "tso.pml"
#include "qsbr.pml"

bool freed[3];		/* sets */
byte taken;		/* items that the worker has taken */
bool ended;		/* the worker has */

/* --- eventfds and epoll: the kernel's locks make them sequentially consistent ---------------------- */

bool raised;		/* the kick descriptor's counter is not 0; nobody reads it */
bool watched[3];	/* a set's duplicate of it is in the epoll set */
bool edge[3];		/* epoll has something to report for: 0 the worker's event, else a set's duplicate */

#ifdef LOSE_EDGES
bool waits;
#define is_heard waits
#else
#define is_heard true
#endif

inline signal_kick(t)
{
	fence(t);
	atomic {
		raised = true;
		edge[1] = edge[1] || (watched[1] && is_heard);
		edge[2] = edge[2] || (watched[2] && is_heard)
	}
}

inline signal_order(t)
{
	fence(t);
	edge[0] = edge[0] || is_heard
}

inline epoll_add(set)
{
	atomic {
		watched[set] = true;
		edge[set] = raised
	}
}

inline epoll_delete(set)
{
	atomic {
		watched[set] = false;
		edge[set] = false
	}
}

#define has_edge (edge[0] || edge[1] || edge[2])

/* --- the guest ----------------------------------------------------------------------------------- */

#ifdef EVENT_IDX
/* vring_need_event() of virtio 1.2, 2.7.10 */
#define is_wanted(wish) (((new - wish - 1) & 255) < ((new - old) & 255))
#else
#define is_wanted(wish) (wish == 1)
#endif

proctype guest()
{
	byte old, new, wish;

	do
	:: old < WORK ->
		new = old + 1;
		if
		:: new < WORK -> new++	/* two at once */
		:: true
		fi;
		store(GUEST, AVAIL, new);
#ifndef NO_FENCE_GUEST
		fence(GUEST);
#endif
		wish = load(GUEST, WISH);
		if
		:: is_wanted(wish) -> signal_kick(GUEST)
		:: else
		fi;
		old = new;
		wish = 0
	:: else -> break
	od
}

/* --- the worker ---------------------------------------------------------------------------------- */

#ifdef EVENT_IDX
#define ASK taken
#define ASK_NOT ((taken - 1) & 255)
#else
#define ASK 1
#define ASK_NOT 0
#endif

/* Work that is there and waits for its translation is none. */
inline wait_for_answer(is_work)
{
	if
	:: is_work && load(WORKER, ANSWERED) == taken ->
		store(WORKER, WAITING, 1);
#ifndef NO_FENCE_WAITING
		fence(WORKER);
#endif
#ifdef NO_SECOND_LOOK
		is_work = false
#else
		is_work = load(WORKER, ANSWERED) != taken
#endif
	:: else
	fi
}

/* The poller of a set: is_work as arm() returns it. */
inline arm(set, is_work)
{
	assert(!freed[set]);
	if
	:: load(WORKER, LIVE) == 1 ->
		store(WORKER, WISH, ASK);
#ifndef NO_FENCE_WORKER
		fence(WORKER);
#endif
#ifdef NO_RECHECK
		is_work = false
#else
		is_work = load(WORKER, AVAIL) != taken
#endif
#ifdef ANSWERS
		;
		wait_for_answer(is_work)
#endif
	:: else -> is_work = false	/* who shows the ring again, kicks */
	fi
}

inline disarm(set)
{
	assert(!freed[set]);
#ifdef ANSWERS
	store(WORKER, WAITING, 0);
#endif
	if
	:: load(WORKER, LIVE) == 1 -> store(WORKER, WISH, ASK_NOT)
	:: else
	fi
}

/* A burst, and the quiescent state behind it. */
inline turn(set, is_work)
{
	is_work = false;
	set = load(WORKER, SET);
	assert(!freed[set]);
	if
	:: load(WORKER, LIVE) == 1 ->
		if
#ifdef ANSWERS
		:: load(WORKER, AVAIL) != taken && load(WORKER, ANSWERED) > taken ->
			taken++;
			is_work = true
#else
		:: load(WORKER, AVAIL) != taken ->
			taken = load(WORKER, AVAIL);
			is_work = true
#endif
		:: else
		fi
	:: else
	fi;
	qsbr_quiescent(WORKER)
}

proctype worker()
{
	byte set;
	bool is_work;

	qsbr_online(WORKER);
	do
	:: load(WORKER, STOP) == 1 -> break
	:: else ->
		turn(set, is_work);
		if
		:: goto again	/* it found work, or has not been without for long enough */
		:: !is_work
		fi;
		set = load(WORKER, SET);
		arm(set, is_work);
		if
		:: is_work -> disarm(set); goto again
		:: else
		fi;
#ifndef NO_LOOK_AT_ORDERS
		if
		:: load(WORKER, SET) != set || load(WORKER, STOP) == 1 -> disarm(set); goto again
		:: else
		fi;
#endif
#ifndef ONLINE_SLEEP
		qsbr_offline(WORKER);
#endif
#ifdef LOSE_EDGES
		waits = true;
#endif
end_waits:	atomic {
			has_edge;
			edge[0] = false;
			edge[1] = false;
			edge[2] = false
		}
#ifdef LOSE_EDGES
		waits = false;
#endif
#ifndef ONLINE_SLEEP
		qsbr_online(WORKER);
#endif
#ifndef DISARM_OLD_SET
		set = load(WORKER, SET);
#endif
		disarm(set);
again:		set = 0;
		is_work = false
	od;
	ended = true
}

/* --- control ------------------------------------------------------------------------------------- */

/* Waits until the worker has been quiescent; an ended one is no reader any more. */
inline grace_period()
{
	fence(CONTROL);
	store(CONTROL, GRACE, load(CONTROL, GRACE) + 1);
	fence(CONTROL);
	(load(CONTROL, READER(WORKER)) == 0 ||
	 load(CONTROL, READER(WORKER)) == load(CONTROL, GRACE));
	fence(CONTROL)
}

inline exchange_set()
{
	epoll_add(2);
#ifdef SIGNAL_FIRST
	signal_order(CONTROL);
	store(CONTROL, SET, 2);
#else
	store(CONTROL, SET, 2);
	signal_order(CONTROL);
#endif
#ifndef FREE_AT_ONCE
	grace_period();
#endif
	epoll_delete(1);
	freed[1] = true
}

inline pause_and_resume()
{
	store(CONTROL, LIVE, 0);
	grace_period();
	store(CONTROL, LIVE, 1);
#ifndef NO_KICK
	signal_kick(CONTROL)
#endif
}

/* One more item gets its translation. */
inline answer()
{
	store(CONTROL, ANSWERED, load(CONTROL, ANSWERED) + 1);
#ifndef NO_FENCE_CONTROL
	fence(CONTROL);
#endif
	if
	:: load(CONTROL, WAITING) == 1 ->
#ifdef CLEAR_BEHIND_KICK
		signal_kick(CONTROL);
		store(CONTROL, WAITING, 0)
#else
		store(CONTROL, WAITING, 0);
		signal_kick(CONTROL)
#endif
	:: else
	fi
}

inline stop_worker()
{
#ifdef SIGNAL_FIRST
	signal_order(CONTROL);
	store(CONTROL, STOP, 1);
#else
	store(CONTROL, STOP, 1);
	signal_order(CONTROL);
#endif
	ended
}

active proctype control()
{
	atomic {
		memory[GRACE] = 1;
		memory[SET] = 1;
		memory[LIVE] = 1;
		memory[WISH] = ASK_NOT;
		watched[1] = true;
		run drain(GUEST);
		run drain(WORKER);
		run drain(CONTROL);
		run guest();
		run worker();
		run watch()
	}
#ifdef ANSWERS
	answer();
	answer()
#else
	if
	:: exchange_set()
	:: pause_and_resume()
	:: pause_and_resume(); exchange_set()
	:: stop_worker()
	:: exchange_set(); stop_worker()
	:: true
	fi
#endif
}

/* Nothing can move, so nothing will: the worker sleeps. */
proctype watch()
{
	timeout;
	assert(ended || taken == WORK)
}
