/*
 * A front-end that takes its memory away while the switch uses it: it truncates the file, which
 * nothing keeps it from, so that every access beyond the new end raises SIGBUS in whoever makes it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "attack/fixture.h"
#include "peer/sigbus.h"

/* The lower half holds the rings, the upper half the buffers. */
#define BUFFER (PEER_HIGH + PEER_HALF_BYTES / 2)

static const uint8_t frame[1500] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};

static void resize(off_t bytes)
{
    assert_int_equal(ftruncate(attacker()->mem_fd, bytes), 0);
}

static bool is_lost(struct stage *s, void *ctx)
{
    (void)ctx;
    return strstr(rig_status(&s->rig[ATTACKER]), "memory file was truncated") != NULL;
}

/* The attacker's session ends for that reason and no other port's does; then the file is whole
 * again. */
static void lose_the_session(void)
{
    stage_until(&stage, is_lost, NULL, "the session to end");
    assert_string_equal(stage.rig[ATTACKER].status.state, "broken");
    for (unsigned actor = VICTIM; actor < ACTORS_N; actor++) {
        rig_status(&stage.rig[actor]);
        assert_string_equal(stage.rig[actor].status.state, "up");
    }
    resize(PEER_MEM_BYTES);
    stage_recover(&stage);
}

static void transmitted_frames(void **state)
{
    (void)state;
    sigbus_restore();
    for (unsigned n = 1; n <= 64; n *= 4) {
        for (unsigned i = 0; i < n; i++)
            peer_write_desc(attacker(), GUEST_TX, (uint16_t)i,
                            (struct hg_desc){BUFFER + i * 2048, 1512, 0, 0});
        resize(PEER_HALF_BYTES);
        for (unsigned i = 0; i < n; i++)
            peer_push_avail(attacker(), GUEST_TX, (uint16_t)i);
        peer_kick(attacker(), GUEST_TX);
        lose_the_session();
    }
}

/* The head of the frame is there, the rest, which is borrowed, is not: the victim's copy meets
 * it. */
static void the_borrowed_part_of_a_frame(void **state)
{
    (void)state;
    sigbus_restore();
    memcpy((uint8_t *)peer_at(attacker(), 1 << 20) + HG_NET_HDR_BYTES, frame, 192);
    peer_write_desc(attacker(), GUEST_TX, 0, (struct hg_desc){1 << 20, 204, NEXT, 1});
    peer_write_desc(attacker(), GUEST_TX, 1, (struct hg_desc){BUFFER, 16384, 0, 0});
    peer_post(victim(), GUEST_RX, 16);
    resize(PEER_HALF_BYTES);
    peer_push_avail(attacker(), GUEST_TX, 0);
    peer_kick(attacker(), GUEST_TX);
    lose_the_session();
}

static void buffers_to_receive_into(void **state)
{
    (void)state;
    sigbus_restore();
    for (unsigned n = 1; n <= 64; n *= 4) {
        peer_post(attacker(), GUEST_RX, n);
        resize(PEER_HALF_BYTES);
        for (unsigned i = 0; i < n; i++)
            peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
        peer_kick(victim(), GUEST_TX);
        lose_the_session();
    }
}

static void indirect_tables(void **state)
{
    (void)state;
    sigbus_restore();
    peer_write_desc(attacker(), GUEST_TX, 0, (struct hg_desc){BUFFER, 1024, INDIRECT, 0});
    resize(PEER_HALF_BYTES);
    peer_push_avail(attacker(), GUEST_TX, 0);
    peer_kick(attacker(), GUEST_TX);
    lose_the_session();
}

/* The rings themselves, while the worker polls them and the victim sends to the attacker. */
static void rings_in_use(void **state)
{
    (void)state;
    sigbus_restore();
    for (off_t keep = 0; keep <= 2 * PEER_RING_BYTES; keep += PEER_RING_BYTES / 4) {
        peer_post(attacker(), GUEST_RX, 32);
        peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
        resize(keep);
        peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
        peer_kick(victim(), GUEST_TX);
        peer_kick(attacker(), GUEST_TX);
        lose_the_session();
    }
}

static void packed_rings_in_use(void **state)
{
    (void)state;
    sigbus_restore();
    for (off_t keep = 0; keep <= 2 * PEER_RING_BYTES; keep += PEER_RING_BYTES / 4) {
        attacker()->packed = true;
        stage_bring_up(&stage, ATTACKER, PEER_RING_SIZE,
                       RIG_FEATURES | HG_BIT(HG_VIRTIO_F_RING_PACKED));
        peer_post(attacker(), GUEST_RX, 32);
        peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
        resize(keep);
        peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
        peer_kick(victim(), GUEST_TX);
        peer_kick(attacker(), GUEST_TX);
        attacker()->packed = false;
        lose_the_session();
    }
}

/* Between the memory table and the start of the rings: control is the first to touch them. */
static void before_the_rings_start(void **state)
{
    (void)state;
    sigbus_restore();
    assert_true(peer_connect(attacker(), stage.rig[ATTACKER].path) && peer_init(attacker()));
    assert_true(peer_send_mem_table(attacker(), true));
    resize(0);
    for (unsigned ring = 0; ring < 2; ring++)
        (void)peer_start_ring(attacker(), ring);
    (void)peer_enable_pair(attacker(), 0, true);
    peer_kick(attacker(), GUEST_TX);
    lose_the_session();
}

/* Stopped by the front-end after the loss: control reads where the ring stands. */
static void while_the_rings_stop(void **state)
{
    uint32_t base;

    (void)state;
    sigbus_restore();
    resize(0);
    (void)peer_get_base(attacker(), GUEST_TX, &base);
    (void)peer_get_base(attacker(), GUEST_RX, &base);
    resize(PEER_MEM_BYTES);
    stage_recover(&stage);
}

/* Rings behind a virtual IOMMU whose pages lie scattered, so that they are mapped a second time, in
 * order. */
static void rings_of_scattered_pages(void **state)
{
    enum { PAGE = 4096, PAGES = 2 * PEER_RING_BYTES / PAGE };
    const uint64_t iova = UINT64_C(0x7700000000);

    (void)state;
    sigbus_restore();
    for (unsigned keep = 0; keep <= 1; keep++) {
        struct peer *peer = attacker();

        peer_hang_up(peer);
        peer->ring_start = iova;
        peer->features = RIG_FEATURES | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM);
        for (unsigned ring = 0; ring < 2; ring++) {
            peer_reset_ring(peer, ring);
            peer->ring[ring].num = 1024; /* of more than one page */
        }
        assert_true(peer_connect(peer, stage.rig[ATTACKER].path) && peer_init(peer) &&
                    peer_open_channel(peer, true) && peer_start(peer));
        for (uint64_t page = 0; page < PAGES; page++)
            assert_true(peer_map(peer, iova + page * PAGE, PAGE, (1 << 20) + (page ^ 1) * PAGE,
                                 HG_VHOST_ACCESS_RW));
        rig_status(&stage.rig[ATTACKER]);
        assert_string_equal(stage.rig[ATTACKER].status.state, "up");
        resize(keep == 0 ? 0 : (1 << 20) + PAGE);
        peer_kick(peer, GUEST_TX);
        peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
        peer_kick(victim(), GUEST_TX);
        peer->ring_start = PEER_USER;
        lose_the_session();
    }
}

struct truncator {
    int fd;
    atomic_bool end;
};

static void *truncate_for_ever(void *ctx)
{
    struct truncator *t = ctx;

    for (unsigned i = 0; !atomic_load(&t->end); i++) {
        if (ftruncate(t->fd, (off_t)(i % 7) * PEER_RING_BYTES / 2) != 0 ||
            ftruncate(t->fd, PEER_MEM_BYTES) != 0)
            break;
        usleep(i % 5 * 20);
    }
    return NULL;
}

/* Down and up again at any moment of many sessions: sometimes nobody notices, sometimes the rings
 * are suddenly empty, sometimes the memory is gone. */
static void gone_and_back(void **state)
{
    struct truncator t = {.fd = attacker()->mem_fd};
    unsigned fds, mappings;
    pthread_t thread;

    (void)state;
    sigbus_restore();
    peer_hang_up(attacker());
    fds = rig_count_fds();
    mappings = rig_count_mappings();
    assert_int_equal(pthread_create(&thread, NULL, truncate_for_ever, &t), 0);
    for (unsigned session = 0; session < 100; session++) {
        /* The script itself touches nothing of the memory. */
        assert_true(peer_connect(attacker(), stage.rig[ATTACKER].path));
        attacker()->features = RIG_FEATURES;
        if (peer_init(attacker()))
            (void)peer_start(attacker());
        for (unsigned i = 0; i < 8; i++) {
            peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
            peer_kick(victim(), GUEST_TX);
            peer_kick(attacker(), GUEST_TX);
            stage_flow(&stage);
            rig_pump(&stage.rig[ATTACKER]);
        }
        peer_hang_up(attacker());
    }
    atomic_store(&t.end, true);
    pthread_join(thread, NULL);
    resize(PEER_MEM_BYTES);
    assert_int_equal(rig_count_fds(), fds);
    assert_int_equal(rig_count_mappings(), mappings);
    stage_recover(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transmitted_frames),
        cmocka_unit_test(the_borrowed_part_of_a_frame),
        cmocka_unit_test(buffers_to_receive_into),
        cmocka_unit_test(indirect_tables),
        cmocka_unit_test(rings_in_use),
        cmocka_unit_test(packed_rings_in_use),
        cmocka_unit_test(before_the_rings_start),
        cmocka_unit_test(while_the_rings_stop),
        cmocka_unit_test(rings_of_scattered_pages),
        cmocka_unit_test(gone_and_back),
    };

    sigbus_remember();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
