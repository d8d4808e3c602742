/*
 * The vhost-user protocol on the wire: message ids, layouts, and a non-blocking connection that
 * both the front-end (virtio_user port) and the back-end (vhost_user port) use. It knows the
 * framing and the file descriptors that travel with it, not what messages mean.
 *
 * Source: the "Vhost-user Protocol" document of QEMU. All fields are in native byte order.
 */
#ifndef HG_VIRTIO_VHOST_MSG_H
#define HG_VIRTIO_VHOST_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum hg_vhost_request {
    HG_VHOST_GET_FEATURES = 1,
    HG_VHOST_SET_FEATURES = 2,
    HG_VHOST_SET_OWNER = 3,
    HG_VHOST_RESET_OWNER = 4,
    HG_VHOST_SET_MEM_TABLE = 5,
    HG_VHOST_SET_LOG_BASE = 6,
    HG_VHOST_SET_LOG_FD = 7,
    HG_VHOST_SET_VRING_NUM = 8,
    HG_VHOST_SET_VRING_ADDR = 9,
    HG_VHOST_SET_VRING_BASE = 10,
    HG_VHOST_GET_VRING_BASE = 11,
    HG_VHOST_SET_VRING_KICK = 12,
    HG_VHOST_SET_VRING_CALL = 13,
    HG_VHOST_SET_VRING_ERR = 14,
    HG_VHOST_GET_PROTOCOL_FEATURES = 15,
    HG_VHOST_SET_PROTOCOL_FEATURES = 16,
    HG_VHOST_GET_QUEUE_NUM = 17,
    HG_VHOST_SET_VRING_ENABLE = 18,
    HG_VHOST_SEND_RARP = 19,
    HG_VHOST_NET_SET_MTU = 20,
    HG_VHOST_SET_BACKEND_REQ_FD = 21,
    HG_VHOST_IOTLB_MSG = 22,
    HG_VHOST_GET_INFLIGHT_FD = 31,
    HG_VHOST_SET_INFLIGHT_FD = 32,
    HG_VHOST_RESET_DEVICE = 34,
    HG_VHOST_GET_MAX_MEM_SLOTS = 36,
    HG_VHOST_ADD_MEM_REG = 37,
    HG_VHOST_REM_MEM_REG = 38,
    HG_VHOST_SET_STATUS = 39,
    HG_VHOST_GET_STATUS = 40,
    HG_VHOST_REQUEST_N = 44,
};

/* What a back-end sends on its own channel, the socket of SET_BACKEND_REQ_FD. The numbers overlap
 * those of the front-end: the channel tells them apart. */
enum hg_vhost_backend_request {
    HG_VHOST_BACKEND_IOTLB_MSG = 1,
    HG_VHOST_BACKEND_CONFIG_CHANGE_MSG = 2,
    HG_VHOST_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
    HG_VHOST_BACKEND_VRING_CALL = 4,
    HG_VHOST_BACKEND_VRING_ERR = 5,
};

enum { /* protocol feature bits */
       HG_VHOST_PROTOCOL_F_MQ = 0,
       HG_VHOST_PROTOCOL_F_LOG_SHMFD = 1,
       HG_VHOST_PROTOCOL_F_RARP = 2,
       HG_VHOST_PROTOCOL_F_REPLY_ACK = 3,
       HG_VHOST_PROTOCOL_F_NET_MTU = 4,
       HG_VHOST_PROTOCOL_F_BACKEND_REQ = 5,
       HG_VHOST_PROTOCOL_F_BACKEND_SEND_FD = 10,
       HG_VHOST_PROTOCOL_F_INFLIGHT_SHMFD = 12,
       HG_VHOST_PROTOCOL_F_RESET_DEVICE = 13,
       HG_VHOST_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
       HG_VHOST_PROTOCOL_F_STATUS = 16,
};

enum { /* hg_vhost_hdr.flags */
       HG_VHOST_VERSION_MASK = 3,
       HG_VHOST_VERSION = 1,
       HG_VHOST_REPLY = 1u << 2,
       HG_VHOST_NEED_REPLY = 1u << 3,
};

enum {
    HG_VHOST_FDS_MAX = 8, /* with one message: one per memory region */
    HG_VHOST_PAYLOAD_MAX = 512,
    HG_VHOST_VRING_IDX_MASK = 0xff,
    HG_VHOST_VRING_NO_FD = 0x100,
    HG_VHOST_VRING_F_LOG = 1, /* hg_vhost_vring_addr.flags: log writes to the used ring */
};

/* hg_vhost_iotlb.perm, bits */
enum {
    HG_VHOST_ACCESS_RO = 1,
    HG_VHOST_ACCESS_WO = 2,
    HG_VHOST_ACCESS_RW = 3,
};

enum hg_vhost_iotlb_type {
    HG_VHOST_IOTLB_MISS = 1,        /* back-end: iova and perm are what it needs */
    HG_VHOST_IOTLB_UPDATE = 2,      /* front-end: all fields; acknowledged */
    HG_VHOST_IOTLB_INVALIDATE = 3,  /* front-end: iova and size; acknowledged */
    HG_VHOST_IOTLB_ACCESS_FAIL = 4, /* back-end: iova and perm */
};

struct hg_vhost_hdr {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* bytes of payload */
};

struct hg_vhost_vring_state {
    uint32_t index;
    uint32_t num;
};

struct hg_vhost_vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc;
    uint64_t used;
    uint64_t avail;
    uint64_t log;
};

struct hg_vhost_region {
    uint64_t guest_addr;
    uint64_t size;
    uint64_t user_addr;
    uint64_t mmap_offset;
};

struct hg_vhost_mem_table {
    uint32_t n;
    uint32_t padding;
    struct hg_vhost_region region[HG_VHOST_FDS_MAX];
};

/* The payload of ADD_MEM_REG and REM_MEM_REG. */
struct hg_vhost_mem_reg {
    uint64_t padding;
    struct hg_vhost_region region;
};

/* The payload of SET_LOG_BASE, under LOG_SHMFD. */
struct hg_vhost_log {
    uint64_t size;
    uint64_t offset;
};

/* The payload of IOTLB_MSG in both directions: 26 bytes and padding. QEMU leaves user_addr and perm
 * of an INVALIDATE undefined. */
struct hg_vhost_iotlb {
    uint64_t iova;
    uint64_t size;
    uint64_t user_addr;
    uint8_t perm;
    uint8_t type;
    uint8_t padding[6];
};

struct hg_vhost_msg {
    struct hg_vhost_hdr hdr;
    union {
        uint64_t u64;
        struct hg_vhost_vring_state state;
        struct hg_vhost_vring_addr addr;
        struct hg_vhost_mem_table mem;
        struct hg_vhost_mem_reg mem_reg;
        struct hg_vhost_log log;
        struct hg_vhost_iotlb iotlb;
        uint8_t bytes[HG_VHOST_PAYLOAD_MAX];
    };
};

/* Bytes of one connection's output that may wait for a peer that does not read. */
enum { HG_VHOST_OUT_MAX = 16384 };

/* Bytes that are read at once, before it is known what they are. */
enum { HG_VHOST_AHEAD_BYTES = 4096 };

/* One end of a connection. All zero but fd is its initial state. */
struct hg_vhost_conn {
    int fd; /* non-blocking; the owner opens and closes it */

    /* Incoming: bytes that have been read and belong to no message yet, and what came with the
     * last. */
    uint8_t ahead[HG_VHOST_AHEAD_BYTES];
    size_t ahead_at;
    size_t ahead_n;
    int ahead_fd[HG_VHOST_FDS_MAX];
    unsigned ahead_fd_n;

    /* Incoming: what has arrived of the message under way. */
    struct hg_vhost_msg in;
    size_t in_bytes;
    int in_fd[HG_VHOST_FDS_MAX];
    unsigned in_fd_n;

    /* Outgoing bytes that the socket did not take yet. */
    uint8_t out[HG_VHOST_OUT_MAX];
    size_t out_bytes;
    int out_fd[HG_VHOST_FDS_MAX]; /* duplicates of descriptors that wait with them, */
    unsigned out_fd_n;
    size_t out_fd_at;    /* before which of the waiting bytes they go, */
    size_t out_fd_bytes; /* and how many of these are their message */
};

/*
 * Gets the next message, from what was read before or from the socket. Returns 1 when conn->in,
 * in_fd and in_fd_n are a whole message, which stays until hg_vhost_next(); 0 when more must
 * arrive; a negative errno with *err when the stream is broken: -ECONNRESET at its end, -EPROTO for
 * a wrong version, a payload above HG_VHOST_PAYLOAD_MAX, too many descriptors or a truncated
 * control message (received descriptors are closed, none leaks). Never blocks. Control only.
 */
int hg_vhost_recv(struct hg_vhost_conn *conn, struct hg_err *err);

/* Whether bytes behind the current message have been read already: the socket does not become
 * readable for them, so go on calling hg_vhost_recv() until it returns 0. */
bool hg_vhost_has_ahead(const struct hg_vhost_conn *conn);

/* Forgets the current message; closes those of its descriptors that nobody took. */
void hg_vhost_next(struct hg_vhost_conn *conn);

/* Takes descriptor i of the current message out of it: the caller owns it. -1 if there is none. */
int hg_vhost_take_fd(struct hg_vhost_conn *conn, unsigned i);

/*
 * Sends a message with n descriptors, or queues what the socket does not take now (descriptors
 * always travel with the first byte; one message with descriptors may wait at a time). The
 * descriptors stay the caller's. Returns 0, or a negative errno with *err: -ENOBUFS when the peer
 * has not read for HG_VHOST_OUT_MAX bytes. Never blocks, never raises SIGPIPE.
 */
int hg_vhost_send(struct hg_vhost_conn *conn, const struct hg_vhost_msg *msg, const int *fds,
                  unsigned fd_n, struct hg_err *err);

/* Queues a message without descriptors, to be sent with others by hg_vhost_flush(). Errors as
 * hg_vhost_send(). */
int hg_vhost_queue(struct hg_vhost_conn *conn, const struct hg_vhost_msg *msg, struct hg_err *err);

/* Whether output waits for the socket to become writable, and the call to make when it is. */
bool hg_vhost_wants_write(const struct hg_vhost_conn *conn);
int hg_vhost_flush(struct hg_vhost_conn *conn, struct hg_err *err);

/* Closes received descriptors and drops waiting output; the fd stays the owner's. */
void hg_vhost_conn_clear(struct hg_vhost_conn *conn);

/* "SET_VRING_NUM", or "request 99". Static or thread-local storage. */
const char *hg_vhost_request_name(uint32_t request);

/* The same for enum hg_vhost_backend_request: "BACKEND_IOTLB_MSG", or "back-end request 99". */
const char *hg_vhost_backend_request_name(uint32_t request);

#endif
