/*
 * Two workers learn and look up in a small, crowded table while control ages and flushes it. Each
 * address belongs to one port for good, so a look-up may say "unknown" but never another port: that
 * would be one guest's frame at another guest.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sync/qsbr.h"
#include "table/fdb.h"

enum { ADDRESSES = 256, PORTS = 4, ROUNDS = 20000, BATCH = 32 };

static struct hg_fdb *fdb;
static atomic_uint wrong;
static atomic_uint hits;
static atomic_uint running;

static uint64_t key_of(uint32_t number)
{
    uint8_t mac[6] = {0x02, 0, 0, 0, (uint8_t)(number >> 8), (uint8_t)number};

    return hg_fdb_key(mac, 0);
}

static void *work(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    hg_qsbr_register();
    /* A scheduler may stop control while it holds the lock: then nobody learns for a while. */
    for (unsigned round = 0; round < ROUNDS || atomic_load(&hits) == 0; round++) {
        uint16_t port = (uint16_t)(round % PORTS);
        uint64_t learn[BATCH];
        uint64_t keys[BATCH];
        uint32_t number[BATCH];
        int ports[BATCH];

        for (unsigned i = 0; i < BATCH; i++) {
            seed = seed * 1664525 + 1013904223;
            number[i] = (seed >> 8) % ADDRESSES;
            keys[i] = key_of(number[i]);
            learn[i] = key_of(number[i] / PORTS * PORTS + port);
        }
        hg_fdb_learn(fdb, learn, BATCH, port);
        hg_fdb_lookup(fdb, keys, ports, BATCH);
        for (unsigned i = 0; i < BATCH; i++) {
            if (ports[i] == HG_FDB_UNKNOWN)
                continue;
            atomic_fetch_add(&hits, 1);
            if (ports[i] != (int)(number[i] % PORTS))
                atomic_fetch_add(&wrong, 1);
        }
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void never_names_another_port(void **state)
{
    pthread_t thread[2];
    uint32_t second = 0;

    (void)state;
    assert_int_equal(hg_fdb_new(&fdb, 64, 64, NULL), 0);
    atomic_store(&running, 2);
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)(i + 1)), 0);
    while (atomic_load(&running) > 0) {
        hg_fdb_tick(fdb, second++, 3);
        hg_fdb_forget_port(fdb, (uint16_t)(second % PORTS));
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(atomic_load(&hits) > 0);
    for (unsigned port = 0; port < PORTS; port++)
        hg_fdb_forget_port(fdb, (uint16_t)port);
    assert_int_equal(hg_fdb_n(fdb), 0); /* the counts have stayed exact */
    hg_fdb_free(fdb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_names_another_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
