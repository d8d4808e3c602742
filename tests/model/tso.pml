/*
 * Memory as x86 has it (total store order): what a thread stores waits in a buffer of its own, from
 * which the thread itself reads it, until it reaches the memory in the order of the stores. A
 * fence waits until the buffer is empty.
 *
 * The model that includes this defines THREADS, CELLS and REACHED(t, a, v), which is called when a
 * store reaches the memory.
 */

byte memory[CELLS];
chan buffer[THREADS] = [2] of { byte, byte };	/* cell, value */
byte waiting[THREADS * CELLS];			/* stores in the buffer to this cell */
byte newest[THREADS * CELLS];			/* the last of them */
byte cell, value;				/* of the store under way */

#define load(t, a) \
	(waiting[(t) * CELLS + (a)] > 0 -> newest[(t) * CELLS + (a)] : memory[a])

#define store(t, a, v) \
	atomic { \
		nfull(buffer[t]); \
		cell = a; \
		value = v; \
		buffer[t]!cell, value; \
		newest[(t) * CELLS + cell] = value; \
		waiting[(t) * CELLS + cell]++; \
		cell = 0; \
		value = 0 \
	}

/* A full barrier: atomic_thread_fence(seq_cst), a locked instruction. */
inline fence(t)
{
	empty(buffer[t])
}

/* The buffer of one thread. */
proctype drain(byte t)
{
	byte a, v;
end:	do
	:: atomic {
		buffer[t]?a, v;
		memory[a] = v;
		waiting[t * CELLS + a]--;
		if
		:: waiting[t * CELLS + a] == 0 -> newest[t * CELLS + a] = 0
		:: else
		fi;
		REACHED(t, a, v);
		a = 0;
		v = 0
	   }
	od
}
