/*
 * Where connections come from: sockets that are in the way, and peers that are not there yet.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer/rig.h"

static void nothing_changed(struct hg_port *port, void *ctx)
{
    (void)port;
    (void)ctx;
}

struct place {
    char dir[64];
    char path[96];
    struct hg_port_host host;
    struct hg_port port;
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    strcpy(place->dir, "/tmp/headgate-link-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof(place->path), "%s/sock", place->dir);
    place->host =
        (struct hg_port_host){.loop = event_base_new(), .queues_changed = nothing_changed};
    strcpy(place->port.name, "vm1");
    place->port.host = &place->host;
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    event_base_free(place->host.loop);
    unlink(place->path);
    assert_int_equal(rmdir(place->dir), 0);
    free(place);
    return 0;
}

static int open_at(struct place *place, const char *path, bool client, struct hg_err *err)
{
    union hg_port_value values[OPTIONS_MAX];

    option_presets(&hg_vhost_user_driver, values);
    option_value(&hg_vhost_user_driver, values, "socket")->string = path;
    option_value(&hg_vhost_user_driver, values, "role")->uint = client;
    return hg_vhost_user_driver.open(&place->port, values, err);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void listen_for_the_owner_and_its_group(void **state)
{
    struct place *place = *state;
    struct hg_err err;
    struct stat file;
    mode_t before = umask(077);

    assert_int_equal(open_at(place, place->path, false, &err), 0);
    umask(before);
    assert_int_equal(stat(place->path, &file), 0);
    assert_int_equal(file.st_mode, S_IFSOCK | 0660);
    hg_vhost_user_driver.close(&place->port);
    assert_int_equal(access(place->path, F_OK), -1);
}

static void replace_a_stale_socket(void **state)
{
    struct place *place = *state;
    struct hg_err err;

    close(listen_at(place->path));
    assert_int_equal(access(place->path, F_OK), 0);
    assert_int_equal(open_at(place, place->path, false, &err), 0);
    hg_vhost_user_driver.close(&place->port);
}

static void leave_the_sockets_of_others_alone(void **state)
{
    struct place *place = *state;
    struct hg_err err;
    int other = listen_at(place->path);

    assert_int_equal(open_at(place, place->path, false, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "another process listens on it"));
    assert_int_equal(access(place->path, F_OK), 0);
    close(other);

    /* Also one that was put into our place. */
    assert_int_equal(open_at(place, place->path, false, &err), 0);
    unlink(place->path);
    other = listen_at(place->path);
    hg_vhost_user_driver.close(&place->port);
    assert_int_equal(access(place->path, F_OK), 0);
    close(other);
}

static void leave_files_alone(void **state)
{
    struct place *place = *state;
    struct hg_err err;

    close(open(place->path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(open_at(place, place->path, false, &err), -EEXIST);
    assert_non_null(strstr(err.text, "not a socket"));
    assert_int_equal(access(place->path, F_OK), 0);
}

static void explain_paths_that_cannot_be(void **state)
{
    struct place *place = *state;
    struct hg_err err;
    char longer[300];

    memset(longer, 'a', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(open_at(place, longer, false, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "a socket's path has 1 to 107 bytes, not 299"));
    assert_int_equal(open_at(place, "", false, &err), -ENAMETOOLONG);
    assert_int_equal(open_at(place, "/nowhere/at/all", false, &err), -ENOENT);
    assert_non_null(strstr(err.text, "its directory must exist and be writable"));
    if (geteuid() != 0) {
        assert_int_equal(chmod(place->dir, 0500), 0);
        assert_int_equal(open_at(place, place->path, false, &err), -EACCES);
        assert_non_null(strstr(err.text, "its directory must exist and be writable"));
        assert_int_equal(chmod(place->dir, 0700), 0);
    }
}

/* Runs the loop until a connection arrives; returns it, or -1 after `ms`. */
static int wait_for_client(struct place *place, int server, unsigned ms)
{
    uint64_t end = hg_now_ns() + ms * HG_NS_PER_MS;

    assert_int_equal(fcntl(server, F_SETFL, O_NONBLOCK), 0);
    while (hg_now_ns() < end) {
        int fd = accept(server, NULL, NULL);

        if (fd >= 0)
            return fd;
        event_base_loop(place->host.loop, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    return -1;
}

static void connect_as_soon_as_somebody_listens(void **state)
{
    struct place *place = *state;
    struct hg_port_status status;
    struct hg_err err;

    assert_int_equal(open_at(place, place->path, true, &err), 0);
    event_base_loop(place->host.loop, EVLOOP_NONBLOCK);
    hg_vhost_user_driver.status(&place->port, &status);
    assert_string_equal(status.state, "waiting");
    assert_non_null(strstr(status.text, "cannot connect to /tmp/headgate-link-"));
    assert_non_null(strstr(status.text, "No such file"));

    int server = listen_at(place->path);
    int peer = wait_for_client(place, server, 1000);

    assert_true(peer >= 0);
    hg_vhost_user_driver.status(&place->port, &status);
    assert_non_null(strstr(status.text, "connected, waiting for the features"));

    close(peer); /* and again */
    peer = wait_for_client(place, server, 2000);
    assert_true(peer >= 0);
    hg_vhost_user_driver.status(&place->port, &status);
    assert_int_equal(status.reconnects, 1);
    close(peer);
    close(server);
    hg_vhost_user_driver.close(&place->port);
}

/* A peer that throws us out at once must not be hammered: pauses of 100, 200, 400 ms follow. */
static void slow_down_when_sessions_break_at_once(void **state)
{
    struct place *place = *state;
    struct hg_err err;
    int server = listen_at(place->path);
    unsigned n = 0;
    int peer;

    assert_int_equal(open_at(place, place->path, true, &err), 0);
    uint64_t end = hg_now_ns() + 1000 * HG_NS_PER_MS;

    while (hg_now_ns() < end) {
        peer = wait_for_client(place, server, 50);
        if (peer >= 0) {
            n++;
            close(peer);
        }
    }
    assert_in_range(n, 3, 5);
    close(server);
    hg_vhost_user_driver.close(&place->port);
}

static void run_loop_ms(struct place *place, unsigned ms)
{
    struct timeval time = {.tv_usec = (suseconds_t)ms * 1000};

    event_base_loopexit(place->host.loop, &time);
    event_base_dispatch(place->host.loop);
}

/* Out of descriptors, the daemon neither spins on the connection that it cannot take nor forgets
 * it. */
static void wait_until_there_are_descriptors_again(void **state)
{
    struct place *place = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    struct hg_port_status status;
    struct rlimit before;
    struct rlimit none;
    struct timespec cpu_before;
    struct timespec cpu_after;
    struct hg_err err;

    assert_int_equal(open_at(place, place->path, false, &err), 0);
    run_loop_ms(place, 10); /* whatever the loop opens for itself */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", place->path);
    assert_int_equal(connect(peer, (const struct sockaddr *)&address, sizeof(address)), 0);

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_before);
    run_loop_ms(place, 250);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_after);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    /* Three looks, not 250 ms of looking. */
    assert_true((cpu_after.tv_sec - cpu_before.tv_sec) * 1000000000L + cpu_after.tv_nsec -
                    cpu_before.tv_nsec <
                100 * 1000000L);
    hg_vhost_user_driver.status(&place->port, &status);
    assert_non_null(strstr(status.text, "waiting for a front-end to connect"));

    run_loop_ms(place, 250);
    hg_vhost_user_driver.status(&place->port, &status);
    assert_null(strstr(status.text, "waiting for a front-end to connect"));
    close(peer);
    hg_vhost_user_driver.close(&place->port);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(listen_for_the_owner_and_its_group),    CASE(replace_a_stale_socket),
        CASE(leave_the_sockets_of_others_alone),     CASE(leave_files_alone),
        CASE(explain_paths_that_cannot_be),          CASE(connect_as_soon_as_somebody_listens),
        CASE(slow_down_when_sessions_break_at_once), CASE(wait_until_there_are_descriptors_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
