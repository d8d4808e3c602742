#include "ctl/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "ctl/cpus.h"
#include "drivers/drivers.h"
#include "mem/node.h"

/* A file whose third line is a port with these keys, on the one bridge that there is. */
#define PORT(keys) "bridges: { br0: }\nports:\n  vm1: { " keys " }\n"
#define GOOD       "type: vhost-user, bridge: br0, socket: /tmp/a"
#define TEN        "xxxxxxxxxx"
#define FORTY      TEN TEN TEN TEN

struct bad {
    const char *text;
    const char *sentence; /* behind "f.yaml:" */
};

static void refuses(const struct bad *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct hg_config *config;
        struct hg_err err = {.text = ""};
        char expected[sizeof(err.text) + 8];

        snprintf(expected, sizeof(expected), "f.yaml:%s", cases[i].sentence);
        assert_true(hg_config_parse(&config, "f.yaml", cases[i].text, strlen(cases[i].text), &err) <
                    0);
        assert_string_equal(err.text, expected);
    }
}

static void says_where_the_syntax_ends(void **state)
{
    static const struct bad cases[] = {
        {"", "1:1: there is nothing here; expected keys such as bridges and ports"},
        {"# nothing\n", "2:1: there is nothing here; expected keys such as bridges and ports"},
        {"42\n", "1:1: found '42'; expected the keys of a configuration"},
        {"- a\n", "1:1: found a list; expected the keys of a configuration"},
        {"bridges: {\n", "2:1: this is no YAML: did not find expected node content"},
        {"api: 'x\n",
         "2:1: this is no YAML: found unexpected end of stream while scanning a quoted scalar begun in line 1"},
        {"\tapi: x\n", "1:1: found a tab; expected spaces, as YAML indents with them alone"},
        {"bridges:\n \tbr0:\n",
         "2:2: found a tab; expected spaces, as YAML indents with them alone"},
        {"@\n", "1:1: this is no YAML: found character that cannot start any token"},
        {"a: b: c\n", "1:5: this is no YAML: mapping values are not allowed in this context"},
        {"bridges: *b\n", "1:10: this is no YAML: found undefined alias"},
        {"\x01\x02", "1:1: this is no YAML: control characters are not allowed"},
        {"api: \"/tmp/\\0a\"\n",
         "1:6: found a text with a zero byte; expected the absolute path of a socket"},
        {"api: /a\n---\napi: /b\n", "2:1: a second document begins here; expected one"},
        {"? [a]\n: b\n", "1:3: found a list; expected a key"},
        {"[[[[[[[[[[[[[[[[[[[[", "1:17: nested too deep; expected the keys of a configuration"},
    };

    (void)state;
    refuses(cases, HG_ARRAY_N(cases));
}

static void says_what_a_key_wants(void **state)
{
    static const struct bad cases[] = {
        {"bridge: {}\n", "1:1: unknown key 'bridge' in a configuration; expected one of api, "
                         "workers, memory, bridges, ports"},
        {FORTY FORTY ": 1\n",
         "1:1: unknown key 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' in a configuration; "
         "expected one of api, workers, memory, bridges, ports"},
        {"api: x.sock\n", "1:6: found 'x.sock'; expected the absolute path of a socket, at "
                          "most 107 bytes"},
        {"api: [1]\n", "1:6: found a list; expected the absolute path of a socket"},
        {"api:\n", "1:5: found nothing; expected the absolute path of a socket"},
        {"workers: 3\n", "1:10: found '3'; expected the keys of workers"},
        {"workers: { cpu: [0] }\n",
         "1:12: unknown key 'cpu' in workers; expected one of cpus, idle"},
        {"workers: { cpus: 1 }\n", "1:18: found '1'; expected a list of CPUs, as in [1]"},
        {"workers: { cpus: [] }\n", "1:18: found an empty list; expected at least one CPU"},
        {"workers: { idle: lazy }\n", "1:18: found 'lazy'; expected one of adaptive|poll"},
        {"memory: auto\n", "1:9: found 'auto'; expected the keys of memory"},
        {"memory: { pages: 4M }\n", "1:18: found '4M'; expected one of auto|1G|2M|4K"},
        {"memory: { nodes: 0 }\n",
         "1:11: unknown key 'nodes' in memory; expected one of pages, node"},
        {"memory: { node: [0] }\n", "1:17: found a list; expected the number of a NUMA node"},
        {"bridges: [br0]\n", "1:10: found a list; expected names, each with the keys of a bridge"},
        {"bridges:\n  br/0:\n",
         "2:3: 'br/0' cannot be a bridge's name; expected 1 to 31 letters, digits, '.', '_' or "
         "'-', beginning with a letter or digit"},
        {"bridges:\n  br0:\n  br0:\n",
         "3:3: 'br0' is here twice, first in line 2; expected it once"},
        {"bridges:\n  br0: { fbd: {} }\n", "2:10: unknown key 'fbd' in a bridge; expected fdb"},
        {"bridges: &b { br0: *b }\n", "1:15: unknown key 'br0' in a bridge; expected fdb"},
        {"bridges:\n  br0: { fdb: { age_s: 0 } }\n",
         "2:24: found '0'; expected a number from 1 to 86400"},
        {"bridges:\n  br0: { fdb: { max: many } }\n",
         "2:22: found 'many'; expected a number from 16 to 1048576"},
        {"bridges:\n  br0: { fdb: { max: 99999999999999999999 } }\n",
         "2:22: found '99999999999999999999'; expected a number from 16 to 1048576"},
    };

    (void)state;
    refuses(cases, HG_ARRAY_N(cases));
}

static void says_what_a_port_wants(void **state)
{
    static const struct bad cases[] = {
        {"bridges: { br0: }\nports:\n  vm1: vhost-user\n",
         "3:8: found 'vhost-user'; expected the keys of a port"},
        {"bridges: { br0: }\nports:\n  vm/1: { " GOOD " }\n",
         "3:3: 'vm/1' cannot be a port's name; expected 1 to 31 letters, digits, '.', '_' or '-', "
         "beginning with a letter or digit"},
        {PORT("type: vhost-user, socket: /tmp/a"),
         "3:3: port 'vm1' has no bridge; expected bridge: NAME"},
        {PORT("type: vhost-user, bridge: br0"),
         "3:3: port 'vm1' has no socket; a port of type vhost-user needs one"},
        {PORT("type: vhost-user, bridge: br1, socket: /tmp/a"),
         "3:36: bridge: found 'br1'; expected a bridge listed under bridges"},
        {PORT("type: vhost-user, bridge: br0, socket: a"),
         "3:49: socket: found 'a'; expected the absolute path of a file, without '..'"},
        {PORT("type: vhost-user, bridge: br0, socket: /tmp/../a"),
         "3:49: socket: found '/tmp/../a'; expected the absolute path of a file, without '..'"},
        {PORT("type: vhost-user, bridge: br0, socket: /tmp/" FORTY FORTY FORTY),
         "3:49: socket: a path of 125 bytes; expected at most 107"},
        {PORT("type: vhost-user, bridge: br0, socket: [/tmp/a]"),
         "3:49: socket: found a list; expected an absolute path"},
        {PORT(GOOD ", queue: 1"),
         "3:57: unknown key 'queue' in a port of type vhost-user; expected one of type, bridge, "
         "socket, role, queues, iommu, iotlb_entries, mtu, coalesce_us, coalesce_frames"},
        {PORT(GOOD ", role: boss"), "3:63: role: found 'boss'; expected one of server|client"},
        {PORT(GOOD ", queues: two"), "3:65: queues: found 'two'; expected a number from 1 to 16"},
        {PORT(GOOD ", queues: 17"), "3:65: queues: found '17'; expected a number from 1 to 16"},
        {PORT(GOOD ", queues: "), "3:66: queues: found nothing; expected a number from 1 to 16"},
        {PORT(GOOD ", socket: /tmp/b"),
         "3:57: 'socket' is here twice, first in line 3; expected it once"},
        {PORT("type: virtio-user, bridge: br0, socket: /tmp/a, queue_size: 100"),
         "3:70: queue_size: found '100'; expected a power of two from 64 to 1024"},
        {"api: /tmp/a\n" PORT(GOOD),
         "4:3: port 'vm1' uses '/tmp/a', which is the API's socket; expected one of its own"},
        {PORT(GOOD) "  vm1: { " GOOD " }\n",
         "4:3: 'vm1' is here twice, first in line 3; expected it once"},
        {PORT(GOOD) "  vm2: { " GOOD " }\n",
         "4:3: port 'vm2' uses '/tmp/a', which port 'vm1' uses already; expected one of its own"},
    };

    (void)state;
    refuses(cases, HG_ARRAY_N(cases));
}

static void names_the_types_and_cpus_there_are(void **state)
{
    struct bad types[] = {{PORT("bridge: br0"), NULL}, {PORT("type: tap, bridge: br0"), NULL}};
    struct bad cpus = {"workers: { cpus: [99999] }\n", NULL};
    char list[64];
    char sentence[2][200];

    (void)state;
    hg_port_driver_types(hg_drivers, list, sizeof(list));
    snprintf(sentence[0], sizeof(sentence[0]),
             "3:3: port 'vm1' has no type; expected type: one of %s", list);
    snprintf(sentence[1], sizeof(sentence[1]), "3:16: type: found 'tap'; expected one of %s", list);
    types[0].sentence = sentence[0];
    types[1].sentence = sentence[1];
    refuses(types, HG_ARRAY_N(types));

    hg_cpus_text(list, sizeof(list));
    snprintf(sentence[0], sizeof(sentence[0]),
             "1:19: found '99999'; expected the number of a CPU that this process may use: %s",
             list);
    cpus.sentence = sentence[0];
    refuses(&cpus, 1);
}

static void keeps_the_end_of_a_long_file_name(void **state)
{
    struct hg_config *config;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_config_parse(&config, FORTY FORTY FORTY "/f.yaml", "42", 2, &err), -EINVAL);
    assert_string_equal(err.text,
                        "..." FORTY TEN TEN TEN "xxx/f.yaml:1:1: found '42'; expected the "
                        "keys of a configuration");
}

static void refuses_files_that_are_none(void **state)
{
    struct hg_config *config;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_config_read(&config, "/nonexistent/f.yaml", &err), -ENOENT);
    assert_string_equal(err.text, "/nonexistent/f.yaml: No such file or directory; expected a "
                                  "configuration file");
    assert_int_equal(hg_config_read(&config, "/", &err), -EISDIR);
    assert_string_equal(err.text, "/: is a directory; expected a YAML file");
    assert_int_equal(hg_config_read(&config, "/dev/zero", &err), -EFBIG);
    assert_string_equal(err.text,
                        "/dev/zero: more than 1048576 bytes; expected a configuration file");
}

static void bounds_the_number_of_ports(void **state)
{
    char *text = malloc(64 * 1024);
    int n = sprintf(text, "bridges: { br0: }\nports:\n");
    struct hg_config *config;
    struct hg_err err;

    (void)state;
    for (int i = 0; i <= HG_PORTS_MAX; i++) {
        n += sprintf(text + n, "  p%d: { type: vhost-user, bridge: br0, socket: /tmp/%d }\n", i, i);
    }
    assert_int_equal(hg_config_parse(&config, "f.yaml", text, (size_t)n, &err), -EINVAL);
    assert_string_equal(err.text, "f.yaml:259:3: too many ports; expected at most 256");
    free(text);
}

static void names_the_nodes_that_there_are(void **state)
{
    static const char *const wrong[] = {"1023", "1024", "-1", "0x0", "any"};
    char online[64];

    (void)state;
    assert_false(hg_node_is_online(1023, online, sizeof(online)));
    for (unsigned i = 0; i < HG_ARRAY_N(wrong); i++) {
        char text[64], sentence[160];
        const struct bad bad = {text, sentence};

        snprintf(text, sizeof(text), "memory: { node: %s }\n", wrong[i]);
        snprintf(sentence, sizeof(sentence),
                 "1:17: found '%s'; expected the number of a NUMA node that this machine has: %s",
                 wrong[i], online);
        refuses(&bad, 1);
    }
}

static void reads_every_key(void **state)
{
    static const char text[] = "api: /tmp/x/api.sock\n"
                               "workers: { cpus: [%d], idle: poll }\n"
                               "memory: { pages: 2M, node: %lu }\n"
                               "bridges:\n"
                               "  br0:\n"
                               "  br1: { fdb: { age_s: 60, max: 1024 } }\n"
                               "ports:\n"
                               "  vm1: { type: vhost-user, bridge: br1, socket: /tmp/x/vm1.sock,\n"
                               "         role: client, queues: \"2\" }\n";
    char buffer[sizeof(text) + 32];
    struct hg_config *config;
    struct hg_err err = {.text = ""};
    char online[64];
    unsigned long node; /* the first; some machines have no node 0 */
    int n;

    (void)state;
    hg_node_is_online(0, online, sizeof(online));
    node = strtoul(online, NULL, 10);
    n = snprintf(buffer, sizeof(buffer), text, hg_cpu_last(), node);
    assert_int_equal(hg_config_parse(&config, "f.yaml", buffer, (size_t)n, &err), 0);
    assert_string_equal(config->api, "/tmp/x/api.sock");
    assert_int_equal(config->cpu_n, 1);
    assert_int_equal(config->cpu[0], hg_cpu_last());
    assert_false(config->sleep);
    assert_int_equal(config->pages, HG_PAGES_2M);
    assert_true(config->on_node);
    assert_int_equal(config->node, node);
    assert_int_equal(config->bridge_n, 2);
    assert_string_equal(config->bridge[0].name, "br0");
    assert_int_equal(config->bridge[0].options.fdb_age_s, 300);
    assert_int_equal(config->bridge[0].options.fdb_max, 65536);
    assert_int_equal(config->bridge[0].options.fdb_port_max, 16384);
    assert_int_equal(config->bridge[1].options.fdb_age_s, 60);
    assert_int_equal(config->bridge[1].options.fdb_max, 1024);
    assert_int_equal(config->bridge[1].options.fdb_port_max, 1024);
    assert_int_equal(config->port_n, 1);

    const struct hg_spec *port = &config->port[0];
    char role[16];

    assert_string_equal(port->name, "vm1");
    assert_string_equal(port->bridge, "br1");
    assert_string_equal(hg_spec_text(port, "socket", NULL, 0), "/tmp/x/vm1.sock");
    assert_string_equal(hg_spec_text(port, "role", role, sizeof(role)), "client");
    assert_null(hg_spec_text(port, "nothing", NULL, 0));
    hg_config_free(config);
}

static void has_defaults_for_everything(void **state)
{
    struct hg_config *config;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_config_parse(&config, "f.yaml", "{}", 2, &err), 0);
    assert_int_equal(config->cpu_n, 1);
    assert_true(config->sleep);
    assert_int_equal(config->pages, HG_PAGES_AUTO);
    assert_int_equal(config->bridge_n, 0);
    assert_int_equal(config->port_n, 0);
    hg_config_free(config);
}

static void knows_the_first_steps(void **state)
{
    struct hg_config *config;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_config_first_steps(&config, "/tmp/d", &err), 0);
    assert_int_equal(config->port_n, 2);
    assert_string_equal(config->port[1].name, "vm2");
    assert_string_equal(hg_spec_text(&config->port[1], "socket", NULL, 0), "/tmp/d/vm2.sock");
    hg_config_free(config);
}

static void every_driver_fits_a_spec(void **state)
{
    (void)state;
    for (const struct hg_port_driver *const *driver = hg_drivers; *driver; driver++) {
        assert_in_range((*driver)->option_n, 0, HG_PORT_OPTIONS_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_where_the_syntax_ends),
        cmocka_unit_test(says_what_a_key_wants),
        cmocka_unit_test(says_what_a_port_wants),
        cmocka_unit_test(names_the_types_and_cpus_there_are),
        cmocka_unit_test(keeps_the_end_of_a_long_file_name),
        cmocka_unit_test(refuses_files_that_are_none),
        cmocka_unit_test(bounds_the_number_of_ports),
        cmocka_unit_test(names_the_nodes_that_there_are),
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(has_defaults_for_everything),
        cmocka_unit_test(knows_the_first_steps),
        cmocka_unit_test(every_driver_fits_a_spec),
    };

    return cmocka_run_group_tests_name("ctl/config", tests, NULL, NULL);
}
