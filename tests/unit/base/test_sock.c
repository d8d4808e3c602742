#include "base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static char path[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/headgate-sock-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

static struct hg_sock_listener listen_here(mode_t mode)
{
    struct hg_sock_listener listener;
    struct hg_err err;

    if (hg_sock_listen(&listener, path, mode, 4, &err) != 0)
        fail_msg("%s", err.text);
    return listener;
}

static void brings_two_ends_together(void **state)
{
    struct hg_sock_listener listener = listen_here(0600);
    struct hg_err err;
    int peer, accepted;
    char byte = 0;

    (void)state;
    assert_int_equal(hg_sock_accept(&listener, &err), -EAGAIN);
    peer = hg_sock_connect(path, &err);
    accepted = hg_sock_accept(&listener, &err);
    assert_true(peer >= 0 && accepted >= 0);
    assert_int_equal(write(peer, "x", 1), 1);
    assert_int_equal(read(accepted, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(read(accepted, &byte, 1), -1); /* non-blocking */
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(accepted, F_GETFD), FD_CLOEXEC);
    close(peer);
    close(accepted);
    hg_sock_remove(&listener, path);
    close(listener.fd);
    assert_int_equal(access(path, F_OK), -1);
}

static void has_its_mode_whatever_the_umask(void **state)
{
    static const mode_t umasks[] = {0, 022, 0777};

    (void)state;
    for (unsigned i = 0; i < sizeof(umasks) / sizeof(umasks[0]); i++) {
        mode_t before = umask(umasks[i]);
        struct hg_sock_listener listener = listen_here(0660);
        struct stat file;

        umask(before);
        assert_int_equal(stat(path, &file), 0);
        assert_int_equal(file.st_mode, S_IFSOCK | 0660);
        hg_sock_remove(&listener, path);
        close(listener.fd);
    }
}

static void replaces_a_leftover_and_nothing_else(void **state)
{
    struct hg_sock_listener first = listen_here(0600), second;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_sock_listen(&second, path, 0600, 4, &err), -EADDRINUSE);
    assert_int_equal(second.fd, -1);
    close(first.fd); /* without removing its file, as one who was killed */
    assert_int_equal(hg_sock_connect(path, &err), -ECONNREFUSED);
    second = listen_here(0600);
    unlink(path);
    first = listen_here(0600); /* somebody else has taken the place */
    hg_sock_remove(&second, path);
    assert_int_equal(access(path, F_OK), 0);
    close(second.fd);
    hg_sock_remove(&first, path);
    close(first.fd);

    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(hg_sock_listen(&second, path, 0600, 4, &err), -EEXIST);
    assert_non_null(strstr(err.text, "not a socket"));
    assert_int_equal(access(path, F_OK), 0);
}

static void says_what_is_wrong_with_a_path(void **state)
{
    struct hg_sock_listener listener;
    struct hg_err err;
    char longest[HG_SOCKET_PATH_BYTES + 1];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[HG_SOCKET_PATH_BYTES] = '\0';
    assert_int_equal(hg_sock_check_path(longest, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "1 to 107 bytes, not 108"));
    longest[HG_SOCKET_PATH_BYTES - 1] = '\0';
    assert_int_equal(hg_sock_check_path(longest, &err), 0);
    assert_int_equal(hg_sock_connect("", &err), -ENAMETOOLONG);
    assert_int_equal(hg_sock_connect(path, &err), -ENOENT);
    assert_int_equal(hg_sock_listen(&listener, "/nowhere/at/all", 0600, 4, &err), -ENOENT);
    assert_non_null(strstr(err.text, "its directory must exist and be writable"));
    assert_int_equal(listener.fd, -1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(brings_two_ends_together),
        CASE(has_its_mode_whatever_the_umask),
        CASE(replaces_a_leftover_and_nothing_else),
        CASE(says_what_is_wrong_with_a_path),
    };

    return cmocka_run_group_tests_name("base/sock", tests, NULL, NULL);
}
