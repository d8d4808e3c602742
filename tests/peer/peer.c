#include "peer/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A peer that owns an unmapped memory. */
static void forget(struct peer *peer)
{
    memset(peer, 0, sizeof(*peer));
    peer->fd = peer->channel = peer->mem_fd = -1;
    peer->ring_start = PEER_USER;
    peer->send_budget = -1;
    for (unsigned i = 0; i < PEER_RINGS_MAX; i++)
        peer->ring[i] = (struct peer_ring){.kick = -1, .call = -1, .err = -1};
}

bool peer_new(struct peer *peer, unsigned pair_n, uint64_t features, void (*pump)(void *),
              void *pump_ctx)
{
    forget(peer);
    peer->pair_n = pair_n;
    peer->features = features;
    peer->pump = pump;
    peer->pump_ctx = pump_ctx;
    peer->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    if (peer->mem_fd < 0 || ftruncate(peer->mem_fd, PEER_MEM_BYTES) != 0)
        return false;
    peer->mem = mmap(NULL, PEER_MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, peer->mem_fd, 0);
    if (peer->mem == MAP_FAILED) {
        peer->mem = NULL;
        return false;
    }
    for (unsigned i = 0; i < 2 * pair_n; i++) {
        peer->ring[i].num = PEER_RING_SIZE;
        peer->ring[i].at = (uint64_t)i * PEER_RING_BYTES;
        peer->ring[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        peer->ring[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        peer->ring[i].err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    return true;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void peer_free(struct peer *peer)
{
    if (peer->mem != NULL)
        munmap(peer->mem, PEER_MEM_BYTES);
    close_if_open(peer->mem_fd);
    close_if_open(peer->fd);
    close_if_open(peer->channel);
    for (unsigned i = 0; i < PEER_RINGS_MAX; i++) {
        close_if_open(peer->ring[i].kick);
        close_if_open(peer->ring[i].call);
        close_if_open(peer->ring[i].err);
    }
    forget(peer);
}

bool peer_connect(struct peer *peer, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    peer_hang_up(peer);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        close_if_open(fd);
        return false;
    }
    peer_attach(peer, fd);
    return true;
}

void peer_attach(struct peer *peer, int fd)
{
    peer_hang_up(peer);
    peer->fd = fd;
    peer->sent_n = 0;
}

void peer_hang_up(struct peer *peer)
{
    close_if_open(peer->fd);
    close_if_open(peer->channel);
    peer->fd = peer->channel = -1;
    peer->pump(peer->pump_ctx);
}

bool peer_was_closed(struct peer *peer)
{
    uint8_t bytes[4096];
    ssize_t n;

    peer->pump(peer->pump_ctx);
    do
        n = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    while (n > 0);
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

bool peer_send_raw(struct peer *peer, const void *bytes, size_t n, const int *fds, unsigned fd_n)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(64 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd_n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_n * sizeof(int));

        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_n * sizeof(int));
    }
    if (peer->fd < 0 || sendmsg(peer->fd, &msg, MSG_NOSIGNAL) != (ssize_t)n)
        return false;
    return true;
}

bool peer_send(struct peer *peer, uint32_t request, uint32_t flags, const void *payload,
               uint32_t size, const int *fds, unsigned fd_n)
{
    struct hg_vhost_hdr hdr = {request, HG_VHOST_VERSION | flags, size};
    uint8_t bytes[sizeof(hdr) + HG_VHOST_PAYLOAD_MAX];

    if (peer->send_budget == 0) {
        peer_hang_up(peer);
        return false;
    }
    if (peer->send_budget > 0)
        peer->send_budget--;
    memcpy(bytes, &hdr, sizeof(hdr));
    if (size > 0)
        memcpy(bytes + sizeof(hdr), payload, size);
    peer->sent_n++;
    return peer_send_raw(peer, bytes, sizeof(hdr) + size, fds, fd_n);
}

/* Reads exactly n bytes; false at the end of the stream or when the other side stays silent. */
static bool read_exactly(struct peer *peer, void *to, size_t n)
{
    size_t done = 0;

    for (int quiet = 0; done < n && quiet < 100;) {
        ssize_t got = recv(peer->fd, (uint8_t *)to + done, n - done, MSG_DONTWAIT);

        if (got > 0) {
            done += (size_t)got;
            quiet = 0;
        } else if (got == 0 || errno != EAGAIN) {
            return false;
        } else {
            peer->pump(peer->pump_ctx);
            quiet++;
        }
    }
    return done == n;
}

bool peer_recv(struct peer *peer, struct hg_vhost_msg *msg)
{
    memset(msg, 0, sizeof(*msg));
    return peer->fd >= 0 && read_exactly(peer, &msg->hdr, sizeof(msg->hdr)) &&
           msg->hdr.size <= sizeof(msg->bytes) && read_exactly(peer, msg->bytes, msg->hdr.size);
}

bool peer_send_u64(struct peer *peer, uint32_t request, uint64_t value)
{
    return peer_send(peer, request, 0, &value, sizeof(value), NULL, 0);
}

bool peer_send_state(struct peer *peer, uint32_t request, uint32_t index, uint32_t num)
{
    struct hg_vhost_vring_state state = {index, num};

    return peer_send(peer, request, 0, &state, sizeof(state), NULL, 0);
}

bool peer_send_fd(struct peer *peer, uint32_t request, unsigned index, int fd)
{
    uint64_t word = index | (fd < 0 ? HG_VHOST_VRING_NO_FD : 0);

    return peer_send(peer, request, 0, &word, sizeof(word), &fd, fd < 0 ? 0 : 1);
}

bool peer_send_addr(struct peer *peer, unsigned index)
{
    const struct peer_ring *ring = &peer->ring[index];
    uint64_t desc = peer->ring_start + ring->at;
    uint64_t avail = desc + HG_DESC_BYTES(ring->num);
    uint64_t used = (avail + HG_AVAIL_BYTES(ring->num) + 63) & ~UINT64_C(63);
    struct hg_vhost_vring_addr addr = {
        .index = index,
        .desc = desc,
        .avail = avail,
        .used = used,
    };

    return peer_send(peer, HG_VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
}

/* A reply as QEMU checks it: of that request, with exactly these flags and this size. */
static bool expect_reply(struct peer *peer, uint32_t request, uint32_t size,
                         struct hg_vhost_msg *msg)
{
    return peer_recv(peer, msg) && msg->hdr.request == request && msg->hdr.size == size &&
           msg->hdr.flags == (HG_VHOST_VERSION | HG_VHOST_REPLY);
}

bool peer_ask_u64(struct peer *peer, uint32_t request, uint64_t *value)
{
    struct hg_vhost_msg msg;

    if (!peer_send(peer, request, 0, NULL, 0, NULL, 0) ||
        !expect_reply(peer, request, sizeof(*value), &msg))
        return false;
    *value = msg.u64;
    return true;
}

bool peer_send_mem_table(struct peer *peer, bool acknowledge)
{
    struct hg_vhost_mem_table table = {
        .n = 2,
        .region = {{0, PEER_HALF_BYTES, PEER_USER, 0},
                   {PEER_HIGH, PEER_HALF_BYTES, PEER_USER + PEER_HALF_BYTES, PEER_HALF_BYTES}},
    };
    int fds[] = {peer->mem_fd, peer->mem_fd};
    struct hg_vhost_msg msg;

    if (!peer_send(peer, HG_VHOST_SET_MEM_TABLE, acknowledge ? HG_VHOST_NEED_REPLY : 0, &table,
                   8 + 2 * sizeof(table.region[0]), fds, 2))
        return false;
    return !acknowledge || (expect_reply(peer, HG_VHOST_SET_MEM_TABLE, 8, &msg) && msg.u64 == 0);
}

bool peer_get_base(struct peer *peer, unsigned index, uint32_t *base)
{
    struct hg_vhost_msg msg;

    if (!peer_send_state(peer, HG_VHOST_GET_VRING_BASE, index, 0) ||
        !expect_reply(peer, HG_VHOST_GET_VRING_BASE, sizeof(msg.state), &msg) ||
        msg.state.index != index)
        return false;
    *base = msg.state.num;
    peer->ring[index].base = msg.state.num;
    return true;
}

/* Per queue pair, what vhost_dev_init() of QEMU 7.2 sends; some of it for the first pair only. */
static bool init_pair(struct peer *peer, unsigned pair)
{
    uint64_t ignored;

    if (!peer_ask_u64(peer, HG_VHOST_GET_FEATURES, &peer->offered))
        return false;
    if ((peer->offered & HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES)) != 0) {
        if (!peer_ask_u64(peer, HG_VHOST_GET_PROTOCOL_FEATURES, &peer->offered_protocol))
            return false;
        peer->protocol = peer->offered_protocol;
        if (!peer_send_u64(peer, HG_VHOST_SET_PROTOCOL_FEATURES, peer->protocol))
            return false;
        if (pair == 0 && (peer->protocol & HG_BIT(HG_VHOST_PROTOCOL_F_MQ)) != 0 &&
            !peer_ask_u64(peer, HG_VHOST_GET_QUEUE_NUM, &ignored))
            return false;
    }
    if (pair == 0 && !peer_send(peer, HG_VHOST_SET_OWNER, 0, NULL, 0, NULL, 0))
        return false;
    if (!peer_ask_u64(peer, HG_VHOST_GET_FEATURES, &peer->offered))
        return false;
    for (unsigned i = 2 * pair; i < 2 * pair + 2; i++)
        if (!peer_send_fd(peer, HG_VHOST_SET_VRING_CALL, i, peer->ring[i].call) ||
            !peer_send_fd(peer, HG_VHOST_SET_VRING_ERR, i, peer->ring[i].err))
            return false;
    return true;
}

bool peer_init(struct peer *peer)
{
    for (unsigned pair = 0; pair < peer->pair_n; pair++)
        if (!init_pair(peer, pair))
            return false;
    return true;
}

bool peer_start_ring(struct peer *peer, unsigned index)
{
    const struct peer_ring *ring = &peer->ring[index];

    return peer_send_state(peer, HG_VHOST_SET_VRING_NUM, index, ring->num) &&
           peer_send_state(peer, HG_VHOST_SET_VRING_BASE, index, ring->base) &&
           peer_send_addr(peer, index) &&
           peer_send_fd(peer, HG_VHOST_SET_VRING_KICK, index, ring->kick) &&
           peer_send_fd(peer, HG_VHOST_SET_VRING_CALL, index, ring->call);
}

bool peer_enable_pair(struct peer *peer, unsigned pair, bool enabled)
{
    return peer_send_state(peer, HG_VHOST_SET_VRING_ENABLE, 2 * pair, enabled) &&
           peer_send_state(peer, HG_VHOST_SET_VRING_ENABLE, 2 * pair + 1, enabled);
}

bool peer_start(struct peer *peer)
{
    uint64_t accepted = peer->features & peer->offered;

    for (unsigned pair = 0; pair < peer->pair_n; pair++) {
        if (!peer_send_u64(peer, HG_VHOST_SET_FEATURES, accepted))
            return false;
        if (pair == 0 && !peer_send_mem_table(
                             peer, (peer->protocol & HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK)) != 0))
            return false;
        if (!peer_start_ring(peer, 2 * pair) || !peer_start_ring(peer, 2 * pair + 1))
            return false;
        if ((accepted & HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES)) != 0 &&
            !peer_enable_pair(peer, pair, true))
            return false;
    }
    peer->pump(peer->pump_ctx);
    return true;
}

bool peer_stop(struct peer *peer)
{
    uint32_t base;

    for (unsigned i = 0; i < 2 * peer->pair_n; i++)
        if (!peer_get_base(peer, i, &base))
            return false;
    return true;
}
