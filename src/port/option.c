#include "port/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/quote.h"
#include "base/sock.h"

int hg_parse_choice(const char *choices, const char *word)
{
    size_t length = strlen(word);

    for (int index = 0;; index++) {
        size_t choice = strcspn(choices, "|");

        if (choice == length && strncmp(choices, word, length) == 0)
            return index;
        if (!choices[choice])
            return -1;
        choices += choice + 1;
    }
}

int hg_port_option_find(const struct hg_port_driver *driver, const char *name)
{
    for (unsigned i = 0; i < driver->option_n; i++)
        if (strcmp(driver->options[i].name, name) == 0)
            return (int)i;
    return -1;
}

void hg_port_option_expected(const struct hg_port_option *option, char *text, size_t n)
{
    switch (option->type) {
    case HG_OPTION_UINT:
        snprintf(text, n, "a number from %" PRIu64 " to %" PRIu64, option->min, option->max);
        break;
    case HG_OPTION_ENUM:
        snprintf(text, n, "one of %s", option->choices);
        break;
    case HG_OPTION_PATH:
        snprintf(text, n, "an absolute path");
        break;
    case HG_OPTION_STRING:
        snprintf(text, n, "a string");
        break;
    }
}

/* Whether a component of the path is "..": such a path does not say where it ends up. */
static bool climbs(const char *path)
{
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || !at[2]))
            return true;
    }
    return false;
}

static int check_path(const char *key, const char *path, struct hg_err *err)
{
    if (path[0] != '/' || path[strlen(path) - 1] == '/' || climbs(path))
        return hg_err_set(err, EINVAL,
                          "%s: found %s; expected the absolute path of a file, without '..'", key,
                          hg_quote(path).text);
    if (strlen(path) >= HG_SOCKET_PATH_BYTES)
        return hg_err_set(err, EINVAL, "%s: a path of %zu bytes; expected at most %d", key,
                          strlen(path), HG_SOCKET_PATH_BYTES - 1);
    return 0;
}

static int check_text(const struct hg_port_option *option, const char *text, struct hg_err *err)
{
    if (!text[0] || strlen(text) >= HG_PORT_OPTION_TEXT_BYTES)
        return hg_err_set(err, EINVAL, "%s: a text of %zu bytes; expected 1 to %d", option->name,
                          strlen(text), HG_PORT_OPTION_TEXT_BYTES - 1);
    return option->type == HG_OPTION_PATH ? check_path(option->name, text, err) : 0;
}

static int unexpected(const struct hg_port_option *option, const char *text, struct hg_err *err)
{
    char expected[96];

    hg_port_option_expected(option, expected, sizeof(expected));
    return hg_err_set(err, EINVAL, "%s: found %s; expected %s", option->name, hg_quote(text).text,
                      expected);
}

int hg_port_option_read(const struct hg_port_option *option, const char *text,
                        union hg_port_value *value, struct hg_err *err)
{
    int index;

    switch (option->type) {
    case HG_OPTION_UINT:
        if (hg_parse_uint(text, option->min, option->max, &value->uint) < 0)
            return unexpected(option, text, err);
        return 0;
    case HG_OPTION_ENUM:
        index = hg_parse_choice(option->choices, text);
        if (index < 0)
            return unexpected(option, text, err);
        value->uint = (uint64_t)index;
        return 0;
    case HG_OPTION_STRING:
    case HG_OPTION_PATH:
        break;
    }
    value->string = text;
    return check_text(option, text, err);
}

int hg_port_options_complete(const struct hg_port_driver *driver, const char *who,
                             const bool *given, union hg_port_value *values, int *blamed,
                             struct hg_err *err)
{
    unsigned index = 0;
    int rc;

    *blamed = -1;
    for (unsigned i = 0; i < driver->option_n; i++) {
        const struct hg_port_option *option = &driver->options[i];

        if (given[i])
            continue;
        if (option->required)
            return hg_err_set(err, EINVAL, "%s has no %s; a port of type %s needs one", who,
                              option->name, driver->type);
        if (option->type == HG_OPTION_UINT)
            values[i].uint = option->preset;
    }
    if (!driver->check)
        return 0;
    rc = driver->check(values, &index, err);
    *blamed = rc < 0 ? (int)index : -1;
    return rc;
}

const struct hg_port_driver *hg_port_driver_find(const struct hg_port_driver *const *drivers,
                                                 const char *type)
{
    for (; *drivers; drivers++)
        if (strcmp((*drivers)->type, type) == 0)
            return *drivers;
    return NULL;
}

void hg_port_driver_types(const struct hg_port_driver *const *drivers, char *text, size_t n)
{
    size_t used = 0;

    text[0] = '\0';
    for (; *drivers && used < n; drivers++)
        used += (size_t)snprintf(text + used, n - used, "%s%s", used ? ", " : "", (*drivers)->type);
}

static int unknown_key(const struct hg_port_driver *driver, const char *key, struct hg_err *err)
{
    char known[128] = "";
    size_t used = 0;

    for (unsigned i = 0; i < driver->option_n && used < sizeof(known); i++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i != 0 ? ", " : "",
                                 driver->options[i].name);
    return hg_err_set(err, EINVAL, "unknown key %s in a port of type %s; expected %s%s",
                      hg_quote(key).text, driver->type, used != 0 ? "one of " : "none", known);
}

static int read_setting(char *setting, const struct hg_port_driver *driver, bool *given,
                        union hg_port_value *values, struct hg_err *err)
{
    char *value = strchr(setting, '=');
    int index;

    if (!value)
        return hg_err_set(err, EINVAL, "found %s in a port of type %s; expected KEY=VALUE",
                          hg_quote(setting).text, driver->type);
    *value++ = '\0';
    index = hg_port_option_find(driver, setting);
    if (index < 0)
        return unknown_key(driver, setting, err);
    if (given[index])
        return hg_err_set(err, EINVAL, "%s: given twice; expected it once", setting);
    given[index] = true;
    return hg_port_option_read(&driver->options[index], value, &values[index], err);
}

int hg_port_text_read(char *text, const struct hg_port_driver *const *drivers,
                      const struct hg_port_driver **driver,
                      union hg_port_value values[HG_PORT_OPTIONS_MAX], struct hg_err *err)
{
    bool given[HG_PORT_OPTIONS_MAX] = {false};
    char *at = text;
    char *setting;
    char types[128];
    int blamed;

    strsep(&at, ":");
    memset(values, 0, HG_PORT_OPTIONS_MAX * sizeof(values[0]));
    *driver = hg_port_driver_find(drivers, text);
    if (!*driver) {
        hg_port_driver_types(drivers, types, sizeof(types));
        return hg_err_set(err, EINVAL, "there is no port type %s; expected one of %s",
                          hg_quote(text).text, types);
    }
    while ((setting = strsep(&at, ",")) != NULL) {
        int rc = read_setting(setting, *driver, given, values, err);

        if (rc < 0)
            return rc;
    }
    return hg_port_options_complete(*driver, "it", given, values, &blamed, err);
}
