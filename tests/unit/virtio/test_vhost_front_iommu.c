/*
 * The front-end as a virtual IOMMU against a back-end that the test plays: what it is told when the
 * session starts, misses and their answers, many messages under way at once, and a back-end that
 * breaks the rules.
 */
#include "virtio/vhost_front.h"

#include <errno.h>
#include <fcntl.h>
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

#include "base/bits.h"
#include "virtio/virtio.h"

enum { PAGE = 4096, PAGES_N = 16, RINGS_AT = 4 /* pages */ };

/* Page k lies at IOVA(k); nothing else is mapped. */
#define IOVA(k) (UINT64_C(0x7000000000) + (uint64_t)(k)*0x100000)
#define USER(k) (UINT64_C(0x40000000) + (uint64_t)(k)*PAGE)

#define FEATURES                                                                                   \
    (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM) |                         \
     HG_BIT(HG_VIRTIO_F_RING_PACKED) | HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES))
#define PROTOCOL (HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK) | HG_BIT(HG_VHOST_PROTOCOL_F_BACKEND_REQ))

static struct hg_vhost_front front;
static struct hg_vhost_front_plan plan;

/* The back-end. */
static struct hg_vhost_conn back, channel;
static uint64_t features, protocol;
static struct hg_vhost_vring_addr addr[2];
static uint32_t base[2];
static struct hg_vhost_iotlb updates[64];
static unsigned updates_n;
static bool answers_iotlb; /* acknowledges IOTLB messages at once */

static bool translate(void *ctx, uint64_t iova, uint8_t perm, struct hg_vhost_iotlb *page)
{
    uint64_t k = (iova - IOVA(0)) / (IOVA(1) - IOVA(0));

    assert_ptr_equal(ctx, &plan);
    (void)perm;
    if (iova < IOVA(0) || k >= PAGES_N || iova - IOVA(k) >= PAGE)
        return false;
    *page = (struct hg_vhost_iotlb){IOVA(k), PAGE, USER(k), HG_VHOST_ACCESS_RW, 0, {0}};
    return true;
}

static int set_up(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    memset(&plan, 0, sizeof(plan));
    plan.features = plan.features_needed = FEATURES;
    plan.pair_n = 1;
    plan.mem_fd = memfd_create("guest", MFD_CLOEXEC);
    plan.mem_addr = USER(0);
    plan.mem_bytes = PAGES_N * PAGE;
    plan.translate = translate;
    plan.translate_ctx = &plan;
    for (unsigned i = 0; i < 2; i++)
        plan.ring[i] = (struct hg_vhost_front_ring){
            .desc = IOVA(RINGS_AT + i),
            .avail = IOVA(RINGS_AT + i) + 1024,
            .used = IOVA(RINGS_AT + i) + 2048,
            .num = 64,
            .kick_fd = eventfd(0, EFD_NONBLOCK),
            .call_fd = eventfd(0, EFD_NONBLOCK),
        };
    memset(&back, 0, sizeof(back));
    memset(&channel, 0, sizeof(channel));
    back.fd = ends[1];
    channel.fd = -1;
    features = FEATURES;
    protocol = PROTOCOL | HG_BIT(HG_VHOST_PROTOCOL_F_MQ);
    updates_n = 0;
    answers_iotlb = true;
    assert_int_equal(hg_vhost_front_start(&front, ends[0], &plan, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hg_vhost_front_close(&front);
    hg_vhost_conn_clear(&back);
    hg_vhost_conn_clear(&channel);
    close(back.fd);
    if (channel.fd >= 0)
        close(channel.fd);
    close(plan.mem_fd);
    for (unsigned i = 0; i < 2; i++) {
        close(plan.ring[i].kick_fd);
        close(plan.ring[i].call_fd);
    }
    return 0;
}

static void say(uint32_t request, uint32_t size, uint64_t value)
{
    struct hg_vhost_msg msg = {
        .hdr = {request, HG_VHOST_VERSION | HG_VHOST_REPLY, size},
        .u64 = value,
    };

    assert_int_equal(hg_vhost_send(&back, &msg, NULL, 0, NULL), 0);
}

/* What the back-end does with the message it has. */
static void take(const struct hg_vhost_msg *in)
{
    switch (in->hdr.request) {
    case HG_VHOST_GET_FEATURES:
        say(in->hdr.request, 8, features);
        return;
    case HG_VHOST_GET_PROTOCOL_FEATURES:
        say(in->hdr.request, 8, protocol);
        return;
    case HG_VHOST_GET_QUEUE_NUM:
        say(in->hdr.request, 8, 1);
        return;
    case HG_VHOST_GET_VRING_BASE:
        say(in->hdr.request, 8, in->state.index);
        return;
    case HG_VHOST_SET_BACKEND_REQ_FD:
        assert_int_equal(in->hdr.size, 0);
        channel.fd = hg_vhost_take_fd(&back, 0);
        assert_true(channel.fd >= 0);
        assert_int_equal(fcntl(channel.fd, F_GETFL) & O_NONBLOCK, 0); /* as from QEMU */
        break;
    case HG_VHOST_SET_VRING_ADDR:
        addr[in->addr.index] = in->addr;
        break;
    case HG_VHOST_SET_VRING_BASE:
        base[in->state.index] = in->state.num;
        break;
    case HG_VHOST_IOTLB_MSG:
        assert_int_equal(in->hdr.size, sizeof(in->iotlb));
        assert_true((in->hdr.flags & HG_VHOST_NEED_REPLY) != 0);
        updates[updates_n++ % HG_ARRAY_N(updates)] = in->iotlb;
        if (!answers_iotlb)
            return;
        break;
    default:
        break;
    }
    if ((in->hdr.flags & HG_VHOST_NEED_REPLY) != 0)
        say(in->hdr.request, 8, 0);
}

/* One message to the back-end; false when there is none. */
static bool hear(void)
{
    if (hg_vhost_recv(&back, NULL) != 1)
        return false;
    take(&back.in);
    hg_vhost_next(&back);
    return true;
}

static void converse(void)
{
    assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
    while (hear())
        assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
}

static void come_up(void)
{
    converse();
    assert_int_equal(front.state, HG_VHOST_FRONT_UP);
    updates_n = 0;
}

static void ask(uint64_t iova, uint8_t perm, uint8_t type, uint32_t flags)
{
    struct hg_vhost_msg msg = {
        .hdr = {HG_VHOST_BACKEND_IOTLB_MSG, HG_VHOST_VERSION | flags, sizeof(msg.iotlb)},
        .iotlb = {.iova = iova, .perm = perm, .type = type},
    };

    assert_int_equal(hg_vhost_send(&channel, &msg, NULL, 0, NULL), 0);
}

static void miss(uint64_t iova)
{
    ask(iova, HG_VHOST_ACCESS_RO, HG_VHOST_IOTLB_MISS, 0);
}

static int invalidate(unsigned k)
{
    struct hg_vhost_iotlb iotlb = {
        .iova = IOVA(k), .size = PAGE, .type = HG_VHOST_IOTLB_INVALIDATE};

    return hg_vhost_front_iotlb(&front, &iotlb, NULL);
}

static void rings_are_named_by_iovas_and_mapped(void **state)
{
    (void)state;
    converse();
    assert_int_equal(front.state, HG_VHOST_FRONT_UP);
    assert_true(channel.fd >= 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(addr[i].desc, IOVA(RINGS_AT + i));
        assert_int_equal(addr[i].used, IOVA(RINGS_AT + i) + 2048);
        assert_int_equal(base[i], 0x80008000); /* packed: wrap counters are 1 */
        assert_int_equal(updates[i].iova, IOVA(RINGS_AT + i));
        assert_int_equal(updates[i].size, PAGE);
        assert_int_equal(updates[i].user_addr, USER(RINGS_AT + i));
        assert_int_equal(updates[i].perm, HG_VHOST_ACCESS_RW);
        assert_int_equal(updates[i].type, HG_VHOST_IOTLB_UPDATE);
    }
    assert_int_equal(updates_n, 2);
    assert_int_equal(front.iommu.sent_n, 0); /* the owner has sent nothing */
    assert_int_equal(hg_vhost_front_stop(&front, NULL), 0);
    while (hear())
        if (hg_vhost_front_run(&front, NULL) != 0)
            break;
    assert_int_equal(front.state, HG_VHOST_FRONT_STOPPED);
}

static int refuse_a_session_without(uint64_t missing_features, uint64_t missing_protocol,
                                    struct hg_err *err)
{
    int rc = 0;

    features &= ~missing_features;
    protocol &= ~missing_protocol;
    while (rc == 0 && hear())
        rc = hg_vhost_front_run(&front, err);
    return rc;
}

static void the_channel_is_needed(void **state)
{
    struct hg_err err;

    (void)state;
    assert_int_equal(refuse_a_session_without(0, HG_BIT(HG_VHOST_PROTOCOL_F_BACKEND_REQ), &err),
                     -ENOTSUP);
    assert_non_null(strstr(err.text, "BACKEND_REQ"));
}

static void acknowledgements_are_needed(void **state)
{
    struct hg_err err;

    (void)state;
    assert_int_equal(refuse_a_session_without(0, HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK), &err),
                     -ENOTSUP);
}

static void protocol_features_are_needed(void **state)
{
    struct hg_err err;

    (void)state;
    assert_int_equal(refuse_a_session_without(HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES), 0, &err),
                     -ENOTSUP);
}

static void misses_are_answered(void **state)
{
    (void)state;
    come_up();
    for (unsigned k = 0; k < 3; k++)
        miss(IOVA(k) + 100);
    miss(IOVA(0) + PAGE); /* not mapped */
    miss(UINT64_MAX);
    converse();
    assert_int_equal(updates_n, 3);
    for (unsigned k = 0; k < 3; k++) {
        assert_int_equal(updates[k].iova, IOVA(k));
        assert_int_equal(updates[k].user_addr, USER(k));
        assert_int_equal(updates[k].type, HG_VHOST_IOTLB_UPDATE);
    }
    assert_int_equal(front.iommu.misses_n, 5);
    assert_int_equal(front.iommu.unmapped_n, 2);
    assert_int_equal(front.iommu.acked_n, 3);
    ask(IOVA(0), HG_VHOST_ACCESS_WO, HG_VHOST_IOTLB_ACCESS_FAIL, 0);
    converse();
    assert_int_equal(front.iommu.access_fails_n, 1);
}

static void a_back_end_may_want_replies(void **state)
{
    static const struct {
        uint64_t iova;
        uint8_t type;
        uint64_t value;
    } asks[] = {{IOVA(1), HG_VHOST_IOTLB_MISS, 0},
                {IOVA(0) - 1, HG_VHOST_IOTLB_MISS, 1},
                {IOVA(1), HG_VHOST_IOTLB_ACCESS_FAIL, 0}};

    (void)state;
    come_up();
    for (unsigned i = 0; i < HG_ARRAY_N(asks); i++) {
        ask(asks[i].iova, HG_VHOST_ACCESS_RW, asks[i].type, HG_VHOST_NEED_REPLY);
        converse();
        assert_int_equal(hg_vhost_recv(&channel, NULL), 1);
        assert_int_equal(channel.in.hdr.request, HG_VHOST_BACKEND_IOTLB_MSG);
        assert_int_equal(channel.in.hdr.flags, HG_VHOST_VERSION | HG_VHOST_REPLY);
        assert_int_equal(channel.in.u64, asks[i].value);
        hg_vhost_next(&channel);
    }
}

/* All are sent before the first is acknowledged, and a back-end that asks meanwhile has to wait
 * when there are too many. */
static void many_are_under_way(void **state)
{
    (void)state;
    come_up();
    answers_iotlb = false;
    for (unsigned i = 0; i < HG_VHOST_FRONT_IOTLB_MAX; i++) {
        assert_int_equal(hg_vhost_front_iotlb_room(&front), HG_VHOST_FRONT_IOTLB_MAX - i);
        assert_int_equal(invalidate(i % PAGES_N), 0);
        assert_int_equal(front.iommu.sent_n, i + 1);
    }
    assert_int_equal(invalidate(0), -EAGAIN);
    miss(IOVA(3));
    converse();
    assert_int_equal(updates_n, HG_VHOST_FRONT_IOTLB_MAX);
    assert_int_equal(front.iommu.acked_n, 0);
    assert_int_equal(front.iommu.misses_n, 0);
    for (unsigned i = 0; i < HG_VHOST_FRONT_IOTLB_MAX; i++) {
        say(HG_VHOST_IOTLB_MSG, 8, 0);
        assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
        assert_int_equal(front.iommu.acked_n, i + 1);
    }
    assert_int_equal(front.iommu.misses_n, 1);
    assert_true(hear());
    assert_int_equal(updates[(updates_n - 1) % HG_ARRAY_N(updates)].iova, IOVA(3));
}

/* A miss is answered while a step of the session is not: each reply finds its request. */
static void steps_and_updates_mix(void **state)
{
    (void)state;
    while (channel.fd < 0) {
        assert_true(hear());
        assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
    }
    answers_iotlb = false;
    for (unsigned i = 0; front.state != HG_VHOST_FRONT_UP; i++) {
        assert_true(i < 100);
        miss(IOVA(i % PAGES_N)); /* its UPDATE goes behind the step that is under way */
        assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
        for (unsigned n = 0; n < 2; n++) {
            assert_int_equal(hg_vhost_recv(&back, NULL), 1);
            assert_int_equal(back.in.hdr.request == HG_VHOST_IOTLB_MSG &&
                                 back.in.iotlb.iova == IOVA(i % PAGES_N),
                             n == 1);
            if (back.in.hdr.request == HG_VHOST_IOTLB_MSG)
                say(HG_VHOST_IOTLB_MSG, 8, 0);
            else
                take(&back.in);
            hg_vhost_next(&back);
        }
        assert_int_equal(front.iommu.acked_n, i);
        assert_int_equal(hg_vhost_front_run(&front, NULL), 0);
        assert_int_equal(front.iommu.acked_n, i + 1);
    }
}

static void expect_end(int rc, const char *part)
{
    struct hg_err err;

    assert_int_equal(hg_vhost_front_run(&front, &err), rc);
    if (strstr(err.text, part) == NULL)
        fail_msg("the session ended with '%s', expected '%s' in it", err.text, part);
}

static void a_refusal_ends_the_session(void **state)
{
    (void)state;
    come_up();
    assert_int_equal(invalidate(1), 0);
    say(HG_VHOST_IOTLB_MSG, 8, 1);
    expect_end(-EPROTO, "refused an IOTLB message (answer 1)");
}

static void acknowledgements_have_a_form(void **state)
{
    (void)state;
    come_up();
    assert_int_equal(invalidate(1), 0);
    say(HG_VHOST_SET_FEATURES, 8, 0);
    expect_end(-EPROTO, "expected it to acknowledge IOTLB_MSG");
    say(HG_VHOST_IOTLB_MSG, 4, 0);
    expect_end(-EPROTO, "IOTLB_MSG of 4 bytes");
}

static void nobody_asked_for_an_acknowledgement(void **state)
{
    (void)state;
    come_up();
    say(HG_VHOST_IOTLB_MSG, 8, 0);
    expect_end(-EPROTO, "expected nothing");
}

static void requests_have_a_form(void **state)
{
    struct hg_vhost_msg msg = {.hdr = {HG_VHOST_BACKEND_VRING_CALL, HG_VHOST_VERSION, 8}};

    (void)state;
    come_up();
    assert_int_equal(hg_vhost_send(&channel, &msg, NULL, 0, NULL), 0);
    expect_end(-EPROTO, "asked BACKEND_VRING_CALL with 8 bytes");
    msg.hdr.request = HG_VHOST_BACKEND_IOTLB_MSG;
    assert_int_equal(hg_vhost_send(&channel, &msg, NULL, 0, NULL), 0);
    expect_end(-EPROTO, "asked BACKEND_IOTLB_MSG with 8 bytes");
    ask(IOVA(0), 1, HG_VHOST_IOTLB_UPDATE, 0);
    expect_end(-EPROTO, "of type 2");
}

static void a_channel_that_closes_ends_the_session(void **state)
{
    (void)state;
    come_up();
    close(channel.fd);
    channel.fd = -1;
    expect_end(-ECONNRESET, "closed");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(rings_are_named_by_iovas_and_mapped),
        CASE(the_channel_is_needed),
        CASE(acknowledgements_are_needed),
        CASE(protocol_features_are_needed),
        CASE(misses_are_answered),
        CASE(a_back_end_may_want_replies),
        CASE(many_are_under_way),
        CASE(steps_and_updates_mix),
        CASE(a_refusal_ends_the_session),
        CASE(acknowledgements_have_a_form),
        CASE(nobody_asked_for_an_acknowledgement),
        CASE(requests_have_a_form),
        CASE(a_channel_that_closes_ends_the_session),
    };

    return cmocka_run_group_tests_name("the front-end's virtual IOMMU", tests, NULL, NULL);
}
