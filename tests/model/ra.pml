/*
 * Memory as C has it for release, acquire and relaxed atomics (the operational model with views: Kang and
 * others, "A promising semantics for relaxed-memory concurrency", POPL 2017, without promises): what is stored
 * stays readable until a thread knows better. Each thread has a view, the newest store of each cell that
 * it knows of. A load takes any store that is not older than that; a release store carries its thread's view,
 * and who reads it with acquire knows all of that too. An exchange reads the newest store, and what
 * that carried goes on with it (release sequences).
 *
 * Stores of a cell are ordered as they happen. Cells that are plain memory in the program have no values
 * here: touch() demands that the thread knows of everybody's last access, so a data race fails an assertion.
 *
 * The model that includes this defines THREADS, CELLS (atomic ones), PLAIN (others, behind them) and
 * STORES (how many a cell can have).
 */

#define ALL (CELLS + PLAIN)

byte stores_n[CELLS];
byte stored[CELLS * STORES];
byte carried[CELLS * STORES * ALL];	/* views; 0 in what no release store carries */
byte view[THREADS * ALL];
byte touched[PLAIN];
byte at, x;				/* in atomic steps alone; 0 between them */

inline learn(t, cell, nr)
{
	x = 0;
	do
	:: x < ALL ->
		if
		:: carried[((cell) * STORES + nr) * ALL + x] > view[(t) * ALL + x] ->
			view[(t) * ALL + x] = carried[((cell) * STORES + nr) * ALL + x]
		:: else
		fi;
		x++
	:: else -> break
	od;
	x = 0
}

inline carry(t, cell, nr)
{
	x = 0;
	do
	:: x < ALL ->
		if
		:: view[(t) * ALL + x] > carried[((cell) * STORES + nr) * ALL + x] ->
			carried[((cell) * STORES + nr) * ALL + x] = view[(t) * ALL + x]
		:: else
		fi;
		x++
	:: else -> break
	od;
	x = 0
}

inline load(t, cell, acquire, result)
{
	atomic {
		at = view[(t) * ALL + (cell)];
		do
		:: at + 1 < stores_n[cell] -> at++
		:: break
		od;
		view[(t) * ALL + (cell)] = at;
		if
		:: acquire -> learn(t, cell, at)
		:: else
		fi;
		result = stored[(cell) * STORES + at];
		at = 0
	}
}

inline append(t, cell, release, value)
{
	at = stores_n[cell];
	assert(at < STORES);
	stored[(cell) * STORES + at] = value;
	stores_n[cell] = at + 1;
	view[(t) * ALL + (cell)] = at;
	if
	:: release -> carry(t, cell, at)
	:: else
	fi
}

inline store(t, cell, release, value)
{
	d_step {
		append(t, cell, release, value);
		at = 0
	}
}

/* The compare-and-swap of a loop that loads again when it fails. */
inline exchange(t, cell, release, expected, value, done)
{
	d_step {
		if
		:: stored[(cell) * STORES + stores_n[cell] - 1] == expected ->
			append(t, cell, release, value);
			x = 0;
			do
			:: x < ALL ->	/* what the store before carried */
				if
				:: carried[((cell) * STORES + at - 1) * ALL + x] >
				   carried[((cell) * STORES + at) * ALL + x] ->
					carried[((cell) * STORES + at) * ALL + x] =
						carried[((cell) * STORES + at - 1) * ALL + x]
				:: else
				fi;
				x++
			:: else -> break
			od;
			x = 0;
			at = 0;
			done = true
		:: else -> done = false
		fi
	}
}

inline touch(t, plain)
{
	d_step {
		assert(view[(t) * ALL + CELLS + (plain)] == touched[plain]);
		touched[plain]++;
		view[(t) * ALL + CELLS + (plain)] = touched[plain]
	}
}
