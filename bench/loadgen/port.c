#include "port.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"

enum {
    RX_BUF_BYTES = 2048,    /* what drivers commonly post */
    TX_BYTES_MAX = 4 << 20, /* in flight on one ring: as much as a sender's socket buffers hold */
    PAGE_BYTES = 2 << 20,   /* of any kind */
    RETRY_MS = 20,
    STOP_MS = 500,
    SPARE_N = 64, /* buffers of a ring that can be on their way back while it is full */
    RING_WINDOWS_N = 2,
};

#define MEM_ADDR (UINT64_C(1) << 30) /* where the back-end sees our memory */

#define FEATURES                                                                                   \
    (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_F_EVENT_IDX) | HG_BIT(HG_VIRTIO_F_IN_ORDER))
#define FEATURES_TSO                                                                               \
    (HG_BIT(HG_VIRTIO_NET_F_CSUM) | HG_BIT(HG_VIRTIO_NET_F_HOST_TSO4) |                            \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM) | HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4))

static uint32_t odd_lines(uint32_t bytes)
{
    uint32_t lines = (bytes + HG_CACHE_LINE_BYTES - 1) / HG_CACHE_LINE_BYTES;

    return (lines | 1) * HG_CACHE_LINE_BYTES;
}

static uint16_t tx_size(const struct port_options *options)
{
    uint16_t num = options->queue_size;

    while (num > 2 * BATCH_N && (uint64_t)num * options->frame_bytes > TX_BYTES_MAX)
        num /= 2;
    return num;
}

/* What a port takes its memory and its virtual IOMMU from, and where it is in doing so. */
struct layout {
    const struct port_options *options;
    uint64_t bytes;  /* taken so far */
    uint64_t random; /* state */
};

static bool is_scattered(const struct layout *layout)
{
    return layout->options->page_bytes != 0;
}

static uint64_t ring_area_bytes(const struct layout *layout, uint16_t num)
{
    return is_scattered(layout) ? hg_round_up(hg_drv_bytes(num), layout->options->page_bytes)
                                : hg_drv_bytes(num);
}

static uint32_t buffers_of(const struct port_options *options, uint16_t num)
{
    uint32_t wanted = options->page_bytes != 0 ? options->live_pages / 2 : options->buffers_n;
    uint32_t n = wanted > num ? wanted / num * num : num;

    return options->iommu == IOMMU_DYNAMIC ? n + SPARE_N : n;
}

/* Sizes that are known before there is memory; the ring's place in it is layout->bytes, which
 * grows. */
static uint64_t plan_ring(struct layout *layout, struct ring *ring, uint32_t buf_bytes,
                          uint16_t num)
{
    uint64_t at = layout->bytes;
    uint64_t each_bytes;

    ring->buf_bytes = buf_bytes;
    ring->stride_bytes = odd_lines(buf_bytes);
    ring->buffer_n = buffers_of(layout->options, num);
    ring->turns = ring->buffer_n > num;
    each_bytes = is_scattered(layout) ? layout->options->page_bytes : ring->stride_bytes;
    layout->bytes = hg_round_up(
        at + ring_area_bytes(layout, num) + (uint64_t)ring->buffer_n * each_bytes, 4096);
    return at;
}

/* Gives each buffer of a ring a page behind `at`, and an address. */
static int scatter(struct port *port, struct layout *layout, struct ring *ring, uint64_t at)
{
    uint64_t page_bytes = layout->options->page_bytes;
    uint64_t lines = (page_bytes - ring->buf_bytes) / HG_CACHE_LINE_BYTES + 1;

    ring->place = calloc(ring->buffer_n, sizeof(*ring->place));
    if (ring->place == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < ring->buffer_n; i++)
        ring->place[i].page_addr = at + i * page_bytes;
    for (uint32_t i = ring->buffer_n; i > 1; i--) {
        struct place *other = &ring->place[next_random(&layout->random) % i];
        struct place kept = *other;

        *other = ring->place[i - 1];
        ring->place[i - 1] = kept;
    }
    for (uint32_t i = 0; i < ring->buffer_n; i++) {
        struct place *place = &ring->place[i];

        place->in_page = (uint32_t)(next_random(&layout->random) % lines) * HG_CACHE_LINE_BYTES;
        place->here = port->mem + place->page_addr + place->in_page;
        place->page_addr += MEM_ADDR;
        place->addr = place->page_addr + place->in_page;
        memset(place->here, 0, ring->buf_bytes); /* so that the first use does not fault */
    }
    return 0;
}

/* Maps all buffers for good. */
static void map_static(struct port *port, struct ring *ring)
{
    for (uint32_t i = 0; i < ring->buffer_n; i++) {
        struct place *place = &ring->place[i];

        place->window = iommu_map(&port->iommu, place->page_addr, port->iommu.page_bytes);
        place->addr = port->iommu.window[place->window].iova + place->in_page;
    }
}

static int make_ring(struct port *port, struct ring *ring, uint16_t num, unsigned index,
                     uint8_t *here)
{
    int rc = hg_drv_init(&ring->drv, num, index == 0, here);

    if (rc != 0)
        return rc;
    ring->buffer_of = calloc(num, sizeof(*ring->buffer_of));
    ring->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ring->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ring->buffer_of == NULL || ring->kick_fd < 0 || ring->call_fd < 0)
        return -ENOMEM;
    for (uint16_t id = 0; id < num; id++)
        ring->buffer_of[id] = id;
    port->plan.ring[index].num = num;
    port->plan.ring[index].kick_fd = ring->kick_fd;
    port->plan.ring[index].call_fd = ring->call_fd;
    return 0;
}

/* Tells the plan where the ring is for the back-end. */
static void name_ring(struct port *port, const struct ring *ring, unsigned index, uint64_t addr)
{
    port->plan.ring[index].desc = addr;
    port->plan.ring[index].avail = addr + (uint64_t)(ring->drv.avail - ring->drv.desc);
    port->plan.ring[index].used = addr + (uint64_t)(ring->drv.used - ring->drv.desc);
}

static int place_ring(struct port *port, struct layout *layout, struct ring *ring, uint16_t num,
                      unsigned index, uint64_t at)
{
    uint64_t area_bytes = ring_area_bytes(layout, num);
    int rc = make_ring(port, ring, num, index, port->mem + at);

    if (rc != 0)
        return rc;
    name_ring(port, ring, index, MEM_ADDR + at);
    if (!is_scattered(layout)) {
        ring->bufs = port->mem + at + area_bytes;
        ring->bufs_addr = MEM_ADDR + at + area_bytes;
        return 0;
    }
    rc = scatter(port, layout, ring, at + area_bytes);
    if (rc != 0 || port->mode == IOMMU_OFF)
        return rc;

    uint32_t window = iommu_map(&port->iommu, MEM_ADDR + at, area_bytes);

    name_ring(port, ring, index, port->iommu.window[window].iova);
    if (port->mode == IOMMU_DYNAMIC)
        return ring_map_each_use(ring, &port->iommu, layout->options->watch);
    map_static(port, ring);
    return 0;
}

/* Huge pages when there are some: the load generator should not pay for its own address
 * translation. Scattered pages are of ordinary size behind the scenes, since most of a large one
 * stays untouched. */
static int take_memory(struct port *port, const struct layout *layout, struct hg_err *err)
{
    uint64_t bytes = hg_round_up(layout->bytes, PAGE_BYTES);
    unsigned kind = is_scattered(layout) ? 0 : MFD_HUGETLB;
    int how = is_scattered(layout) ? MAP_SHARED | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;

    for (;; kind = 0) {
        int fd = memfd_create("loadgen", MFD_CLOEXEC | kind);

        if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0) {
            void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, how, fd, 0);

            if (mem != MAP_FAILED) {
                port->mem = mem;
                port->plan.mem_fd = fd;
                port->plan.mem_addr = MEM_ADDR;
                port->plan.mem_bytes = bytes;
                return 0;
            }
        }
        if (fd >= 0)
            close(fd);
        if (kind == 0)
            return hg_err_set(err, errno, "cannot take %zu bytes of shared memory: %s",
                              (size_t)bytes, strerror(errno));
    }
}

static uint64_t features_of(const struct port_options *options)
{
    uint64_t features = HG_BIT(HG_VIRTIO_F_VERSION_1);

    if (options->tso)
        features |= FEATURES_TSO;
    if (options->mergeable)
        features |= HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF);
    if (options->packed)
        features |= HG_BIT(HG_VIRTIO_F_RING_PACKED);
    if (options->iommu != IOMMU_OFF)
        features |= HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM);
    return features;
}

static int place_rings(struct port *port, struct layout *layout, const uint64_t *at,
                       uint16_t tx_num)
{
    const struct port_options *options = layout->options;
    int rc = 0;

    if (options->iommu != IOMMU_OFF) {
        port->plan.translate = iommu_translate;
        port->plan.translate_ctx = &port->iommu;
        rc = iommu_init(&port->iommu, &port->front,
                        port->rx.buffer_n + port->tx.buffer_n + RING_WINDOWS_N, options->page_bytes,
                        &layout->random);
    }
    if (options->in_flight_max != 0)
        port->iommu.in_flight_max = options->in_flight_max;
    if (rc == 0)
        rc = place_ring(port, layout, &port->rx, options->queue_size, 0, at[0]);
    if (rc == 0)
        rc = place_ring(port, layout, &port->tx, tx_num, 1, at[1]);
    return rc;
}

int port_open(struct port *port, const struct port_options *options, struct hg_err *err)
{
    struct layout layout = {.options = options, .random = UINT64_C(0x9e3779b97f4a7c15)};
    uint32_t frame_bytes = HG_NET_HDR_BYTES + options->frame_bytes;
    bool whole = !options->mergeable || options->iommu == IOMMU_DYNAMIC;
    uint32_t rx_bytes = whole && frame_bytes > RX_BUF_BYTES ? frame_bytes : RX_BUF_BYTES;
    uint16_t tx_num = tx_size(options);
    uint64_t at[2];
    int rc;

    port->listener.fd = -1;
    port->mode = options->iommu;
    if (options->page_bytes != 0 && hg_max_u32(rx_bytes, frame_bytes) > options->page_bytes)
        return hg_err_set(err, EINVAL, "a buffer of %u bytes does not fit a page of %u",
                          hg_max_u32(rx_bytes, frame_bytes), (unsigned)options->page_bytes);
    at[0] = plan_ring(&layout, &port->rx, rx_bytes, options->queue_size);
    if (is_scattered(&layout))
        layout.bytes = hg_round_up(layout.bytes, options->page_bytes);
    at[1] = plan_ring(&layout, &port->tx, frame_bytes, tx_num);
    rc = take_memory(port, &layout, err);
    if (rc != 0)
        return rc;
    port->plan.pair_n = 1;
    port->plan.features_needed = features_of(options);
    port->plan.features = FEATURES | port->plan.features_needed;
    rc = place_rings(port, &layout, at, tx_num);
    if (rc != 0)
        return hg_err_set(err, -rc, "cannot make a ring: %s", strerror(-rc));
    return port->listens ? hg_sock_listen(&port->listener, port->path, 0660, 1, err) : 0;
}

/* Finds the back-end, or says that it is not there yet by -EAGAIN. */
static int begin(struct port *port, struct hg_err *err)
{
    int fd =
        port->listens ? hg_sock_accept(&port->listener, err) : hg_sock_connect(port->path, err);

    if (fd == -ENOENT || fd == -ECONNREFUSED)
        return -EAGAIN;
    if (fd < 0)
        return fd;
    port->started = true;
    return hg_vhost_front_start(&port->front, fd, &port->plan, err);
}

static void put_sockets(const struct port *port, struct pollfd fds[2])
{
    bool writes = port->started && hg_vhost_front_wants_write(&port->front);

    fds[0].fd = port->started ? port->front.conn.fd : port->listener.fd;
    fds[0].events = (short)(POLLIN | (writes ? POLLOUT : 0));
    fds[1].fd = port->started ? hg_vhost_front_channel(&port->front) : -1;
    fds[1].events = POLLIN;
}

void ports_rest(const struct port *a, const struct port *b, uint64_t ns)
{
    struct timespec timeout = {(time_t)(ns / HG_NS_PER_S), (long)(ns % HG_NS_PER_S)};
    struct pollfd fds[4];

    put_sockets(a, &fds[0]);
    put_sockets(b, &fds[2]);
    ppoll(fds, a == b ? 2 : 4, &timeout, NULL);
}

static int step(struct port *port, struct hg_err *err)
{
    int rc = port->started ? hg_vhost_front_run(&port->front, err) : begin(port, err);

    return rc == -EAGAIN ? 0 : rc;
}

static bool all_in(const struct port *ports, unsigned n, enum hg_vhost_front_state state)
{
    for (unsigned i = 0; i < n; i++)
        if (!ports[i].started || ports[i].front.state != state)
            return false;
    return true;
}

static void post_everything(struct port *port)
{
    hg_drv_start(&port->rx.drv, port->front.features);
    hg_drv_start(&port->tx.drv, port->front.features);
    while (ring_ready(&port->rx) != 0)
        ring_post(&port->rx, hg_min_u32(ring_ready(&port->rx), BATCH_N));
    ring_publish(&port->rx);
}

int ports_attach(struct port *ports, unsigned n, uint64_t timeout_ns, struct hg_err *err)
{
    uint64_t end_ns = hg_now_ns() + timeout_ns;

    while (!all_in(ports, n, HG_VHOST_FRONT_UP)) {
        for (unsigned i = 0; i < n; i++) {
            int rc = step(&ports[i], err);

            if (rc != 0)
                return rc;
        }
        if (hg_now_ns() > end_ns)
            return hg_err_set(err, ETIMEDOUT, "no session with the back-ends at '%s' and '%s'",
                              ports[0].path, ports[n - 1].path);
        if (!all_in(ports, n, HG_VHOST_FRONT_UP))
            ports_rest(&ports[0], &ports[n - 1], RETRY_MS * HG_NS_PER_MS);
    }
    for (unsigned i = 0; i < n; i++)
        post_everything(&ports[i]);
    return 0;
}

static void stop(struct port *port)
{
    uint64_t end_ns = hg_now_ns() + STOP_MS * HG_NS_PER_MS;

    if (!port->started)
        return;
    if (port->front.state == HG_VHOST_FRONT_UP && hg_vhost_front_stop(&port->front, NULL) == 0)
        while (port->front.state != HG_VHOST_FRONT_STOPPED && hg_now_ns() < end_ns) {
            ports_rest(port, port, RETRY_MS * HG_NS_PER_MS);
            if (hg_vhost_front_run(&port->front, NULL) != 0)
                break;
        }
    hg_vhost_front_close(&port->front);
}

void ports_close(struct port *ports, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct port *port = &ports[i];

        stop(port);
        ring_free(&port->rx);
        ring_free(&port->tx);
        iommu_free(&port->iommu);
        if (port->listens && port->listener.fd >= 0) {
            hg_sock_remove(&port->listener, port->path);
            close(port->listener.fd);
        }
        if (port->mem != NULL) {
            munmap(port->mem, port->plan.mem_bytes);
            close(port->plan.mem_fd);
        }
    }
}

int port_check(const struct port *port, struct hg_err *err)
{
    if (port->broken != 0)
        return hg_err_set(err, -port->broken, "'%s': %s", port->path, port->why.text);

    const struct hg_drv *rings[] = {&port->rx.drv, &port->tx.drv};

    for (unsigned i = 0; i < HG_ARRAY_N(rings); i++)
        if (rings[i]->fault != HG_DRV_OK)
            return hg_err_set(err, EPROTO, "'%s': the back-end broke the %s ring: %s (0x%llx)",
                              port->path, i == 0 ? "receive" : "transmit",
                              hg_drv_fault_name(rings[i]->fault),
                              (unsigned long long)rings[i]->fault_value);
    return 0;
}

/* Returns whether there was something. */
static bool serve(struct port *port)
{
    int rc = port->mode == IOMMU_OFF || port->broken != 0 ? 0 : iommu_run(&port->iommu, &port->why);

    if (rc < 0)
        port->broken = rc;
    return rc > 0;
}

bool ports_serve(struct port *a, struct port *b)
{
    bool any = serve(a);

    return serve(b) || any;
}
