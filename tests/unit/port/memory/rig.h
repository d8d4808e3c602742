/*
 * Ports opened from a word, as a program does it. Include after cmocka.h.
 */
#ifndef HG_TESTS_UNIT_PORT_MEMORY_RIG_H
#define HG_TESTS_UNIT_PORT_MEMORY_RIG_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "port/memory/memory.h"
#include "port/option.h"

static const struct hg_port_host host;

/* 0, or what open or the options refuse, with *err. */
static inline int try_open(struct hg_port *port, uint16_t id, const char *text, struct hg_err *err)
{
    static const struct hg_port_driver *const drivers[] = {&hg_null_driver, &hg_generator_driver,
                                                           &hg_sink_driver, &hg_loop_driver, NULL};
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    char pieces[256];
    int rc;

    memset(port, 0, sizeof(*port));
    port->id = id;
    port->host = &host;
    snprintf(port->name, sizeof(port->name), "port%u", id);
    snprintf(pieces, sizeof(pieces), "%s", text);
    rc = hg_port_text_read(pieces, drivers, &port->driver, values, err);
    return rc < 0 ? rc : port->driver->open(port, values, err);
}

static inline void open_port(struct hg_port *port, uint16_t id, const char *text)
{
    struct hg_err err = {.text = ""};

    try_open(port, id, text, &err);
    assert_string_equal(err.text, "");
}

static inline void close_port(struct hg_port *port)
{
    port->driver->close(port);
    assert_int_equal(port->queue_n, 0);
}

static inline void assert_status(const struct hg_port *port, const char *text)
{
    struct hg_port_status status;

    port->driver->status(port, &status);
    assert_string_equal(status.text, text);
}

/* Sends the packets of a burst. */
static inline void send_burst(struct hg_port *port, struct hg_burst *burst)
{
    struct hg_pkt *pkts[HG_BURST_N];

    for (unsigned i = 0; i < burst->n; i++)
        pkts[i] = &burst->pkt[i];
    hg_port_tx(port, pkts, burst->n);
}

#endif
