#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* What was written to standard error since begin_capture(). */
static char captured[16 * 1024];
static int capture_fd;
static int real_stderr;

static void begin_capture(void)
{
    capture_fd = memfd_create("captured stderr", MFD_CLOEXEC);
    assert_true(capture_fd >= 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_true(dup2(capture_fd, STDERR_FILENO) >= 0);
}

static const char *end_capture(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    close(real_stderr);

    ssize_t n = pread(capture_fd, captured, sizeof(captured) - 1, 0);

    close(capture_fd);
    assert_true(n >= 0);
    captured[n] = '\0';
    return captured;
}

static void writes_level_component_and_text(void **state)
{
    (void)state;
    begin_capture();
    hg_log(HG_LOG_WARN, "vhost", "queue %d stopped", 3);
    hg_log(HG_LOG_ERROR, "ctl", "no memory");
    assert_string_equal(end_capture(), "warn: vhost: queue 3 stopped\nerror: ctl: no memory\n");
}

static void obeys_the_level(void **state)
{
    (void)state;
    begin_capture();
    hg_log(HG_LOG_DEBUG, "t", "not yet");
    hg_log_set_level(HG_LOG_DEBUG);
    assert_true(hg_log_enabled(HG_LOG_DEBUG));
    hg_log(HG_LOG_DEBUG, "t", "now");
    hg_log_set_level(HG_LOG_ERROR);
    hg_log(HG_LOG_WARN, "t", "no longer");
    hg_log_set_level(HG_LOG_INFO);
    assert_string_equal(end_capture(), "debug: t: now\n");
}

static void escapes_what_a_peer_could_forge(void **state)
{
    (void)state;
    begin_capture();
    hg_log(HG_LOG_INFO, "a\nb", "%s", "x\nerror: fake\x1b[2J\x9b\\x0a");
    assert_string_equal(end_capture(), "info: a\\x0ab: x\\x0aerror: fake\\x1b[2J\\x9b\\\\x0a\n");
}

static void cuts_a_long_line_and_says_so(void **state)
{
    char text[4096];

    (void)state;
    memset(text, '\n', sizeof(text)); /* the worst case: four bytes each */
    text[sizeof(text) - 1] = '\0';
    begin_capture();
    hg_log(HG_LOG_INFO, "t", "%s", text);

    const char *line = end_capture();
    size_t length = strlen(line);

    assert_in_range(length, 1000, 1024);
    assert_string_equal(line + length - 8, "\\x0a...\n");
}

static void keeps_errno(void **state)
{
    (void)state;
    errno = EPIPE;
    begin_capture();
    errno = EPIPE;
    hg_log(HG_LOG_INFO, "t", "x");

    int kept = errno;

    end_capture();
    assert_int_equal(kept, EPIPE);
}

static void limits_a_call_site_within_a_window(void **state)
{
    struct hg_log_limit limit = {0};
    uint32_t held_back_n;

    (void)state;
    for (int i = 0; i < HG_LOG_LIMIT_LINES_N; i++) {
        assert_true(hg_log_admit(&limit, 0, &held_back_n));
        assert_int_equal(held_back_n, 0);
    }
    for (int i = 0; i < 7; i++) {
        assert_false(hg_log_admit(&limit, HG_LOG_LIMIT_WINDOW_S - 1, &held_back_n));
    }
    assert_true(hg_log_admit(&limit, HG_LOG_LIMIT_WINDOW_S, &held_back_n));
    assert_int_equal(held_back_n, 7);
    assert_true(hg_log_admit(&limit, HG_LOG_LIMIT_WINDOW_S, &held_back_n));
    assert_int_equal(held_back_n, 0);
}

static void call_sites_do_not_share_a_limit(void **state)
{
    int lines_n = 0;

    (void)state;
    begin_capture();
    for (int i = 0; i < 100; i++) {
        hg_log_limited(HG_LOG_WARN, "t", "one %d", i);
        hg_log_limited(HG_LOG_WARN, "t", "two %d", i);
    }
    for (const char *p = end_capture(); (p = strchr(p, '\n')); p++) {
        lines_n++;
    }
    /* The loop may straddle the border of two windows. */
    assert_in_range(lines_n, 2 * HG_LOG_LIMIT_LINES_N, 4 * HG_LOG_LIMIT_LINES_N);
}

static struct hg_log_limit shared_limit;

static void *admit_many(void *admitted_n)
{
    uint32_t held_back_n;

    for (int i = 0; i < 10000; i++) {
        *(int *)admitted_n += hg_log_admit(&shared_limit, 1, &held_back_n);
    }
    return NULL;
}

static void threads_share_one_exact_limit(void **state)
{
    pthread_t threads[4];
    int admitted_n[4] = {0};
    uint32_t held_back_n;
    int total = 0;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, admit_many, &admitted_n[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        total += admitted_n[i];
    }
    assert_int_equal(total, HG_LOG_LIMIT_LINES_N);
    assert_true(hg_log_admit(&shared_limit, 1 + HG_LOG_LIMIT_WINDOW_S, &held_back_n));
    assert_int_equal(held_back_n, 4 * 10000 - HG_LOG_LIMIT_LINES_N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_level_component_and_text),
        cmocka_unit_test(obeys_the_level),
        cmocka_unit_test(escapes_what_a_peer_could_forge),
        cmocka_unit_test(cuts_a_long_line_and_says_so),
        cmocka_unit_test(keeps_errno),
        cmocka_unit_test(limits_a_call_site_within_a_window),
        cmocka_unit_test(call_sites_do_not_share_a_limit),
        cmocka_unit_test(threads_share_one_exact_limit),
    };

    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
