/*
 * A YAML document and the few ways in which the configuration reads it.
 *
 * Every function that fails has written the one sentence, with the place of the fault, and returns
 * a negative errno. Aliases may make a document a graph, even with cycles: readers follow a schema
 * of fixed depth, so they end all the same.
 */
#ifndef HG_CTL_CONFIG_YAML_H
#define HG_CTL_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "base/err.h"
#include "ctl/config.h"

struct hg_yaml {
    yaml_document_t document;
    const struct hg_config *config; /* whose file it is */
    struct hg_err *err;
};

/* Parses the text, exactly one document that is not empty. hg_yaml_close() frees it. */
int hg_yaml_open(struct hg_yaml *yaml, const struct hg_config *config, const char *text, size_t n,
                 struct hg_err *err);
void hg_yaml_close(struct hg_yaml *yaml);

struct hg_mark hg_yaml_mark(const yaml_node_t *node);

/* Writes the sentence with the node's place in front. Returns -EINVAL. */
int hg_yaml_refuse(struct hg_yaml *yaml, const yaml_node_t *node, const char *fmt, ...)
    HG_PRINTF(3, 4);

/* A key that was written without a value. */
bool hg_yaml_is_empty(const yaml_node_t *node);

/* The text of a scalar, or NULL with the sentence, "found a list; expected EXPECTED". */
const char *hg_yaml_scalar(struct hg_yaml *yaml, const yaml_node_t *node, const char *expected);

/* The index of a word among choices separated by '|', or a negative errno. */
int hg_yaml_choice(struct hg_yaml *yaml, const yaml_node_t *node, const char *choices);

int hg_yaml_uint32(struct hg_yaml *yaml, const yaml_node_t *node, uint32_t min, uint32_t max,
                   uint32_t *value);

/* Calls `each` for every item of a list. */
int hg_yaml_list(struct hg_yaml *yaml, const yaml_node_t *node, const char *expected,
                 int (*each)(struct hg_yaml *, const yaml_node_t *, void *), void *into);

/* A mapping with known keys, each at most once, all optional. */
struct hg_yaml_key {
    const char *name;
    int (*read)(struct hg_yaml *yaml, const yaml_node_t *value, void *into);
};
int hg_yaml_map(struct hg_yaml *yaml, const yaml_node_t *node, const char *what,
                const struct hg_yaml_key *keys, size_t key_n, void *into);

/* A mapping from names to things, each name at most once. */
int hg_yaml_named(struct hg_yaml *yaml, const yaml_node_t *node, const char *what,
                  int (*each)(struct hg_yaml *, const yaml_node_t *name, const yaml_node_t *value,
                              void *),
                  void *into);

/* A mapping as a list of settings, each key at most once. Returns how many, at most `max`. They
 * point into the document. */
int hg_yaml_settings(struct hg_yaml *yaml, const yaml_node_t *node, struct hg_setting *settings,
                     size_t max);

#endif
