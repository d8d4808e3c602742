/*
 * Framing. A message is a header of 12 bytes and as many bytes of payload as it says. One system
 * call reads whatever is there, up to HG_VHOST_AHEAD_BYTES, and messages are cut from that: several
 * short ones that arrive together cost one call.
 *
 * Descriptors. A read of a stream socket ends with the bytes that descriptors were attached to:
 * what was sent later is left for the next one (unix(7), and the kernel's
 * unix_stream_read_generic()). A front-end attaches them to the message that they belong to, which
 * is therefore the last one, whole or in part, of the bytes that were read with them. So that is
 * who gets them.
 *
 * The wire has no padding between header and payload and struct hg_vhost_msg has: the two parts are
 * always moved separately. in_bytes and out_bytes count bytes of the wire.
 */
#include "virtio/vhost_msg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HDR_BYTES = sizeof(struct hg_vhost_hdr) };

_Static_assert(HDR_BYTES == 12, "the header on the wire");
_Static_assert(sizeof(struct hg_vhost_vring_addr) == 40, "the payload on the wire");
_Static_assert(sizeof(struct hg_vhost_mem_reg) == 40, "the payload on the wire");
_Static_assert(sizeof(struct hg_vhost_iotlb) == 32, "the payload on the wire");
_Static_assert(sizeof(struct hg_vhost_mem_table) <= HG_VHOST_PAYLOAD_MAX, "the largest payload");

/* Room for the descriptors of one message. */
union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(HG_VHOST_FDS_MAX * sizeof(int))];
};

static void close_all(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Keeps the descriptors that came along, closes those beyond HG_VHOST_FDS_MAX. Returns whether all
 * found room. */
static bool keep_fds(struct hg_vhost_conn *conn, struct msghdr *msg)
{
    bool fit = (msg->msg_flags & MSG_CTRUNC) == 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

        for (unsigned i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            if (conn->ahead_fd_n < HG_VHOST_FDS_MAX) {
                conn->ahead_fd[conn->ahead_fd_n++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

static int too_many_fds(struct hg_err *err)
{
    return hg_err_set(err, EPROTO, "more than %d file descriptors came with one message",
                      HG_VHOST_FDS_MAX);
}

/* Reads what is there, when all that was read before has been used. Returns how many bytes came, 0
 * when none are there now, or a negative errno. */
static ssize_t read_ahead(struct hg_vhost_conn *conn, struct hg_err *err)
{
    union control control;
    struct iovec iov = {conn->ahead, sizeof(conn->ahead)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n;

    do
        n = recvmsg(conn->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0)
        return hg_err_set(err, errno, "cannot receive: %s", strerror(errno));
    if (!keep_fds(conn, &msg))
        return too_many_fds(err);
    if (n == 0)
        return hg_err_set(err, ECONNRESET,
                          conn->in_bytes == 0 ? "the peer closed the connection"
                                              : "the peer closed the connection inside a message");
    conn->ahead_at = 0;
    conn->ahead_n = (size_t)n;
    return n;
}

/* Moves up to `len` of the bytes read ahead to the message under way. */
static void take_ahead(struct hg_vhost_conn *conn, void *to, size_t len)
{
    size_t n = conn->ahead_n - conn->ahead_at;

    if (n > len)
        n = len;
    memcpy(to, conn->ahead + conn->ahead_at, n);
    conn->ahead_at += n;
    conn->in_bytes += n;
}

/* Gives the descriptors that were read with the last bytes to the message that has those bytes. */
static int hand_fds(struct hg_vhost_conn *conn, struct hg_err *err)
{
    if (conn->ahead_fd_n > HG_VHOST_FDS_MAX - conn->in_fd_n)
        return too_many_fds(err);
    memcpy(conn->in_fd + conn->in_fd_n, conn->ahead_fd, conn->ahead_fd_n * sizeof(int));
    conn->in_fd_n += conn->ahead_fd_n;
    conn->ahead_fd_n = 0;
    return 0;
}

static int check_hdr(const struct hg_vhost_hdr *hdr, struct hg_err *err)
{
    if ((hdr->flags & HG_VHOST_VERSION_MASK) != HG_VHOST_VERSION)
        return hg_err_set(err, EPROTO, "%s has protocol version %u, expected %d",
                          hg_vhost_request_name(hdr->request), hdr->flags & HG_VHOST_VERSION_MASK,
                          HG_VHOST_VERSION);
    if (hdr->size > HG_VHOST_PAYLOAD_MAX)
        return hg_err_set(err, EPROTO, "%s announces %u bytes of payload, at most %d are allowed",
                          hg_vhost_request_name(hdr->request), hdr->size, HG_VHOST_PAYLOAD_MAX);
    return 0;
}

/* Cuts the message under way from what was read ahead. Returns 1 when it is whole, 0 when more must
 * be read, or a negative errno. */
static int assemble(struct hg_vhost_conn *conn, struct hg_err *err)
{
    int rc;

    if (conn->in_bytes < HDR_BYTES) {
        take_ahead(conn, (uint8_t *)&conn->in.hdr + conn->in_bytes, HDR_BYTES - conn->in_bytes);
        rc = conn->in_bytes == HDR_BYTES ? check_hdr(&conn->in.hdr, err) : 0;
        if (rc != 0)
            return rc;
    }
    if (conn->in_bytes >= HDR_BYTES)
        take_ahead(conn, conn->in.bytes + (conn->in_bytes - HDR_BYTES),
                   HDR_BYTES + conn->in.hdr.size - conn->in_bytes);
    if (conn->ahead_at == conn->ahead_n && conn->ahead_fd_n != 0) {
        rc = hand_fds(conn, err);
        if (rc != 0)
            return rc;
    }
    return conn->in_bytes >= HDR_BYTES && conn->in_bytes == HDR_BYTES + conn->in.hdr.size;
}

/* The steps of hg_vhost_recv(), which cleans up behind a failure. */
static int recv_message(struct hg_vhost_conn *conn, struct hg_err *err)
{
    for (;;) {
        int rc = assemble(conn, err);

        if (rc != 0)
            return rc;
        rc = (int)read_ahead(conn, err);
        if (rc <= 0)
            return rc;
    }
}

static void drop_ahead(struct hg_vhost_conn *conn)
{
    close_all(conn->ahead_fd, conn->ahead_fd_n);
    conn->ahead_fd_n = 0;
    conn->ahead_at = conn->ahead_n = 0;
}

int hg_vhost_recv(struct hg_vhost_conn *conn, struct hg_err *err)
{
    int rc = recv_message(conn, err);

    if (rc < 0) {
        hg_vhost_next(conn);
        drop_ahead(conn);
    }
    return rc;
}

bool hg_vhost_has_ahead(const struct hg_vhost_conn *conn)
{
    return conn->ahead_at != conn->ahead_n;
}

void hg_vhost_next(struct hg_vhost_conn *conn)
{
    close_all(conn->in_fd, conn->in_fd_n);
    conn->in_fd_n = 0;
    conn->in_bytes = 0;
    memset(&conn->in, 0, sizeof(conn->in)); /* a short payload must not show the one before */
}

int hg_vhost_take_fd(struct hg_vhost_conn *conn, unsigned i)
{
    int fd;

    if (i >= conn->in_fd_n)
        return -1;
    fd = conn->in_fd[i];
    conn->in_fd[i] = -1;
    return fd;
}

/* Writes what the socket takes, with the descriptors at the first byte. Returns how many bytes
 * went, 0 when the socket is full, or a negative errno. */
static ssize_t write_some(int socket, struct iovec *iov, size_t iov_n, const int *fds,
                          unsigned fd_n, struct hg_err *err)
{
    union control control = {0};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = iov_n};
    ssize_t n;

    if (fd_n != 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_n * sizeof(int));

        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_n * sizeof(int));
    }
    do
        n = sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0)
        return hg_err_set(err, errno, "cannot send: %s", strerror(errno));
    return n;
}

/* Duplicates descriptors so that they can wait in front of the bytes that are queued next. */
static int queue_fds(struct hg_vhost_conn *conn, const int *fds, unsigned fd_n, size_t bytes,
                     struct hg_err *err)
{
    if (conn->out_fd_n != 0)
        return hg_err_set(err, ENOBUFS, "the peer does not read: descriptors wait already");
    for (unsigned i = 0; i < fd_n; i++) {
        conn->out_fd[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (conn->out_fd[i] < 0) {
            int cause = errno;

            close_all(conn->out_fd, i);
            return hg_err_set(err, cause, "cannot duplicate a file descriptor: %s",
                              strerror(cause));
        }
    }
    conn->out_fd_n = fd_n;
    conn->out_fd_at = conn->out_bytes;
    conn->out_fd_bytes = bytes;
    return 0;
}

/* Queues the wire bytes of a message from `from` on; the caller has checked the room. */
static void queue_bytes(struct hg_vhost_conn *conn, const struct hg_vhost_msg *msg, size_t from)
{
    uint8_t *to = conn->out + conn->out_bytes;

    conn->out_bytes += HDR_BYTES + msg->hdr.size - from;
    if (from < HDR_BYTES) {
        memcpy(to, (const uint8_t *)&msg->hdr + from, HDR_BYTES - from);
        to += HDR_BYTES - from;
        from = HDR_BYTES;
    }
    memcpy(to, msg->bytes + (from - HDR_BYTES), HDR_BYTES + msg->hdr.size - from);
}

static int check_room(const struct hg_vhost_conn *conn, const struct hg_vhost_msg *msg,
                      unsigned fd_n, struct hg_err *err)
{
    if (msg->hdr.size > HG_VHOST_PAYLOAD_MAX || fd_n > HG_VHOST_FDS_MAX)
        return hg_err_set(err, EMSGSIZE, "%s with %u bytes and %u descriptors is too large",
                          hg_vhost_request_name(msg->hdr.request), msg->hdr.size, fd_n);
    if (HDR_BYTES + msg->hdr.size > HG_VHOST_OUT_MAX - conn->out_bytes)
        return hg_err_set(err, ENOBUFS, "the peer does not read: %zu bytes wait", conn->out_bytes);
    return 0;
}

int hg_vhost_queue(struct hg_vhost_conn *conn, const struct hg_vhost_msg *msg, struct hg_err *err)
{
    int rc = check_room(conn, msg, 0, err);

    if (rc == 0)
        queue_bytes(conn, msg, 0);
    return rc;
}

int hg_vhost_send(struct hg_vhost_conn *conn, const struct hg_vhost_msg *msg, const int *fds,
                  unsigned fd_n, struct hg_err *err)
{
    ssize_t sent = 0;
    int rc = check_room(conn, msg, fd_n, err);

    if (rc != 0)
        return rc;
    if (conn->out_bytes == 0) {
        struct iovec iov[] = {
            {(void *)(uintptr_t)&msg->hdr, HDR_BYTES},
            {(void *)(uintptr_t)msg->bytes, msg->hdr.size},
        };

        sent = write_some(conn->fd, iov, 2, fds, fd_n, err);
        if (sent < 0)
            return (int)sent;
    }
    if (sent == 0 && fd_n != 0) { /* else they went with the first byte */
        rc = queue_fds(conn, fds, fd_n, HDR_BYTES + msg->hdr.size, err);
        if (rc != 0)
            return rc;
    }
    queue_bytes(conn, msg, (size_t)sent);
    return 0;
}

bool hg_vhost_wants_write(const struct hg_vhost_conn *conn)
{
    return conn->out_bytes != 0;
}

int hg_vhost_flush(struct hg_vhost_conn *conn, struct hg_err *err)
{
    while (conn->out_bytes != 0) {
        bool with_fds = conn->out_fd_n != 0 && conn->out_fd_at == 0;
        bool before_fds = conn->out_fd_n != 0 && conn->out_fd_at != 0;
        struct iovec iov = {conn->out, conn->out_bytes};

        /* A message with descriptors travels alone, so that nobody takes them for another's. */
        if (with_fds)
            iov.iov_len = conn->out_fd_bytes;
        else if (before_fds)
            iov.iov_len = conn->out_fd_at;

        ssize_t n = write_some(conn->fd, &iov, 1, conn->out_fd, with_fds ? conn->out_fd_n : 0, err);

        if (n <= 0)
            return (int)n;
        if (with_fds) {
            close_all(conn->out_fd, conn->out_fd_n);
            conn->out_fd_n = 0;
        }
        if (before_fds)
            conn->out_fd_at -= (size_t)n;
        conn->out_bytes -= (size_t)n;
        memmove(conn->out, conn->out + n, conn->out_bytes);
    }
    return 0;
}

void hg_vhost_conn_clear(struct hg_vhost_conn *conn)
{
    hg_vhost_next(conn);
    drop_ahead(conn);
    close_all(conn->out_fd, conn->out_fd_n);
    conn->out_fd_n = 0;
    conn->out_bytes = 0;
}

const char *hg_vhost_request_name(uint32_t request)
{
    static const char *const names[HG_VHOST_REQUEST_N] = {
        [HG_VHOST_GET_FEATURES] = "GET_FEATURES",
        [HG_VHOST_SET_FEATURES] = "SET_FEATURES",
        [HG_VHOST_SET_OWNER] = "SET_OWNER",
        [HG_VHOST_RESET_OWNER] = "RESET_OWNER",
        [HG_VHOST_SET_MEM_TABLE] = "SET_MEM_TABLE",
        [HG_VHOST_SET_LOG_BASE] = "SET_LOG_BASE",
        [HG_VHOST_SET_LOG_FD] = "SET_LOG_FD",
        [HG_VHOST_SET_VRING_NUM] = "SET_VRING_NUM",
        [HG_VHOST_SET_VRING_ADDR] = "SET_VRING_ADDR",
        [HG_VHOST_SET_VRING_BASE] = "SET_VRING_BASE",
        [HG_VHOST_GET_VRING_BASE] = "GET_VRING_BASE",
        [HG_VHOST_SET_VRING_KICK] = "SET_VRING_KICK",
        [HG_VHOST_SET_VRING_CALL] = "SET_VRING_CALL",
        [HG_VHOST_SET_VRING_ERR] = "SET_VRING_ERR",
        [HG_VHOST_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
        [HG_VHOST_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
        [HG_VHOST_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
        [HG_VHOST_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
        [HG_VHOST_SEND_RARP] = "SEND_RARP",
        [HG_VHOST_NET_SET_MTU] = "NET_SET_MTU",
        [HG_VHOST_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
        [HG_VHOST_IOTLB_MSG] = "IOTLB_MSG",
        [HG_VHOST_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
        [HG_VHOST_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
        [HG_VHOST_RESET_DEVICE] = "RESET_DEVICE",
        [HG_VHOST_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
        [HG_VHOST_ADD_MEM_REG] = "ADD_MEM_REG",
        [HG_VHOST_REM_MEM_REG] = "REM_MEM_REG",
        [HG_VHOST_SET_STATUS] = "SET_STATUS",
        [HG_VHOST_GET_STATUS] = "GET_STATUS",
    };
    static _Thread_local char other[sizeof("request 4294967295")];

    if (request < HG_VHOST_REQUEST_N && names[request] != NULL)
        return names[request];
    snprintf(other, sizeof(other), "request %u", request);
    return other;
}

const char *hg_vhost_backend_request_name(uint32_t request)
{
    static _Thread_local char other[sizeof("back-end request 4294967295")];

    switch (request) {
    case HG_VHOST_BACKEND_IOTLB_MSG:
        return "BACKEND_IOTLB_MSG";
    case HG_VHOST_BACKEND_CONFIG_CHANGE_MSG:
        return "BACKEND_CONFIG_CHANGE_MSG";
    case HG_VHOST_BACKEND_VRING_HOST_NOTIFIER_MSG:
        return "BACKEND_VRING_HOST_NOTIFIER_MSG";
    case HG_VHOST_BACKEND_VRING_CALL:
        return "BACKEND_VRING_CALL";
    case HG_VHOST_BACKEND_VRING_ERR:
        return "BACKEND_VRING_ERR";
    default:
        snprintf(other, sizeof(other), "back-end request %u", request);
        return other;
    }
}
