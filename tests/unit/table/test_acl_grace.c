/*
 * Where the ACL has to wait for its readers (grace.h): a burst has read which set of rules is in
 * force and searches it. hg_acl_set() puts another one in force and returns when nobody searches the
 * old one, because the next call writes over it.
 */
#include "grace.h"
#include "mem/arena.h"
#include "table/acl.h"

enum { OLD = 1, NEW = 2, NEWEST = 3 };

static struct hg_acl *acl;

static uint32_t look_up(void)
{
    const struct hg_acl_key4 key = {.dst_port = 80};
    uint32_t data = 0;

    hg_acl_lookup4(acl, &key, &data, 1);
    return data;
}

static void set(uint32_t data)
{
    struct hg_acl_rule rule = hg_acl_rule_any(HG_ACL_ANY);

    rule.data = data;
    assert_int_equal(hg_acl_set(acl, &rule, 1, NULL), 0);
}

static bool hold_old(void)
{
    return look_up() == OLD;
}

static bool is_old_or_new(void)
{
    return look_up() == OLD || look_up() == NEW;
}

static bool is_new(void)
{
    return look_up() == NEW;
}

static void set_new(void)
{
    set(NEW);
}

static void a_set_that_was_replaced_is_waited_for(void **state)
{
    static const struct grace_scene scene = {hold_old, is_old_or_new, is_new, set_new};
    struct hg_acl_options options = {.rules_max = 10};
    struct hg_arena_options memory = {
        .name = "grace", .bytes = hg_acl_bytes(&options), .pages = HG_PAGES_4K};
    struct hg_arena *arena;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_acl_new(&acl, arena, &options, NULL), 0);
    set(OLD);
    run_scene(&scene);
    set(NEWEST);
    assert_int_equal(look_up(), NEWEST);
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_that_was_replaced_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
