/*
 * Raising an eventfd that a peer holds too, without ever waiting for him.
 *
 * write() to an eventfd waits when the counter is full and the file is not O_NONBLOCK. Both are the
 * peer's to decide at any time: flags belong to the open file, which he shares, and he may fill the
 * counter. A worker or the control loop that waits there serves nobody. There is no race-free way
 * around it with write() itself: an eventfd cannot be opened anew, and knows no RWF_NOWAIT for
 * writing.
 *
 * The kernel raises an eventfd by itself without waiting (a full counter stays full), as it does
 * when an asynchronous request completes that names one (io_submit(2), IOCB_FLAG_RESFD). So the
 * request here is to read nothing from an empty file of our own, which completes within the call:
 * one system call as before, of about 0.5 us instead of 0.2.
 */
#ifndef HG_BASE_RAISE_H
#define HG_BASE_RAISE_H

#include <stdbool.h>

/* Adds 1 to an eventfd's counter. Returns whether it was raised; false for -1. Any thread, each
 * with a small context of its own from the first call to its end; the process's first call opens a
 * file, which stays. Where the kernel has no asynchronous requests it is a plain write. */
bool hg_raise(int eventfd);

#endif
