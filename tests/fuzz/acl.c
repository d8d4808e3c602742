/*
 * Attacks the ACL with sets of rules and keys, each beside a search from the first rule to the last
 * (tests/unit/table/acl_model.h). Input: bytes for the generators, which make rules from them that may match, and
 * now and then raw rules that may say nonsense; a set that is refused must leave the one before it in force.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/table/acl_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SETS_MAX = 3, RULES_MAX = 64, KEYS_N = 48 };

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t next_byte(void *ctx)
{
    struct input *input = ctx;

    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

static struct hg_acl *get_acl(void)
{
    struct hg_acl_options options = {.rules_max = RULES_MAX};
    struct hg_arena_options of = {
        .name = "fuzz", .bytes = hg_acl_bytes(&options), .pages = HG_PAGES_4K};
    static struct hg_arena *arena; /* for all inputs */
    static struct hg_acl *acl;

    if (acl == NULL &&
        (hg_arena_new(&arena, &of, NULL) < 0 || hg_acl_new(&acl, arena, &options, NULL) < 0))
        abort();
    return acl;
}

static void check(const struct hg_acl *acl, const struct hg_acl_rule *rules, uint32_t n,
                  struct source *source)
{
    struct hg_acl_key6 key6[KEYS_N];
    struct hg_acl_key4 key4[KEYS_N];
    uint32_t data4[KEYS_N], data6[KEYS_N];

    for (unsigned i = 0; i < KEYS_N; i++) {
        key6[i] = draw_key(source);
        if (n > 0)
            aim(&key6[i], &rules[draw(source) % n]);
        key4[i] = key4_of(&key6[i]);
    }
    hg_acl_lookup4(acl, key4, data4, KEYS_N);
    hg_acl_lookup6(acl, key6, data6, KEYS_N);
    for (unsigned i = 0; i < KEYS_N; i++) {
        uint32_t single;

        hg_acl_lookup4(acl, &key4[i], &single, 1);
        if (single != data4[i] || single != model_lookup(rules, n, &key6[i], HG_ACL_IP4))
            abort();
        hg_acl_lookup6(acl, &key6[i], &single, 1);
        if (single != data6[i] || single != model_lookup(rules, n, &key6[i], HG_ACL_IP6))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct source source = {next_byte, &input};
    struct hg_acl *acl = get_acl();
    struct hg_acl_rule in_force[RULES_MAX];
    uint32_t in_force_n = 0;

    hg_acl_set(acl, NULL, 0, NULL);
    for (unsigned sets_n = 0; sets_n < SETS_MAX && input.size > 0; sets_n++) {
        struct hg_acl_rule rules[RULES_MAX];
        uint32_t n = draw(&source) % (RULES_MAX + 1);

        for (uint32_t i = 0; i < n; i++) {
            rules[i] = draw_rule(&source);
            rules[i].data = i;
            if (draw(&source) == 255)
                for (unsigned b = 0; b < sizeof(rules[i]); b++)
                    ((uint8_t *)&rules[i])[b] = draw(&source);
        }
        if (hg_acl_set(acl, rules, n, NULL) == 0) {
            memcpy(in_force, rules, sizeof(rules));
            in_force_n = n;
        }
        check(acl, in_force, in_force_n, &source);
    }
    return 0;
}
