#include "ctl/run.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ctl/api.h"
#include "ctl/http.h"
#include "ctl/listen.h"
#include "ctl/notify.h"
#include "ctl/qemu.h"
#include "ctl/switch.h"

struct daemon {
    const struct hg_config *config;
    struct event_base *loop;
    struct event *sigterm;
    struct event *sigint;
    struct hg_listen listening;
    struct hg_switch *sw;
    struct hg_api api;
    struct hg_http *http;
};

/* A port needs some tens of descriptors, a connection one: take what the system allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Where one of the standard descriptors is closed, the next socket would take its number, and a
 * peer would be sent the log. */
static void occupy_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

static void stop(evutil_socket_t signal_n, short what, void *ctx)
{
    (void)signal_n;
    (void)what;
    event_base_loopbreak(ctx);
}

static int open_loop(struct daemon *d, struct hg_err *err)
{
    d->loop = event_base_new();
    if (d->loop) {
        d->sigterm = evsignal_new(d->loop, SIGTERM, stop, d->loop);
        d->sigint = evsignal_new(d->loop, SIGINT, stop, d->loop);
    }
    if (!d->loop || !d->sigterm || !d->sigint || event_add(d->sigterm, NULL) < 0 ||
        event_add(d->sigint, NULL) < 0) {
        return hg_err_set(err, ENOMEM, "the event loop does not start");
    }
    return 0;
}

static void close_loop(struct daemon *d)
{
    if (d->sigint) {
        event_free(d->sigint);
    }
    if (d->sigterm) {
        event_free(d->sigterm);
    }
    if (d->loop) {
        event_base_free(d->loop);
    }
}

/* Bridges and ports as configured, in its order. */
static int populate(struct daemon *d, struct hg_err *err)
{
    const struct hg_config *config = d->config;
    int rc;

    for (unsigned i = 0; i < config->bridge_n; i++) {
        if ((rc = hg_switch_add_bridge(d->sw, &config->bridge[i], err)) < 0) {
            return rc;
        }
    }
    for (unsigned i = 0; i < config->port_n; i++) {
        if ((rc = hg_switch_add_port(d->sw, &config->port[i], err)) < 0) {
            hg_config_blame(config, config->port[i].mark, err);
            return rc;
        }
    }
    return 0;
}

/* What a newcomer without a configuration needs to know. */
static void print_first_steps(const struct hg_config *config)
{
    printf("headgate: no configuration given: bridge %s with %u vhost-user ports\n",
           config->bridge[0].name, config->port_n);
    for (unsigned i = 0; i < config->port_n; i++) {
        char text[HG_QEMU_BYTES];

        if (!hg_qemu_arguments(&config->port[i], text, sizeof(text))) {
            continue;
        }
        printf("\nfor a guest on port %s, add to QEMU's command line:\n    ", config->port[i].name);
        for (const char *c = text; *c; c++) {
            fputs(*c == '\n' ? " \\\n    " : (char[]){*c, '\0'}, stdout);
        }
        printf("\n");
    }
    printf("\n");
}

/* With everything up: answers the API until a signal. */
static int serve(struct daemon *d, struct hg_err *err)
{
    int rc;

    d->api = (struct hg_api){.sw = d->sw, .config = d->config};
    if ((rc = hg_http_new(&d->http, d->loop, d->listening.listener.fd, hg_api_answer, &d->api,
                          err)) < 0) {
        return rc;
    }
    if (!d->config->file) {
        print_first_steps(d->config);
    }
    printf("headgate: ready\n");
    fflush(stdout);
    hg_notify("READY=1");
    event_base_dispatch(d->loop);
    hg_notify("STOPPING=1");
    hg_http_free(d->http);
    return 0;
}

static int run_switch(struct daemon *d, struct hg_err *err)
{
    int rc = hg_switch_new(&d->sw, d->loop, d->config, err);

    if (rc < 0) {
        close(d->listening.listener.fd);
        return rc;
    }
    if ((rc = populate(d, err)) < 0) {
        close(d->listening.listener.fd);
    } else {
        rc = serve(d, err);
    }
    hg_switch_free(d->sw);
    return rc;
}

int hg_run(const struct hg_config *config, struct hg_err *err)
{
    struct daemon d = {.config = config};
    int rc;

    occupy_standard_descriptors();
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN);
    if ((rc = open_loop(&d, err)) == 0 &&
        (rc = hg_listen_open(&d.listening, config->api, err)) == 0) {
        rc = run_switch(&d, err);
        hg_listen_remove(&d.listening);
    }
    close_loop(&d);
    return rc;
}
