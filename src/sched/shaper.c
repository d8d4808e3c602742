#include "sched/shaper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/count.h"
#include "sched/state.h"

struct hg_shaper {
    struct hg_poller poller;
    struct hg_shaper_options options;
    struct hg_count no_buffer;
};

static struct hg_shaper *of(struct hg_poller *poller)
{
    return hg_container_of(poller, struct hg_shaper, poller);
}

static unsigned poll_shaper(struct hg_poller *poller)
{
    struct hg_shaper *shaper = of(poller);
    void *what[HG_BURST_N];
    struct hg_pkt *pkts[HG_BURST_N];
    unsigned n = hg_sched_dequeue(shaper->options.sched, hg_now_ns(), what, HG_BURST_N);

    if (n == 0)
        return 0;
    for (unsigned i = 0; i < n; i++)
        pkts[i] = &((struct hg_owned *)what[i])->pkt;
    shaper->options.send(shaper->options.ctx, pkts, n);
    for (unsigned i = 0; i < n; i++)
        hg_owned_free(shaper->options.cache, (struct hg_owned *)what[i]);
    return n;
}

/* A timer set to a moment that is past fires at once, so there is no gap between the look and the
 * wait. */
static void set_timer(struct hg_shaper *shaper, uint64_t at_ns)
{
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(at_ns / HG_NS_PER_S),
                                         .tv_nsec = (long)(at_ns % HG_NS_PER_S)}};

    timerfd_settime(shaper->poller.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool arm_shaper(struct hg_poller *poller)
{
    uint64_t next = hg_sched_next(of(poller)->options.sched);

    if (next == HG_SCHED_NEVER)
        return false;
    if (next <= hg_now_ns())
        return true;
    set_timer(of(poller), next);
    return false;
}

static void disarm_shaper(struct hg_poller *poller)
{
    set_timer(of(poller), 0);
}

int hg_shaper_new(struct hg_shaper **shaper, const struct hg_shaper_options *options,
                  struct hg_err *err)
{
    struct hg_shaper *made;
    int fd;

    *shaper = NULL;
    if (!options->sched || !options->cache || !options->send)
        return hg_err_set(err, EINVAL, "shaper: expected a scheduler, a pool's cache and send()");
    if (options->sched->clock_hz != HG_NS_PER_S)
        return hg_err_set(err, EINVAL, "shaper: expected a scheduler that counts in nanoseconds");
    made = (struct hg_shaper *)calloc(1, sizeof(*made));
    if (!made)
        return hg_err_set(err, ENOMEM, "shaper: no memory");
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        int error = errno;

        free(made);
        return hg_err_set(err, error, "shaper: no timer: %s", strerror(error));
    }
    made->options = *options;
    made->poller = (struct hg_poller){
        .poll = poll_shaper, .arm = arm_shaper, .disarm = disarm_shaper, .fd = fd};
    *shaper = made;
    return 0;
}

void hg_shaper_free(struct hg_shaper *shaper)
{
    void *what[HG_BURST_N];
    unsigned n;

    while ((n = hg_sched_drain(shaper->options.sched, what, HG_BURST_N)) != 0) {
        for (unsigned i = 0; i < n; i++)
            hg_owned_free(shaper->options.cache, (struct hg_owned *)what[i]);
    }
    close(shaper->poller.fd);
    free(shaper);
}

struct hg_poller *hg_shaper_poller(struct hg_shaper *shaper)
{
    return &shaper->poller;
}

static unsigned own_all(struct hg_shaper *shaper, struct hg_pkt **pkts, unsigned n,
                        struct hg_sched_item *item)
{
    const struct hg_shaper_options *o = &shaper->options;
    unsigned owned_n = 0;

    for (unsigned i = 0; i < n; i++) {
        struct hg_owned *owned = hg_pkt_own(o->cache, pkts[i]);

        if (!owned)
            continue;
        item[owned_n].what = owned;
        item[owned_n].len = pkts[i]->len;
        item[owned_n].queue = o->queue ? o->queue(o->ctx, pkts[i]) : 0;
        owned_n++;
    }
    hg_count_add(&shaper->no_buffer, n - owned_n);
    return owned_n;
}

unsigned hg_shaper_stage(void *shaper, struct hg_pkt **pkts, unsigned n)
{
    struct hg_shaper *s = (struct hg_shaper *)shaper;

    while (n != 0) {
        struct hg_sched_item item[HG_BURST_N];
        unsigned part = hg_min_u32(n, HG_BURST_N);
        unsigned owned_n = own_all(s, pkts, part, item);
        unsigned refused = hg_sched_enqueue(s->options.sched, item, owned_n);

        for (unsigned i = 0; i < refused; i++)
            hg_owned_free(s->options.cache, (struct hg_owned *)item[i].what);
        pkts += part;
        n -= part;
    }
    return 0;
}

uint64_t hg_shaper_no_buffer(const struct hg_shaper *shaper)
{
    return hg_count_get(&shaper->no_buffer);
}
