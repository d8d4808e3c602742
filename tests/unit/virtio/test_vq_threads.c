/*
 * Both ends of two rings on two threads, a driver that sends and a device that echoes, each of
 * which sleeps whenever it finds nothing to do. Every frame must come back, whole and in order, and
 * nobody may sleep while there is work: that would show as a sleep that nothing ends. For
 * ThreadSanitizer above all: the rings' orderings are all that the two threads have in common.
 */
#include "rings.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    NUM = 64,
    BUF_BYTES = 512,
    FRAMES_N = 400000,
    SLEEP_MS = 10000, /* longer than any pause of a loaded machine */
    IDLE_TURNS = 3,   /* before it sleeps */
};

struct shop {
    struct guest guest;
    struct ring_pair to_device;
    struct ring_pair to_driver;
    int kick_fd; /* wakes the device */
    int call_fd; /* wakes the driver */
    atomic_bool stop;
    atomic_uint device_slept_in_vain;
    unsigned driver_sleeps_n;
    struct hg_burst burst;
};

/* Sleeps until the other side signals. False if nothing came. */
static bool sleep_on(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    uint64_t signals;

    return poll(&one, 1, SLEEP_MS) == 1 && read(fd, &signals, sizeof(signals)) > 0;
}

static void echo(struct shop *shop, unsigned n)
{
    struct hg_queue_stats stats = {0};
    struct hg_pkt *pkts[HG_BURST_N];
    unsigned done = 0;

    for (unsigned i = 0; i < n; i++)
        pkts[i] = &shop->burst.pkt[i];
    while (done < n && !atomic_load(&shop->stop)) {
        bool notify;

        done += hg_vq_dev_tx(&shop->to_driver.dev, pkts + done, n - done, &stats, &notify);
        if (notify)
            eventfd_write(shop->call_fd, 1);
        if (done < n)
            sched_yield();
    }
}

static void *device(void *ctx)
{
    struct shop *shop = ctx;
    struct hg_vq_dev *dev = &shop->to_device.dev;
    struct hg_queue_stats stats = {0};

    for (unsigned idle = 0; !atomic_load(&shop->stop); idle++) {
        unsigned n = hg_vq_dev_rx(dev, &shop->burst, &stats);

        if (n != 0) {
            echo(shop, n);
            idle = 0;
        }
        if (hg_vq_dev_rx_done(dev))
            eventfd_write(shop->call_fd, 1);
        if (idle < IDLE_TURNS)
            continue;
        if (!hg_vq_dev_arm(dev) && !atomic_load(&shop->stop) && !sleep_on(shop->kick_fd))
            atomic_fetch_add(&shop->device_slept_in_vain, 1);
        hg_vq_dev_disarm(dev);
    }
    return NULL;
}

static uint64_t buf_addr(const struct hg_drv *drv, uint16_t id)
{
    return GUEST_ADDR + (uint64_t)((drv->receives ? NUM : 0) + id) * BUF_BYTES;
}

static void post_all(struct shop *shop)
{
    struct hg_drv *drv = &shop->to_driver.drv;

    while (drv->free_n != 0) {
        struct hg_drv_buf buf = {buf_addr(drv, hg_drv_id(drv, 0)), BUF_BYTES, HG_DESC_F_WRITE};

        hg_drv_add(drv, &buf, 1);
    }
    hg_drv_publish(drv); /* the device does not sleep for buffers */
}

static uint32_t len_of(uint32_t number)
{
    return 14 + number * 7 % (BUF_BYTES - HG_NET_HDR_BYTES - 14);
}

static unsigned send_some(struct shop *shop, uint32_t *sent, unsigned n)
{
    struct hg_drv *drv = &shop->to_device.drv;
    unsigned done = 0;

    hg_drv_reclaim(drv, NUM);
    for (; done < n && drv->free_n != 0 && *sent < FRAMES_N; done++, (*sent)++) {
        uint16_t id = hg_drv_id(drv, 0);
        uint8_t frame[BUF_BYTES] = {0};
        struct hg_drv_buf buf = {buf_addr(drv, id), HG_NET_HDR_BYTES + len_of(*sent), 0};

        fill_frame(frame + HG_NET_HDR_BYTES, *sent, len_of(*sent));
        guest_copy(&shop->guest, buf.addr, frame, buf.len, false);
        hg_drv_add(drv, &buf, 1);
    }
    if (hg_drv_publish(drv))
        eventfd_write(shop->kick_fd, 1);
    return done;
}

static unsigned take_some(struct shop *shop, uint32_t *came)
{
    struct hg_drv_used used[HG_BURST_N];
    unsigned n = hg_drv_reap(&shop->to_driver.drv, used, HG_BURST_N);

    for (unsigned i = 0; i < n; i++, (*came)++) {
        uint8_t frame[BUF_BYTES];

        assert_int_equal(used[i].len, HG_NET_HDR_BYTES + len_of(*came));
        guest_copy(&shop->guest, buf_addr(&shop->to_driver.drv, used[i].id), frame, used[i].len,
                   true);
        for (uint32_t at = 0; at < len_of(*came); at++)
            if (frame[HG_NET_HDR_BYTES + at] != frame_byte(*came, at))
                fail_msg("frame %u differs at byte %u", *came, at);
    }
    post_all(shop);
    return n;
}

static void drive(struct shop *shop, uint64_t *random)
{
    struct hg_drv *tx = &shop->to_device.drv;
    struct hg_drv *rx = &shop->to_driver.drv;
    uint32_t sent = 0, came = 0;

    while (came < FRAMES_N) {
        unsigned done = send_some(shop, &sent, random_in(random, 0, 2 * NUM));

        done += take_some(shop, &came);
        assert_int_equal(rx->fault, HG_DRV_OK);
        assert_int_equal(tx->fault, HG_DRV_OK);
        /* The ring is full, or all is sent: what comes next is the device's turn. */
        if (done == 0 && (tx->free_n == 0 || sent == FRAMES_N)) {
            bool work = hg_drv_arm(rx);

            work |= hg_drv_arm(tx) && sent != FRAMES_N;
            if (!work && came < FRAMES_N) {
                shop->driver_sleeps_n++;
                if (!sleep_on(shop->call_fd))
                    fail_msg("a wake-up was lost after %u of %u frames", came, sent);
            }
            hg_drv_disarm(rx);
            hg_drv_disarm(tx);
        }
    }
}

static void echoes(struct ring_options options)
{
    static struct shop shop;
    uint64_t random = 12345;
    pthread_t thread;

    memset(&shop, 0, sizeof(shop));
    guest_init(&shop.guest, 2 * NUM * BUF_BYTES, false);
    options.num = NUM;
    ring_pair_init(&shop.to_device, &options, &shop.guest.space);
    options.receives = true;
    ring_pair_init(&shop.to_driver, &options, &shop.guest.space);
    shop.kick_fd = eventfd(0, EFD_NONBLOCK);
    shop.call_fd = eventfd(0, EFD_NONBLOCK);
    post_all(&shop);
    assert_int_equal(pthread_create(&thread, NULL, device, &shop), 0);
    drive(&shop, &random);
    atomic_store(&shop.stop, true);
    eventfd_write(shop.kick_fd, 1);
    pthread_join(thread, NULL);
    assert_int_equal(shop.device_slept_in_vain, 0);
    assert_int_equal(shop.to_device.dev.fault, HG_VRING_OK);
    assert_int_equal(shop.to_driver.dev.fault, HG_VRING_OK);
    assert_true(shop.driver_sleeps_n > 0);
    close(shop.kick_fd);
    close(shop.call_fd);
    ring_pair_free(&shop.to_device);
    ring_pair_free(&shop.to_driver);
    guest_free(&shop.guest);
}

static void split_by_flags(void **state)
{
    (void)state;
    echoes((struct ring_options){0});
}

static void split_by_event_index(void **state)
{
    (void)state;
    echoes((struct ring_options){.event_idx = true});
}

static void packed_by_flags(void **state)
{
    (void)state;
    echoes((struct ring_options){.packed = true});
}

static void packed_by_event_descriptor(void **state)
{
    (void)state;
    echoes((struct ring_options){.packed = true, .event_idx = true});
}

static void packed_in_batches(void **state)
{
    (void)state;
    echoes((struct ring_options){.packed = true, .event_idx = true, .in_order = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_by_flags),    cmocka_unit_test(split_by_event_index),
        cmocka_unit_test(packed_by_flags),   cmocka_unit_test(packed_by_event_descriptor),
        cmocka_unit_test(packed_in_batches),
    };

    return cmocka_run_group_tests_name("both ends on two threads", tests, NULL, NULL);
}
