/*
 * A back-end for the virtio-user port that a test plays message by message and byte by byte, and
 * the port it talks to, on one event loop. Honest unless the test sets what to do wrong.
 */
#ifndef HG_TESTS_UNIT_BACKEND_H
#define HG_TESTS_UNIT_BACKEND_H

#include <dirent.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sock.h"
#include "peer/options.h"
#include "port/virtio_user/virtio_user.h"
#include "virtio/vhost_msg.h"
#include "virtio/virtio.h"

enum { WAIT_MS = 8000, NUM = 64, BUF_BYTES = 33 * 64 };

#define FEATURES                                                                                   \
    (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) |                           \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM) | HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4) |                     \
     HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES))

/* The back-end, honest unless a test changes something. */
struct back {
    struct hg_vhost_conn conn;
    uint64_t features;
    uint64_t protocol;
    unsigned messages_n; /* of this session */
    uint64_t accepted;   /* by the front-end */
    struct hg_vhost_region region;
    uint8_t *mem;
    struct hg_vhost_vring_addr addr[2];
    int kick_fd[2];
    uint16_t used_idx[2];

    /* What to do wrong. */
    uint32_t refuses;       /* answers this request with 1 */
    uint32_t answers_badly; /* answers this one with 4 bytes */
    bool drips;             /* one byte at a time */
    int hangs_up_after;     /* so many messages; -1: never */
};

struct place {
    struct event_base *loop;
    struct hg_port_host host;
    char dir[64];
    char path[96];
    struct hg_port port;
    struct hg_burst *burst;
    struct hg_port_status status;
    struct back back;
};

static inline void changed(struct hg_port *port, void *ctx)
{
    (void)port;
    (void)ctx;
}

static inline void hang_up(struct back *back)
{
    if (back->conn.fd < 0)
        return;
    hg_vhost_conn_clear(&back->conn);
    close(back->conn.fd);
    back->conn.fd = -1;
    for (unsigned i = 0; i < 2; i++) {
        if (back->kick_fd[i] >= 0)
            close(back->kick_fd[i]);
        back->kick_fd[i] = -1;
        back->used_idx[i] = 0;
    }
    if (back->mem != NULL)
        munmap(back->mem, back->region.size);
    back->mem = NULL;
    back->messages_n = 0;
}

static inline int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    const struct hg_port_driver *driver = &hg_virtio_user_driver;
    union hg_port_value values[OPTIONS_MAX];
    struct hg_err err;

    hg_log_set_level(HG_LOG_ERROR);
    strcpy(place->dir, "/tmp/headgate-backend-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof(place->path), "%s/sock", place->dir);
    option_presets(driver, values);
    option_value(driver, values, "socket")->string = place->path;
    option_value(driver, values, "role")->uint = 1; /* it listens */
    option_value(driver, values, "queue_size")->uint = NUM;
    place->loop = event_base_new();
    place->host =
        (struct hg_port_host){.loop = place->loop, .queues_changed = changed, .ctx = place};
    place->burst = aligned_alloc(alignof(struct hg_burst), sizeof(*place->burst));
    place->back = (struct back){
        .conn = {.fd = -1},
        .features = FEATURES,
        .protocol = HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK) | HG_BIT(HG_VHOST_PROTOCOL_F_MQ),
        .kick_fd = {-1, -1},
        .hangs_up_after = -1,
    };
    place->port = (struct hg_port){.name = "guest", .id = 3, .host = &place->host};
    if (hg_virtio_user_driver.open(&place->port, values, &err) != 0)
        fail_msg("%s", err.text);
    *state = place;
    return 0;
}

static inline int tear_down(void **state)
{
    struct place *place = *state;

    hg_virtio_user_driver.close(&place->port);
    hang_up(&place->back);
    rmdir(place->dir);
    event_base_free(place->loop);
    free(place->burst);
    free(place);
    return 0;
}

/* Sends wire bytes, all at once or, with `drips`, each by itself with the port's loop in
 * between. */
static inline void send_bytes(struct place *place, const void *bytes, size_t n)
{
    size_t step = place->back.drips ? 1 : n;

    for (size_t at = 0; at < n; at += step) {
        if (place->back.conn.fd < 0 ||
            write(place->back.conn.fd, (const uint8_t *)bytes + at, step) != (ssize_t)step)
            return;
        if (place->back.drips)
            event_base_loop(place->loop, EVLOOP_NONBLOCK);
    }
}

static inline void reply(struct place *place, uint32_t request, const void *payload, uint32_t size)
{
    struct hg_vhost_hdr hdr = {request, HG_VHOST_VERSION | HG_VHOST_REPLY, size};

    if (request == place->back.answers_badly)
        hdr.size = size = 4;
    send_bytes(place, &hdr, sizeof(hdr));
    send_bytes(place, payload, size);
}

static inline void reply64(struct place *place, uint32_t request, uint64_t value)
{
    reply(place, request, &value, sizeof(value));
}

static inline void answer(struct place *place)
{
    struct back *back = &place->back;
    const struct hg_vhost_msg *msg = &back->conn.in;
    uint32_t request = msg->hdr.request;

    switch (request) {
    case HG_VHOST_GET_FEATURES:
        reply64(place, request, back->features);
        return;
    case HG_VHOST_GET_PROTOCOL_FEATURES:
        reply64(place, request, back->protocol);
        return;
    case HG_VHOST_GET_QUEUE_NUM:
        reply64(place, request, 8);
        return;
    case HG_VHOST_SET_FEATURES:
        back->accepted = msg->u64;
        break;
    case HG_VHOST_SET_MEM_TABLE:
        assert_int_equal(msg->mem.n, 1);
        assert_int_equal(back->conn.in_fd_n, 1);
        back->region = msg->mem.region[0];
        back->mem = mmap(NULL, back->region.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                         back->conn.in_fd[0], (off_t)back->region.mmap_offset);
        assert_true(back->mem != MAP_FAILED);
        break;
    case HG_VHOST_SET_VRING_NUM:
        assert_int_equal(msg->state.num, NUM);
        break;
    case HG_VHOST_SET_VRING_ADDR:
        back->addr[msg->addr.index] = msg->addr;
        break;
    case HG_VHOST_SET_VRING_KICK:
        back->kick_fd[msg->u64] = hg_vhost_take_fd(&back->conn, 0);
        break;
    default:
        break;
    }
    if ((msg->hdr.flags & HG_VHOST_NEED_REPLY) != 0)
        reply64(place, request, request == back->refuses);
}

static inline void connect_to(struct place *place)
{
    struct hg_err err;
    int fd = hg_sock_connect(place->path, &err);

    if (fd < 0)
        fail_msg("%s", err.text);
    place->back.conn = (struct hg_vhost_conn){.fd = fd};
}

/* One turn of both sides. */
static inline void turn(struct place *place)
{
    struct back *back = &place->back;
    int rc = 1;

    event_base_loop(place->loop, EVLOOP_NONBLOCK);
    if (back->conn.fd < 0)
        connect_to(place);
    while (rc == 1) {
        if (back->hangs_up_after >= 0 && (int)back->messages_n >= back->hangs_up_after) {
            back->hangs_up_after = -1;
            hang_up(back);
            return;
        }
        rc = hg_vhost_recv(&back->conn, NULL);
        if (rc == 1) {
            back->messages_n++;
            answer(place);
            hg_vhost_next(&back->conn);
        }
    }
    if (rc < 0)
        hang_up(back);
}

static inline const char *now(struct place *place)
{
    hg_virtio_user_driver.status(&place->port, &place->status);
    return place->status.state;
}

static inline void wait_for(struct place *place, const char *wanted)
{
    uint64_t end_ns = hg_now_ns() + WAIT_MS * HG_NS_PER_MS;

    while (strcmp(now(place), wanted) != 0) {
        if (hg_now_ns() > end_ns)
            fail_msg("the port is '%s' (%s), expected '%s'", place->status.state,
                     place->status.text, wanted);
        turn(place);
        usleep(200);
    }
}

static inline void expect_text(struct place *place, const char *part)
{
    now(place);
    if (strstr(place->status.text, part) == NULL)
        fail_msg("the port says '%s', expected '%s' in it", place->status.text, part);
}

static inline unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Hangs up, and lets the port find out. */
static inline void leave(struct place *place)
{
    hang_up(&place->back);
    while (event_base_loop(place->loop, EVLOOP_NONBLOCK), now(place),
           strstr(place->status.text, "to connect to") == NULL)
        usleep(200);
}

static inline void *at(struct back *back, uint64_t addr)
{
    assert_true(addr - back->region.user_addr < back->region.size);
    return back->mem + (addr - back->region.user_addr);
}

static inline uint8_t *buffer(struct back *back, uint16_t id, struct hg_desc *desc)
{
    struct hg_desc *table = at(back, back->addr[0].desc);

    *desc = table[id];
    return at(back, desc->addr);
}

/* Puts elements into the used ring of the receive ring and publishes them. */
static inline void use(struct back *back, uint32_t id, uint32_t len)
{
    struct hg_used *used = at(back, back->addr[0].used);

    used->ring[back->used_idx[0]++ % NUM] = (struct hg_used_elem){id, len};
    used->idx = back->used_idx[0];
}

static inline uint16_t posted(struct back *back, uint16_t n)
{
    struct hg_avail *avail = at(back, back->addr[0].avail);

    return avail->ring[(back->used_idx[0] + n) % NUM];
}

/* An honest delivery of one buffer: header, then a frame of `len` bytes of 0x5a. */
static inline void deliver(struct back *back, struct hg_net_hdr hdr, uint32_t len)
{
    struct hg_desc desc;
    uint16_t id = posted(back, 0);
    uint8_t *buf = buffer(back, id, &desc);

    assert_int_equal(desc.len, BUF_BYTES);
    assert_int_equal(desc.flags, HG_DESC_F_WRITE);
    memcpy(buf, &hdr, sizeof(hdr));
    memset(buf + sizeof(hdr), 0x5a, len);
    use(back, id, (uint32_t)sizeof(hdr) + len);
}

static inline unsigned receive(struct place *place)
{
    struct hg_rxq *rxq = place->port.rxq[0];
    unsigned n = rxq->rx(rxq, place->burst);

    rxq->done(rxq);
    return n;
}

static inline uint64_t drops(const struct place *place, enum hg_drop reason)
{
    return hg_count_get(&place->port.rxq[0]->stats.drops.reason[reason]);
}

#endif
