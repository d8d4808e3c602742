/*
 * One function per request of the vhost-user protocol, and the table that says what each must look
 * like. The comment on a function is what the protocol leaves open and how we settle it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/raise.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

/* Virtio 1.2, 5.1.4.1: no MTU is smaller. */
enum { MTU_MIN = 68 };

static struct hg_vhost_ring *find_ring(struct hg_vhost_port *vp, uint64_t index, struct hg_err *err)
{
    if (index < hg_vhost_ring_n(vp))
        return hg_vhost_ring(vp, (unsigned)index);
    hg_err_set(err, EPROTO, "ring %" PRIu64 " does not exist, there are %u", index,
               hg_vhost_ring_n(vp));
    return NULL;
}

/* The ring of a request that may come only while it is stopped. */
static struct hg_vhost_ring *find_stopped_ring(struct hg_vhost_port *vp, uint32_t index,
                                               struct hg_err *err)
{
    struct hg_vhost_ring *ring = find_ring(vp, index, err);

    if (ring == NULL || !ring->started)
        return ring;
    hg_err_set(err, EPROTO, "ring %u runs", index);
    return NULL;
}

static int get_features(struct hg_vhost_call *call)
{
    call->reply->u64 = call->vp->offer;
    return 0;
}

static void enable_all(struct hg_vhost_port *vp, bool enabled)
{
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        hg_vhost_ring_enable(vp, hg_vhost_ring(vp, i), enabled);
}

/* Comes once per queue pair, with the same features. Without the bit for protocol features there is
 * no SET_VRING_ENABLE, so all rings are enabled; with it, their state stays as it is. */
static int set_features(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    uint64_t wanted = call->in->u64;
    int rc = 0;

    if ((wanted & ~vp->offer) != 0)
        return hg_err_set(call->err, EPROTO, "features 0x%" PRIx64 " were not offered",
                          wanted & ~vp->offer);
    if (wanted != vp->features)
        for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
            if (hg_vhost_ring(vp, i)->started)
                return hg_err_set(call->err, EPROTO, "features change while ring %u runs", i);
    if ((wanted & HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM)) != 0)
        rc = hg_vhost_iommu_begin(vp, call->err);
    else
        hg_vhost_iommu_end(vp);
    if (rc != 0)
        return rc;
    bool news = !vp->features_set || wanted != vp->features;

    vp->features = wanted;
    vp->features_set = true;
    if (news && hg_vhost_unsafe(vp))
        hg_log_limited(HG_LOG_WARN, vp->log_name,
                       "refused: the guest does not use the virtual IOMMU that this port requires");
    if (!hg_vhost_has(vp, HG_VHOST_USER_F_PROTOCOL_FEATURES))
        enable_all(vp, true);
    return hg_vhost_rings_try_start(vp, call->err);
}

/* Whoever is connected owns the session. */
static int set_owner(struct hg_vhost_call *call)
{
    (void)call;
    return 0;
}

static int reset_owner(struct hg_vhost_call *call)
{
    enable_all(call->vp, false);
    return 0;
}

static int get_protocol_features(struct hg_vhost_call *call)
{
    call->reply->u64 = call->vp->protocol_offer;
    return 0;
}

static int set_protocol_features(struct hg_vhost_call *call)
{
    uint64_t unknown = call->in->u64 & ~call->vp->protocol_offer;

    if (unknown != 0)
        return hg_err_set(call->err, EPROTO, "protocol features 0x%" PRIx64 " were not offered",
                          unknown);
    call->vp->protocol = call->in->u64;
    return 0;
}

/* Queues of a network device are pairs. */
static int get_queue_num(struct hg_vhost_call *call)
{
    call->reply->u64 = call->vp->port->queue_n;
    return 0;
}

static int set_vring_num(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    struct hg_vhost_ring *ring = find_stopped_ring(vp, call->in->state.index, call->err);
    uint32_t num = call->in->state.num;

    if (ring == NULL)
        return -EPROTO;
    if (!hg_is_power_of_two(num) || num > HG_VRING_NUM_MAX)
        return hg_err_set(call->err, EPROTO,
                          "ring %u: size %u is not a power of two between 1 and %d", ring->index,
                          num, HG_VRING_NUM_MAX);
    ring->num = num;
    return hg_vhost_ring_try_start(vp, ring, call->err);
}

/* Addresses are the front-end's virtual ones, or IOVAs under a virtual IOMMU. They are looked up
 * when the ring starts, or at once when it runs already. */
static int set_vring_addr(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    const struct hg_vhost_vring_addr *addr = &call->in->addr;
    struct hg_vhost_ring *ring = find_ring(vp, addr->index, call->err);

    if (ring == NULL)
        return -EPROTO;
    if (addr->flags != 0)
        return hg_err_set(call->err, EPROTO, "ring %u: flags 0x%x were not offered", ring->index,
                          addr->flags);
    ring->addr = *addr;
    ring->placed = true;
    ring->refused[0] = '\0';
    if (!ring->started)
        return hg_vhost_ring_try_start(vp, ring, call->err);
    hg_vhost_ring_pause(ring);
    hg_qsbr_wait();
    return hg_vhost_ring_move(vp, ring, call->err);
}

/* Of a split ring an index of 16 bits, of a packed one four fields: hg_vq_dev_start(). The start of
 * the ring checks it, when size and format are known. */
static int set_vring_base(struct hg_vhost_call *call)
{
    struct hg_vhost_ring *ring = find_stopped_ring(call->vp, call->in->state.index, call->err);

    if (ring == NULL)
        return -EPROTO;
    if (!hg_vhost_has(call->vp, HG_VIRTIO_F_RING_PACKED) && call->in->state.num > UINT16_MAX)
        return hg_err_set(call->err, EPROTO, "ring %u: %u is no index of a split ring", ring->index,
                          call->in->state.num);
    ring->base = call->in->state.num;
    return 0;
}

/* Stops the ring. Size, addresses, call descriptor and whether it is enabled stay as they were
 * said: the protocol takes only the kick back. */
static int get_vring_base(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    struct hg_vhost_ring *ring = find_ring(vp, call->in->state.index, call->err);

    if (ring == NULL)
        return -EPROTO;
    hg_vhost_ring_stop(vp, ring);
    ring->kicked = false;
    ring->fault = HG_VRING_OK;
    call->reply->state = (struct hg_vhost_vring_state){.index = ring->index, .num = ring->base};
    return 0;
}

/* Only an eventfd will do: a write to anything else might block or raise a signal. That it does not
 * block is for kernels on which hg_raise() has to write. */
static int check_eventfd(int fd, struct hg_err *err)
{
    static const char expected[] = "anon_inode:[eventfd]";
    char path[sizeof("/proc/self/fd/") + 10];
    char target[sizeof(expected)] = "";
    int flags;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof(target)) != sizeof(expected) - 1 ||
        memcmp(target, expected, sizeof(expected) - 1) != 0)
        return hg_err_set(err, EPROTO, "the file descriptor is not an eventfd");
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return hg_err_set(err, errno, "cannot make an eventfd non-blocking: %s", strerror(errno));
    return 0;
}

/* What KICK, CALL and ERR have in common: a ring, and an eventfd or the word that there is none
 * (-1). The caller owns *fd. */
static struct hg_vhost_ring *take_eventfd(struct hg_vhost_port *vp, struct hg_vhost_conn *conn,
                                          int *fd, struct hg_err *err)
{
    uint64_t word = conn->in.u64;
    bool none = (word & HG_VHOST_VRING_NO_FD) != 0;
    struct hg_vhost_ring *ring = find_ring(vp, word & HG_VHOST_VRING_IDX_MASK, err);

    if (ring == NULL)
        return NULL;
    if ((word & ~(uint64_t)(HG_VHOST_VRING_IDX_MASK | HG_VHOST_VRING_NO_FD)) != 0 ||
        conn->in_fd_n != (none ? 0 : 1)) {
        hg_err_set(err, EPROTO, "0x%" PRIx64 " with %u file descriptors", word, conn->in_fd_n);
        return NULL;
    }
    if (!none && check_eventfd(conn->in_fd[0], err) != 0)
        return NULL;
    *fd = none ? -1 : hg_vhost_take_fd(conn, 0);
    return ring;
}

static void replace_fd(int *place, int fd)
{
    if (*place >= 0)
        close(*place);
    *place = fd;
}

/* Starts the ring. While it runs, the descriptor is exchanged by a stop and a start. */
static int set_vring_kick(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    int fd;
    struct hg_vhost_ring *ring = take_eventfd(vp, call->conn, &fd, call->err);

    if (ring == NULL)
        return -EPROTO;
    hg_vhost_ring_stop(vp, ring);
    replace_fd(&ring->kick_fd, fd);
    ring->kicked = true;
    return hg_vhost_ring_try_start(vp, ring, call->err);
}

/* Front-ends exchange it whenever the guest masks or unmasks the interrupt. An interrupt that fell
 * between the two descriptors is made up for. */
static int set_vring_call(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    int fd;
    struct hg_vhost_ring *ring = take_eventfd(vp, call->conn, &fd, call->err);

    if (ring == NULL)
        return -EPROTO;
    hg_vhost_ring_pause(ring);
    hg_qsbr_wait();
    replace_fd(&ring->call_fd, fd);
    ring->dev.call_fd = fd;
    hg_vhost_ring_resume(vp, ring);
    if (ring->started)
        hg_raise(fd);
    return 0;
}

static int set_vring_err(struct hg_vhost_call *call)
{
    int fd;
    struct hg_vhost_ring *ring = take_eventfd(call->vp, call->conn, &fd, call->err);

    if (ring == NULL)
        return -EPROTO;
    replace_fd(&ring->err_fd, fd);
    return 0;
}

static int set_vring_enable(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    struct hg_vhost_ring *ring = find_ring(vp, call->in->state.index, call->err);

    if (ring == NULL)
        return -EPROTO;
    if (call->in->state.num > 1)
        return hg_err_set(call->err, EPROTO, "ring %u: %u is neither 0 nor 1", ring->index,
                          call->in->state.num);
    hg_vhost_ring_enable(vp, ring, call->in->state.num == 1);
    return 0;
}

/* The front-end asks whether we can live with the MTU that it shows to the guest. */
static int net_set_mtu(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    uint64_t mtu = call->in->u64;

    if (mtu >= MTU_MIN && mtu <= vp->mtu_max)
        return 0;
    hg_err_set(call->err, ERANGE, "MTU %" PRIu64 " is not between %d and %" PRIu64, mtu, MTU_MIN,
               vp->mtu_max);
    return HG_VHOST_REFUSED;
}

enum {
    U64 = sizeof(uint64_t),
    STATE = sizeof(struct hg_vhost_vring_state),
    ADDR = sizeof(struct hg_vhost_vring_addr),
    TABLE = sizeof(struct hg_vhost_mem_table),
    REGION = sizeof(struct hg_vhost_mem_reg),
    IOTLB = sizeof(struct hg_vhost_iotlb),
};

static const struct hg_vhost_request_spec specs[HG_VHOST_REQUEST_N] = {
    /* handler; payload: least and most; descriptors; answer */
    [HG_VHOST_GET_FEATURES] = {get_features, 0, 0, 0, U64},
    [HG_VHOST_SET_FEATURES] = {set_features, U64, U64, 0, 0},
    [HG_VHOST_SET_OWNER] = {set_owner, 0, 0, 0, 0},
    [HG_VHOST_RESET_OWNER] = {reset_owner, 0, 0, 0, 0},
    [HG_VHOST_SET_MEM_TABLE] = {hg_vhost_set_mem_table, 8, TABLE, HG_VHOST_FDS_MAX, 0},
    [HG_VHOST_SET_VRING_NUM] = {set_vring_num, STATE, STATE, 0, 0},
    [HG_VHOST_SET_VRING_ADDR] = {set_vring_addr, ADDR, ADDR, 0, 0},
    [HG_VHOST_SET_VRING_BASE] = {set_vring_base, STATE, STATE, 0, 0},
    [HG_VHOST_GET_VRING_BASE] = {get_vring_base, STATE, STATE, 0, STATE},
    [HG_VHOST_SET_VRING_KICK] = {set_vring_kick, U64, U64, 1, 0},
    [HG_VHOST_SET_VRING_CALL] = {set_vring_call, U64, U64, 1, 0},
    [HG_VHOST_SET_VRING_ERR] = {set_vring_err, U64, U64, 1, 0},
    [HG_VHOST_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0, 0, 0, U64},
    [HG_VHOST_SET_PROTOCOL_FEATURES] = {set_protocol_features, U64, U64, 0, 0},
    [HG_VHOST_GET_QUEUE_NUM] = {get_queue_num, 0, 0, 0, U64},
    [HG_VHOST_SET_VRING_ENABLE] = {set_vring_enable, STATE, STATE, 0, 0},
    [HG_VHOST_NET_SET_MTU] = {net_set_mtu, U64, U64, 0, 0},
    [HG_VHOST_SET_BACKEND_REQ_FD] = {hg_vhost_set_backend_req_fd, 0, U64, 1, 0},
    [HG_VHOST_SEND_RARP] = {hg_vhost_send_rarp, U64, U64, 0, 0},
    [HG_VHOST_RESET_DEVICE] = {hg_vhost_reset_device, 0, 0, 0, 0},
    [HG_VHOST_GET_MAX_MEM_SLOTS] = {hg_vhost_get_max_mem_slots, 0, 0, 0, U64},
    [HG_VHOST_ADD_MEM_REG] = {hg_vhost_add_mem_reg, REGION, REGION, 1, 0},
    [HG_VHOST_REM_MEM_REG] = {hg_vhost_rem_mem_reg, REGION, REGION, 1, 0},
    [HG_VHOST_SET_STATUS] = {hg_vhost_set_status, U64, U64, 0, 0},
    [HG_VHOST_GET_STATUS] = {hg_vhost_get_status, 0, 0, 0, U64},
    [HG_VHOST_IOTLB_MSG] = {hg_vhost_iotlb_msg, IOTLB, IOTLB, 0, 0},
};

const struct hg_vhost_request_spec *hg_vhost_request_spec(uint32_t request)
{
    return request < HG_VHOST_REQUEST_N && specs[request].handle != NULL ? &specs[request] : NULL;
}
