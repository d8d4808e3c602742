/*
 * The configuration file: read whole, validated whole, then applied by somebody else.
 *
 * YAML, by libyaml's document interface, which knows the line and column of everything. The format
 * is in headgate.yaml(5). Every error is one sentence `FILE:LINE:COLUMN: what; expected what`, and
 * an error anywhere means that there is no configuration at all.
 */
#ifndef HG_CTL_CONFIG_H
#define HG_CTL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/runtime.h"
#include "base/sock.h"
#include "bridge/bridge.h"
#include "ctl/spec.h"
#include "mem/arena.h"

enum {
    HG_CONFIG_BYTES_MAX = 1 << 20, /* of a file; 256 ports need a tenth of it */
    HG_CONFIG_WORKERS_MAX = 64,
    HG_CONFIG_BRIDGES_MAX = 64,
};

struct hg_config_bridge {
    char name[HG_BRIDGE_NAME_MAX + 1];
    struct hg_bridge_options options;
};

struct hg_config {
    char *file; /* for messages; NULL when there is none */
    char api[HG_SOCKET_PATH_BYTES];
    int cpu[HG_CONFIG_WORKERS_MAX];
    unsigned cpu_n;
    bool sleep;          /* workers.idle: adaptive */
    enum hg_pages pages; /* memory.pages */
    bool on_node;        /* memory.node is given: this one */
    unsigned node;
    struct hg_config_bridge bridge[HG_CONFIG_BRIDGES_MAX];
    unsigned bridge_n;
    struct hg_spec *port;
    unsigned port_n;
};

/* Reads and validates a file. 0 or a negative errno with *err. Creates and opens nothing that the
 * file names. hg_config_free() frees. */
int hg_config_read(struct hg_config **config, const char *file, struct hg_err *err);

/* The same from memory; `file` is its name in messages. */
int hg_config_parse(struct hg_config **config, const char *file, const char *text, size_t n,
                    struct hg_err *err);

/* What `headgate run` does without a file: bridge br0 with two vhost-user ports, vm1 and vm2, whose
 * sockets are in `dir`. */
int hg_config_first_steps(struct hg_config **config, const char *dir, struct hg_err *err);

/* Sets the API socket. 0 or -EINVAL with *err for what is no absolute path or too long. */
int hg_config_set_api(struct hg_config *config, const char *path, struct hg_err *err);

void hg_config_free(struct hg_config *config);

/* Puts `FILE:LINE:COLUMN: ` before the sentence in *err, if the configuration is from a file. */
void hg_config_blame(const struct hg_config *config, struct hg_mark mark, struct hg_err *err);

#endif
