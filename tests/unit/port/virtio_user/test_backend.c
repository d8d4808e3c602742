/*
 * A virtio-user port and a back-end that the test plays message by message and byte by byte: it
 * refuses, lies, falls silent and disappears at every point. The port says what was wrong, stops its
 * queues, and comes up again with the next session.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
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
#include "port/virtio_user/virtio_user.h"
#include "virtio/vhost_msg.h"
#include "virtio/vhost_sock.h"
#include "virtio/virtio.h"

enum { WAIT_MS = 8000, NUM = 64, BUF_BYTES = 33 * 64 };

#define FEATURES                                                                                   \
    (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) |                           \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM) | HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4) |                     \
     HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES))

struct place;

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

static void changed(struct hg_port *port, void *ctx)
{
    (void)port;
    (void)ctx;
}

static void hang_up(struct back *back)
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

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    union hg_port_value values[] = {
        {.string = place->path}, {.uint = 1}, {.uint = 1}, {.uint = NUM}}; /* it listens */
    struct hg_err err;

    hg_log_set_level(HG_LOG_ERROR);
    strcpy(place->dir, "/tmp/headgate-backend-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof(place->path), "%s/sock", place->dir);
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

static int tear_down(void **state)
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

/* Sends wire bytes, all at once or, with `drips`, each by itself with the port's loop in between. */
static void send_bytes(struct place *place, const void *bytes, size_t n)
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

static void reply(struct place *place, uint32_t request, const void *payload, uint32_t size)
{
    struct hg_vhost_hdr hdr = {request, HG_VHOST_VERSION | HG_VHOST_REPLY, size};

    if (request == place->back.answers_badly)
        hdr.size = size = 4;
    send_bytes(place, &hdr, sizeof(hdr));
    send_bytes(place, payload, size);
}

static void reply64(struct place *place, uint32_t request, uint64_t value)
{
    reply(place, request, &value, sizeof(value));
}

static void answer(struct place *place)
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

static void connect_to(struct place *place)
{
    struct hg_err err;
    int fd = hg_vhost_sock_connect(place->path, &err);

    if (fd < 0)
        fail_msg("%s", err.text);
    place->back.conn = (struct hg_vhost_conn){.fd = fd};
}

/* One turn of both sides. */
static void turn(struct place *place)
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

static const char *now(struct place *place)
{
    hg_virtio_user_driver.status(&place->port, &place->status);
    return place->status.state;
}

static void wait_for(struct place *place, const char *wanted)
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

static void expect_text(struct place *place, const char *part)
{
    now(place);
    if (strstr(place->status.text, part) == NULL)
        fail_msg("the port says '%s', expected '%s' in it", place->status.text, part);
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Hangs up, and lets the port find out. */
static void leave(struct place *place)
{
    hang_up(&place->back);
    while (event_base_loop(place->loop, EVLOOP_NONBLOCK), now(place),
           strstr(place->status.text, "to connect to") == NULL)
        usleep(200);
}

static void *at(struct back *back, uint64_t addr)
{
    assert_true(addr - back->region.user_addr < back->region.size);
    return back->mem + (addr - back->region.user_addr);
}

static uint8_t *buffer(struct back *back, uint16_t id, struct hg_desc *desc)
{
    struct hg_desc *table = at(back, back->addr[0].desc);

    *desc = table[id];
    return at(back, desc->addr);
}

/* Puts elements into the used ring of the receive ring and publishes them. */
static void use(struct back *back, uint32_t id, uint32_t len)
{
    struct hg_used *used = at(back, back->addr[0].used);

    used->ring[back->used_idx[0]++ % NUM] = (struct hg_used_elem){id, len};
    used->idx = back->used_idx[0];
}

static uint16_t posted(struct back *back, uint16_t n)
{
    struct hg_avail *avail = at(back, back->addr[0].avail);

    return avail->ring[(back->used_idx[0] + n) % NUM];
}

/* An honest delivery of one buffer: header, then a frame of `len` bytes of 0x5a. */
static void deliver(struct back *back, struct hg_net_hdr hdr, uint32_t len)
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

static unsigned receive(struct place *place)
{
    struct hg_rxq *rxq = place->port.rxq[0];
    unsigned n = rxq->rx(rxq, place->burst);

    rxq->done(rxq);
    return n;
}

static uint64_t drops(const struct place *place, enum hg_drop reason)
{
    return hg_count_get(&place->port.rxq[0]->stats.drops.reason[reason]);
}

static void honest(void **state)
{
    struct place *place = *state;

    wait_for(place, "up");
    assert_int_equal(place->back.accepted, FEATURES);
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_int_equal(receive(place), 1);
    assert_int_equal(place->burst->pkt[0].len, 100);
    assert_int_equal(place->burst->pkt[0].head[99], 0x5a);
    assert_int_equal(posted(&place->back, NUM - 1), posted(&place->back, UINT16_MAX));
}

static void byte_by_byte(void **state)
{
    struct place *place = *state;

    place->back.drips = true;
    wait_for(place, "up");
}

static void without_any_protocol_feature(void **state)
{
    struct place *place = *state;

    place->back.features &= ~HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES);
    wait_for(place, "up");
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_int_equal(receive(place), 1);
}

static void without_acknowledgements(void **state)
{
    struct place *place = *state;

    place->back.protocol = 0;
    wait_for(place, "up");
}

/* Buffers that cannot be merged hold no segments: GUEST_TSO4 is not asked for. */
static void without_merging(void **state)
{
    struct place *place = *state;

    place->back.features &= ~HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF);
    wait_for(place, "up");
    assert_int_equal(place->back.accepted & HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4), 0);
    assert_true((place->back.accepted & HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM)) != 0);
}

static void too_old(void **state)
{
    struct place *place = *state;

    place->back.features &= ~HG_BIT(HG_VIRTIO_F_VERSION_1);
    wait_for(place, "broken");
    expect_text(place, "does not offer virtio feature 32");
}

static void refusals_are_named(void **state)
{
    static const uint32_t requests[] = {
        HG_VHOST_SET_OWNER,      HG_VHOST_SET_FEATURES,   HG_VHOST_SET_MEM_TABLE,
        HG_VHOST_SET_VRING_NUM,  HG_VHOST_SET_VRING_BASE, HG_VHOST_SET_VRING_ADDR,
        HG_VHOST_SET_VRING_CALL, HG_VHOST_SET_VRING_KICK, HG_VHOST_SET_VRING_ENABLE};
    struct place *place = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(requests); i++) {
        char text[64];

        place->back.refuses = requests[i];
        wait_for(place, "broken");
        snprintf(text, sizeof(text), "refused %s", hg_vhost_request_name(requests[i]));
        expect_text(place, text);
        place->back.refuses = 0;
        wait_for(place, "up");
        leave(place);
    }
}

static void bad_answers_are_named(void **state)
{
    static const uint32_t requests[] = {HG_VHOST_GET_FEATURES, HG_VHOST_GET_PROTOCOL_FEATURES,
                                        HG_VHOST_GET_QUEUE_NUM, HG_VHOST_SET_MEM_TABLE};
    struct place *place = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(requests); i++) {
        char text[64];

        place->back.answers_badly = requests[i];
        wait_for(place, "broken");
        snprintf(text, sizeof(text), "the answer to %s has 4 bytes",
                 hg_vhost_request_name(requests[i]));
        expect_text(place, text);
        place->back.answers_badly = 0;
        wait_for(place, "up");
        leave(place);
    }
}

static void nobody_asked(void **state)
{
    struct place *place = *state;

    wait_for(place, "up");
    reply64(place, HG_VHOST_GET_FEATURES, 1);
    wait_for(place, "broken");
    expect_text(place, "the back-end sent GET_FEATURES, expected nothing");
    wait_for(place, "up");
    send_bytes(place, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    wait_for(place, "broken");
    expect_text(place, "protocol version 3");
    wait_for(place, "up");
}

static void gone_at_every_message(void **state)
{
    struct place *place = *state;
    unsigned whole_n;
    unsigned fds_n;

    wait_for(place, "up");
    whole_n = place->back.messages_n;
    assert_true(whole_n > 15);
    leave(place);
    fds_n = count_fds();
    for (unsigned i = 0; i <= whole_n; i++) {
        place->back.hangs_up_after = (int)i;
        while (place->back.hangs_up_after >= 0)
            turn(place);
        leave(place);
        assert_int_equal(count_fds(), fds_n);
    }
}

static void silent(void **state)
{
    struct place *place = *state;
    uint64_t end_ns = hg_now_ns() + 6 * HG_NS_PER_S;

    connect_to(place);
    while (strcmp(now(place), "broken") != 0 && hg_now_ns() < end_ns) {
        event_base_loop(place->loop, EVLOOP_NONBLOCK); /* the back-end has no turn */
        usleep(10000);
    }
    expect_text(place, "has not answered GET_FEATURES within 5 s");
    hang_up(&place->back);
    wait_for(place, "up");
}

static void broken_rings_are_named(void **state)
{
    struct place *place = *state;
    struct hg_txq *txq = place->port.txq[0];

    wait_for(place, "up");
    use(&place->back, NUM, 100);
    assert_int_equal(receive(place), 0);
    wait_for(place, "broken");
    expect_text(place, "ring 0, on which we receive, is broken: used id out of range (64)");
    assert_false(atomic_load(&place->port.rxq[0]->running));
    wait_for(place, "up");

    struct hg_used *used = at(&place->back, place->back.addr[1].used);
    static struct hg_pkt pkt = {.len = 64, .head_len = 64};
    struct hg_pkt *pkts[] = {&pkt};

    used->idx = 1000;
    for (unsigned i = 0; i < NUM; i++)
        assert_int_equal(txq->tx(txq, pkts, 1), 1);
    assert_int_equal(txq->tx(txq, pkts, 1), 0);
    wait_for(place, "broken");
    expect_text(place, "ring 1, on which we transmit, is broken: used index moved past");
    wait_for(place, "up");
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_int_equal(receive(place), 1);
}

static void bad_frames_are_counted(void **state)
{
    static const struct {
        struct hg_net_hdr hdr;
        uint32_t len;
        enum hg_drop reason;
    } frames[] = {
        {{.num_buffers = 1}, 13, HG_DROP_RUNT},
        {{.num_buffers = 1}, 0, HG_DROP_RUNT},
        {{.flags = HG_NET_HDR_F_NEEDS_CSUM, .csum_start = 99, .num_buffers = 1},
         100,
         HG_DROP_BAD_OFFLOAD},
        {{.flags = HG_NET_HDR_F_NEEDS_CSUM, .csum_start = 0xffff, .csum_offset = 0xffff},
         100,
         HG_DROP_BAD_OFFLOAD},
        {{.gso_type = HG_NET_HDR_GSO_TCPV4, .num_buffers = 1}, 100, HG_DROP_BAD_OFFLOAD},
        {{.gso_type = HG_NET_HDR_GSO_UDP, .gso_size = 100}, 100, HG_DROP_BAD_OFFLOAD},
    };
    struct place *place = *state;
    uint64_t counted[HG_DROP_N] = {0};

    wait_for(place, "up");
    for (unsigned i = 0; i < HG_ARRAY_N(frames); i++) {
        deliver(&place->back, frames[i].hdr, frames[i].len);
        assert_int_equal(receive(place), 0);
        assert_int_equal(drops(place, frames[i].reason), ++counted[frames[i].reason]);
    }
    use(&place->back, posted(&place->back, 0), 11); /* not even a header */
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_RUNT), ++counted[HG_DROP_RUNT]);
    assert_int_equal(hg_count_get(&place->port.rxq[0]->stats.packets), HG_ARRAY_N(frames) + 1);
    assert_string_equal(now(place), "up");
}

/* A merged frame of n buffers with `bytes` in each. */
static void deliver_merged(struct back *back, unsigned n, unsigned claimed_n, uint32_t bytes)
{
    struct hg_net_hdr hdr = {.num_buffers = (uint16_t)claimed_n};
    struct hg_desc desc;

    memcpy(buffer(back, posted(back, 0), &desc), &hdr, sizeof(hdr));
    for (unsigned i = 0; i < n; i++)
        use(back, posted(back, 0), bytes);
}

static void merged_frames(void **state)
{
    struct place *place = *state;

    wait_for(place, "up");
    deliver_merged(&place->back, 31, 31, BUF_BYTES);
    deliver_merged(&place->back, 2, 2, BUF_BYTES);
    assert_int_equal(receive(place), 2);
    assert_int_equal(place->burst->pkt[0].len, 31 * BUF_BYTES - HG_NET_HDR_BYTES);
    assert_int_equal(place->burst->pkt[0].seg_n, 31);
    assert_int_equal(place->burst->pkt[1].len, 2 * BUF_BYTES - HG_NET_HDR_BYTES);

    deliver_merged(&place->back, 40, 40, BUF_BYTES); /* longer than any frame */
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_OVERSIZE), 1);
    deliver_merged(&place->back, 3, 3, 100); /* not full: the head would be in pieces */
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_BAD_DESCRIPTOR), 1);

    deliver_merged(&place->back, 3, 0xffff, BUF_BYTES);
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_BAD_DESCRIPTOR), 2);
    wait_for(place, "broken");
    expect_text(place, "merged frame without its buffers (65535)");
    wait_for(place, "up");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(honest),
        CASE(byte_by_byte),
        CASE(without_any_protocol_feature),
        CASE(without_acknowledgements),
        CASE(without_merging),
        CASE(too_old),
        CASE(refusals_are_named),
        CASE(bad_answers_are_named),
        CASE(nobody_asked),
        CASE(gone_at_every_message),
        CASE(silent),
        CASE(broken_rings_are_named),
        CASE(bad_frames_are_counted),
        CASE(merged_frames),
    };

    return cmocka_run_group_tests_name("virtio-user against a scripted back-end", tests, NULL,
                                       NULL);
}
