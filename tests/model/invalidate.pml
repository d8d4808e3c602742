/*
 * An invalidation of the device IOTLB: control takes an entry out, waits for a grace period and
 * acknowledges; workers translate, keep what they found to the end of their burst, and may sleep.
 * docs/models.md says which line of the program each step is.
 *
 * Properties
 *   - after an invalidation of an address has been acknowledged, no store of a worker reaches the memory
 *     that the address meant, until the address has been made known again;
 *   - a worker never takes one entry's host address for another entry's tag;
 *   - every invalidation is acknowledged, also while workers sleep for ever.
 *
 * Run by tools/model:
 *   holds
 *   holds    EVICT               the slot is taken by another entry without an invalidation
 *   refuted  NO_GRACE            acknowledged without waiting
 *   refuted  NO_FENCE_WAIT       the wait does not make sure that the removal is seen
 *   refuted  NO_FENCE_ONLINE     a waking worker looks up before it is seen to be awake
 *   refuted  ONLINE_SLEEP        a worker sleeps without going offline
 *   refuted  QUIESCENT_IN_BURST  a worker passes a quiescent state with translations in hand
 *   refuted  KEEP_HINT           the shortcut of a queue survives its burst
 *   refuted  ACK_DUPLICATE       a duplicate that matches nothing is acknowledged at once
 *   refuted  EVICT,REUSE_AT_ONCE the slot is used again without a grace period
 *   refuted  TAG_FIRST           an entry's tag is stored before its host address
 */

#define CONTROL 0
#define WORKERS 2	/* threads 1 and 2 */
#define THREADS 3

/* Addresses X and Y fall into the same slot, and lie at host pages of the same number. */
#define NONE 0
#define X 1
#define Y 2

#define TAG 0
#define HOST 1
#define GRACE 2
#define READER(t) (2 + (t))	/* 3, 4 */
#define PAGE(n) (4 + (n))	/* 5, 6 */
#define CELLS 7

bool given_back[3];	/* the front-end uses the page for something else */

#define REACHED(t, a, v) assert(a < PAGE(X) || !given_back[a - PAGE(0)])

#include "tso.pml"
#include "qsbr.pml"

#define UPDATE 1
#define INVALIDATE 2
chan request = [2] of { byte, byte };	/* what, address */
chan acknowledged = [2] of { byte };

/* --- a worker ------------------------------------------------------------------------------------ */

/* hg_space_at(): the hint, then the table. `found` is the host page, or NONE. */
inline translate()
{
	if
	:: address = X
	:: address = Y
	fi;
	if
	:: hint == address -> found = hint
	:: else ->
		if
		:: load(me, TAG) == address ->
			found = load(me, HOST);
			assert(found == address);
			hint = found
		:: else
		fi
	fi;
	address = NONE
}

proctype worker(byte me)
{
	byte hint, address, found;
	bool asleep;

	qsbr_online(me);
	do
	:: /* a burst */
#ifndef KEEP_HINT
		hint = NONE;
#endif
		translate();
#ifdef QUIESCENT_IN_BURST
		qsbr_quiescent(me);
#endif
		if
		:: found != NONE -> store(me, PAGE(found), 1)
		:: else
		fi;
		found = NONE;
		qsbr_quiescent(me)
	:: /* sleep */
#ifndef ONLINE_SLEEP
		qsbr_offline(me);
#endif
		asleep = true;
		if
		:: asleep = false
		:: true ->
end_asleep:		false	/* nobody wakes it any more */
		fi;
#ifndef ONLINE_SLEEP
		qsbr_online(me)
#endif
	od
}

/* --- control ------------------------------------------------------------------------------------- */

/* Everything that was taken out is gone; the acknowledgements that waited for it are sent. */
inline settle()
{
#ifndef NO_GRACE
	qsbr_wait(CONTROL, 1, WORKERS, reader);
#endif
	unsettled = false;
	do
	:: owed > 0 -> owed--; acknowledged!what_owed
	:: else -> break
	od
}

inline unpublish()
{
	store(CONTROL, TAG, NONE);
	unsettled = true
}

inline publish(address)
{
#ifdef TAG_FIRST
	store(CONTROL, TAG, address);
	store(CONTROL, HOST, address)
#else
	store(CONTROL, HOST, address);
	store(CONTROL, TAG, address)
#endif
}

active proctype control()
{
	byte what, address, reader, owed, what_owed;
	bool unsettled;

	memory[GRACE] = 1;
	publish(X);
	run drain(0);
	run drain(1);
	run drain(2);
	run worker(1);
	run worker(2);
end:	do
	:: request?what, address ->
		if
		:: what == INVALIDATE ->
			if
			:: load(CONTROL, TAG) == address ->
				unpublish();
				owed++;
				what_owed = address
#ifdef ACK_DUPLICATE
			:: else -> acknowledged!address
#else
			:: else ->
				if
				:: unsettled -> owed++; what_owed = address
				:: else -> acknowledged!address
				fi
#endif
			fi
		:: else ->
			if
			:: load(CONTROL, TAG) != NONE -> unpublish()
			:: else
			fi;
			if
			:: unsettled ->
#ifdef REUSE_AT_ONCE
				unsettled = false
#else
				settle()
#endif
			:: else
			fi;
			publish(address)
		fi
	:: unsettled -> settle()	/* now, or after further requests */
	od
}

/* --- the front-end ------------------------------------------------------------------------------- */

/* Two queue pairs: each invalidation is sent twice, and the first answer is enough for the guest. */
inline invalidate(address)
{
	request!INVALIDATE, address;
	request!INVALIDATE, address;
	acknowledged?eval(address);
	given_back[address] = true;
	acknowledged?eval(address)
}

active proctype front_end()
{
#ifdef EVICT
	request!UPDATE, Y;
	invalidate(X);
	given_back[X] = false;
	request!UPDATE, X
#else
	invalidate(X);
	request!UPDATE, Y;
	invalidate(Y)
#endif
}
