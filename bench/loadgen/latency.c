#include "latency.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

enum { LOST_NS = 100000000 }; /* a frame that takes longer does not come */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Sends one frame and waits for it. Returns when it arrived, or 0. */
static uint64_t pass(struct stream *stream)
{
    uint64_t before = stream->counts.rx;
    uint64_t end_ns = hg_now_ns() + LOST_NS;

    if (stream_send(stream, 1) == 0)
        return 0;
    for (;;) {
        uint64_t now_ns;

        ports_serve(stream->from, stream->to);
        stream_receive(stream);
        now_ns = hg_now_ns();
        if (stream->counts.rx != before)
            return now_ns;
        if (now_ns > end_ns)
            return 0;
    }
}

static double to_us(uint64_t ns)
{
    return (double)ns / 1e3;
}

static void print_distribution(const char *name, uint64_t *ns, size_t n)
{
    qsort(ns, n, sizeof(*ns), compare);
    printf("\"%s\": {\"min\": %.2f, \"median\": %.2f, \"p99\": %.2f, \"max\": %.2f}, ", name,
           to_us(ns[0]), to_us(ns[n / 2]), to_us(ns[n * 99 / 100]), to_us(ns[n - 1]));
}

int latency_measure(struct stream *streams, uint64_t interval_ns, uint64_t duration_ns,
                    struct hg_err *err)
{
    size_t max = duration_ns / interval_ns + 1, n = 0, lost = 0;
    uint64_t *one_way_ns = calloc(max, sizeof(uint64_t));
    uint64_t *round_trip_ns = calloc(max, sizeof(uint64_t));
    uint64_t next_ns = hg_now_ns(), end_ns = next_ns + duration_ns;
    int rc = 0;

    if (one_way_ns == NULL || round_trip_ns == NULL) {
        free(one_way_ns);
        free(round_trip_ns);
        return hg_err_set(err, ENOMEM, "no memory for %zu samples", max);
    }
    while (next_ns < end_ns && n < max) {
        next_ns += interval_ns;
        while (hg_now_ns() < next_ns)
            hg_relax();

        uint64_t begin_ns = hg_now_ns();
        uint64_t there_ns = pass(&streams[0]);
        uint64_t back_ns = there_ns != 0 ? pass(&streams[1]) : 0;

        if (back_ns != 0) {
            one_way_ns[n] = there_ns - begin_ns;
            round_trip_ns[n++] = back_ns - begin_ns;
        } else {
            lost++;
        }
        if (next_ns < hg_now_ns())
            next_ns = hg_now_ns();
    }
    if (n == 0) {
        rc = hg_err_set(err, ETIMEDOUT, "no frame came through");
    } else {
        printf("{\"samples\": %zu, ", n);
        print_distribution("one_way_us", one_way_ns, n);
        print_distribution("round_trip_us", round_trip_ns, n);
        printf("\"lost\": %zu}\n", lost);
    }
    free(one_way_ns);
    free(round_trip_ns);
    return rc;
}
