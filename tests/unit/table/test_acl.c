#include "table/acl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "acl_model.h"
#include "table/acl_internal.h"

enum { RULES_MAX = 4096 };

static struct hg_arena *arena;
static struct hg_acl *acl;

static int begin(void **state)
{
    struct hg_acl_options options = {.rules_max = RULES_MAX, .memory_bytes = UINT64_C(48) << 20};
    struct hg_arena_options of = {
        .name = "test", .bytes = hg_acl_bytes(&options), .pages = HG_PAGES_4K};

    (void)state;
    return hg_arena_new(&arena, &of, NULL) < 0 || hg_acl_new(&acl, arena, &options, NULL) < 0;
}

static int end(void **state)
{
    (void)state;
    hg_arena_free(arena);
    return 0;
}

static void set(const struct hg_acl_rule *rules, uint32_t n)
{
    struct hg_err err = {""};

    if (hg_acl_set(acl, rules, n, &err) < 0)
        fail_msg("%s", err.text);
}

static uint32_t look_up4(struct hg_acl_key4 key)
{
    uint32_t data;

    hg_acl_lookup4(acl, &key, &data, 1);
    return data;
}

static struct hg_acl_key4 web(void)
{
    return (struct hg_acl_key4){0x0a000001, 0xc0000201, 40000, 443, 6, 0x02, 7};
}

static void matches_nothing_without_rules(void **state)
{
    struct hg_acl_key6 key = {.proto = 0};
    uint32_t data;

    (void)state;
    set(NULL, 0);
    assert_int_equal(look_up4(web()), HG_ACL_NONE);
    hg_acl_lookup6(acl, &key, &data, 1);
    assert_int_equal(data, HG_ACL_NONE);
    hg_acl_lookup6(acl, &key, &data, 0);
}

static void a_rule_without_conditions_matches_everything(void **state)
{
    struct hg_acl_rule rule = hg_acl_rule_any(HG_ACL_ANY);
    struct hg_acl_key6 key = {.proto = 0};
    uint32_t data;

    (void)state;
    rule.data = 9;
    set(&rule, 1);
    assert_int_equal(look_up4(web()), 9);
    hg_acl_lookup6(acl, &key, &data, 1);
    assert_int_equal(data, 9);
}

static void each_field_counts(void **state)
{
    struct hg_acl_rule rule = hg_acl_rule_any(HG_ACL_IP4);
    struct hg_acl_key4 key;

    (void)state;
    rule.src = hg_acl_prefix4(0x0a000000, 8);
    rule.dst = hg_acl_prefix4(0xc0000201, 32);
    rule.src_port = (struct hg_acl_ports){1024, 65535};
    rule.dst_port = (struct hg_acl_ports){443, 443};
    rule.proto = 6, rule.proto_mask = 0xff;
    rule.tcp_flags = 0x02, rule.tcp_flags_mask = 0x12; /* SYN without ACK */
    rule.vlan = 7, rule.vlan_mask = 0xfff;
    rule.data = 1;
    set(&rule, 1);
    assert_int_equal(look_up4(web()), 1);
    key = web(), key.src = 0x0b000001;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
    key = web(), key.dst = 0xc0000200;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
    key = web(), key.src_port = 1023;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
    key = web(), key.src_port = 1024;
    assert_int_equal(look_up4(key), 1);
    key = web(), key.dst_port = 444;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
    key = web(), key.proto = 17;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
    key = web(), key.tcp_flags = 0x12;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
    key = web(), key.vlan = 8;
    assert_int_equal(look_up4(key), HG_ACL_NONE);
}

static void a_prefix_drops_what_is_behind_it(void **state)
{
    const uint8_t all[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                             255, 255, 255, 255, 255, 255, 255, 255};
    const struct hg_acl_addr four = hg_acl_prefix4(0xc00002ff, 25);
    const struct hg_acl_addr six = hg_acl_prefix6(all, 43);
    const struct hg_acl_addr whole = hg_acl_prefix6(all, 200);

    (void)state;
    assert_memory_equal(four.bytes, ((const uint8_t[]){192, 0, 2, 128}), 4);
    assert_memory_equal(four.mask, ((const uint8_t[]){255, 255, 255, 128}), 4);
    assert_memory_equal(six.bytes, ((const uint8_t[16]){255, 255, 255, 255, 255, 224}), 16);
    assert_memory_equal(six.mask, six.bytes, 16);
    assert_memory_equal(whole.mask, all, 16);
}

static void the_highest_priority_wins_then_the_first(void **state)
{
    struct hg_acl_rule rules[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        rules[i] = hg_acl_rule_any(HG_ACL_IP4);
        rules[i].data = i;
    }
    rules[0].priority = INT32_MIN;
    rules[1].priority = rules[2].priority = INT32_MAX;
    set(rules, 4);
    assert_int_equal(look_up4(web()), 1);
    rules[1].dst_port.last = 442;
    set(rules, 4);
    assert_int_equal(look_up4(web()), 2);
    rules[2].dst_port.first = 444;
    set(rules, 4);
    assert_int_equal(look_up4(web()), 3);
}

static void refuses_with_the_rules_number(const struct hg_acl_rule *wrong, const char *says)
{
    struct hg_acl_rule rules[2] = {hg_acl_rule_any(HG_ACL_ANY), *wrong};
    struct hg_err err = {""};

    assert_int_equal(hg_acl_set(acl, rules, 2, &err), -EINVAL);
    assert_non_null(strstr(err.text, "rule 1: "));
    assert_non_null(strstr(err.text, says));
}

static void refuses_rules_that_say_nothing_sensible(void **state)
{
    struct hg_acl_rule rule = hg_acl_rule_any(HG_ACL_IP4);
    struct hg_acl_rule wrong;

    (void)state;
    rule.data = 5;
    set(&rule, 1);
    wrong = rule, wrong.src.bytes[3] = 1;
    refuses_with_the_rules_number(&wrong, "source address has bits outside");
    wrong = rule, wrong.dst.mask[4] = 1;
    refuses_with_the_rules_number(&wrong, "destination address is longer");
    wrong = rule, wrong.family = HG_ACL_ANY, wrong.dst.mask[0] = 1;
    refuses_with_the_rules_number(&wrong, "destination address is longer");
    wrong = rule, wrong.src_port.first = 2, wrong.src_port.last = 1;
    refuses_with_the_rules_number(&wrong, "source ports ends");
    wrong = rule, wrong.dst_port.first = 2, wrong.dst_port.last = 1;
    refuses_with_the_rules_number(&wrong, "destination ports ends");
    wrong = rule, wrong.proto = 1;
    refuses_with_the_rules_number(&wrong, "protocol 0x1");
    wrong = rule, wrong.tcp_flags = 2;
    refuses_with_the_rules_number(&wrong, "TCP flags 0x2");
    wrong = rule, wrong.vlan = 3;
    refuses_with_the_rules_number(&wrong, "VLAN 0x3");
    wrong = rule, wrong.family = 3;
    refuses_with_the_rules_number(&wrong, "family 3");
    wrong = rule, wrong.data = HG_ACL_NONE;
    refuses_with_the_rules_number(&wrong, "'no rule'");
    assert_int_equal(look_up4(web()), 5); /* the old rules are in force */
}

static void refuses_more_rules_than_it_has_room_for(void **state)
{
    struct hg_acl_rule *rules = calloc(RULES_MAX + 1, sizeof(*rules));

    (void)state;
    assert_int_equal(hg_acl_set(acl, rules, RULES_MAX + 1, NULL), -E2BIG);
    free(rules);
}

static void refuses_sizes_that_cannot_be(void **state)
{
    struct hg_acl_options options = {.rules_max = HG_ACL_RULES_MAX + 1};
    struct hg_acl *other;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_acl_new(&other, arena, &options, &err), -EINVAL);
    assert_int_equal(hg_acl_bytes(&options), 0);
    options = (struct hg_acl_options){.memory_bytes = 4096};
    assert_int_equal(hg_acl_new(&other, arena, &options, &err), -EINVAL);
    options = (struct hg_acl_options){.memory_bytes = UINT64_MAX};
    assert_int_equal(hg_acl_new(&other, arena, &options, &err), -EINVAL);
    options = (struct hg_acl_options){0};
    assert_int_equal(hg_acl_new(&other, arena, &options, &err), -ENOMEM); /* it is full */
}

/* A linear congruential generator: its upper bits. */
static uint8_t next_random(void *ctx)
{
    uint64_t *state = ctx;

    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint8_t)(*state >> 56);
}

/* Overlapping boxes, each of another size: the rows of no two numbers are equal. A set that is as
 * large as it can be, of which no merge is small; it must be refused or right, and leave the next
 * set unharmed. */
static void a_hostile_set_is_refused_or_right(void **state)
{
    struct hg_acl_options options = {.rules_max = HG_ACL_RULES_MAX};
    struct hg_arena_options of = {
        .name = "test", .bytes = hg_acl_bytes(&options), .pages = HG_PAGES_4K};
    struct hg_acl_rule *rules = calloc(HG_ACL_RULES_MAX, sizeof(*rules));
    uint64_t seed = 5;
    struct source source = {next_random, &seed};
    struct hg_arena *own;
    struct hg_acl *small;
    struct hg_err err;
    uint32_t data;
    struct hg_acl_key4 key = web();

    (void)state;
    assert_non_null(rules);
    assert_int_equal(hg_arena_new(&own, &of, &err), 0);
    assert_int_equal(hg_acl_new(&small, own, &options, &err), 0);
    for (uint32_t i = 0; i < 6000; i++) {
        rules[i] = hg_acl_rule_any(HG_ACL_IP4);
        rules[i].src_port =
            (struct hg_acl_ports){(uint16_t)i, (uint16_t)(65535 - draw16(&source) / 3)};
        rules[i].dst_port =
            (struct hg_acl_ports){(uint16_t)(draw16(&source) / 3), (uint16_t)(65535 - i)};
        rules[i].src.mask[draw(&source) % 4] = draw(&source);
        rules[i].dst.mask[draw(&source) % 4] = draw(&source);
        rules[i].data = i;
    }
    assert_int_equal(hg_acl_set(small, rules, 6000, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "memory_bytes"));
    hg_acl_lookup4(small, &key, &data, 1);
    assert_int_equal(data, HG_ACL_NONE);
    assert_int_equal(hg_acl_set(small, rules, 100, &err), 0);
    hg_arena_free(own);
    free(rules);
}

/* Sets between those whose merges all fit and those that are too large to merge: hosts, in the
 * memory of the default. */
static void usual_sets_fit_into_the_default_memory(void **state)
{
    enum { HOSTS_MAX = 1000 };
    struct hg_acl_options options = {.rules_max = HOSTS_MAX};
    struct hg_arena_options of = {
        .name = "test", .bytes = hg_acl_bytes(&options), .pages = HG_PAGES_4K};
    static struct hg_acl_rule rules[HOSTS_MAX];
    static struct hg_acl_key6 keys[HOSTS_MAX];
    static uint32_t data[HOSTS_MAX];
    uint64_t seed = 7;
    struct source source = {next_random, &seed};
    struct hg_err err = {""};
    struct hg_arena *own;
    struct hg_acl *hosts;

    (void)state;
    assert_int_equal(hg_arena_new(&own, &of, NULL), 0);
    assert_int_equal(hg_acl_new(&hosts, own, &options, NULL), 0);
    for (uint32_t i = 0; i < HOSTS_MAX; i++) {
        for (unsigned k = 0; k < 16; k++) {
            keys[i].src[k] = draw(&source);
            keys[i].dst[k] = draw(&source);
        }
        keys[i].dst_port = draw16(&source);
        rules[i] = hg_acl_rule_any(HG_ACL_IP6);
        rules[i].src = hg_acl_prefix6(keys[i].src, 128);
        rules[i].dst = hg_acl_prefix6(keys[i].dst, 128);
        rules[i].dst_port.first = rules[i].dst_port.last = keys[i].dst_port;
        rules[i].data = i;
    }
    for (uint32_t n = 600; n <= HOSTS_MAX; n += 100) {
        hg_acl_set(hosts, rules, n, &err);
        assert_string_equal(err.text, "");
        hg_acl_lookup6(hosts, keys, data, HOSTS_MAX);
        for (uint32_t i = 0; i < HOSTS_MAX; i++)
            assert_int_equal(data[i], i < n ? i : HG_ACL_NONE);
    }
    hg_arena_free(own);
}

/* Looks up random keys, half of them aimed at a rule, in bursts of changing size, in every way
 * there is. */
static void compare_with_model(const struct hg_acl_rule *rules, uint32_t n, struct source *source)
{
    for (unsigned burst = 0; burst < 12; burst++) {
        unsigned keys_n = burst < 2 ? 64 : 1 + draw(source) % 64;
        struct hg_acl_key6 key6[64];
        struct hg_acl_key4 key4[64];
        uint32_t data4[64], data6[64];

        for (unsigned i = 0; i < keys_n; i++) {
            key6[i] = draw_key(source);
            if (n > 0 && draw(source) < 128)
                aim(&key6[i], &rules[draw16(source) % n]);
            key4[i] = key4_of(&key6[i]);
        }
        hg_acl_lookup4(acl, key4, data4, keys_n);
        hg_acl_lookup6(acl, key6, data6, keys_n);
        for (unsigned i = 0; i < keys_n; i++) {
            uint32_t single;

            assert_int_equal(data4[i], model_lookup(rules, n, &key6[i], HG_ACL_IP4));
            assert_int_equal(data6[i], model_lookup(rules, n, &key6[i], HG_ACL_IP6));
            hg_acl_lookup4(acl, &key4[i], &single, 1); /* one key: the plain search */
            assert_int_equal(single, data4[i]);
            hg_acl_lookup6(acl, &key6[i], &single, 1);
            assert_int_equal(single, data6[i]);
        }
    }
}

/* Sizes on both sides of a line's 512, up to some that leave classes over. */
static void answers_as_a_linear_search_does(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 7, 20, 64, 150, 400, 512, 513, 1100};
    static struct hg_acl_rule rules[RULES_MAX];
    uint64_t seed = 1;
    struct source source = {next_random, &seed};
    bool rows_used = false;

    (void)state;
    for (unsigned round = 0; round < 2 * HG_ARRAY_N(sizes); round++) {
        uint32_t n = sizes[round % HG_ARRAY_N(sizes)];

        for (uint32_t i = 0; i < n; i++) {
            rules[i] = draw_rule(&source);
            rules[i].data = i;
        }
        set(rules, n);
        compare_with_model(rules, n, &source);
        rows_used |= hg_acl_info(acl).vectors4 > 0;
    }
    assert_true(rows_used); /* else a part of the lookup was never tried */
}

#if defined(__x86_64__)
/* Bursts of every size, sets of two to six lines, with all
 * classes left over and with merges. */
static void vector_and_plain_search_agree(void **state)
{
    enum { RULES_N = 3000, BYTES = 64 << 20 };
    static const uint32_t sizes[] = {600, 1500, RULES_N};
    struct hg_acl_rule *rules = calloc(RULES_N, sizeof(*rules));
    uint32_t *index = calloc(RULES_N, sizeof(*index));
    uint8_t *memory = aligned_alloc(HG_CACHE_LINE_BYTES, 2 * (size_t)BYTES);
    uint64_t seed = 11;
    struct source source = {next_random, &seed};

    (void)state;
    if (!hg_acl_has_avx512())
        goto out;
    assert_true(rules != NULL && index != NULL && memory != NULL);
    for (uint32_t i = 0; i < RULES_N; i++) {
        rules[i] = draw_rule(&source);
        rules[i].data = i;
        index[i] = i;
    }
    for (unsigned round = 0; round < 2 * HG_ARRAY_N(sizes); round++) {
        struct acl_region out = {memory, BYTES, 0};
        struct acl_region work = {memory + BYTES, BYTES, 0};
        uint32_t n = sizes[round / 2];
        struct acl_set set;
        struct hg_err err = {""};

        hg_acl_compile(&set, &hg_acl_layout6, rules, index, n, &out, round % 2 ? BYTES / 2 : 0,
                       &work, &err);
        assert_string_equal(err.text, "");
        assert_true(set.left_n > 1 && set.lines_n == (n + ACL_LINE_BITS - 1) / ACL_LINE_BITS);
        for (unsigned burst = 0; burst < 20 * ACL_BURST; burst++) {
            unsigned keys_n = 1 + burst % ACL_BURST;
            struct hg_acl_key6 keys[ACL_BURST];
            uint32_t plain[ACL_BURST], vector[ACL_BURST];

            for (unsigned i = 0; i < keys_n; i++) {
                keys[i] = draw_key(&source);
                if (draw(&source) < 160)
                    aim(&keys[i], &rules[draw16(&source) % n]);
            }
            hg_acl_search_plain(&set, (const uint8_t *)keys, plain, keys_n);
            hg_acl_search_avx512(&set, (const uint8_t *)keys, vector, keys_n);
            assert_memory_equal(vector, plain, keys_n * sizeof(*plain));
        }
    }
out:
    free(memory);
    free(index);
    free(rules);
}
#endif

static void says_what_the_rules_cost(void **state)
{
    struct hg_acl_rule rule = hg_acl_rule_any(HG_ACL_IP4);
    struct hg_acl_info info;

    (void)state;
    rule.dst_port = (struct hg_acl_ports){80, 80};
    set(&rule, 1);
    info = hg_acl_info(acl);
    assert_int_equal(info.rules_n, 1);
    assert_int_equal(info.loads4, 2);
    assert_int_equal(info.loads6, 0);
    assert_int_equal(info.vectors4, 0);
    assert_true(info.used_bytes > 0 && info.used_bytes < info.limit_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_nothing_without_rules),
        cmocka_unit_test(a_rule_without_conditions_matches_everything),
        cmocka_unit_test(each_field_counts),
        cmocka_unit_test(a_prefix_drops_what_is_behind_it),
        cmocka_unit_test(the_highest_priority_wins_then_the_first),
        cmocka_unit_test(refuses_rules_that_say_nothing_sensible),
        cmocka_unit_test(refuses_more_rules_than_it_has_room_for),
        cmocka_unit_test(refuses_sizes_that_cannot_be),
        cmocka_unit_test(a_hostile_set_is_refused_or_right),
        cmocka_unit_test(usual_sets_fit_into_the_default_memory),
        cmocka_unit_test(answers_as_a_linear_search_does),
#if defined(__x86_64__)
        cmocka_unit_test(vector_and_plain_search_agree),
#endif
        cmocka_unit_test(says_what_the_rules_cost),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
