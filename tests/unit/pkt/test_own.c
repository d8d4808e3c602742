/* Owned copies: every size, every split, no buffer lost. */
#include "pkt/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BUFS_N = 100 };

static struct hg_arena *arena;
static uint8_t frame[HG_FRAME_BYTES_MAX]; /* as the sender has it */
static struct hg_seg segs[HG_CHAIN_SEGS_MAX];
static struct hg_pkt borrowed;

static int setup(void **state)
{
    const struct hg_arena_options options = {
        .name = "test", .bytes = 16 << 20, .pages = HG_PAGES_4K};

    (void)state;
    for (unsigned i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i * 131 + i / 256);
    return hg_arena_new(&arena, &options, NULL);
}

static int teardown(void **state)
{
    (void)state;
    hg_arena_free(arena);
    return 0;
}

/* Borrows len bytes of the frame: a head and pieces of piece_bytes each. */
static void borrow(uint32_t len, uint32_t head_len, uint32_t piece_bytes)
{
    memset(&borrowed, 0xee, sizeof(borrowed));
    borrowed.len = len;
    borrowed.head_len = (uint16_t)(head_len < len ? head_len : len);
    borrowed.seg = segs;
    borrowed.seg_n = 0;
    memcpy(borrowed.head, frame, borrowed.head_len);
    for (uint32_t at = borrowed.head_len, n; at < len; at += n) {
        n = len - at < piece_bytes ? len - at : piece_bytes;
        segs[borrowed.seg_n++] = (struct hg_seg){.addr = frame + at, .len = n};
    }
    borrowed.ol = (struct hg_offload){HG_OL_NEEDS_CSUM, HG_GSO_TCP6, 1440, 54, 16};
    borrowed.port = 7;
    borrowed.vlan_tci = 99;
    borrowed.flow_hash = 0x12345678;
}

/* What a transmitter would read. */
static uint32_t read_back(const struct hg_pkt *pkt, uint8_t *to)
{
    uint32_t n = pkt->head_len;

    memcpy(to, pkt->head, n);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        assert_true(pkt->seg[i].len != 0);
        memcpy(to + n, pkt->seg[i].addr, pkt->seg[i].len);
        n += pkt->seg[i].len;
    }
    return n;
}

static void check_copy(struct hg_pool_cache *cache)
{
    static uint8_t got[HG_FRAME_BYTES_MAX];
    struct hg_owned *owned = hg_pkt_own(cache, &borrowed);

    assert_non_null(owned);
    assert_int_equal(owned->pkt.len, borrowed.len);
    assert_memory_equal(&owned->pkt.ol, &borrowed.ol, sizeof(borrowed.ol));
    assert_int_equal(owned->pkt.port, 7);
    assert_int_equal(owned->pkt.vlan_tci, 99);
    assert_int_equal(owned->pkt.flow_hash, 0x12345678);
    assert_true(owned->pkt.seg_n == 0 || (const void *)owned->pkt.seg == owned + 1);
    assert_int_equal(read_back(&owned->pkt, got), borrowed.len);
    assert_memory_equal(got, frame, borrowed.len);
    hg_owned_free(cache, owned);
}

static int new_pool(struct hg_pool **pool, uint32_t buf_bytes, uint32_t n)
{
    const struct hg_pool_options options = {.object_bytes = buf_bytes, .n = n};

    return hg_pool_new(pool, arena, &options, NULL);
}

/* Around every border of the first and of further buffers, and the extremes. */
static void every_size_is_copied_whole(void **state)
{
    static const uint32_t buf_bytes[] = {HG_OWN_BUF_MIN, 2048, 9216, 128 << 10};

    (void)state;
    for (unsigned b = 0; b < HG_ARRAY_N(buf_bytes); b++) {
        struct hg_pool *pool;
        struct hg_pool_cache *cache;

        assert_int_equal(new_pool(&pool, buf_bytes[b], 50), 0);
        assert_int_equal(hg_pool_cache_new(&cache, pool, "test", NULL), 0);
        for (uint32_t len = 14; len < 5000; len += 1) {
            borrow(len, HG_HEAD_BYTES, 1500);
            check_copy(cache);
        }
        for (uint32_t len = HG_FRAME_BYTES_MAX - 3000; len <= HG_FRAME_BYTES_MAX; len++) {
            borrow(len, 14 + len % (HG_HEAD_BYTES - 13), 4096);
            check_copy(cache);
        }
        borrow(HG_FRAME_BYTES_MAX, HG_HEAD_BYTES, 65);
        check_copy(cache);
        assert_int_equal(hg_pool_info(pool).free_n, 50);
        hg_pool_cache_free(cache);
        hg_pool_free(pool);
    }
}

static void exhaustion_loses_nothing(void **state)
{
    struct hg_owned *kept[BUFS_N];
    struct hg_pool *pool;
    struct hg_pool_cache *cache;
    unsigned n = 0;
    uint32_t free_n;

    (void)state;
    assert_int_equal(new_pool(&pool, 2048, BUFS_N), 0);
    assert_int_equal(hg_pool_cache_new(&cache, pool, "test", NULL), 0);
    borrow(HG_FRAME_BYTES_MAX, HG_HEAD_BYTES, 1500); /* 33 buffers */
    while ((kept[n] = hg_pkt_own(cache, &borrowed)))
        n++;
    assert_int_equal(n, 3);
    free_n = hg_pool_info(pool).free_n;
    assert_int_equal(free_n, BUFS_N - 3 * 33);
    assert_null(hg_pkt_own(cache, &borrowed));
    assert_int_equal(hg_pool_info(pool).free_n, free_n);

    borrow(60, HG_HEAD_BYTES, 1500); /* one is left, which is enough for a small frame */
    kept[n++] = hg_pkt_own(cache, &borrowed);
    assert_non_null(kept[n - 1]);
    assert_null(hg_pkt_own(cache, &borrowed));
    while (n != 0)
        hg_owned_free(cache, kept[--n]);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    hg_pool_cache_free(cache);
    hg_pool_free(pool);
}

static void a_copy_does_not_change_with_its_sender(void **state)
{
    static uint8_t got[HG_FRAME_BYTES_MAX];
    struct hg_pool *pool;
    struct hg_pool_cache *cache;
    struct hg_owned *owned;

    (void)state;
    assert_int_equal(new_pool(&pool, 2048, BUFS_N), 0);
    assert_int_equal(hg_pool_cache_new(&cache, pool, NULL, NULL), 0); /* names are for people */
    assert_string_equal(hg_pool_info(pool).name, "pool");
    borrow(3000, HG_HEAD_BYTES, 1500);
    owned = hg_pkt_own(cache, &borrowed);
    frame[2999] ^= 1;
    memset(&borrowed, 0, sizeof(borrowed));
    memset(segs, 0, sizeof(segs));
    assert_int_equal(read_back(&owned->pkt, got), 3000);
    frame[2999] ^= 1;
    assert_memory_equal(got, frame, 3000);
    hg_owned_free(cache, owned);
    hg_pool_cache_free(cache);
    hg_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_size_is_copied_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(exhaustion_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_does_not_change_with_its_sender, setup, teardown),
    };

    return cmocka_run_group_tests_name("pkt/own", tests, NULL, NULL);
}
