/*
 * The front-end's session against a back-end that says more than it was asked.
 */
#include "virtio/vhost_front.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio/virtio.h"

static struct hg_vhost_front front;
static struct hg_vhost_front_plan plan;
static struct hg_vhost_conn back;

static int set_up(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    memset(&plan, 0, sizeof(plan));
    plan.features = plan.features_needed = HG_BIT(HG_VIRTIO_F_VERSION_1);
    plan.pair_n = 1;
    plan.mem_fd = memfd_create("guest", MFD_CLOEXEC);
    plan.mem_bytes = 4096;
    for (unsigned i = 0; i < 2; i++) {
        plan.ring[i].num = 64;
        plan.ring[i].kick_fd = eventfd(0, EFD_NONBLOCK);
        plan.ring[i].call_fd = eventfd(0, EFD_NONBLOCK);
    }
    memset(&back, 0, sizeof(back));
    back.fd = ends[1];
    assert_int_equal(hg_vhost_front_start(&front, ends[0], &plan, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hg_vhost_front_close(&front);
    hg_vhost_conn_clear(&back);
    close(back.fd);
    close(plan.mem_fd);
    for (unsigned i = 0; i < 2; i++) {
        close(plan.ring[i].kick_fd);
        close(plan.ring[i].call_fd);
    }
    return 0;
}

static void say(uint32_t request, uint32_t size, uint32_t index, uint32_t num)
{
    struct hg_vhost_msg msg = {
        .hdr = {request, HG_VHOST_VERSION | HG_VHOST_REPLY, size},
        .state = {index, num},
    };

    assert_int_equal(hg_vhost_send(&back, &msg, NULL, 0, NULL), 0);
}

/* Answers what the front-end asks, until it asks no more. */
static void converse(void)
{
    while (hg_vhost_recv(&back, NULL) == 1) {
        const struct hg_vhost_msg *in = &back.in;

        if (in->hdr.request == HG_VHOST_GET_FEATURES)
            say(in->hdr.request, 8, 0, 1); /* bit 32 */
        else if (in->hdr.request == HG_VHOST_GET_VRING_BASE)
            say(in->hdr.request, 8, in->state.index, 5);
        hg_vhost_next(&back);
        assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
    }
}

static void say_something_unasked(void)
{
    struct hg_err err;

    say(HG_VHOST_GET_FEATURES, 8, 0, 0);
    assert_int_equal(hg_vhost_front_run(&front, &err), -EPROTO);
    assert_non_null(strstr(err.text, "expected nothing"));
}

static void refuse_what_was_not_asked_when_up(void **state)
{
    (void)state;
    converse();
    assert_int_equal(front.state, HG_VHOST_FRONT_UP);
    say_something_unasked();
}

static void refuse_what_was_not_asked_when_stopped(void **state)
{
    (void)state;
    converse();
    assert_int_equal(hg_vhost_front_stop(&front, NULL), 0);
    converse();
    assert_int_equal(front.state, HG_VHOST_FRONT_STOPPED);
    say_something_unasked();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(refuse_what_was_not_asked_when_up),
        CASE(refuse_what_was_not_asked_when_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
