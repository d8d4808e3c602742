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
};

#define MEM_ADDR (UINT64_C(1) << 30) /* where the back-end sees our memory */

#define FEATURES (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_F_EVENT_IDX))
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

/* Sizes that are known before there is memory; the ring's place in it is `*bytes`, which grows. */
static void plan_ring(struct ring *ring, uint32_t buf_bytes, uint16_t num, uint32_t buffers_n,
                      uint64_t *bytes)
{
    ring->buf_bytes = buf_bytes;
    ring->stride_bytes = odd_lines(buf_bytes);
    ring->set_n = buffers_n > num ? buffers_n / num : 1;
    ring->bufs_addr = *bytes + hg_drv_bytes(num);
    *bytes = hg_round_up(ring->bufs_addr + (uint64_t)ring->set_n * num * ring->stride_bytes, 4096);
}

static int place_ring(struct port *port, struct ring *ring, uint16_t num, unsigned index)
{
    uint64_t offset = ring->bufs_addr - hg_drv_bytes(num);
    uint8_t *here = port->mem + offset;
    int rc = hg_drv_init(&ring->drv, num, index == 0, here);

    if (rc != 0)
        return rc;
    ring->bufs = port->mem + ring->bufs_addr;
    ring->bufs_addr += MEM_ADDR;
    ring->set = calloc(num, sizeof(*ring->set));
    ring->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ring->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ring->set == NULL || ring->kick_fd < 0 || ring->call_fd < 0)
        return -ENOMEM;
    port->plan.ring[index] = (struct hg_vhost_front_ring){
        .desc = MEM_ADDR + (uint64_t)(ring->drv.desc - port->mem),
        .avail = MEM_ADDR + (uint64_t)(ring->drv.avail - port->mem),
        .used = MEM_ADDR + (uint64_t)(ring->drv.used - port->mem),
        .num = num,
        .kick_fd = ring->kick_fd,
        .call_fd = ring->call_fd,
    };
    return 0;
}

/* Huge pages when there are some: the load generator should not pay for its own address
 * translation. */
static int take_memory(struct port *port, uint64_t bytes, struct hg_err *err)
{
    static const unsigned kinds[] = {MFD_HUGETLB, 0};

    bytes = hg_round_up(bytes, PAGE_BYTES);
    for (unsigned i = 0; i < HG_ARRAY_N(kinds); i++) {
        int fd = memfd_create("loadgen", MFD_CLOEXEC | kinds[i]);

        if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0) {
            void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

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
    }
    return hg_err_set(err, errno, "cannot take %zu bytes of shared memory: %s", (size_t)bytes,
                      strerror(errno));
}

int port_open(struct port *port, const struct port_options *options, struct hg_err *err)
{
    uint32_t frame_bytes = HG_NET_HDR_BYTES + options->frame_bytes;
    uint32_t rx_bytes =
        !options->mergeable && frame_bytes > RX_BUF_BYTES ? frame_bytes : RX_BUF_BYTES;
    uint16_t tx_num = tx_size(options);
    uint64_t bytes = 0;
    int rc;

    port->listener.fd = -1;
    plan_ring(&port->rx, rx_bytes, options->queue_size, options->buffers_n, &bytes);
    plan_ring(&port->tx, frame_bytes, tx_num, options->buffers_n, &bytes);
    rc = take_memory(port, bytes, err);
    if (rc != 0)
        return rc;
    port->plan.pair_n = 1;
    port->plan.features_needed = HG_BIT(HG_VIRTIO_F_VERSION_1) | (options->tso ? FEATURES_TSO : 0) |
                                 (options->mergeable ? HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) : 0);
    port->plan.features = FEATURES | port->plan.features_needed;
    rc = place_ring(port, &port->rx, options->queue_size, 0);
    if (rc == 0)
        rc = place_ring(port, &port->tx, tx_num, 1);
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

static void wait_for_input(const struct port *ports, unsigned n, int timeout_ms)
{
    struct pollfd fds[4];

    for (unsigned i = 0; i < n; i++) {
        bool writes = ports[i].started && hg_vhost_front_wants_write(&ports[i].front);

        fds[i].fd = ports[i].started ? ports[i].front.conn.fd : ports[i].listener.fd;
        fds[i].events = (short)(POLLIN | (writes ? POLLOUT : 0));
    }
    poll(fds, n, timeout_ms);
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
    while (port->rx.drv.free_n != 0)
        ring_post(&port->rx, hg_min_u32(port->rx.drv.free_n, BATCH_N));
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
            wait_for_input(ports, n, RETRY_MS);
    }
    for (unsigned i = 0; i < n; i++)
        post_everything(&ports[i]);
    return 0;
}

static void free_ring(struct ring *ring)
{
    hg_drv_free(&ring->drv);
    free(ring->set);
    if (ring->kick_fd > 0)
        close(ring->kick_fd);
    if (ring->call_fd > 0)
        close(ring->call_fd);
}

static void stop(struct port *port)
{
    uint64_t end_ns = hg_now_ns() + STOP_MS * HG_NS_PER_MS;

    if (!port->started)
        return;
    if (port->front.state == HG_VHOST_FRONT_UP && hg_vhost_front_stop(&port->front, NULL) == 0)
        while (port->front.state != HG_VHOST_FRONT_STOPPED && hg_now_ns() < end_ns) {
            wait_for_input(port, 1, RETRY_MS);
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
        free_ring(&port->rx);
        free_ring(&port->tx);
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
    const struct hg_drv *rings[] = {&port->rx.drv, &port->tx.drv};

    for (unsigned i = 0; i < HG_ARRAY_N(rings); i++)
        if (rings[i]->fault != HG_DRV_OK)
            return hg_err_set(err, EPROTO, "'%s': the back-end broke the %s ring: %s (0x%llx)",
                              port->path, i == 0 ? "receive" : "transmit",
                              hg_drv_fault_name(rings[i]->fault),
                              (unsigned long long)rings[i]->fault_value);
    return 0;
}

void ring_publish(struct ring *ring)
{
    if (hg_drv_publish(&ring->drv)) {
        ring->kicks++;
        eventfd_write(ring->kick_fd, 1);
    }
}

void ring_post(struct ring *ring, unsigned n)
{
    struct hg_drv_buf bufs[BATCH_N];

    for (unsigned i = 0; i < n; i++) {
        uint16_t id = hg_drv_id(&ring->drv, i);

        ring_turn(ring, id);
        bufs[i] = (struct hg_drv_buf){.addr = ring->bufs_addr + ring_offset(ring, id),
                                      .len = ring->buf_bytes,
                                      .flags = HG_DESC_F_WRITE};
    }
    hg_drv_add(&ring->drv, bufs, n);
}
