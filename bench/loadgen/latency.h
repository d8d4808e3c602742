/*
 * How long single frames take through a switch that has nothing else to do.
 */
#ifndef BENCH_LOADGEN_LATENCY_H
#define BENCH_LOADGEN_LATENCY_H

#include "stream.h"

/*
 * For `duration_ns`, sends one frame in the first direction every `interval_ns`, waits for it,
 * answers in the second, waits for that, and prints the distributions as JSON: one_way_us holds the
 * wake-up of a sleeping switch, round_trip_us the way back too, which finds it awake. 0 or a
 * negative errno.
 */
int latency_measure(struct stream *streams, uint64_t interval_ns, uint64_t duration_ns,
                    struct hg_err *err);

#endif
