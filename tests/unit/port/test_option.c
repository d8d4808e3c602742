#include "port/option.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SOCKET, QUEUES, MODE, OPTION_N };

static const struct hg_port_option options[] = {
    [SOCKET] = {.name = "socket", .type = HG_OPTION_PATH, .required = true},
    [QUEUES] = {.name = "queues", .type = HG_OPTION_UINT, .min = 1, .max = 16, .preset = 2},
    [MODE] = {.name = "mode", .type = HG_OPTION_ENUM, .choices = "fast|slow"},
};

static int check(const union hg_port_value *values, unsigned *option, struct hg_err *err)
{
    *option = QUEUES;
    return values[QUEUES].uint % 2 == 0 ? 0
                                        : hg_err_set(err, EINVAL, "queues: found an odd number");
}

static const struct hg_port_driver plain = {.type = "plain"};
static const struct hg_port_driver choosy = {
    .type = "choosy", .options = options, .option_n = OPTION_N, .check = check};
static const struct hg_port_driver *const drivers[] = {&plain, &choosy, NULL};

static void finds_a_choice(void **state)
{
    (void)state;
    assert_int_equal(hg_parse_choice("server|client", "server"), 0);
    assert_int_equal(hg_parse_choice("server|client", "client"), 1);
    assert_int_equal(hg_parse_choice("server|client", "clien"), -1);
    assert_int_equal(hg_parse_choice("server|client", "server|client"), -1);
    assert_int_equal(hg_parse_choice("server|client", ""), -1);
}

/* The sentence with which a port is refused; "" when it is not. */
static void says(const char *port, const char *sentence)
{
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    const struct hg_port_driver *driver;
    struct hg_err err = {.text = ""};
    char text[256];

    snprintf(text, sizeof(text), "%s", port);
    assert_int_equal(hg_port_text_read(text, drivers, &driver, values, &err),
                     *sentence ? -EINVAL : 0);
    assert_string_equal(err.text, sentence);
}

static void reads_a_port_in_one_word(void **state)
{
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    const struct hg_port_driver *driver;
    struct hg_err err;
    char text[] = "choosy:mode=slow,socket=/tmp/a,queues=4";

    (void)state;
    assert_int_equal(hg_port_text_read(text, drivers, &driver, values, &err), 0);
    assert_ptr_equal(driver, &choosy);
    assert_string_equal(values[SOCKET].string, "/tmp/a");
    assert_int_equal(values[QUEUES].uint, 4);
    assert_int_equal(values[MODE].uint, 1);
}

static void completes_with_defaults(void **state)
{
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    const struct hg_port_driver *driver;
    struct hg_err err;
    char text[] = "choosy:socket=/tmp/a";

    (void)state;
    assert_int_equal(hg_port_text_read(text, drivers, &driver, values, &err), 0);
    assert_int_equal(values[QUEUES].uint, 2);
    assert_int_equal(values[MODE].uint, 0);
}

static void refuses_by_sentence(void **state)
{
    (void)state;
    says("plain", "");
    says("", "there is no port type ''; expected one of plain, choosy");
    says("plane", "there is no port type 'plane'; expected one of plain, choosy");
    says("plain:a=1", "unknown key 'a' in a port of type plain; expected none");
    says("plain:", "found '' in a port of type plain; expected KEY=VALUE");
    says("choosy", "it has no socket; a port of type choosy needs one");
    says("choosy:socket", "found 'socket' in a port of type choosy; expected KEY=VALUE");
    says("choosy:size=1",
         "unknown key 'size' in a port of type choosy; expected one of socket, queues, mode");
    says("choosy:socket=a/b",
         "socket: found 'a/b'; expected the absolute path of a file, without '..'");
    says("choosy:socket=/a/../b",
         "socket: found '/a/../b'; expected the absolute path of a file, without '..'");
    says("choosy:socket=/a,queues=17", "queues: found '17'; expected a number from 1 to 16");
    says("choosy:socket=/a,queues=2,queues=2", "queues: given twice; expected it once");
    says("choosy:socket=/a,queues=3", "queues: found an odd number");
    says("choosy:socket=/a,mode=quick", "mode: found 'quick'; expected one of fast|slow");
    says("choosy:socket=", "socket: a text of 0 bytes; expected 1 to 255");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_choice),
        cmocka_unit_test(reads_a_port_in_one_word),
        cmocka_unit_test(completes_with_defaults),
        cmocka_unit_test(refuses_by_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
