/*
 * A ring of two slots, empty or full, between producers and consumers, who may stop for ever in the middle.
 * Both sides are the same code. docs/models.md says which line of the program each step is.
 *
 * Properties
 *   - no slot is touched by two threads unless one has handed it to the other;
 *   - each position is enqueued once and dequeued once, and a consumer finds in it what belongs there;
 *   - who finds nothing has not overlooked an element (or a free slot) that it knows of, if nobody has
 *     taken that;
 *   - nobody waits: there is no step that can block, also while others have stopped.
 *
 * Run by tools/model:
 *   holds                       two on one side, one on the other
 *   holds    ONE                one and one, who take two turns
 *   refuted  RELAXED_PUBLISH    a run is published by a relaxed store
 *   refuted  RELAXED_LOOK       sequence words are loaded relaxed
 *   refuted  RELAXED_CLAIM      claim words are loaded relaxed
 *   refuted  RELAXED_EXCHANGE   claim words are exchanged relaxed
 *   refuted  PUBLISH_FIRST      a run is published before its slots have been used
 *   refuted  STORE_CLAIM        many threads store the claim word without comparing
 *   refuted  NO_SECOND_LOOK     who finds nothing does not look whether the claim word has changed
 *   refuted  NO_POSITION        a sequence word says only that a slot is free or full, not for which round
 *   refuted  ONE,RELAXED_PUBLISH
 *   refuted  ONE,RELAXED_LOOK
 *   refuted  ONE,PUBLISH_FIRST
 */

#define SLOTS 2
#define POSITIONS 8

#define PRODUCERS 0	/* a side, and the cell of its claim word: position * 4 + how many are ready */
#define CONSUMERS 1
#define SEQ(pos) (2 + (pos) % SLOTS)	/* position * 4 + how many */
#define CELLS (2 + SLOTS)
#define PLAIN SLOTS

#ifdef ONE
#define THREADS 2
#define TURNS 2
#define STORES 5
#define STORE_CLAIM
#else
#define THREADS 3
#define TURNS 1
#define STORES 4
#endif

#ifdef RELAXED_PUBLISH
#define RELEASE_PUBLISH 0
#else
#define RELEASE_PUBLISH 1
#endif
#ifdef RELAXED_LOOK
#define ACQUIRE_LOOK 0
#else
#define ACQUIRE_LOOK 1
#endif
#ifdef RELAXED_CLAIM
#define ACQUIRE_CLAIM 0
#else
#define ACQUIRE_CLAIM 1
#endif
#ifdef RELAXED_EXCHANGE
#define RELEASE_EXCHANGE 0
#else
#define RELEASE_EXCHANGE 1
#endif

#include "ra.pml"

byte content[SLOTS];			/* the position that was enqueued there, plus 1; 0: dequeued */
byte published[2 * POSITIONS];		/* to a side: by which store of the sequence word, plus 1 */
byte published_in[2 * POSITIONS];	/* and in which cell */

/* Of a side: positions below are published to it, and thread t knows that. */
inline know(t, side, result)
{
	d_step {
		result = 0;
		do
		:: result < POSITIONS && published[(side) * POSITIONS + result] > 0 &&
		   view[(t) * ALL + published_in[(side) * POSITIONS + result]] + 1 >=
		   published[(side) * POSITIONS + result] -> result++
		:: else -> break
		od
	}
}

inline note_published(whom, start, count, cell, newest)
{
	x = 0;
	do
	:: x < count && start + x < POSITIONS ->
		published[(whom) * POSITIONS + start + x] = newest + 1;
		published_in[(whom) * POSITIONS + start + x] = cell;
		x++
	:: else -> break
	od;
	x = 0
}

#ifdef NO_POSITION
#define is_run(seq, pos) (seq % 4 > 0 && (seq / 4) % SLOTS == (pos) % SLOTS)
#else
#define is_run(seq, pos) (seq % 4 > 0 && seq / 4 == (pos))
#endif

/* side is also what a consumer's sequence words say more than the position. */
inline look()
{
	do
	:: ready < take ->
		load(t, SEQ(pos + ready), ACQUIRE_LOOK, seq);
		if
		:: is_run(seq, pos + ready + side) -> ready = ready + seq % 4
		:: else -> break
		fi
	:: else -> break
	od;
	seq = 0
}

inline use()
{
	i = 0;
	do
	:: i < take ->
		touch(t, (pos + i) % SLOTS);
		d_step {
			if
			:: side == PRODUCERS ->
				assert(content[(pos + i) % SLOTS] == 0);
				content[(pos + i) % SLOTS] = pos + i + 1
			:: else ->
				assert(content[(pos + i) % SLOTS] == pos + i + 1);
				content[(pos + i) % SLOTS] = 0
			fi;
			i++
		}
	:: else -> break
	od;
	i = 0
}

inline publish()
{
	d_step {
		append(t, SEQ(pos), RELEASE_PUBLISH,
		       (pos + (side == PRODUCERS -> 1 : SLOTS)) * 4 + take);
		note_published(1 - side, pos + (side == PRODUCERS -> 0 : SLOTS), take, SEQ(pos), at);
		at = 0
	}
}

proctype thread(byte t, side)
{
	byte turns, n, least, sure, word, now, pos, ready, take, seq, i;
	bool done;

	do
	:: turns < TURNS ->
		if
		:: n = 1; least = 1
		:: n = 2; least = 1	/* a burst */
		:: n = 2; least = 2	/* bulk */
		fi;
		know(t, side, sure);
		load(t, side, ACQUIRE_CLAIM, word);
again:		ready = word % 4;
		pos = word / 4;
		take = n;
		if
		:: ready < take ->
			look();
			if
			:: ready < least ->
#ifndef NO_SECOND_LOOK
				load(t, side, ACQUIRE_CLAIM, now);
				if
				:: now != word -> word = now; now = 0; goto again
				:: else -> now = 0
				fi;
#endif
				assert(stored[side * STORES + stores_n[side] - 1] / 4 + least > sure);
				goto next
			:: else
			fi;
			if
			:: ready < take -> take = ready
			:: else
			fi
		:: else
		fi;
#ifdef STORE_CLAIM
		store(t, side, 0, (pos + take) * 4 + ready - take);
#else
		exchange(t, side, RELEASE_EXCHANGE, word, (pos + take) * 4 + ready - take, done);
		if
		:: !done -> load(t, side, ACQUIRE_CLAIM, word); goto again
		:: else
		fi;
#endif
#ifdef PUBLISH_FIRST
		publish();
		use();
#else
		use();
		if
		:: true
		:: break	/* it stops for ever */
		fi;
		publish();
#endif
next:		turns++;
		n = 0;
		least = 0;
		sure = 0;
		word = 0;
		pos = 0;
		ready = 0;
		take = 0;
		done = false
	:: else -> break
	od
}

init
{
	atomic {
		stores_n[PRODUCERS] = 1;
		stores_n[CONSUMERS] = 1;
		stores_n[SEQ(0)] = 1;
		stores_n[SEQ(1)] = 1;
		note_published(PRODUCERS, 0, SLOTS, SEQ(0), 0);
		if
		:: stored[SEQ(0) * STORES] = 2	/* empty: 2 free slots from position 0 on */
		:: stored[PRODUCERS * STORES] = 2 * 4;	/* full, in one run or in two */
			content[0] = 1;
			content[1] = 2;
			if
			:: stored[SEQ(0) * STORES] = 1 * 4 + 2;
				note_published(CONSUMERS, 0, 2, SEQ(0), 0)
			:: stored[SEQ(0) * STORES] = 1 * 4 + 1;
				stored[SEQ(1) * STORES] = 2 * 4 + 1;
				note_published(CONSUMERS, 0, 1, SEQ(0), 0);
				note_published(CONSUMERS, 1, 1, SEQ(1), 0)
			fi
		fi;
		run thread(0, PRODUCERS);
		run thread(1, CONSUMERS);
#ifndef ONE
		if
		:: run thread(2, PRODUCERS)
		:: run thread(2, CONSUMERS)
		fi
#endif
	}
}
