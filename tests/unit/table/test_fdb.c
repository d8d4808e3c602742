#include "table/fdb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t key_of(uint32_t number, uint16_t vlan)
{
    uint8_t mac[6] = {
        0x02,           0, (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
        (uint8_t)number};

    return hg_fdb_key(mac, vlan);
}

static int look_up(const struct hg_fdb *fdb, uint64_t key)
{
    int port;

    hg_fdb_lookup(fdb, &key, &port, 1);
    return port;
}

static void learn(struct hg_fdb *fdb, uint64_t key, uint16_t port)
{
    hg_fdb_learn(fdb, &key, 1, port);
}

static struct hg_fdb *make(uint32_t max, uint32_t port_max)
{
    struct hg_fdb *fdb;

    assert_int_equal(hg_fdb_new(&fdb, max, port_max, NULL), 0);
    return fdb;
}

static void knows_what_it_learned_and_nothing_else(void **state)
{
    struct hg_fdb *fdb = make(65536, 65536);

    (void)state;
    for (uint32_t i = 0; i < 20000; i++)
        learn(fdb, key_of(i, 0), (uint16_t)(i % 7));
    assert_int_equal(hg_fdb_n(fdb), 20000);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(look_up(fdb, key_of(i, 0)), i % 7);
    for (uint32_t i = 20000; i < 40000; i++)
        assert_int_equal(look_up(fdb, key_of(i, 0)), HG_FDB_UNKNOWN);
    hg_fdb_free(fdb);
}

static void answers_a_batch_as_it_does_one_by_one(void **state)
{
    struct hg_fdb *fdb = make(1024, 1024);
    uint64_t keys[HG_FDB_BATCH_MAX];
    int ports[HG_FDB_BATCH_MAX];

    (void)state;
    for (uint32_t i = 0; i < HG_FDB_BATCH_MAX; i++)
        keys[i] = key_of(i / 3, 0); /* runs of equal keys take the shortcut */
    hg_fdb_learn(fdb, keys, HG_FDB_BATCH_MAX / 2, 5);
    hg_fdb_lookup(fdb, keys, ports, HG_FDB_BATCH_MAX);
    for (uint32_t i = 0; i < HG_FDB_BATCH_MAX; i++)
        assert_int_equal(ports[i], look_up(fdb, keys[i]));
    assert_int_equal(ports[0], 5);
    assert_int_equal(ports[HG_FDB_BATCH_MAX - 1], HG_FDB_UNKNOWN);
    hg_fdb_free(fdb);
}

static void keeps_vlans_apart(void **state)
{
    struct hg_fdb *fdb = make(64, 64);

    (void)state;
    learn(fdb, key_of(1, 10), 1);
    learn(fdb, key_of(1, 20), 2);
    assert_int_equal(look_up(fdb, key_of(1, 10)), 1);
    assert_int_equal(look_up(fdb, key_of(1, 20)), 2);
    assert_int_equal(look_up(fdb, key_of(1, 0)), HG_FDB_UNKNOWN);
    hg_fdb_free(fdb);
}

static void follows_a_station_that_moves(void **state)
{
    struct hg_fdb *fdb = make(64, 1);

    (void)state;
    learn(fdb, key_of(1, 0), 1);
    learn(fdb, key_of(1, 0), 2);
    assert_int_equal(look_up(fdb, key_of(1, 0)), 2);
    assert_int_equal(hg_fdb_n(fdb), 1);
    /* The move has freed its place behind port 1. */
    learn(fdb, key_of(2, 0), 1);
    assert_int_equal(look_up(fdb, key_of(2, 0)), 1);
    hg_fdb_free(fdb);
}

static void one_port_fills_its_own_share_only(void **state)
{
    struct hg_fdb *fdb = make(4096, 1000);

    (void)state;
    for (uint32_t i = 0; i < 100000; i++)
        learn(fdb, key_of(i, 0), 3);
    assert_int_equal(hg_fdb_n(fdb), 1000);
    assert_int_equal(hg_fdb_refused(fdb), 99000);
    learn(fdb, key_of(200000, 0), 4);
    assert_int_equal(look_up(fdb, key_of(200000, 0)), 4);
    hg_fdb_free(fdb);
}

static void holds_nearly_all_that_it_promises(void **state)
{
    struct hg_fdb *fdb = make(1024, 1024);

    (void)state;
    for (uint32_t i = 0; i < 1024; i++)
        learn(fdb, key_of(i * 7919, 0), 0);
    /* Both buckets of a key may be full at half load, for a key in some hundreds. */
    assert_true(hg_fdb_n(fdb) >= 1000);
    assert_int_equal(hg_fdb_n(fdb) + hg_fdb_refused(fdb), 1024);
    hg_fdb_free(fdb);
}

static void forgets_what_is_not_seen(void **state)
{
    struct hg_fdb *fdb = make(64, 64);

    (void)state;
    hg_fdb_tick(fdb, 1000, 300);
    learn(fdb, key_of(1, 0), 1);
    learn(fdb, key_of(2, 0), 1);
    hg_fdb_tick(fdb, 1200, 300);
    learn(fdb, key_of(2, 0), 1);
    hg_fdb_tick(fdb, 1300, 300);
    assert_int_equal(look_up(fdb, key_of(1, 0)), 1); /* 300 s is not more than 300 s */
    hg_fdb_tick(fdb, 1301, 300);
    assert_int_equal(look_up(fdb, key_of(1, 0)), HG_FDB_UNKNOWN);
    assert_int_equal(look_up(fdb, key_of(2, 0)), 1);
    assert_int_equal(hg_fdb_n(fdb), 1);
    hg_fdb_free(fdb);
}

static void forgets_a_port(void **state)
{
    struct hg_fdb *fdb = make(64, 64);

    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        learn(fdb, key_of(i, 0), (uint16_t)(i % 2));
    hg_fdb_forget_port(fdb, 1);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(look_up(fdb, key_of(i, 0)), i % 2 == 0 ? 0 : HG_FDB_UNKNOWN);
    assert_int_equal(hg_fdb_n(fdb), 10);
    hg_fdb_free(fdb);
}

static bool add_up(const struct hg_fdb_entry *entry, void *ctx)
{
    uint32_t *seen = ctx;

    assert_int_equal(entry->mac[0], 2);
    assert_int_equal(entry->port, entry->mac[5] % 3);
    assert_int_equal(entry->vlan, 7);
    assert_int_equal(entry->age_s, 5);
    return ++*seen < 30;
}

static void lists_every_entry_until_told_to_stop(void **state)
{
    struct hg_fdb *fdb = make(64, 64);
    uint32_t seen = 0;

    (void)state;
    hg_fdb_tick(fdb, 100, 300);
    for (uint32_t i = 0; i < 25; i++)
        learn(fdb, key_of(i, 7), (uint16_t)(i % 3));
    hg_fdb_tick(fdb, 105, 300);
    hg_fdb_each(fdb, add_up, &seen);
    assert_int_equal(seen, 25);
    seen = 29;
    hg_fdb_each(fdb, add_up, &seen);
    assert_int_equal(seen, 30);
    hg_fdb_free(fdb);
}

static void refuses_a_table_for_nothing(void **state)
{
    struct hg_fdb *fdb;
    struct hg_err err;

    (void)state;
    assert_true(hg_fdb_new(&fdb, 0, 1, &err) < 0);
    assert_true(hg_fdb_new(&fdb, 1, 0, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_what_it_learned_and_nothing_else),
        cmocka_unit_test(answers_a_batch_as_it_does_one_by_one),
        cmocka_unit_test(keeps_vlans_apart),
        cmocka_unit_test(follows_a_station_that_moves),
        cmocka_unit_test(one_port_fills_its_own_share_only),
        cmocka_unit_test(holds_nearly_all_that_it_promises),
        cmocka_unit_test(forgets_what_is_not_seen),
        cmocka_unit_test(forgets_a_port),
        cmocka_unit_test(lists_every_entry_until_told_to_stop),
        cmocka_unit_test(refuses_a_table_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
