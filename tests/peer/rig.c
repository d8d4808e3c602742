#include "peer/rig.h"

#include <assert.h>
#include <dirent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/raise.h"
#include "mem/foreign.h"

/* The rig's own steps cannot fail on a sound machine. */
static void must(bool ok, const char *step)
{
    if (ok)
        return;
    fprintf(stderr, "rig: cannot %s\n", step);
    abort();
}

static void count_change(struct hg_port *port, void *ctx)
{
    struct rig *rig = ctx;

    must(port == &rig->port, "hear of another port");
    rig->changes_n++;
    if (rig->on_change != NULL)
        rig->on_change(rig);
}

static union hg_port_value *value_of(union hg_port_value *values, const char *name)
{
    return option_value(&hg_vhost_user_driver, values, name);
}

void rig_open(struct rig *rig, const struct rig_options *options)
{
    union hg_port_value values[OPTIONS_MAX];
    struct hg_err err = {""};

    memset(rig, 0, sizeof(*rig));
    hg_log_set_level(HG_LOG_ERROR);
    /* These open files for good, which are not to be taken for leaks later. */
    hg_raise(-1);
    hg_foreign_event();
    strcpy(rig->dir, "/tmp/headgate-rig-XXXXXX");
    must(mkdtemp(rig->dir) != NULL, "make a directory");
    snprintf(rig->path, sizeof(rig->path), "%s/sock", rig->dir);
    rig->loop = event_base_new();
    rig->burst = aligned_alloc(alignof(struct hg_burst), sizeof(struct hg_burst));
    must(rig->loop != NULL && rig->burst != NULL, "find memory");
    option_presets(&hg_vhost_user_driver, values);
    value_of(values, "socket")->string = rig->path;
    value_of(values, "role")->uint = options->client;
    value_of(values, "queues")->uint = options->pair_n;
    if (options->mtu != 0)
        value_of(values, "mtu")->uint = options->mtu;
    value_of(values, "iommu")->uint = options->iommu;
    if (options->iotlb_entries != 0)
        value_of(values, "iotlb_entries")->uint = options->iotlb_entries;
    value_of(values, "coalesce_us")->uint = options->coalesce_us;
    if (options->coalesce_frames != 0)
        value_of(values, "coalesce_frames")->uint = options->coalesce_frames;
    rig->host =
        (struct hg_port_host){.loop = rig->loop, .queues_changed = count_change, .ctx = rig};
    strcpy(rig->port.name, "vm1");
    rig->port.id = 7;
    rig->port.driver = &hg_vhost_user_driver;
    rig->port.host = &rig->host;
    must(hg_vhost_user_driver.open(&rig->port, values, &err) == 0, err.text);
    must(peer_new(&rig->peer, options->pair_n,
                  options->peer_features != 0 ? options->peer_features : RIG_FEATURES, rig_pump,
                  rig),
         "make a peer");
    rig_pump(rig);
}

void rig_close(struct rig *rig)
{
    peer_free(&rig->peer);
    hg_vhost_user_driver.close(&rig->port);
    event_base_free(rig->loop);
    free(rig->burst);
    must(access(rig->path, F_OK) != 0, "see the socket removed");
    must(rmdir(rig->dir) == 0, "remove the directory");
}

void rig_pump(void *ctx)
{
    struct rig *rig = ctx;

    /* What one pass sends can be what the next receives. */
    for (int i = 0; i < 3; i++)
        event_base_loop(rig->loop, EVLOOP_NONBLOCK);
}

void rig_run_ms(struct rig *rig, unsigned ms)
{
    uint64_t end = hg_now_ns() + ms * HG_NS_PER_MS;

    while (hg_now_ns() < end) {
        rig_pump(rig);
        usleep(1000);
    }
}

const char *rig_status(struct rig *rig)
{
    rig_pump(rig);
    hg_vhost_user_driver.status(&rig->port, &rig->status);
    return rig->status.text;
}

bool rig_bring_up(struct rig *rig)
{
    if (!peer_connect(&rig->peer, rig->path) || !peer_init(&rig->peer) || !peer_start(&rig->peer))
        return false;
    rig_status(rig);
    return strcmp(rig->status.state, "up") == 0;
}

unsigned rig_rx(struct rig *rig, unsigned queue)
{
    struct hg_rxq *q = rig->port.rxq[queue];
    unsigned n = q->rx(q, rig->burst);

    q->done(q);
    return n;
}

bool rig_tx(struct rig *rig, unsigned queue, const void *frame, size_t len)
{
    struct hg_txq *q = rig->port.txq[queue];
    struct hg_pkt *pkt = &rig->burst->pkt[0];

    must(len <= HG_HEAD_BYTES, "transmit more than a head");
    pkt->len = (uint32_t)len;
    pkt->head_len = (uint16_t)len;
    pkt->seg_n = 0;
    pkt->ol = (struct hg_offload){0};
    memcpy(pkt->head, frame, len);
    return q->tx(q, &pkt, 1) == 1;
}

unsigned rig_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    must(dir != NULL, "read /proc/self/fd");
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

unsigned rig_count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned n = 0;

    must(maps != NULL, "read /proc/self/maps");
    while (fgets(line, sizeof(line), maps) != NULL)
        n += strstr(line, "memfd:guest") != NULL;
    fclose(maps);
    return n;
}
