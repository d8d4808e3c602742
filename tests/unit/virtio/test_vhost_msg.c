/*
 * The framing of vhost-user messages over a socketpair: whole, bytewise, broken off and malformed.
 * Each test counts the process's descriptors before and after.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "emulated.h"

#include "peer/peer.h"
#include "virtio/vhost_msg.h"

struct pair {
    struct hg_vhost_conn conn;
    struct peer peer; /* only its socket is used */
    unsigned fds_before;
};

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static void no_pump(void *ctx)
{
    (void)ctx;
}

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    int sv[2];

    assert_non_null(p);
    p->fds_before = count_fds();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    assert_int_equal(fcntl(sv[0], F_SETFL, O_NONBLOCK), 0);
    p->conn.fd = sv[0];
    p->peer =
        (struct peer){.fd = sv[1], .channel = -1, .mem_fd = -1, .pump = no_pump, .send_budget = -1};
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;

    hg_vhost_conn_clear(&p->conn);
    close(p->conn.fd);
    if (p->peer.fd >= 0)
        close(p->peer.fd);
    assert_int_equal(count_fds(), p->fds_before);
    free(p);
    return 0;
}

static void take_whole_messages_one_at_a_time(void **state)
{
    struct pair *p = *state;
    struct hg_err err;

    assert_int_equal(hg_vhost_recv(&p->conn, &err), 0);
    assert_true(peer_send_u64(&p->peer, HG_VHOST_SET_FEATURES, 42));
    assert_true(peer_send_state(&p->peer, HG_VHOST_SET_VRING_NUM, 3, 256));
    assert_true(peer_send(&p->peer, HG_VHOST_SET_OWNER, 0, NULL, 0, NULL, 0));

    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
    assert_int_equal(p->conn.in.hdr.request, HG_VHOST_SET_FEATURES);
    assert_int_equal(p->conn.in.u64, 42);
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1); /* still the same */
    assert_int_equal(p->conn.in.hdr.request, HG_VHOST_SET_FEATURES);
    hg_vhost_next(&p->conn);

    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
    assert_int_equal(p->conn.in.state.index, 3);
    assert_int_equal(p->conn.in.state.num, 256);
    hg_vhost_next(&p->conn);

    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
    assert_int_equal(p->conn.in.hdr.size, 0);
    assert_int_equal(p->conn.in.u64, 0); /* nothing of the message before shows */
    hg_vhost_next(&p->conn);
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 0);
}

static void take_a_message_byte_by_byte(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_SET_VRING_KICK, HG_VHOST_VERSION, 8};
    uint64_t word = 5;
    uint8_t bytes[20];
    struct hg_err err;
    int fd = eventfd(0, 0);

    memcpy(bytes, &hdr, 12);
    memcpy(bytes + 12, &word, 8);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(hg_vhost_recv(&p->conn, &err), 0);
        assert_true(peer_send_raw(&p->peer, bytes + i, 1, &fd, i == 7 ? 1 : 0));
    }
    close(fd);
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
    assert_int_equal(p->conn.in.u64, 5);
    assert_int_equal(p->conn.in_fd_n, 1);
    assert_true((fcntl(p->conn.in_fd[0], F_GETFD) & FD_CLOEXEC) != 0);
}

static void give_descriptors_to_who_takes_them(void **state)
{
    struct pair *p = *state;
    int fds[3] = {eventfd(0, 0), eventfd(0, 0), eventfd(0, 0)};
    struct hg_err err;
    uint64_t zero = 0;

    assert_true(peer_send(&p->peer, HG_VHOST_SET_MEM_TABLE, 0, &zero, 8, fds, 3));
    for (unsigned i = 0; i < 3; i++)
        close(fds[i]);
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
    assert_int_equal(p->conn.in_fd_n, 3);
    int taken = hg_vhost_take_fd(&p->conn, 1);

    assert_true(taken >= 0);
    assert_int_equal(hg_vhost_take_fd(&p->conn, 1), -1);
    assert_int_equal(hg_vhost_take_fd(&p->conn, 3), -1);
    hg_vhost_next(&p->conn);
    assert_int_equal(fcntl(taken, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC); /* open, and ours */
    close(taken);
}

static void read_several_at_once_and_give_descriptors_to_the_right_one(void **state)
{
    struct pair *p = *state;
    struct hg_err err;
    int fd = eventfd(0, 0);

    assert_true(peer_send_u64(&p->peer, HG_VHOST_SET_FEATURES, 42));
    assert_true(peer_send_state(&p->peer, HG_VHOST_SET_VRING_NUM, 3, 256));
    assert_true(peer_send_fd(&p->peer, HG_VHOST_SET_VRING_KICK, 3, fd));
    assert_true(peer_send_state(&p->peer, HG_VHOST_SET_VRING_ENABLE, 3, 1));
    close(fd);

    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
        assert_int_equal(p->conn.in_fd_n, i == 2 ? 1 : 0);
        /* One read took the first three: it ends where descriptors came along. */
        assert_int_equal(hg_vhost_has_ahead(&p->conn), i < 2);
        hg_vhost_next(&p->conn);
    }
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 0);
}

static void close_descriptors_that_were_read_ahead(void **state)
{
    struct pair *p = *state;
    struct hg_err err;
    int fd = eventfd(0, 0);

    assert_true(peer_send_u64(&p->peer, HG_VHOST_SET_FEATURES, 42));
    assert_true(peer_send_fd(&p->peer, HG_VHOST_SET_VRING_KICK, 3, fd));
    close(fd);
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 1);
    assert_int_equal(p->conn.in_fd_n, 0);
    hg_vhost_conn_clear(&p->conn); /* the tear-down counts */
}

/* Descriptors may not come in such numbers, whether at once or over the bytes of one message. */
static void refuse_too_many_descriptors(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_SET_MEM_TABLE, HG_VHOST_VERSION, 8};
    int fds[HG_VHOST_FDS_MAX + 1];
    struct hg_err err;

    skip_if_emulated("passes fewer descriptors on");
    for (unsigned i = 0; i < HG_VHOST_FDS_MAX + 1; i++)
        fds[i] = p->peer.fd;
    assert_true(peer_send_raw(&p->peer, &hdr, 12, fds, HG_VHOST_FDS_MAX + 1));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -EPROTO);
    assert_int_equal(p->conn.in_fd_n, 0);

    assert_true(peer_send_raw(&p->peer, &hdr, 6, fds, HG_VHOST_FDS_MAX));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), 0);
    assert_true(peer_send_raw(&p->peer, (uint8_t *)&hdr + 6, 6, fds, 1));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -EPROTO);
    assert_int_equal(p->conn.in_fd_n, 0);
}

static void refuse_a_wrong_version(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_GET_FEATURES, 2, 0};
    struct hg_err err;

    assert_true(peer_send_raw(&p->peer, &hdr, 12, &p->peer.fd, 1));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -EPROTO);
    assert_non_null(strstr(err.text, "GET_FEATURES has protocol version 2"));
}

static void refuse_a_large_payload_before_it_comes(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_SET_MEM_TABLE, HG_VHOST_VERSION, HG_VHOST_PAYLOAD_MAX + 1};
    struct hg_err err;

    assert_true(peer_send_raw(&p->peer, &hdr, 12, NULL, 0));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -EPROTO);
    assert_non_null(strstr(err.text, "513 bytes"));

    hdr.size = UINT32_MAX;
    assert_true(peer_send_raw(&p->peer, &hdr, 12, NULL, 0));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -EPROTO);
}

static void notice_the_end_of_the_stream(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_SET_FEATURES, HG_VHOST_VERSION, 8};
    struct hg_err err;
    int fd = eventfd(0, 0);

    assert_true(peer_send_raw(&p->peer, &hdr, 12, &fd, 1));
    close(fd);
    peer_hang_up(&p->peer);
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -ECONNRESET);
    assert_non_null(strstr(err.text, "inside a message"));
    assert_int_equal(hg_vhost_recv(&p->conn, &err), -ECONNRESET);
    assert_null(strstr(err.text, "inside a message"));
}

static struct hg_vhost_msg reply_of(uint32_t size)
{
    struct hg_vhost_msg msg = {.hdr = {HG_VHOST_GET_FEATURES, 5, size}};

    for (uint32_t i = 0; i < size; i++)
        msg.bytes[i] = (uint8_t)i;
    return msg;
}

/* Fills the socket and the queue behind it. Returns how many messages went. */
static unsigned fill(struct pair *p, const struct hg_vhost_msg *msg)
{
    struct hg_err err;
    unsigned n = 0;
    int rc;

    while ((rc = hg_vhost_send(&p->conn, msg, NULL, 0, &err)) == 0)
        n++;
    assert_int_equal(rc, -ENOBUFS);
    return n;
}

static void bound_what_waits_for_a_peer_that_does_not_read(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_msg msg = reply_of(500);
    struct hg_vhost_msg back;
    struct hg_err err;
    unsigned n = fill(p, &msg);

    assert_true(hg_vhost_wants_write(&p->conn));
    assert_true(p->conn.out_bytes <= HG_VHOST_OUT_MAX);
    for (unsigned i = 0; i < n; i++) {
        assert_true(peer_recv(&p->peer, &back));
        assert_memory_equal(&back.hdr, &msg.hdr, 12);
        assert_memory_equal(back.bytes, msg.bytes, 500);
        assert_int_equal(hg_vhost_flush(&p->conn, &err), 0);
    }
    assert_false(hg_vhost_wants_write(&p->conn));
}

static void keep_descriptors_with_their_first_byte(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_msg filler = reply_of(500);
    struct hg_vhost_msg msg = reply_of(8);
    struct hg_vhost_conn other = {.fd = p->peer.fd};
    struct hg_err err;
    int fd = eventfd(0, 0);
    unsigned n = 0;

    assert_int_equal(fcntl(p->peer.fd, F_SETFL, O_NONBLOCK), 0);
    while (!hg_vhost_wants_write(&p->conn)) {
        assert_int_equal(hg_vhost_send(&p->conn, &filler, NULL, 0, &err), 0);
        n++;
    }
    assert_int_equal(hg_vhost_send(&p->conn, &msg, &fd, 1, &err), 0);
    assert_int_equal(hg_vhost_send(&p->conn, &msg, &fd, 1, &err), -ENOBUFS);
    assert_int_equal(hg_vhost_send(&p->conn, &msg, NULL, 0, &err), 0);
    close(fd);

    for (unsigned i = 0; i < n + 2; i++) {
        int rc;

        while ((rc = hg_vhost_recv(&other, &err)) == 0)
            assert_int_equal(hg_vhost_flush(&p->conn, &err), 0);
        assert_int_equal(rc, 1);
        assert_int_equal(other.in.hdr.size, i < n ? 500 : 8);
        assert_int_equal(other.in_fd_n, i == n ? 1 : 0);
        hg_vhost_next(&other);
    }
    assert_false(hg_vhost_wants_write(&p->conn));
}

static void send_what_was_queued_in_one_go(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_msg msg = reply_of(32);
    uint8_t bytes[256];
    struct hg_err err;

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(hg_vhost_queue(&p->conn, &msg, &err), 0);
    assert_true(hg_vhost_wants_write(&p->conn));
    assert_int_equal(recv(p->peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
    assert_int_equal(hg_vhost_flush(&p->conn, &err), 0);
    assert_false(hg_vhost_wants_write(&p->conn));
    assert_int_equal(recv(p->peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT), 3 * 44);
}

static void fail_without_a_signal_when_nobody_reads(void **state)
{
    struct pair *p = *state;
    struct hg_vhost_msg msg = reply_of(8);
    struct hg_err err;

    peer_hang_up(&p->peer);
    assert_int_equal(hg_vhost_send(&p->conn, &msg, NULL, 0, &err), -EPIPE);
}

static void name_requests(void **state)
{
    (void)state;
    assert_string_equal(hg_vhost_request_name(HG_VHOST_SET_VRING_NUM), "SET_VRING_NUM");
    assert_string_equal(hg_vhost_request_name(HG_VHOST_RESET_DEVICE), "RESET_DEVICE");
    assert_string_equal(hg_vhost_request_name(0), "request 0");
    assert_string_equal(hg_vhost_request_name(UINT32_MAX), "request 4294967295");
    assert_string_equal(hg_vhost_backend_request_name(HG_VHOST_BACKEND_IOTLB_MSG),
                        "BACKEND_IOTLB_MSG");
    assert_string_equal(hg_vhost_backend_request_name(UINT32_MAX), "back-end request 4294967295");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(take_whole_messages_one_at_a_time),
        CASE(take_a_message_byte_by_byte),
        CASE(give_descriptors_to_who_takes_them),
        CASE(read_several_at_once_and_give_descriptors_to_the_right_one),
        CASE(close_descriptors_that_were_read_ahead),
        CASE(refuse_too_many_descriptors),
        CASE(refuse_a_wrong_version),
        CASE(refuse_a_large_payload_before_it_comes),
        CASE(notice_the_end_of_the_stream),
        CASE(bound_what_waits_for_a_peer_that_does_not_read),
        CASE(keep_descriptors_with_their_first_byte),
        CASE(send_what_was_queued_in_one_go),
        CASE(fail_without_a_signal_when_nobody_reads),
        CASE(name_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
