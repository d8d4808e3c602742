#include "ctl/spec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/api.h"
#include "ctl/qemu.h"

/* The sentence with which the body of a request is refused. */
static void refuses(const char *body, const char *sentence)
{
    struct hg_spec spec;
    struct hg_err err = {.text = ""};

    assert_int_equal(hg_api_read_port(&spec, body, strlen(body), &err), -EINVAL);
    assert_string_equal(err.text, sentence);
}

static void refuses_a_body_that_is_no_port(void **state)
{
    (void)state;
    refuses("", "the body is no JSON, line 1, column 0: '[' or '{' expected near end of file");
    refuses("[]", "found no JSON object; expected one with name, type, bridge");
    refuses("{}", "name: found no string; expected the port's name");
    refuses("{\"name\": 7}", "name: found no string; expected the port's name");
    refuses("{\"name\": \"a\", \"name\": \"b\"}",
            "the body is no JSON, line 1, column 20: duplicate object key near '\"name\"'");
    refuses("{\"name\": \"a/b\"}",
            "'a/b' cannot be a port's name; expected 1 to 31 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit");
    refuses("{\"name\": \"a\", \"type\": \"vhost-user\", \"bridge\": \"br0\", \"socket\": null}",
            "socket: found null; expected an absolute path");
    refuses("{\"name\": \"a\", \"type\": \"vhost-user\", \"bridge\": \"br0\", \"socket\": \"/a\", "
            "\"queues\": 1.5}",
            "queues: found a fraction; expected a number from 1 to 16");
    refuses("{\"name\": \"a\", \"type\": \"vhost-user\", \"bridge\": \"br0\", \"socket\": \"/a\", "
            "\"queues\": -1}",
            "queues: found '-1'; expected a number from 1 to 16");
}

static void reads_strings_and_numbers_alike(void **state)
{
    static const char *const bodies[] = {
        "{\"name\": \"a\", \"type\": \"vhost-user\", \"bridge\": \"br0\", \"socket\": \"/a\", "
        "\"queues\": 2}",
        "{\"name\": \"a\", \"type\": \"vhost-user\", \"bridge\": \"br0\", \"socket\": \"/a\", "
        "\"queues\": \"2\"}",
    };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct hg_spec spec;
        struct hg_err err = {.text = ""};
        unsigned queues = 0;

        assert_int_equal(hg_api_read_port(&spec, bodies[i], strlen(bodies[i]), &err), 0);
        while (strcmp(spec.driver->options[queues].name, "queues") != 0) {
            queues++;
        }
        assert_int_equal(spec.value[queues].uint, 2);
        hg_spec_free(&spec);
    }
}

static void proposes_arguments_for_qemu(void **state)
{
    static const char body[] = "{\"name\": \"vm1\", \"type\": \"vhost-user\", \"bridge\": \"br0\", "
                               "\"socket\": \"/tmp/it's, well\", \"role\": \"client\"}";
    char text[HG_QEMU_BYTES];
    struct hg_spec spec;

    (void)state;
    assert_int_equal(hg_api_read_port(&spec, body, strlen(body), NULL), 0);
    assert_true(hg_qemu_arguments(&spec, text, sizeof(text)));
    assert_string_equal(
        text, "-m 1G\n"
              "-object memory-backend-memfd,id=mem,size=1G,share=on\n"
              "-machine memory-backend=mem\n"
              "-chardev 'socket,id=chr-vm1,path=/tmp/it'\\''s,, well,server=on,wait=off'\n"
              "-netdev vhost-user,id=net-vm1,chardev=chr-vm1\n"
              "-device virtio-net-pci,netdev=net-vm1,mac=52:54:51:1c:93:a7");
    hg_spec_free(&spec);
}

static void proposes_a_virtual_iommu_where_it_is_required(void **state)
{
    static const char body[] = "{\"name\": \"vm1\", \"type\": \"vhost-user\", \"bridge\": \"br0\", "
                               "\"socket\": \"/tmp/s\", \"iommu\": \"require\"}";
    char text[HG_QEMU_BYTES];
    struct hg_spec spec;

    (void)state;
    assert_int_equal(hg_api_read_port(&spec, body, strlen(body), NULL), 0);
    assert_true(hg_qemu_arguments(&spec, text, sizeof(text)));
    assert_string_equal(text,
                        "-m 1G\n"
                        "-object memory-backend-memfd,id=mem,size=1G,share=on\n"
                        "-machine q35,memory-backend=mem\n"
                        "-device intel-iommu,intremap=off,device-iotlb=on\n"
                        "-device pcie-root-port,id=root1,chassis=1\n"
                        "-chardev socket,id=chr-vm1,path=/tmp/s,reconnect=1\n"
                        "-netdev vhost-user,id=net-vm1,chardev=chr-vm1\n"
                        "-device virtio-net-pci,netdev=net-vm1,mac=52:54:51:1c:93:a7,bus=root1,"
                        "disable-legacy=on,iommu_platform=on,ats=on");
    hg_spec_free(&spec);
}

static void amends(void **state)
{
    static const char body[] = "{\"name\": \"vm1\", \"type\": \"vhost-user\", \"bridge\": \"br0\", "
                               "\"socket\": \"/tmp/s\", \"role\": \"client\", \"queues\": 3}";
    struct hg_setting changes[] = {{.key = "queues", .text = "5"},
                                   {.key = "bridge", .text = "br1"}};
    struct hg_setting type = {.key = "type", .text = "vhost-user"};
    struct hg_setting bad = {.key = "queues", .text = "99"};
    struct hg_spec from;
    struct hg_spec spec;
    char role[16];

    (void)state;
    assert_int_equal(hg_api_read_port(&from, body, strlen(body), NULL), 0);
    assert_int_equal(hg_spec_amend(&spec, &from, NULL, 0, NULL), 0);
    assert_true(hg_spec_same(&spec, &from));
    hg_spec_free(&spec);

    assert_int_equal(hg_spec_amend(&spec, &from, changes, 2, NULL), 0);
    assert_false(hg_spec_same(&spec, &from));
    assert_string_equal(spec.name, "vm1");
    assert_string_equal(spec.bridge, "br1");
    assert_string_equal(hg_spec_text(&spec, "socket", NULL, 0), "/tmp/s");
    assert_string_equal(hg_spec_text(&spec, "role", role, sizeof(role)), "client");
    hg_spec_free(&spec);

    assert_int_equal(hg_spec_amend(&spec, &from, &type, 1, NULL), -EINVAL);
    assert_int_equal(hg_spec_amend(&spec, &from, &bad, 1, NULL), -EINVAL);
    hg_spec_free(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_body_that_is_no_port),
        cmocka_unit_test(reads_strings_and_numbers_alike),
        cmocka_unit_test(proposes_arguments_for_qemu),
        cmocka_unit_test(proposes_a_virtual_iommu_where_it_is_required),
        cmocka_unit_test(amends),
    };

    return cmocka_run_group_tests_name("ctl/spec", tests, NULL, NULL);
}
