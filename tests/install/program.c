/* A program that knows nothing of this tree; C and C++. Takes memory, checks a sum, pins and turns
 * a worker. */
#include <headgate/headgate.h>

#include <stdio.h>
#include <string.h>

static unsigned polls;

static unsigned poll_once(struct hg_poller *poller)
{
    (void)poller;
    return polls++ == 0;
}

static int fail(const char *what, const struct hg_err *err)
{
    printf("%s: %s\n", what, err->text);
    return 1;
}

int main(void)
{
    const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}; /* RFC 1071, 3 */
    struct hg_arena_options memory;
    struct hg_worker_options options;
    struct hg_poller poller;
    struct hg_poller *pollers[] = {&poller};
    struct hg_arena *arena;
    struct hg_worker *worker;
    struct hg_err err;
    char *piece;

    if (hg_csum(bytes, sizeof(bytes)) != (uint16_t)~0xddf2)
        return 1;

    memset(&memory, 0, sizeof(memory));
    memory.name = "test";
    memory.bytes = 1 << 20;
    memory.pages = HG_PAGES_4K;
    if (hg_arena_new(&arena, &memory, &err) != 0)
        return fail("arena", &err);
    piece = (char *)hg_arena_take(arena, "piece", 4096, 64);
    memset(piece, 1, 4096);

    memset(&options, 0, sizeof(options));
    options.cpu = -1;
    memset(&poller, 0, sizeof(poller));
    poller.poll = poll_once;
    poller.fd = -1;
    if (hg_worker_new(&worker, &options, NULL, &err) != 0 ||
        hg_worker_set(worker, pollers, 1, &err) != 0)
        return fail("worker", &err);
    hg_qsbr_register();
    if (hg_worker_turn(worker) != 1 || polls != 1)
        return 1;
    hg_qsbr_unregister();
    hg_worker_free(worker);
    hg_arena_free(arena);

    printf("%s, port type %s\n", HG_VERSION, hg_vhost_user_driver.type);
    return 0;
}
