/*
 * Where the forwarding database has to wait for its readers (grace.h): a worker has found a key and
 * is about to load the value beside it, the port. Its entry goes, by hg_fdb_forget_port() or by age,
 * and another address may have it after a grace period (fdb.c:remove_entries()). Workers learn
 * meanwhile: what they learn must go elsewhere.
 *
 * A worker cannot be stopped between key and value from outside. But hg_fdb_each() goes through a
 * bucket in the order of its entries, which are filled in that order too: an address that took the
 * place of the first one comes before the second, one that took a free place behind it.
 */
#include "grace.h"
#include "table/fdb.h"

enum { HELD, STAYS, NEXT, ADDRESSES_N }; /* addresses, each behind the port of its number */

static struct hg_fdb *fdb;

static uint64_t key_of(unsigned address)
{
    return hg_fdb_key((uint8_t[6]){2, 0, 0, 0, 0, (uint8_t)address}, 0);
}

static int port_of(unsigned address)
{
    uint64_t key = key_of(address);
    int port;

    hg_fdb_lookup(fdb, &key, &port, 1);
    return port;
}

static void learn(unsigned address)
{
    uint64_t key = key_of(address);

    hg_fdb_learn(fdb, &key, 1, (uint16_t)address);
}

static bool hold_entry(void)
{
    return port_of(HELD) == HELD;
}

static bool is_no_other_port(void)
{
    return port_of(HELD) == HELD || port_of(HELD) == HG_FDB_UNKNOWN;
}

static bool is_unknown_and_next_is_learned(void)
{
    learn(NEXT);
    return port_of(HELD) == HG_FDB_UNKNOWN && port_of(NEXT) == NEXT;
}

static bool note_order(const struct hg_fdb_entry *entry, void *ctx)
{
    uint8_t **at = ctx;

    *(*at)++ = entry->mac[5];
    return true;
}

static void run(void (*forget)(void))
{
    const struct grace_scene scene = {hold_entry, is_no_other_port, is_unknown_and_next_is_learned,
                                      forget};
    uint8_t order[ADDRESSES_N];
    uint8_t *at = order;

    assert_int_equal(hg_fdb_new(&fdb, 2, 2, NULL), 0); /* one bucket */
    hg_fdb_tick(fdb, 1, 1000);
    learn(HELD);
    hg_fdb_tick(fdb, 500, 1000);
    learn(STAYS);
    run_scene(&scene);
    hg_fdb_each(fdb, note_order, &at);
    assert_ptr_equal(at, order + 2);
    assert_int_equal(order[0], STAYS);
    assert_int_equal(order[1], NEXT);

    hg_fdb_forget_port(fdb, NEXT);
    learn(HELD); /* and now its place is free */
    at = order;
    hg_fdb_each(fdb, note_order, &at);
    assert_int_equal(order[0], HELD);
    assert_int_equal(order[1], STAYS);
    hg_fdb_free(fdb);
}

static void forget_port(void)
{
    hg_fdb_forget_port(fdb, HELD);
}

static void addresses_of_a_port_are_waited_for(void **state)
{
    (void)state;
    run(forget_port);
}

static void age(void)
{
    hg_fdb_tick(fdb, 1200, 1000);
}

static void addresses_of_age_are_waited_for(void **state)
{
    (void)state;
    run(age);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_a_port_are_waited_for),
        cmocka_unit_test(addresses_of_age_are_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
