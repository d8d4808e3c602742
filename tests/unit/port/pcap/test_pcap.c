#include "port/pcap/pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "port/option.h"

static char directory[] = "/tmp/headgate-pcap-XXXXXX";
static struct hg_burst burst;

static const char *file(const char *name)
{
    static char path[64];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static int try_open(struct hg_port *port, const char *options, struct hg_err *err)
{
    static const struct hg_port_driver *const drivers[] = {&hg_pcap_driver, NULL};
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    char text[300];
    int rc;

    memset(port, 0, sizeof(*port));
    snprintf(text, sizeof(text), "pcap%s", options);
    rc = hg_port_text_read(text, drivers, &port->driver, values, err);
    return rc < 0 ? rc : port->driver->open(port, values, err);
}

static void open_port(struct hg_port *port, const char *key, const char *name, const char *more)
{
    struct hg_err err = {.text = ""};
    char options[256];

    snprintf(options, sizeof(options), ":%s=%s%s", key, file(name), more);
    try_open(port, options, &err);
    assert_string_equal(err.text, "");
}

static unsigned rx(struct hg_port *port)
{
    unsigned n = port->rxq[0]->rx(port->rxq[0], &burst);

    port->rxq[0]->done(port->rxq[0]);
    return n;
}

/* A file of n frames of 60, 460, 860... bytes, written by the port itself. */
static void write_frames(const char *name, unsigned n)
{
    static uint8_t rest[HG_FRAME_BYTES_MAX];
    struct hg_port port;

    open_port(&port, "write", name, "");
    for (unsigned i = 0; i < n; i++) {
        struct hg_pkt pkt = {.len = 60 + 400 * i};
        struct hg_pkt *pkts[] = {&pkt};
        struct hg_seg seg = {.addr = rest};

        pkt.head_len = (uint16_t)hg_min_u32(pkt.len, HG_HEAD_BYTES);
        memset(pkt.head, (int)i, sizeof(pkt.head));
        memset(rest, (int)i, pkt.len);
        seg.len = pkt.len - pkt.head_len;
        pkt.seg_n = seg.len != 0;
        pkt.seg = &seg;
        hg_port_tx(&port, pkts, 1);
    }
    assert_int_equal(hg_count_get(&port.txq[0]->stats.packets), n);
    port.driver->close(&port);
}

static void reads_what_it_wrote(void **state)
{
    struct hg_port_status status;
    struct hg_port port;

    (void)state;
    write_frames("a", 3);
    open_port(&port, "read", "a", ",repeat=2");
    for (unsigned round = 0; round < 2; round++) {
        port.driver->status(&port, &status);
        assert_false(status.ended);
        assert_int_equal(rx(&port), 3);
        for (unsigned i = 0; i < 3; i++) {
            const struct hg_pkt *pkt = &burst.pkt[i];

            assert_int_equal(pkt->len, 60 + 400 * i);
            assert_int_equal(pkt->head[59], i);
            assert_int_equal(pkt->seg_n, i != 0);
            if (i != 0) {
                assert_int_equal(pkt->seg[0].len, pkt->len - HG_HEAD_BYTES);
                assert_int_equal(pkt->seg[0].addr[pkt->seg[0].len - 1], i);
            }
        }
    }
    assert_int_equal(rx(&port), 0);
    assert_false(port.rxq[0]->arm(port.rxq[0]));
    port.driver->status(&port, &status);
    assert_true(status.ended);
    assert_string_equal(status.text, "ended: its 3 frames are received");
    port.driver->close(&port);
}

static void put(FILE *to, const void *bytes, size_t n)
{
    assert_int_equal(fwrite(bytes, 1, n, to), n);
}

/* A classic file by hand: link type, and frames of so many bytes a millisecond apart. */
static void craft(const char *name, uint32_t link_type, const uint32_t *len, unsigned n,
                  unsigned cut)
{
    static uint8_t frame[80000];
    const uint32_t header[] = {0xa1b2c3d4, 4 << 16 | 2, 0, 0, 262144, link_type};
    FILE *to = fopen(file(name), "wb");

    assert_non_null(to);
    put(to, header, sizeof(header));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t record[] = {1000, 1000 * i, len[i], len[i]};

        put(to, record, sizeof(record));
        put(to, frame, hg_min_u32(len[i], sizeof(frame)) - (i + 1 == n ? cut : 0));
    }
    fclose(to);
}

static void keeps_time(void **state)
{
    const uint32_t len[] = {60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60};
    uint64_t begun_ns = hg_now_ns();
    struct hg_port port;
    unsigned n = 0;

    (void)state;
    craft("timed", 1, len, 11, 0);
    open_port(&port, "read", "timed", ",timing=on");
    assert_int_equal(rx(&port), 1);
    for (n = 1; n < 11; n += rx(&port))
        continue;
    assert_true(hg_now_ns() - begun_ns >= 10 * HG_NS_PER_MS);
    port.driver->close(&port);
}

static void drops_what_no_wire_carries(void **state)
{
    const uint32_t len[] = {0, 60, 13, 70000, 60};
    struct hg_port port;

    (void)state;
    craft("odd", 1, len, 5, 0);
    open_port(&port, "read", "odd", "");
    assert_int_equal(rx(&port), 2);
    assert_int_equal(hg_count_get(&port.rxq[0]->stats.packets), 5);
    assert_int_equal(hg_count_get(&port.rxq[0]->stats.drops.reason[HG_DROP_RUNT]), 2);
    assert_int_equal(hg_count_get(&port.rxq[0]->stats.drops.reason[HG_DROP_OVERSIZE]), 1);
    port.driver->close(&port);
}

/* The sentence has the file's name in it, which differs: only what stands behind it is compared. */
static void refuses(const char *name, int code, const char *end)
{
    struct hg_err err = {.text = ""};
    char options[128];
    struct hg_port port;

    snprintf(options, sizeof(options), ":read=%s", file(name));
    assert_int_equal(try_open(&port, options, &err), code);
    assert_true(strlen(err.text) >= strlen(end));
    assert_string_equal(err.text + strlen(err.text) - strlen(end), end);
}

static void refuses_hostile_files(void **state)
{
    const uint32_t good[] = {60, 60};
    const uint32_t huge[] = {60, 0x7fffffff};
    struct hg_err err = {.text = ""};
    struct hg_port port;
    FILE *to;

    (void)state;
    refuses("none", -ENOENT, ": No such file or directory");
    craft("link", 113, good, 2, 0);
    refuses("link", -EINVAL, ": a capture of link type 113 (LINUX_SLL); expected Ethernet frames");
    craft("cut", 1, good, 2, 7);
    refuses("cut", -EINVAL,
            ": behind frame 1: truncated dump file; tried to read 60 captured bytes, only got 53");
    craft("huge", 1, huge, 2, 0);
    refuses("huge", -EINVAL,
            ": behind frame 1: invalid packet capture length 2147483647, bigger than snaplen of "
            "262144");
    to = fopen(file("text"), "w");
    fputs("this is no capture at all, whatever its name may say", to);
    fclose(to);
    refuses("text", -EINVAL, ": unknown file format; expected a pcap or pcapng file");
    fclose(fopen(file("empty"), "w"));
    refuses("empty", -EINVAL,
            ": truncated dump file; tried to read 4 file header bytes, only got 0; expected a "
            "pcap or pcapng file");

    assert_int_equal(try_open(&port, "", &err), -EINVAL);
    assert_string_equal(err.text, "a port of type pcap without a file; expected read or write");
    assert_int_equal(try_open(&port, ":read=/tmp/x,write=/tmp/x", &err), -EINVAL);
    assert_string_equal(err.text, "write: the file that is read; expected another one");
    assert_true(try_open(&port, ":write=/nowhere/x", &err) < 0);
    assert_string_equal(err.text, "write: cannot open '/nowhere/x': No such file or directory");
}

/* Both ways, with the name of what is there. */
static void refuses_as(const char *name, const char *kind)
{
    struct hg_err err = {.text = ""};
    char options[128], wanted[128];
    struct hg_port port;

    snprintf(wanted, sizeof(wanted), ": '%s' is %s; expected a regular file", file(name), kind);
    refuses(name, -EINVAL, wanted);
    snprintf(options, sizeof(options), ":write=%s", file(name));
    assert_int_equal(try_open(&port, options, &err), -EINVAL);
    assert_string_equal(err.text + strlen("write"), wanted);
}

/* None of them has another end, so that an open() that waits for it does not return. */
static void opens_nothing_but_files(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(mkfifo(file("fifo"), 0600), 0);
    refuses_as("fifo", "a FIFO");
    assert_int_equal(symlink("fifo", file("link-to-fifo")), 0);
    refuses_as("link-to-fifo", "a FIFO");
    assert_int_equal(mkdir(file("folder"), 0700), 0);
    refuses_as("folder", "a directory");
    assert_int_equal(symlink("/dev/null", file("device")), 0);
    refuses_as("device", "a device");
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", file("socket"));
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    refuses_as("socket", "a socket");
    close(fd);
    rmdir(file("folder"));
}

/* A FIFO that somebody reads can be opened for writing, and would be filled. */
static void writes_to_no_fifo_that_is_read(void **state)
{
    int fd;

    (void)state;
    assert_int_equal(mkfifo(file("read-fifo"), 0600), 0);
    fd = open(file("read-fifo"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    refuses_as("read-fifo", "a FIFO");
    close(fd);
}

static void replaces_what_was_longer(void **state)
{
    struct hg_port port;

    (void)state;
    write_frames("shorter", 5);
    write_frames("shorter", 1);
    open_port(&port, "read", "shorter", "");
    assert_int_equal(rx(&port), 1);
    port.driver->close(&port);
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    static const char *const names[] = {"a",      "timed",  "odd",       "link",   "cut",
                                        "huge",   "text",   "empty",     "fifo",   "link-to-fifo",
                                        "device", "socket", "read-fifo", "shorter"};

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(names); i++)
        unlink(file(names[i]));
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(keeps_time),
        cmocka_unit_test(drops_what_no_wire_carries),
        cmocka_unit_test(refuses_hostile_files),
        cmocka_unit_test(opens_nothing_but_files),
        cmocka_unit_test(writes_to_no_fifo_that_is_read),
        cmocka_unit_test(replaces_what_was_longer),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
