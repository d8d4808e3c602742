#include "ctl/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "base/quote.h"
#include "ctl/config_yaml.h"
#include "ctl/cpus.h"
#include "mem/node.h"

static const struct hg_bridge_options bridge_defaults = {
    .fdb_age_s = 300,
    .fdb_max = 65536,
    .fdb_port_max = 16384,
};

void hg_config_blame(const struct hg_config *config, struct hg_mark mark, struct hg_err *err)
{
    enum { FILE_SHOWN = 80 };

    if (!config->file || !err) {
        return;
    }

    size_t length = strlen(config->file);
    bool cut = length > FILE_SHOWN;

    hg_err_set(err, 0, "%s%s:%u:%u: %s", cut ? "..." : "",
               config->file + (cut ? length - FILE_SHOWN : 0), mark.line, mark.column, err->text);
}

/* A configuration with the defaults of everything. */
static struct hg_config *blank(const char *file, struct hg_err *err)
{
    struct hg_config *config = calloc(1, sizeof(*config));

    if (!config) {
        hg_err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    config->file = file ? strdup(file) : NULL;
    config->port = calloc(HG_PORTS_MAX, sizeof(*config->port));
    if ((file && !config->file) || !config->port) {
        hg_config_free(config);
        hg_err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    hg_runtime_api(config->api, sizeof(config->api));
    config->cpu[0] = hg_cpu_last();
    config->cpu_n = 1;
    config->sleep = true;
    return config;
}

void hg_config_free(struct hg_config *config)
{
    if (!config) {
        return;
    }
    for (unsigned i = 0; i < config->port_n; i++) {
        hg_spec_free(&config->port[i]);
    }
    free(config->port);
    free(config->file);
    free(config);
}

int hg_config_set_api(struct hg_config *config, const char *path, struct hg_err *err)
{
    size_t length = strlen(path);

    if (path[0] != '/' || path[length - 1] == '/' || length >= sizeof(config->api)) {
        return hg_err_set(err, EINVAL,
                          "found %s; expected the absolute path of a socket, at most %zu bytes",
                          hg_quote(path).text, sizeof(config->api) - 1);
    }
    memcpy(config->api, path, length + 1);
    return 0;
}

/* --- keys, outermost first ------------------------------------------------------------------- */

static int read_api(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    struct hg_config *config = into;
    const char *path = hg_yaml_scalar(yaml, node, "the absolute path of a socket");

    if (!path) {
        return -EINVAL;
    }
    if (hg_config_set_api(config, path, yaml->err) < 0) {
        hg_config_blame(config, hg_yaml_mark(node), yaml->err);
        return -EINVAL;
    }
    return 0;
}

static int read_cpu(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    struct hg_config *config = into;
    const char *text = hg_yaml_scalar(yaml, node, "the number of a CPU");
    uint64_t cpu;
    char cpus[64];

    if (!text) {
        return -EINVAL;
    }
    hg_cpus_text(cpus, sizeof(cpus));
    if (hg_parse_uint(text, 0, 1 << 16, &cpu) < 0 || !hg_cpu_allowed((int)cpu)) {
        return hg_yaml_refuse(
            yaml, node, "found %s; expected the number of a CPU that this process may use: %s",
            hg_quote(text).text, cpus);
    }
    for (unsigned i = 0; i < config->cpu_n; i++) {
        if (config->cpu[i] == (int)cpu) {
            return hg_yaml_refuse(yaml, node, "CPU %d is listed twice; expected one worker per CPU",
                                  config->cpu[i]);
        }
    }
    if (config->cpu_n == HG_CONFIG_WORKERS_MAX) {
        return hg_yaml_refuse(yaml, node, "too many CPUs; expected at most %d",
                              HG_CONFIG_WORKERS_MAX);
    }
    config->cpu[config->cpu_n++] = (int)cpu;
    return 0;
}

static int read_cpus(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    struct hg_config *config = into;
    int rc;

    config->cpu_n = 0;
    if ((rc = hg_yaml_list(yaml, node, "a list of CPUs, as in [1]", read_cpu, config)) < 0) {
        return rc;
    }
    if (config->cpu_n == 0) {
        return hg_yaml_refuse(yaml, node, "found an empty list; expected at least one CPU");
    }
    return 0;
}

static int read_idle(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    struct hg_config *config = into;
    int choice = hg_yaml_choice(yaml, node, "adaptive|poll");

    config->sleep = choice == 0;
    return choice < 0 ? choice : 0;
}

static int read_workers(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    static const struct hg_yaml_key keys[] = {{"cpus", read_cpus}, {"idle", read_idle}};

    return hg_yaml_map(yaml, node, "workers", keys, HG_ARRAY_N(keys), into);
}

static int read_pages(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    struct hg_config *config = into;
    int choice = hg_yaml_choice(yaml, node, "auto|1G|2M|4K"); /* the order of enum hg_pages */

    if (choice < 0) {
        return choice;
    }
    config->pages = (enum hg_pages)choice;
    return 0;
}

static int read_node(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    struct hg_config *config = into;
    const char *text = hg_yaml_scalar(yaml, node, "the number of a NUMA node");
    char online[64];
    uint64_t number;

    if (!text) {
        return -EINVAL;
    }
    config->on_node = hg_parse_uint(text, 0, HG_NODES_MAX - 1, &number) == 0;
    config->node = config->on_node ? (unsigned)number : HG_NODES_MAX;
    if (!hg_node_is_online(config->node, online, sizeof(online))) {
        return hg_yaml_refuse(
            yaml, node, "found %s; expected the number of a NUMA node that this machine has: %s",
            hg_quote(text).text, online);
    }
    return 0;
}

static int read_memory(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    static const struct hg_yaml_key keys[] = {{"pages", read_pages}, {"node", read_node}};

    return hg_yaml_map(yaml, node, "memory", keys, HG_ARRAY_N(keys), into);
}

static int read_age(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    return hg_yaml_uint32(yaml, node, 1, 86400, &((struct hg_bridge_options *)into)->fdb_age_s);
}

static int read_max(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    return hg_yaml_uint32(yaml, node, 16, 1 << 20, &((struct hg_bridge_options *)into)->fdb_max);
}

static int read_port_max(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    return hg_yaml_uint32(yaml, node, 1, 1 << 20,
                          &((struct hg_bridge_options *)into)->fdb_port_max);
}

static int read_fdb(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    static const struct hg_yaml_key keys[] = {
        {"age_s", read_age}, {"max", read_max}, {"port_max", read_port_max}};

    return hg_yaml_map(yaml, node, "fdb", keys, HG_ARRAY_N(keys), into);
}

static int read_bridge(struct hg_yaml *yaml, const yaml_node_t *name, const yaml_node_t *node,
                       void *into)
{
    static const struct hg_yaml_key keys[] = {{"fdb", read_fdb}};
    struct hg_config *config = into;
    const char *text = (const char *)name->data.scalar.value;

    if (!hg_port_name_valid(text)) {
        return hg_yaml_refuse(
            yaml, name,
            "%s cannot be a bridge's name; expected 1 to %d letters, digits, '.', "
            "'_' or '-', beginning with a letter or digit",
            hg_quote(text).text, HG_BRIDGE_NAME_MAX);
    }
    if (config->bridge_n == HG_CONFIG_BRIDGES_MAX) {
        return hg_yaml_refuse(yaml, name, "too many bridges; expected at most %d",
                              HG_CONFIG_BRIDGES_MAX);
    }

    struct hg_config_bridge *bridge = &config->bridge[config->bridge_n++];
    int rc;

    snprintf(bridge->name, sizeof(bridge->name), "%s", text);
    bridge->options = bridge_defaults;
    if (hg_yaml_is_empty(node)) {
        return 0;
    }
    if ((rc = hg_yaml_map(yaml, node, "a bridge", keys, HG_ARRAY_N(keys), &bridge->options)) < 0) {
        return rc;
    }
    bridge->options.fdb_port_max =
        hg_min_u32(bridge->options.fdb_port_max, bridge->options.fdb_max);
    return 0;
}

static int read_bridges(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    return hg_yaml_named(yaml, node, "a bridge", read_bridge, into);
}

static int read_port(struct hg_yaml *yaml, const yaml_node_t *name, const yaml_node_t *node,
                     void *into)
{
    struct hg_setting settings[HG_SPEC_SETTINGS_MAX];
    struct hg_config *config = into;
    struct hg_mark at;
    struct hg_spec *spec = &config->port[config->port_n];
    int n = hg_yaml_settings(yaml, node, settings, HG_SPEC_SETTINGS_MAX);
    int rc;

    if (n < 0) {
        return n;
    }
    if (config->port_n == HG_PORTS_MAX) {
        return hg_yaml_refuse(yaml, name, "too many ports; expected at most %d", HG_PORTS_MAX);
    }
    rc = hg_spec_read(spec, (const char *)name->data.scalar.value, hg_yaml_mark(name), settings,
                      (size_t)n, &at, yaml->err);
    if (rc < 0) {
        hg_config_blame(config, at, yaml->err);
        return rc;
    }
    config->port_n++;
    for (unsigned i = 0; i + 1 < config->port_n; i++) {
        if ((rc = hg_spec_conflict(&config->port[i], spec, yaml->err)) < 0) {
            hg_config_blame(config, spec->mark, yaml->err);
            return rc;
        }
    }
    return 0;
}

static int read_ports(struct hg_yaml *yaml, const yaml_node_t *node, void *into)
{
    return hg_yaml_named(yaml, node, "a port", read_port, into);
}

static int read_top(struct hg_yaml *yaml, const yaml_node_t *root, struct hg_config *config)
{
    static const struct hg_yaml_key keys[] = {
        {"api", read_api},         {"workers", read_workers}, {"memory", read_memory},
        {"bridges", read_bridges}, {"ports", read_ports},
    };

    return hg_yaml_map(yaml, root, "a configuration", keys, HG_ARRAY_N(keys), config);
}

/* What only the whole can tell: no port is to be where the API is, */
static int check_api(const struct hg_config *config, struct hg_err *err)
{
    for (unsigned i = 0; i < config->port_n; i++) {
        const struct hg_spec *spec = &config->port[i];
        const char *socket = hg_spec_text(spec, "socket", NULL, 0);

        if (socket && strcmp(socket, config->api) == 0) {
            hg_err_set(err, EEXIST,
                       "port '%s' uses %s, which is the API's socket; expected one of its own",
                       spec->name, hg_quote(socket).text);
            hg_config_blame(config, spec->mark, err);
            return -EEXIST;
        }
    }
    return 0;
}

/* and every port's bridge exists. */
static int check_bridges(const struct hg_config *config, struct hg_err *err)
{
    for (unsigned i = 0; i < config->port_n; i++) {
        const struct hg_spec *spec = &config->port[i];
        unsigned k = 0;

        while (k < config->bridge_n && strcmp(config->bridge[k].name, spec->bridge) != 0) {
            k++;
        }
        if (k == config->bridge_n) {
            hg_err_set(err, EINVAL, "bridge: found '%s'; expected a bridge listed under bridges",
                       spec->bridge);
            hg_config_blame(config, spec->bridge_mark, err);
            return -EINVAL;
        }
    }
    return 0;
}

int hg_config_parse(struct hg_config **into, const char *file, const char *text, size_t n,
                    struct hg_err *err)
{
    struct hg_config *config = blank(file, err);
    struct hg_yaml yaml;
    int rc;

    if (!config) {
        return -ENOMEM;
    }
    if ((rc = hg_yaml_open(&yaml, config, text, n, err)) == 0) {
        rc = read_top(&yaml, yaml_document_get_root_node(&yaml.document), config);
        hg_yaml_close(&yaml);
    }
    if (rc == 0 && (rc = check_bridges(config, err)) == 0) {
        rc = check_api(config, err);
    }
    if (rc < 0) {
        hg_config_free(config);
        return rc;
    }
    *into = config;
    return 0;
}

/* The whole file in memory, its size in *n. The caller frees *text, also after a failure. */
static int slurp(int fd, const char *file, char **text, size_t *n, struct hg_err *err)
{
    struct stat st;
    ssize_t got;

    if (fstat(fd, &st) < 0) {
        return hg_err_set(err, errno, "%s: %s", file, strerrordesc_np(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return hg_err_set(err, EISDIR, "%s: is a directory; expected a YAML file", file);
    }
    *text = malloc(HG_CONFIG_BYTES_MAX + 1);
    if (!*text) {
        return hg_err_set(err, ENOMEM, "%s: out of memory", file);
    }
    for (*n = 0; *n <= HG_CONFIG_BYTES_MAX; *n += (size_t)got) {
        got = read(fd, *text + *n, HG_CONFIG_BYTES_MAX + 1 - *n);
        if (got < 0) {
            return hg_err_set(err, errno, "%s: %s", file, strerrordesc_np(errno));
        }
        if (got == 0) {
            return 0;
        }
    }
    return hg_err_set(err, EFBIG, "%s: more than %d bytes; expected a configuration file", file,
                      HG_CONFIG_BYTES_MAX);
}

int hg_config_read(struct hg_config **config, const char *file, struct hg_err *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    size_t n = 0;
    int rc;

    if (fd < 0) {
        return hg_err_set(err, errno, "%s: %s; expected a configuration file", file,
                          strerrordesc_np(errno));
    }
    rc = slurp(fd, file, &text, &n, err);
    close(fd);
    if (rc == 0) {
        rc = hg_config_parse(config, file, text, n, err);
    }
    free(text);
    return rc;
}

int hg_config_first_steps(struct hg_config **into, const char *dir, struct hg_err *err)
{
    static const char *const names[] = {"vm1", "vm2"};
    struct hg_config *config = blank(NULL, err);

    if (!config) {
        return -ENOMEM;
    }
    config->bridge[0] = (struct hg_config_bridge){.name = "br0", .options = bridge_defaults};
    config->bridge_n = 1;
    for (unsigned i = 0; i < HG_ARRAY_N(names); i++) {
        char socket[HG_SOCKET_PATH_BYTES + 16];
        const struct hg_setting settings[] = {
            {.key = "type", .text = "vhost-user"},
            {.key = "bridge", .text = "br0"},
            {.key = "socket", .text = socket},
        };
        struct hg_mark at;

        snprintf(socket, sizeof(socket), "%s/%s.sock", dir, names[i]);

        int rc = hg_spec_read(&config->port[i], names[i], (struct hg_mark){0, 0}, settings,
                              HG_ARRAY_N(settings), &at, err);

        if (rc < 0) {
            hg_config_free(config);
            return rc;
        }
        config->port_n++;
    }
    *into = config;
    return 0;
}
