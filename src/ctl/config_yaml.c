#include "ctl/config_yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/quote.h"

enum { DEPTH_MAX = 16 }; /* the schema needs five */

static struct hg_mark mark_of(const yaml_mark_t *mark)
{
    return (struct hg_mark){.line = (unsigned)mark->line + 1, .column = (unsigned)mark->column + 1};
}

struct hg_mark hg_yaml_mark(const yaml_node_t *node)
{
    return mark_of(&node->start_mark);
}

int hg_yaml_refuse(struct hg_yaml *yaml, const yaml_node_t *node, const char *fmt, ...)
{
    char text[sizeof(yaml->err->text)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    hg_err_set(yaml->err, EINVAL, "%s", text);
    hg_config_blame(yaml->config, hg_yaml_mark(node), yaml->err);
    return -EINVAL;
}

/* Whether there is a tab at the place. Good for indentation, where a column is a byte. */
static bool is_tab(const char *text, size_t n, const yaml_mark_t *mark)
{
    const char *at = text;

    for (size_t line = 0; at && line < mark->line; line++) {
        at = memchr(at, '\n', n - (size_t)(at - text));
        at = at ? at + 1 : NULL;
    }
    return at && mark->column < n - (size_t)(at - text) && at[mark->column] == '\t';
}

/* libyaml's own words for a syntax error, in our form, or better ones for the usual mistake. */
static int refuse_syntax(struct hg_yaml *yaml, const yaml_parser_t *parser, const char *text,
                         size_t n)
{
    yaml_mark_t mark = parser->problem_mark;

    if (parser->error == YAML_MEMORY_ERROR) {
        return hg_err_set(yaml->err, ENOMEM, "out of memory");
    }
    if (parser->error == YAML_READER_ERROR) {
        /* Has no mark of its own: the place is that of the parser. */
        mark = parser->mark;
    }
    if (parser->error == YAML_SCANNER_ERROR && is_tab(text, n, &mark)) {
        hg_err_set(yaml->err, EINVAL,
                   "found a tab; expected spaces, as YAML indents with them alone");
    } else if (parser->problem && parser->context && parser->context_mark.line < mark.line) {
        hg_err_set(yaml->err, EINVAL, "this is no YAML: %s %s begun in line %zu", parser->problem,
                   parser->context, parser->context_mark.line + 1);
    } else {
        hg_err_set(yaml->err, EINVAL, "this is no YAML: %s",
                   parser->problem ? parser->problem : "it cannot be read");
    }
    hg_config_blame(yaml->config, mark_of(&mark), yaml->err);
    return -EINVAL;
}

/* Starts a parser on the text. */
static int begin(yaml_parser_t *parser, const char *text, size_t n, struct hg_err *err)
{
    if (!yaml_parser_initialize(parser)) {
        return hg_err_set(err, ENOMEM, "out of memory");
    }
    yaml_parser_set_input_string(parser, (const unsigned char *)text, n);
    return 0;
}

/* What the whole document must be like: `depth` counts open lists and mappings, `document_n`
 * documents begun. */
static int check_event(struct hg_yaml *yaml, const yaml_event_t *event, unsigned *depth,
                       unsigned *document_n)
{
    const char *sentence = NULL;

    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        sentence = ++*document_n > 1 ? "a second document begins here; expected one" : NULL;
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        sentence =
            ++*depth > DEPTH_MAX ? "nested too deep; expected the keys of a configuration" : NULL;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        --*depth;
        break;
    case YAML_STREAM_END_EVENT:
        sentence = *document_n == 0
                       ? "there is nothing here; expected keys such as bridges and ports"
                       : NULL;
        break;
    default:
        break;
    }
    if (!sentence) {
        return 0;
    }
    hg_err_set(yaml->err, EINVAL, "%s", sentence);
    hg_config_blame(yaml->config, mark_of(&event->start_mark), yaml->err);
    return -EINVAL;
}

/* A pass of its own over syntax and form. libyaml's time grows with the square of the depth, so the
 * depth is bounded before anything else is asked of it. */
static int check_form(struct hg_yaml *yaml, const char *text, size_t n)
{
    yaml_parser_t parser;
    unsigned depth = 0;
    unsigned document_n = 0;
    bool ended = false;
    int rc = begin(&parser, text, n, yaml->err);

    if (rc < 0) {
        return rc;
    }
    while (rc == 0 && !ended) {
        yaml_event_t event;

        if (!yaml_parser_parse(&parser, &event)) {
            rc = refuse_syntax(yaml, &parser, text, n);
            break;
        }
        rc = check_event(yaml, &event, &depth, &document_n);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return rc;
}

int hg_yaml_open(struct hg_yaml *yaml, const struct hg_config *config, const char *text, size_t n,
                 struct hg_err *err)
{
    yaml_parser_t parser;
    int rc;

    yaml->config = config;
    yaml->err = err;
    if ((rc = check_form(yaml, text, n)) < 0 || (rc = begin(&parser, text, n, err)) < 0) {
        return rc;
    }
    /* What is left for this pass to refuse: aliases of nothing, want of memory. */
    if (!yaml_parser_load(&parser, &yaml->document)) {
        rc = refuse_syntax(yaml, &parser, text, n);
    }
    yaml_parser_delete(&parser);
    return rc;
}

void hg_yaml_close(struct hg_yaml *yaml)
{
    yaml_document_delete(&yaml->document);
}

bool hg_yaml_is_empty(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0 &&
           node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* What a node is, for people; NULL for a scalar that has a text. */
static const char *kind(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "keys and values";
    default:
        break;
    }
    if (hg_yaml_is_empty(node)) {
        return "nothing";
    }
    /* A text of ours ends at its first zero byte, so it must not have one inside. */
    if (strlen((const char *)node->data.scalar.value) != node->data.scalar.length) {
        return "a text with a zero byte";
    }
    return NULL;
}

const char *hg_yaml_scalar(struct hg_yaml *yaml, const yaml_node_t *node, const char *expected)
{
    const char *found = kind(node);

    if (found) {
        hg_yaml_refuse(yaml, node, "found %s; expected %s", found, expected);
        return NULL;
    }
    return (const char *)node->data.scalar.value;
}

/* A node that must be something else than it is. */
static int wrong_kind(struct hg_yaml *yaml, const yaml_node_t *node, const char *expected)
{
    const char *found = kind(node);

    return hg_yaml_refuse(yaml, node, "found %s; expected %s",
                          found ? found : hg_quote((const char *)node->data.scalar.value).text,
                          expected);
}

int hg_yaml_choice(struct hg_yaml *yaml, const yaml_node_t *node, const char *choices)
{
    char expected[64];
    const char *text;
    int choice;

    snprintf(expected, sizeof(expected), "one of %s", choices);
    text = hg_yaml_scalar(yaml, node, expected);
    if (!text) {
        return -EINVAL;
    }
    choice = hg_parse_choice(choices, text);
    return choice >= 0 ? choice : wrong_kind(yaml, node, expected);
}

int hg_yaml_uint32(struct hg_yaml *yaml, const yaml_node_t *node, uint32_t min, uint32_t max,
                   uint32_t *value)
{
    char expected[64];
    const char *text;
    uint64_t number;

    snprintf(expected, sizeof(expected), "a number from %u to %u", min, max);
    text = hg_yaml_scalar(yaml, node, expected);
    if (!text) {
        return -EINVAL;
    }
    if (hg_parse_uint(text, min, max, &number) < 0) {
        return wrong_kind(yaml, node, expected);
    }
    *value = (uint32_t)number;
    return 0;
}

int hg_yaml_list(struct hg_yaml *yaml, const yaml_node_t *node, const char *expected,
                 int (*each)(struct hg_yaml *, const yaml_node_t *, void *), void *into)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        return wrong_kind(yaml, node, expected);
    }
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        int rc = each(yaml, yaml_document_get_node(&yaml->document, *item), into);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* The key of a pair: a scalar that no earlier pair has. NULL with the sentence otherwise. */
static const yaml_node_t *pair_key(struct hg_yaml *yaml, const yaml_node_t *map,
                                   const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(&yaml->document, pair->key);
    const char *text = hg_yaml_scalar(yaml, key, "a key");

    if (!text) {
        return NULL;
    }
    for (const yaml_node_pair_t *earlier = map->data.mapping.pairs.start; earlier < pair;
         earlier++) {
        const yaml_node_t *other = yaml_document_get_node(&yaml->document, earlier->key);

        if (strcmp((const char *)other->data.scalar.value, text) == 0) {
            hg_yaml_refuse(yaml, key, "%s is here twice, first in line %u; expected it once",
                           hg_quote(text).text, hg_yaml_mark(other).line);
            return NULL;
        }
    }
    return key;
}

static int read_key(struct hg_yaml *yaml, const yaml_node_t *key, const yaml_node_t *value,
                    const char *what, const struct hg_yaml_key *keys, size_t key_n, void *into)
{
    const char *text = (const char *)key->data.scalar.value;
    char known[128];
    size_t used = 0;

    for (size_t i = 0; i < key_n; i++) {
        if (strcmp(keys[i].name, text) == 0) {
            return keys[i].read(yaml, value, into);
        }
    }
    for (size_t i = 0; i < key_n && used < sizeof(known); i++) {
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
                                 keys[i].name);
    }
    return hg_yaml_refuse(yaml, key, "unknown key %s in %s; expected %s%s", hg_quote(text).text,
                          what, key_n > 1 ? "one of " : "", known);
}

int hg_yaml_map(struct hg_yaml *yaml, const yaml_node_t *node, const char *what,
                const struct hg_yaml_key *keys, size_t key_n, void *into)
{
    char expected[96];

    if (node->type != YAML_MAPPING_NODE) {
        snprintf(expected, sizeof(expected), "the keys of %s", what);
        return wrong_kind(yaml, node, expected);
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = pair_key(yaml, node, pair);
        int rc;

        if (!key) {
            return -EINVAL;
        }
        rc = read_key(yaml, key, yaml_document_get_node(&yaml->document, pair->value), what, keys,
                      key_n, into);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int hg_yaml_named(struct hg_yaml *yaml, const yaml_node_t *node, const char *what,
                  int (*each)(struct hg_yaml *, const yaml_node_t *, const yaml_node_t *, void *),
                  void *into)
{
    char expected[96];

    if (hg_yaml_is_empty(node)) {
        return 0;
    }
    if (node->type != YAML_MAPPING_NODE) {
        snprintf(expected, sizeof(expected), "names, each with the keys of %s", what);
        return wrong_kind(yaml, node, expected);
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = pair_key(yaml, node, pair);
        int rc;

        if (!name) {
            return -EINVAL;
        }
        rc = each(yaml, name, yaml_document_get_node(&yaml->document, pair->value), into);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int hg_yaml_settings(struct hg_yaml *yaml, const yaml_node_t *node, struct hg_setting *settings,
                     size_t max)
{
    size_t n = 0;

    if (node->type != YAML_MAPPING_NODE) {
        return wrong_kind(yaml, node, "the keys of a port");
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = pair_key(yaml, node, pair);
        const yaml_node_t *value = yaml_document_get_node(&yaml->document, pair->value);

        if (!key) {
            return -EINVAL;
        }
        if (n == max) {
            return hg_yaml_refuse(yaml, key, "too many keys; expected at most %zu", max);
        }
        settings[n] = (struct hg_setting){
            .key = (const char *)key->data.scalar.value,
            .kind = kind(value),
            .key_mark = hg_yaml_mark(key),
            .mark = hg_yaml_mark(value),
        };
        if (!settings[n].kind) {
            settings[n].text = (const char *)value->data.scalar.value;
        }
        n++;
    }
    return (int)n;
}
