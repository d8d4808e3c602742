/*
 * What one copy of a frame costs by itself: n bytes from one set of buffers to another, each used
 * once a round, with as many buffers as given. Sets that fit the second-level cache show the core's
 * speed, larger ones how many lines the core can have under way at once: the floor under any switch
 * that moves frames between rings of that many buffers.
 *
 *   copy [--smoke]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/shm.h"
#include "sample.h"

enum {
    STRIDE_BYTES = 2112, /* an odd number of lines, as drivers arrange their buffers */
    BUFFERS_MAX = 4096,
    SAMPLES_N = 9,
};

/* Median cycles of one copy. */
static double measure(uint8_t *from, uint8_t *to, size_t bytes, unsigned buffers_n,
                      unsigned rounds_n)
{
    double sample[SAMPLES_N];

    for (unsigned s = 0; s < SAMPLES_N; s++) {
        uint64_t begin = hg_cycles();

        for (unsigned round = 0; round < rounds_n; round++)
            for (size_t i = 0; i < buffers_n; i++)
                hg_shm_through(to + i * STRIDE_BYTES, from + i * STRIDE_BYTES, bytes);
        sample[s] = (double)(hg_cycles() - begin) / rounds_n / buffers_n;
    }
    return sample_median(sample, SAMPLES_N);
}

int main(int argc, char **argv)
{
    static const unsigned buffers_n[] = {16, 128, 512, 1024, 2048, BUFFERS_MAX};
    unsigned copies_n = argc > 1 && strcmp(argv[1], "--smoke") == 0 ? 1 << 14 : 1 << 19;
    size_t set_bytes = (size_t)BUFFERS_MAX * STRIDE_BYTES;
    uint8_t *memory = malloc(2 * set_bytes);

    if (memory == NULL) {
        fprintf(stderr, "copy: no memory\n");
        return 1;
    }
    memset(memory, 1, 2 * set_bytes);
    printf("cycles of one copy of 1500 bytes\n%8s %8s\n", "buffers", "cycles");
    for (size_t i = 0; i < sizeof(buffers_n) / sizeof(buffers_n[0]); i++)
        printf("%8u %8.0f\n", buffers_n[i],
               measure(memory, memory + set_bytes, 1500, buffers_n[i], copies_n / buffers_n[i]));
    free(memory);
    return 0;
}
