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
    RECONNECT,  /* features: bit 0 packed rings, bit 1 a virtual IOMMU, bit 2 event indices */
    CHANNEL,    /* the back-end's channel */
    IOTLB,      /* type, page, pages, memory page, permission */
    MISSES,     /* how many are read, and their answer's permission */
    PACKED,     /* ring, 16 bytes */
    STEP_N
};

enum { PAIRS = 2, RINGS = 2 * PAIRS, LAST_FD_TO_CHECK = 64 };

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

static void reconnect(uint8_t features)
{
    int ends[2];

    peer_hang_up(&world.peer);
    world.peer.features = UINT64_MAX;
    if ((features & 1) == 0)
        world.peer.features &= ~HG_BIT(HG_VIRTIO_F_RING_PACKED);
    if ((features & 2) == 0)
        world.peer.features &= ~HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM);
    if ((features & 4) != 0)
        world.peer.features &= ~HG_BIT(HG_VIRTIO_F_EVENT_IDX);
    world.peer.packed = (features & 1) != 0;
    for (unsigned i = 0; i < RINGS; i++)
        peer_reset_ring(&world.peer, i);
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

/* Of the addresses that rings and buffers have, and some that nothing has. */
static uint64_t take_iova(struct input *in)
{
    static const uint64_t bases[] = {PEER_USER, PEER_HIGH, 0, UINT64_C(0x5500000000)};
    uint8_t choice = take_byte(in);

    return bases[choice % HG_ARRAY_N(bases)] + (uint64_t)(choice / 4) * HG_IOTLB_GRANULE;
}

static void send_iotlb(struct input *in)
{
    struct hg_vhost_iotlb iotlb = {.type = take_byte(in) % 5, .iova = take_iova(in)};

    iotlb.size = (uint64_t)take_byte(in) * 16 * HG_IOTLB_GRANULE;
    iotlb.user_addr = PEER_USER + (uint64_t)take_byte(in) * 16 * HG_IOTLB_GRANULE;
    iotlb.perm = take_byte(in) % 5;
    peer_send_iotlb(&world.peer, iotlb);
}

/* Reads misses from the channel and answers them: addresses of the rings are those of the process, others
 * get their page of the memory. */
static void answer_misses(struct input *in)
{
    unsigned n = take_byte(in);
    uint8_t perm = take_byte(in) % 4;
    struct hg_vhost_iotlb miss;

    while (n-- > 0 && world.peer.channel >= 0 && peer_take_miss(&world.peer, &miss)) {
        uint64_t offset = miss.iova >= PEER_USER ? miss.iova - PEER_USER : miss.iova;

        peer_send_iotlb(&world.peer, (struct hg_vhost_iotlb){
                                         .type = HG_VHOST_IOTLB_UPDATE,
                                         .iova = miss.iova,
                                         .size = HG_IOTLB_GRANULE,
                                         .user_addr = PEER_USER + offset % PEER_MEM_BYTES,
                                         .perm = perm,
                                     });
    }
}

static void write_packed(struct input *in)
{
    unsigned ring = take_byte(in) % RINGS;
    struct hg_packed_desc desc;

    take(in, &desc, sizeof(desc));
    desc.flags &= 7;
    peer_push_packed(&world.peer, ring, &desc, 1);
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

static void do_step(struct input *in)
{
    struct peer *peer = &world.peer;
    unsigned ring;

    switch ((enum step)(take_byte(in) % STEP_N)) {
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
        break;
    case RECONNECT:
        reconnect(take_byte(in));
        break;
    case CHANNEL:
        peer_open_channel(peer, false);
        break;
    case IOTLB:
        send_iotlb(in);
        break;
    case MISSES:
        answer_misses(in);
        break;
    case PACKED:
    case STEP_N:
        write_packed(in);
        break;
    }
    pump(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void create_world(void)
{
    const struct hg_vhost_port_options options = {
        .path = "/nowhere",
        .server = true,
        .pair_n = PAIRS,
        .mtu_max = 65535,
        .iommu = HG_VHOST_IOMMU_ALLOW,
        .iotlb_entries = HG_IOTLB_ENTRIES_MIN,
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

    reconnect(0);
    while (in.left > 0)
        do_step(&in);
    peer_hang_up(&world.peer);
    must(!hg_vhost_connected(world.vp));
    must(world.vp->space == NULL);
    must(count_fds() == idle_fds);
    return 0;
}
