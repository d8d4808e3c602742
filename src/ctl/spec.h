/*
 * What a port is to be: the one validation behind the configuration file and the API.
 *
 * Both bring a port as a name and a list of settings, key and text. What a text means is decided by
 * the schema alone: `type` and `bridge` are ours, all other keys are the driver's (hg_port_option).
 */
#ifndef HG_CTL_SPEC_H
#define HG_CTL_SPEC_H

#include <stddef.h>

#include "base/err.h"
#include "bridge/bridge.h"
#include "port/option.h"

enum {
    HG_SPEC_SETTINGS_MAX = 64,
};

/* A place in a file; line 0 where there is no file. Both count from 1. */
struct hg_mark {
    unsigned line;
    unsigned column;
};

/* One key as it was given. */
struct hg_setting {
    const char *key;
    const char *text; /* NULL when the value is no scalar */
    const char *kind; /* then: what it is instead, as in "a list" */
    struct hg_mark key_mark;
    struct hg_mark mark; /* of the value */
};

struct hg_spec {
    char name[HG_PORT_NAME_MAX + 1];
    char bridge[HG_BRIDGE_NAME_MAX + 1];
    const struct hg_port_driver *driver;
    char *text[HG_PORT_OPTIONS_MAX]; /* of string and path options; NULL: not given */
    union hg_port_value value[HG_PORT_OPTIONS_MAX]; /* as open() wants them */
    struct hg_mark mark;                            /* of the port's name */
    struct hg_mark bridge_mark;                     /* of the bridge's name */
};

/*
 * Reads and validates n settings. Returns 0, or a negative errno with *err, and in *at the place of
 * the fault, nothing to free. Whether the bridge exists is the caller's to check. hg_spec_free()
 * frees.
 */
int hg_spec_read(struct hg_spec *spec, const char *name, struct hg_mark mark,
                 const struct hg_setting *settings, size_t n, struct hg_mark *at,
                 struct hg_err *err);
void hg_spec_free(struct hg_spec *spec);

/* A deep copy. 0 or -ENOMEM with *err. */
int hg_spec_copy(struct hg_spec *copy, const struct hg_spec *spec, struct hg_err *err);

/* Reads and validates the spec that becomes of `from` when n of its settings are other ones. As
 * hg_spec_read(); the type is none of those that can change. */
int hg_spec_amend(struct hg_spec *spec, const struct hg_spec *from,
                  const struct hg_setting *changes, size_t n, struct hg_err *err);

/* Whether two specs of one driver say the same of bridge and options. */
bool hg_spec_same(const struct hg_spec *a, const struct hg_spec *b);

/* Refuses two ports that cannot live together: of one name, or of one type and path. 0 or -EEXIST
 * with *err, which speaks of `later`. */
int hg_spec_conflict(const struct hg_spec *earlier, const struct hg_spec *later,
                     struct hg_err *err);

/* The text of a string, path or enum option by name; NULL when it was not given or is unknown to
 * the driver. An enum's text needs the buffer; the others live as long as the spec. */
const char *hg_spec_text(const struct hg_spec *spec, const char *option, char *buffer, size_t n);

#endif
