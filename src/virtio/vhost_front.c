/*
 * The session is a list of steps. Each sends one message, some for every ring, and awaits a reply
 * if it is a question, or if the back-end acknowledges everything. A step is sent when the step
 * before it is through and the socket has taken all of it.
 */
#include "virtio/vhost_front.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <unistd.h>

#include "base/bits.h"
#include "virtio/features.h"
#include "virtio/vhost_front_iommu.h"
#include "virtio/virtio.h"

enum step_kind {
    ASK,      /* the reply carries a value */
    TELL,     /* acknowledged if the back-end can */
    ASK_RING, /* the same for every ring in turn */
    TELL_RING,
};

enum {
    STEP_GET_FEATURES,
    STEP_GET_PROTOCOL,
    STEP_SET_PROTOCOL,
    STEP_GET_QUEUE_NUM,
    STEP_SET_CHANNEL,
    STEP_SET_OWNER,
    STEP_SET_FEATURES,
    STEP_SET_MEM_TABLE,
    STEP_SET_NUM,
    STEP_SET_BASE,
    STEP_SET_ADDR,
    STEP_SET_CALL,
    STEP_SET_KICK,
    STEP_MAP_RING, /* as QEMU does, so that the first burst finds the used rings mapped */
    STEP_ENABLE,
    STEP_UP, /* no message: the rings run */
    STEP_GET_BASE,
    STEP_STOPPED,
};

static const struct {
    enum hg_vhost_request request;
    enum step_kind kind;
    uint32_t reply_bytes; /* of the answer to ASK */
} steps[] = {
    [STEP_GET_FEATURES] = {HG_VHOST_GET_FEATURES, ASK, sizeof(uint64_t)},
    [STEP_GET_PROTOCOL] = {HG_VHOST_GET_PROTOCOL_FEATURES, ASK, sizeof(uint64_t)},
    [STEP_SET_PROTOCOL] = {HG_VHOST_SET_PROTOCOL_FEATURES, TELL, 0},
    [STEP_GET_QUEUE_NUM] = {HG_VHOST_GET_QUEUE_NUM, ASK, sizeof(uint64_t)},
    [STEP_SET_CHANNEL] = {HG_VHOST_SET_BACKEND_REQ_FD, TELL, 0},
    [STEP_SET_OWNER] = {HG_VHOST_SET_OWNER, TELL, 0},
    [STEP_SET_FEATURES] = {HG_VHOST_SET_FEATURES, TELL, 0},
    [STEP_SET_MEM_TABLE] = {HG_VHOST_SET_MEM_TABLE, TELL, 0},
    [STEP_SET_NUM] = {HG_VHOST_SET_VRING_NUM, TELL_RING, 0},
    [STEP_SET_BASE] = {HG_VHOST_SET_VRING_BASE, TELL_RING, 0},
    [STEP_SET_ADDR] = {HG_VHOST_SET_VRING_ADDR, TELL_RING, 0},
    [STEP_SET_CALL] = {HG_VHOST_SET_VRING_CALL, TELL_RING, 0},
    [STEP_SET_KICK] = {HG_VHOST_SET_VRING_KICK, TELL_RING, 0},
    [STEP_MAP_RING] = {HG_VHOST_IOTLB_MSG, TELL_RING, 0},
    [STEP_ENABLE] = {HG_VHOST_SET_VRING_ENABLE, TELL_RING, 0},
    [STEP_GET_BASE] = {HG_VHOST_GET_VRING_BASE, ASK_RING, sizeof(struct hg_vhost_vring_state)},
};

#define PROTOCOL_WANTED (HG_BIT(HG_VHOST_PROTOCOL_F_MQ) | HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK))

static bool agreed(const struct hg_vhost_front *front, unsigned protocol_feature)
{
    return (front->protocol & HG_BIT(protocol_feature)) != 0;
}

/* Whether this back-end is to be sent the step at all. */
static bool applies(const struct hg_vhost_front *front, unsigned step)
{
    switch (step) {
    case STEP_GET_PROTOCOL:
    case STEP_SET_PROTOCOL:
    case STEP_ENABLE:
        return (front->features & HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES)) != 0;
    case STEP_GET_QUEUE_NUM:
        return agreed(front, HG_VHOST_PROTOCOL_F_MQ);
    case STEP_SET_CHANNEL:
    case STEP_MAP_RING:
        return front_iommu_agreed(front);
    default:
        return true;
    }
}

/* Where an empty ring stands: of a packed one, both places are 0 and both wrap counters 1. */
static uint32_t ring_base(const struct hg_vhost_front *front)
{
    bool packed = (front->features & HG_BIT(HG_VIRTIO_F_RING_PACKED)) != 0;

    return packed ? (uint32_t)HG_PACKED_WRAP << 16 | HG_PACKED_WRAP : 0;
}

static void describe_memory(const struct hg_vhost_front_plan *plan, struct hg_vhost_msg *msg)
{
    msg->mem.n = 1;
    msg->mem.region[0] = (struct hg_vhost_region){
        .guest_addr = plan->mem_addr,
        .size = plan->mem_bytes,
        .user_addr = plan->mem_addr,
        .mmap_offset = 0,
    };
    msg->hdr.size = offsetof(struct hg_vhost_mem_table, region) + sizeof(msg->mem.region[0]);
}

/* Fills the message of the step under way. Returns the descriptor that travels with it, or -1. */
static int compose(const struct hg_vhost_front *front, struct hg_vhost_msg *msg)
{
    unsigned index = front->step_ring;
    const struct hg_vhost_front_ring *ring = &front->plan->ring[index];

    msg->hdr.size = sizeof(msg->u64);
    switch (front->step) {
    case STEP_SET_PROTOCOL:
        msg->u64 = front->protocol;
        return -1;
    case STEP_SET_FEATURES:
        msg->u64 = front->features;
        return -1;
    case STEP_SET_MEM_TABLE:
        describe_memory(front->plan, msg);
        return front->plan->mem_fd;
    case STEP_SET_NUM:
        msg->state = (struct hg_vhost_vring_state){.index = index, .num = ring->num};
        return -1;
    case STEP_SET_BASE:
        msg->state = (struct hg_vhost_vring_state){.index = index, .num = ring_base(front)};
        return -1;
    case STEP_GET_BASE:
        msg->state = (struct hg_vhost_vring_state){.index = index, .num = 0};
        return -1;
    case STEP_ENABLE:
        msg->state = (struct hg_vhost_vring_state){.index = index, .num = 1};
        return -1;
    case STEP_SET_ADDR:
        msg->addr = (struct hg_vhost_vring_addr){
            .index = index, .desc = ring->desc, .used = ring->used, .avail = ring->avail};
        msg->hdr.size = sizeof(msg->addr);
        return -1;
    case STEP_MAP_RING:
        msg->iotlb = front_iommu_map_ring(front, index);
        msg->hdr.size = sizeof(msg->iotlb);
        return -1;
    case STEP_SET_CHANNEL:
        msg->hdr.size = 0;
        return front->iommu.their_fd;
    case STEP_SET_CALL:
        msg->u64 = index;
        return ring->call_fd;
    case STEP_SET_KICK:
        msg->u64 = index;
        return ring->kick_fd;
    default: /* a question without a payload */
        msg->hdr.size = 0;
        return -1;
    }
}

static int send_step(struct hg_vhost_front *front, struct hg_err *err)
{
    struct hg_vhost_msg msg = {
        .hdr = {.request = steps[front->step].request, .flags = HG_VHOST_VERSION}};
    enum step_kind kind = steps[front->step].kind;
    int fd = compose(front, &msg);
    int rc;
    /* SET_PROTOCOL_FEATURES is what switches acknowledgements on. */
    bool acked = (kind == TELL || kind == TELL_RING) && front->step != STEP_SET_PROTOCOL &&
                 agreed(front, HG_VHOST_PROTOCOL_F_REPLY_ACK);

    if (acked)
        msg.hdr.flags |= HG_VHOST_NEED_REPLY;
    if (acked || kind == ASK || kind == ASK_RING)
        front->awaited = msg.hdr.request;
    front->awaited_after = front->iommu.sent_n;
    rc = hg_vhost_send(&front->conn, &msg, &fd, fd >= 0 ? 1 : 0, err);
    if (front->step == STEP_SET_CHANNEL)
        front_iommu_sent(front);
    return rc;
}

/* Goes to the next step that applies, or to the next ring of this one. */
static void next_step(struct hg_vhost_front *front)
{
    enum step_kind kind = steps[front->step].kind;

    if ((kind == ASK_RING || kind == TELL_RING) && front->step_ring + 1 < 2 * front->pair_n) {
        front->step_ring++;
        return;
    }
    front->step_ring = 0;
    do
        front->step++;
    while (!applies(front, front->step));
    if (front->step == STEP_UP)
        front->state = HG_VHOST_FRONT_UP;
    else if (front->step == STEP_STOPPED)
        front->state = HG_VHOST_FRONT_STOPPED;
}

/* Sends steps until one has to wait for something. */
static int advance(struct hg_vhost_front *front, struct hg_err *err)
{
    while (
        front->awaited == 0 && !hg_vhost_wants_write(&front->conn) &&
        (front->state == HG_VHOST_FRONT_NEGOTIATING || front->state == HG_VHOST_FRONT_STOPPING)) {
        int rc = send_step(front, err);

        if (rc != 0)
            return rc;
        if (front->awaited == 0)
            next_step(front);
    }
    return 0;
}

/* Gives up what makes no sense without something that is not offered: virtio 1.2, 5.1.3.1. */
static uint64_t drop_dependents(uint64_t features)
{
    static const struct {
        uint8_t bit;
        uint8_t needs;
    } depends[] = {
        /* in this order, so that one pass is enough */
        {HG_VIRTIO_NET_F_GUEST_TSO4, HG_VIRTIO_NET_F_GUEST_CSUM},
        {HG_VIRTIO_NET_F_GUEST_TSO6, HG_VIRTIO_NET_F_GUEST_CSUM},
        {HG_VIRTIO_NET_F_HOST_TSO4, HG_VIRTIO_NET_F_CSUM},
        {HG_VIRTIO_NET_F_HOST_TSO6, HG_VIRTIO_NET_F_CSUM},
        {HG_VIRTIO_F_IN_ORDER, HG_VIRTIO_F_RING_PACKED}, /* our own choice: see drv.h */
    };
    uint64_t guest_tso = HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4) | HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO6);
    uint64_t host_tso = HG_BIT(HG_VIRTIO_NET_F_HOST_TSO4) | HG_BIT(HG_VIRTIO_NET_F_HOST_TSO6);

    for (unsigned i = 0; i < HG_ARRAY_N(depends); i++)
        if ((features & HG_BIT(depends[i].needs)) == 0)
            features &= ~HG_BIT(depends[i].bit);
    if ((features & guest_tso) == 0)
        features &= ~HG_BIT(HG_VIRTIO_NET_F_GUEST_ECN);
    if ((features & host_tso) == 0)
        features &= ~HG_BIT(HG_VIRTIO_NET_F_HOST_ECN);
    return features;
}

static int take_features(struct hg_vhost_front *front, uint64_t offered, struct hg_err *err)
{
    uint64_t wanted = front->plan->features | HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES);
    uint64_t lacking = front->plan->features_needed & ~offered;

    if (lacking != 0) {
        char names[128];

        hg_virtio_features_text(lacking, names, sizeof(names));
        return hg_err_set(err, ENOTSUP,
                          "the back-end does not offer %s, which is needed (it offers 0x%" PRIx64
                          ")",
                          names, offered);
    }
    if ((offered & HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF)) == 0)
        wanted &= ~front->plan->features_merged;
    front->features = drop_dependents(offered & wanted);
    front->pair_n = 1; /* until the back-end says that it has more */
    if ((offered & HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES)) == 0)
        return front_iommu_open(front, err); /* which cannot do without them */
    return 0;
}

static int take_protocol(struct hg_vhost_front *front, uint64_t offered, struct hg_err *err)
{
    uint64_t wanted = PROTOCOL_WANTED;

    if (front_iommu_agreed(front))
        wanted |= FRONT_IOMMU_PROTOCOL;
    front->protocol = offered & wanted;
    return front_iommu_open(front, err);
}

/* What an answer says. */
static int take_answer(struct hg_vhost_front *front, const struct hg_vhost_msg *msg,
                       struct hg_err *err)
{
    switch (front->step) {
    case STEP_GET_FEATURES:
        return take_features(front, msg->u64, err);
    case STEP_GET_PROTOCOL:
        return take_protocol(front, msg->u64, err);
    case STEP_GET_QUEUE_NUM:
        if (msg->u64 == 0)
            return hg_err_set(err, EPROTO, "the back-end has no queues");
        front->pair_n = (unsigned)hg_min_u64(front->plan->pair_n, msg->u64);
        return 0;
    case STEP_GET_BASE:
        if (msg->state.index != front->step_ring)
            return hg_err_set(err, EPROTO, "GET_VRING_BASE of ring %u was answered for ring %u",
                              front->step_ring, msg->state.index);
        return 0;
    default: /* an acknowledgement */
        if (msg->u64 != 0)
            return hg_err_set(err, EPROTO, "the back-end refused %s (ring %u, answer %" PRIu64 ")",
                              hg_vhost_request_name(front->awaited), front->step_ring, msg->u64);
        return 0;
    }
}

static int take_message(struct hg_vhost_front *front, struct hg_err *err)
{
    const struct hg_vhost_msg *msg = &front->conn.in;
    uint32_t bytes;
    int rc;

    if (front_iommu_awaits(front))
        return front_iommu_take_ack(front, msg, err);
    if (front->awaited == 0 || msg->hdr.request != front->awaited ||
        !(msg->hdr.flags & HG_VHOST_REPLY))
        return hg_err_set(err, EPROTO, "the back-end sent %s, expected %s",
                          hg_vhost_request_name(msg->hdr.request),
                          front->awaited != 0 ? "an answer to what it was asked" : "nothing");
    bytes = steps[front->step].reply_bytes;
    if (bytes == 0)
        bytes = sizeof(msg->u64);
    if (msg->hdr.size != bytes)
        return hg_err_set(err, EPROTO, "the answer to %s has %u bytes, expected %u",
                          hg_vhost_request_name(front->awaited), msg->hdr.size, bytes);
    rc = take_answer(front, msg, err);
    if (rc == 0) {
        front->awaited = 0;
        next_step(front);
    }
    return rc;
}

int hg_vhost_front_run(struct hg_vhost_front *front, struct hg_err *err)
{
    int rc = hg_vhost_flush(&front->conn, err);

    if (rc == 0)
        rc = advance(front, err);
    while (rc == 0 && (rc = hg_vhost_recv(&front->conn, err)) == 1) {
        rc = take_message(front, err);
        hg_vhost_next(&front->conn);
        if (rc != 0)
            return rc;
        rc = advance(front, err);
    }
    if (rc == 0)
        rc = front_iommu_run(front, err);
    return rc == 0 ? hg_vhost_flush(&front->conn, err) : rc;
}

int hg_vhost_front_start(struct hg_vhost_front *front, int fd,
                         const struct hg_vhost_front_plan *plan, struct hg_err *err)
{
    *front = (struct hg_vhost_front){
        .state = HG_VHOST_FRONT_NEGOTIATING,
        .plan = plan,
        .conn = {.fd = fd},
        .step = STEP_GET_FEATURES,
    };
    front_iommu_init(front);
    return hg_vhost_front_run(front, err);
}

int hg_vhost_front_stop(struct hg_vhost_front *front, struct hg_err *err)
{
    front->state = HG_VHOST_FRONT_STOPPING;
    front->step = STEP_GET_BASE;
    front->step_ring = 0;
    return hg_vhost_front_run(front, err);
}

bool hg_vhost_front_wants_write(const struct hg_vhost_front *front)
{
    return hg_vhost_wants_write(&front->conn) || hg_vhost_wants_write(&front->iommu.conn);
}

const char *hg_vhost_front_awaits(const struct hg_vhost_front *front)
{
    return front->awaited != 0 ? hg_vhost_request_name(front->awaited) : NULL;
}

void hg_vhost_front_close(struct hg_vhost_front *front)
{
    hg_vhost_conn_clear(&front->conn);
    if (front->conn.fd >= 0)
        close(front->conn.fd);
    front->conn.fd = -1;
    front_iommu_close(front);
}
