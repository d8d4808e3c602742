/*
 * A whole session from the first byte to the last: requests, raw bytes, ring contents and bursts in the
 * order that the input says, through the real session over a socketpair. After each input the session
 * must have given back every descriptor and mapping.
 *
 * The input is a sequence of steps: one byte that says which (modulo STEP_N), then its arguments; what
 * is missing at the end is zero. Whole handshakes are steps too, so that an input need not invent one.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/raise.h"
#include "mem/foreign.h"
#include "peer/peer.h"
#include "port/vhost/state.h"

enum step {
    MESSAGE,    /* request, flags, descriptors (n, kind), payload length, payload */
    RAW,        /* length, bytes */
    INIT,       /* what QEMU says when it connects */
    START,      /* and when the driver is ready */
    STOP,       /* and when it goes */
    MEMORY,     /* the good memory table */
    START_RING, /* ring */
    DESCRIPTOR, /* ring, index, 16 bytes */
    AVAILABLE,  /* ring, head */
    INDEX,      /* ring, available index (2 bytes) */
    RX,         /* queue */
    TX,         /* queue, length */
    WATCH,      /* control looks at the rings */
    RECONNECT,
    MODE,    /* bits: packed rings, a virtual IOMMU; from the next START on */
    CHANNEL, /* for the back-end to ask on */
    MAP,     /* page of IOVA, pages, page of memory, permission */
    MAP_ALL, /* rings and buffers */
    UNMAP,   /* page of IOVA, pages */
    ANSWER,  /* the misses that have come */
    SLOT,    /* bits: which half, whether to remove it */
    STATUS,  /* device status */
    PACKED,  /* ring, index, 16 bytes */
    STEP_N
};

enum { PAIRS = 2, RINGS = 2 * PAIRS, LAST_FD_TO_CHECK = 64, PAGE = 4096 };

/* Where the rings are for the device, behind a virtual IOMMU. */
#define RING_IOVA UINT64_C(0x7700000000)

#define MODES (HG_BIT(HG_VIRTIO_F_RING_PACKED) | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM))

struct input {
    const uint8_t *at;
    size_t left;
};

static struct {
    struct event_base *loop;
    struct hg_port_host host;
    struct hg_port port;
    struct hg_vhost_port *vp;
    struct peer peer;
    struct hg_burst *burst;
    int pipe[2];
} world;

static void take(struct input *in, void *to, size_t n)
{
    size_t have = in->left < n ? in->left : n;

    memset(to, 0, n);
    memcpy(to, in->at, have);
    in->at += have;
    in->left -= have;
}

static uint8_t take_byte(struct input *in)
{
    uint8_t byte;

    take(in, &byte, 1);
    return byte;
}

static void pump(void *ctx)
{
    (void)ctx;
    event_base_loop(world.loop, EVLOOP_NONBLOCK);
    event_base_loop(world.loop, EVLOOP_NONBLOCK);
}

static void queues_changed(struct hg_port *port, void *ctx)
{
    (void)port;
    (void)ctx;
}

static unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < LAST_FD_TO_CHECK; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void reconnect(void)
{
    int ends[2];

    peer_hang_up(&world.peer);
    must(!hg_vhost_connected(world.vp));
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    peer_attach(&world.peer, ends[0]);
    hg_vhost_session_begin(world.vp, ends[1]);
}

static void send_message(struct input *in)
{
    struct hg_vhost_hdr hdr = {.request = take_byte(in) % 48u};
    uint8_t fd_word;
    int fds[16];
    uint8_t bytes[sizeof(hdr) + 255];

    hdr.flags = take_byte(in) ^ HG_VHOST_VERSION;
    fd_word = take_byte(in);
    for (unsigned i = 0; i < HG_ARRAY_N(fds); i++) {
        const int kinds[] = {world.peer.mem_fd, world.peer.ring[i % RINGS].kick,
                             world.peer.ring[i % RINGS].call, world.pipe[1]};

        fds[i] = kinds[fd_word / 16 % HG_ARRAY_N(kinds)];
    }
    hdr.size = take_byte(in);
    memcpy(bytes, &hdr, sizeof(hdr));
    take(in, bytes + sizeof(hdr), hdr.size);
    peer_send_raw(&world.peer, bytes, sizeof(hdr) + hdr.size, fds, fd_word % 16u);
}

static void send_raw(struct input *in)
{
    uint8_t bytes[255];
    size_t n = take_byte(in);

    take(in, bytes, n);
    if (n > 0)
        peer_send_raw(&world.peer, bytes, n, NULL, 0);
}

static void write_descriptor(struct input *in)
{
    unsigned ring = take_byte(in) % RINGS;
    uint16_t index = take_byte(in);
    struct hg_desc desc;

    take(in, &desc, sizeof(desc));
    peer_write_desc(&world.peer, ring, index, desc);
}

static void write_packed(struct input *in)
{
    unsigned ring = take_byte(in) % RINGS;
    uint16_t index = take_byte(in);
    struct hg_packed_desc desc;

    take(in, &desc, sizeof(desc));
    peer_write_packed(&world.peer, ring, index, desc);
}

static void set_mode(unsigned mode)
{
    struct peer *peer = &world.peer;

    peer->features = UINT64_MAX & ~MODES;
    peer->packed = (mode & 1) != 0;
    peer->ring_start = (mode & 2) != 0 ? RING_IOVA : PEER_USER;
    if (peer->packed) {
        peer->features |= HG_BIT(HG_VIRTIO_F_RING_PACKED);
        peer_use_packed(peer);
    }
    if ((mode & 2) != 0)
        peer->features |= HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM);
}

/* Acknowledgements and what else has come: nobody waits for it. */
static void drain(int fd)
{
    uint8_t bytes[4096];

    pump(NULL);
    while (fd >= 0 && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

static void map(uint64_t iova, uint64_t size, uint64_t offset, uint8_t perm)
{
    struct hg_vhost_iotlb update = {iova, size, PEER_USER + offset, perm, HG_VHOST_IOTLB_UPDATE,
                                    {0}};

    peer_send_iotlb(&world.peer, update);
}

static void map_some(struct input *in)
{
    uint64_t iova = take_byte(in);
    uint64_t size = take_byte(in) % 8u;
    uint64_t offset = take_byte(in);
    uint8_t perm = take_byte(in);

    map((perm & 0x80) != 0 ? RING_IOVA + iova * PAGE : iova * PAGE, size * PAGE, offset * PAGE,
        perm & 7);
}

static void map_all(void)
{
    map(RING_IOVA, RINGS * (uint64_t)PEER_RING_BYTES, 0, HG_VHOST_ACCESS_RW);
    map(0, PEER_HALF_BYTES, 0, HG_VHOST_ACCESS_RW);
    map(PEER_HIGH, PEER_HALF_BYTES, PEER_HALF_BYTES, HG_VHOST_ACCESS_RW);
}

static void unmap_some(struct input *in)
{
    uint64_t page = take_byte(in);
    uint8_t pages = take_byte(in);
    struct hg_vhost_iotlb invalidate = {
        .iova = ((pages & 0x80) != 0 ? RING_IOVA : 0) + page * PAGE,
        .size = (pages & 0x7f) * (uint64_t)PAGE,
        .type = HG_VHOST_IOTLB_INVALIDATE,
    };

    peer_send_iotlb(&world.peer, invalidate);
}

/* Answers each miss that is there with the page that a guest would mean. */
static void answer(void)
{
    struct hg_vhost_hdr hdr;
    struct hg_vhost_iotlb miss;

    while (world.peer.channel >= 0 &&
           recv(world.peer.channel, &hdr, sizeof(hdr), MSG_DONTWAIT) == sizeof(hdr) &&
           recv(world.peer.channel, &miss, sizeof(miss), MSG_DONTWAIT) == sizeof(miss)) {
        uint64_t base = miss.iova >= RING_IOVA ? RING_IOVA : miss.iova >= PEER_HIGH ? PEER_HIGH : 0;
        uint64_t offset = base == PEER_HIGH ? PEER_HALF_BYTES : 0;

        map(miss.iova, PAGE, (miss.iova - base + offset) % PEER_MEM_BYTES, HG_VHOST_ACCESS_RW);
        drain(world.peer.fd);
    }
}

static void change_slot(uint8_t how)
{
    unsigned half = how & 1;
    struct hg_vhost_mem_reg slot = {.region = {half == 0 ? 0 : PEER_HIGH, PEER_HALF_BYTES,
                                               PEER_USER + half * PEER_HALF_BYTES,
                                               half * PEER_HALF_BYTES}};
    bool remove = (how & 2) != 0;

    peer_send(&world.peer, remove ? HG_VHOST_REM_MEM_REG : HG_VHOST_ADD_MEM_REG, 0, &slot,
              sizeof(slot), &world.peer.mem_fd, remove ? 0 : 1);
}

static void receive(struct input *in)
{
    struct hg_rxq *q = world.port.rxq[take_byte(in) % PAIRS];

    q->rx(q, world.burst);
    q->done(q);
    q->arm(q);
    q->disarm(q);
}

static void transmit(struct input *in)
{
    struct hg_txq *q = world.port.txq[take_byte(in) % PAIRS];
    struct hg_pkt *pkt = &world.burst->pkt[0];

    memset(pkt, 0, sizeof(*pkt));
    pkt->len = pkt->head_len = (uint16_t)(take_byte(in) % HG_HEAD_BYTES);
    q->tx(q, &pkt, 1);
}

/* The steps that nothing is asked in: what they send is answered with acknowledgements alone. */
static void do_later_step(enum step step, struct input *in)
{
    switch (step) {
    case MODE:
        set_mode(take_byte(in));
        break;
    case CHANNEL:
        peer_open_channel(&world.peer, false);
        break;
    case MAP:
        map_some(in);
        break;
    case MAP_ALL:
        map_all();
        break;
    case UNMAP:
        unmap_some(in);
        break;
    case ANSWER:
        answer();
        break;
    case SLOT:
        change_slot(take_byte(in));
        break;
    case STATUS:
        peer_send_u64(&world.peer, HG_VHOST_SET_STATUS, take_byte(in));
        break;
    default:
        write_packed(in);
        break;
    }
}

static void do_step(struct input *in)
{
    struct peer *peer = &world.peer;
    enum step step = (enum step)(take_byte(in) % STEP_N);
    unsigned ring;

    switch (step) {
    case MESSAGE:
        send_message(in);
        break;
    case RAW:
        send_raw(in);
        break;
    case INIT:
        peer_init(peer);
        break;
    case START:
        peer_start(peer);
        break;
    case STOP:
        peer_stop(peer);
        break;
    case MEMORY:
        peer_send_mem_table(peer, false);
        break;
    case START_RING:
        peer_start_ring(peer, take_byte(in) % RINGS);
        break;
    case DESCRIPTOR:
        write_descriptor(in);
        break;
    case AVAILABLE:
        ring = take_byte(in) % RINGS;
        peer_push_avail(peer, ring, take_byte(in));
        break;
    case INDEX:
        ring = take_byte(in) % RINGS;
        peer_set_avail_idx(peer, ring, (uint16_t)(take_byte(in) << 8 | take_byte(in)));
        break;
    case RX:
        receive(in);
        break;
    case TX:
        transmit(in);
        break;
    case WATCH:
        hg_vhost_rings_check(world.vp);
        hg_vhost_faults_tell(world.vp);
        break;
    case MODE:
    case CHANNEL:
    case MAP:
    case MAP_ALL:
    case UNMAP:
    case ANSWER:
    case SLOT:
    case STATUS:
    case PACKED:
        do_later_step(step, in);
        drain(peer->fd);
        break;
    case RECONNECT:
    case STEP_N:
        reconnect();
        break;
    }
    pump(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void create_world(void)
{
    struct hg_vhost_port_options options = {
        .path = "/nowhere",
        .server = true,
        .pair_n = PAIRS,
        .mtu_max = 65535,
        .iotlb_entries = HG_IOTLB_ENTRIES_MIN,
        .coalesce_frames = 1,
    };
    struct hg_err err;

    hg_log_set_level(HG_LOG_ERROR);
    /* These open files for good, which are not to be taken for leaks later. */
    hg_raise(-1);
    hg_foreign_event();
    world.loop = event_base_new();
    must(world.loop != NULL);
    world.host = (struct hg_port_host){.loop = world.loop, .queues_changed = queues_changed};
    world.port.host = &world.host;
    strcpy(world.port.name, "vm1");
    must(hg_vhost_port_new(&world.port, &options, &err) == 0);
    world.vp = world.port.driver_data;
    must(peer_new(&world.peer, PAIRS, UINT64_MAX, pump, NULL));
    must(pipe2(world.pipe, O_CLOEXEC | O_NONBLOCK) == 0);
    world.burst = aligned_alloc(alignof(struct hg_burst), sizeof(*world.burst));
    must(world.burst != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (world.loop == NULL)
        create_world();
    /* Counted each time: the fuzzer opens some of its own between inputs. */
    unsigned idle_fds = count_fds();

    set_mode(0);
    for (unsigned i = 0; i < RINGS; i++)
        peer_reset_ring(&world.peer, i);
    reconnect();
    while (in.left > 0)
        do_step(&in);
    peer_hang_up(&world.peer);
    must(!hg_vhost_connected(world.vp));
    must(world.vp->space == NULL);
    must(count_fds() == idle_fds);
    return 0;
}
