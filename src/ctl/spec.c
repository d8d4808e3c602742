#include "ctl/spec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "drivers/drivers.h"

/* A scalar's text, or the sentence that it is none. `expected` as in "a number". */
static int scalar(const struct hg_setting *setting, const char *expected, struct hg_err *err)
{
    if (!setting->text) {
        return hg_err_set(err, EINVAL, "%s: found %s; expected %s", setting->key, setting->kind,
                          expected);
    }
    return 0;
}

static int read_option(struct hg_spec *spec, unsigned index, const struct hg_setting *setting,
                       struct hg_err *err)
{
    const struct hg_port_option *option = &spec->driver->options[index];
    bool is_text = option->type == HG_OPTION_STRING || option->type == HG_OPTION_PATH;
    char expected[96];
    int rc;

    hg_port_option_expected(option, expected, sizeof(expected));
    if ((rc = scalar(setting, expected, err)) < 0 ||
        (rc = hg_port_option_read(option, setting->text, &spec->value[index], err)) < 0 ||
        !is_text) {
        return rc;
    }
    spec->text[index] = strdup(setting->text);
    spec->value[index].string = spec->text[index];
    return spec->text[index] ? 0 : hg_err_set(err, ENOMEM, "out of memory");
}

/* The setting of that key, NULL when there is none. */
static const struct hg_setting *find(const struct hg_setting *settings, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(settings[i].key, key) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

static int read_driver(struct hg_spec *spec, const struct hg_setting *type, struct hg_err *err)
{
    char types[128];
    int rc;

    hg_port_driver_types(hg_drivers, types, sizeof(types));
    if (!type) {
        return hg_err_set(err, EINVAL, "port '%s' has no type; expected type: one of %s",
                          spec->name, types);
    }
    if ((rc = scalar(type, types, err)) < 0) {
        return rc;
    }
    spec->driver = hg_port_driver_find(hg_drivers, type->text);
    if (!spec->driver) {
        return hg_err_set(err, EINVAL, "type: found %s; expected one of %s",
                          hg_quote(type->text).text, types);
    }
    return 0;
}

static int read_bridge(struct hg_spec *spec, const struct hg_setting *bridge, struct hg_err *err)
{
    int rc;

    if (!bridge) {
        return hg_err_set(err, EINVAL, "port '%s' has no bridge; expected bridge: NAME",
                          spec->name);
    }
    if ((rc = scalar(bridge, "the name of a bridge", err)) < 0) {
        return rc;
    }
    if (!hg_port_name_valid(bridge->text)) {
        return hg_err_set(err, EINVAL, "bridge: found %s; expected the name of a bridge",
                          hg_quote(bridge->text).text);
    }
    snprintf(spec->bridge, sizeof(spec->bridge), "%s", bridge->text);
    spec->bridge_mark = bridge->mark;
    return 0;
}

static int unknown_key(const struct hg_spec *spec, const char *key, struct hg_err *err)
{
    char known[128] = "type, bridge";
    size_t used = strlen(known);

    for (unsigned i = 0; i < spec->driver->option_n && used < sizeof(known); i++) {
        used += (size_t)snprintf(known + used, sizeof(known) - used, ", %s",
                                 spec->driver->options[i].name);
    }
    return hg_err_set(err, EINVAL, "unknown key %s in a port of type %s; expected one of %s",
                      hg_quote(key).text, spec->driver->type, known);
}

/* Every setting in turn: known, and of the right form. */
static int read_options(struct hg_spec *spec, const struct hg_setting *settings, size_t n,
                        struct hg_mark *at, struct hg_err *err)
{
    for (size_t i = 0; i < n; i++) {
        int index;
        int rc;

        if (strcmp(settings[i].key, "type") == 0 || strcmp(settings[i].key, "bridge") == 0) {
            continue;
        }
        if ((index = hg_port_option_find(spec->driver, settings[i].key)) < 0) {
            *at = settings[i].key_mark;
            return unknown_key(spec, settings[i].key, err);
        }
        *at = settings[i].mark;
        if ((rc = read_option(spec, (unsigned)index, &settings[i], err)) < 0) {
            return rc;
        }
    }
    return 0;
}

/* What the driver wants and was not given, and whether it takes all of it together. */
static int complete(struct hg_spec *spec, const struct hg_setting *settings, size_t n,
                    struct hg_mark *at, struct hg_err *err)
{
    bool given[HG_PORT_OPTIONS_MAX];
    char who[HG_PORT_NAME_MAX + sizeof("port ''")];
    int blamed;
    int rc;

    for (unsigned i = 0; i < spec->driver->option_n; i++) {
        given[i] = find(settings, n, spec->driver->options[i].name);
    }
    snprintf(who, sizeof(who), "port '%s'", spec->name);
    rc = hg_port_options_complete(spec->driver, who, given, spec->value, &blamed, err);
    *at = blamed >= 0 && given[blamed] ? find(settings, n, spec->driver->options[blamed].name)->mark
                                       : spec->mark;
    return rc;
}

static int read_all(struct hg_spec *spec, const struct hg_setting *settings, size_t n,
                    struct hg_mark *at, struct hg_err *err)
{
    const struct hg_setting *type = find(settings, n, "type");
    const struct hg_setting *bridge = find(settings, n, "bridge");
    int rc;

    *at = type ? type->mark : spec->mark;
    if ((rc = read_driver(spec, type, err)) < 0) {
        return rc;
    }
    *at = bridge ? bridge->mark : spec->mark;
    if ((rc = read_bridge(spec, bridge, err)) < 0) {
        return rc;
    }
    if ((rc = read_options(spec, settings, n, at, err)) < 0) {
        return rc;
    }
    return complete(spec, settings, n, at, err);
}

int hg_spec_read(struct hg_spec *spec, const char *name, struct hg_mark mark,
                 const struct hg_setting *settings, size_t n, struct hg_mark *at,
                 struct hg_err *err)
{
    int rc;

    *spec = (struct hg_spec){.mark = mark};
    *at = mark;
    if (!hg_port_name_valid(name)) {
        return hg_err_set(err, EINVAL,
                          "%s cannot be a port's name; expected 1 to %d letters, digits, '.', '_' "
                          "or '-', beginning with a letter or digit",
                          hg_quote(name).text, HG_PORT_NAME_MAX);
    }
    snprintf(spec->name, sizeof(spec->name), "%s", name);
    if ((rc = read_all(spec, settings, n, at, err)) < 0) {
        hg_spec_free(spec);
    }
    return rc;
}

void hg_spec_free(struct hg_spec *spec)
{
    for (unsigned i = 0; i < HG_PORT_OPTIONS_MAX; i++) {
        free(spec->text[i]);
    }
    *spec = (struct hg_spec){.driver = NULL};
}

int hg_spec_copy(struct hg_spec *copy, const struct hg_spec *spec, struct hg_err *err)
{
    *copy = *spec;
    memset(copy->text, 0, sizeof(copy->text));
    for (unsigned i = 0; i < HG_PORT_OPTIONS_MAX; i++) {
        if (!spec->text[i]) {
            continue;
        }
        copy->text[i] = strdup(spec->text[i]);
        copy->value[i].string = copy->text[i];
        if (!copy->text[i]) {
            hg_spec_free(copy);
            return hg_err_set(err, ENOMEM, "port '%s': out of memory", spec->name);
        }
    }
    return 0;
}

/* The setting that would make an option what it is in the spec; false: it was not given. `text` has
 * room for a number or choice. */
static bool setting_of(const struct hg_spec *spec, unsigned index, struct hg_setting *setting,
                       char *text, size_t n)
{
    const struct hg_port_option *option = &spec->driver->options[index];

    *setting = (struct hg_setting){.key = option->name, .text = text};
    if (option->type == HG_OPTION_UINT) {
        snprintf(text, n, "%" PRIu64, spec->value[index].uint);
    } else {
        setting->text = hg_spec_text(spec, option->name, text, n);
    }
    return setting->text;
}

int hg_spec_amend(struct hg_spec *spec, const struct hg_spec *from,
                  const struct hg_setting *changes, size_t n, struct hg_err *err)
{
    struct hg_setting settings[HG_SPEC_SETTINGS_MAX + HG_PORT_OPTIONS_MAX + 2];
    char texts[HG_PORT_OPTIONS_MAX][64];
    const struct hg_mark nowhere = {.line = 0};
    struct hg_mark at;
    size_t all_n = 0;

    if (find(changes, n, "type")) {
        return hg_err_set(err, EINVAL, "type: a port keeps its type; expected one of its options");
    }
    while (all_n < n) {
        settings[all_n] = changes[all_n];
        all_n++;
    }
    settings[all_n++] = (struct hg_setting){.key = "type", .text = from->driver->type};
    if (!find(changes, n, "bridge")) {
        settings[all_n++] = (struct hg_setting){.key = "bridge", .text = from->bridge};
    }
    for (unsigned i = 0; i < from->driver->option_n; i++) {
        all_n += !find(changes, n, from->driver->options[i].name) &&
                 setting_of(from, i, &settings[all_n], texts[i], sizeof(texts[i]));
    }
    return hg_spec_read(spec, from->name, nowhere, settings, all_n, &at, err);
}

bool hg_spec_same(const struct hg_spec *a, const struct hg_spec *b)
{
    bool same = strcmp(a->bridge, b->bridge) == 0;

    for (unsigned i = 0; i < a->driver->option_n; i++) {
        if (a->text[i] && b->text[i]) {
            same = same && strcmp(a->text[i], b->text[i]) == 0;
        } else {
            same = same && !a->text[i] == !b->text[i] && a->value[i].uint == b->value[i].uint;
        }
    }
    return same;
}

/* Whether the two specs name the same file in any of their path options. */
static const char *common_path(const struct hg_spec *a, const struct hg_spec *b)
{
    for (unsigned i = 0; i < a->driver->option_n; i++) {
        if (a->driver->options[i].type != HG_OPTION_PATH || !a->text[i]) {
            continue;
        }
        for (unsigned k = 0; k < b->driver->option_n; k++) {
            if (b->driver->options[k].type == HG_OPTION_PATH && b->text[k] &&
                strcmp(a->text[i], b->text[k]) == 0) {
                return a->text[i];
            }
        }
    }
    return NULL;
}

int hg_spec_conflict(const struct hg_spec *earlier, const struct hg_spec *later, struct hg_err *err)
{
    const char *path;

    if (strcmp(earlier->name, later->name) == 0) {
        return hg_err_set(err, EEXIST, "there is a port '%s' already; expected a new name",
                          later->name);
    }
    /* A back-end and a front-end on one path talk to each other; two of a kind cannot. */
    path = earlier->driver == later->driver ? common_path(earlier, later) : NULL;
    if (path) {
        return hg_err_set(
            err, EEXIST, "port '%s' uses %s, which port '%s' uses already; expected one of its own",
            later->name, hg_quote(path).text, earlier->name);
    }
    return 0;
}

const char *hg_spec_text(const struct hg_spec *spec, const char *option, char *buffer, size_t n)
{
    int index = hg_port_option_find(spec->driver, option);

    if (index < 0 || spec->driver->options[index].type == HG_OPTION_UINT) {
        return NULL;
    }
    if (spec->driver->options[index].type != HG_OPTION_ENUM) {
        return spec->text[index];
    }

    const char *choice = spec->driver->options[index].choices;

    for (uint64_t i = 0; i < spec->value[index].uint; i++) {
        choice = strchr(choice, '|') + 1;
    }
    snprintf(buffer, n, "%.*s", (int)strcspn(choice, "|"), choice);
    return buffer;
}
