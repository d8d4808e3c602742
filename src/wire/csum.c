#include "wire/csum.h"

#include <stdatomic.h>
#include <string.h>

#include "base/bits.h"
#include "wire/bytes.h"
#include "wire/csum_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* 32-bit words added into 64 bits cannot overflow below 2^32 words, and 2^16 = 1 modulo 2^16 - 1,
 * so their sum folds to the sum of the 16-bit words. */
static uint64_t sum_plain(const uint8_t *bytes, size_t n)
{
    uint64_t sum = 0;

    for (; n >= 4; n -= 4, bytes += 4)
        sum += hg_load_raw32(bytes);
    if (n != 0) {
        uint8_t tail[4] = {0};

        memcpy(tail, bytes, n);
        sum += hg_load_raw32(tail);
    }
    return sum;
}

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)

/* Two accumulators of four 64-bit lanes: the low and the high 32 bits of each lane that is
 * loaded. */
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *bytes, size_t n)
{
    const __m256i low_half = _mm256_set1_epi64x(0xffffffff);
    __m256i low = _mm256_setzero_si256();
    __m256i high = _mm256_setzero_si256();
    uint64_t lane[4];

    for (; n >= 64; n -= 64, bytes += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i_u *)bytes);
        __m256i b = _mm256_loadu_si256((const __m256i_u *)(bytes + 32));

        low = _mm256_add_epi64(low, _mm256_and_si256(a, low_half));
        high = _mm256_add_epi64(high, _mm256_srli_epi64(a, 32));
        low = _mm256_add_epi64(low, _mm256_and_si256(b, low_half));
        high = _mm256_add_epi64(high, _mm256_srli_epi64(b, 32));
    }
    _mm256_storeu_si256((__m256i_u *)lane, _mm256_add_epi64(low, high));
    return lane[0] + lane[1] + lane[2] + lane[3] + sum_plain(bytes, n);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

#elif defined(__aarch64__)

static uint64_t sum_neon(const uint8_t *bytes, size_t n)
{
    uint64x2_t a = vdupq_n_u64(0);
    uint64x2_t b = vdupq_n_u64(0);

    for (; n >= 32; n -= 32, bytes += 32) {
        a = vpadalq_u32(a, vreinterpretq_u32_u8(vld1q_u8(bytes)));
        b = vpadalq_u32(b, vreinterpretq_u32_u8(vld1q_u8(bytes + 16)));
    }
    return vaddvq_u64(vaddq_u64(a, b)) + sum_plain(bytes, n);
}

#endif

const struct hg_csum_kernel hg_csum_kernels[] = {
#if defined(__x86_64__)
    {"avx2", sum_avx2, has_avx2},
#elif defined(__aarch64__)
    {"neon", sum_neon, always},
#endif
    {"plain", sum_plain, always},
};
const unsigned hg_csum_kernel_n = HG_ARRAY_N(hg_csum_kernels);

static uint64_t choose_and_sum(const uint8_t *bytes, size_t n);

/* Two threads that come first at once choose the same. */
static _Atomic(uint64_t (*)(const uint8_t *, size_t)) chosen = choose_and_sum;

static uint64_t choose_and_sum(const uint8_t *bytes, size_t n)
{
    unsigned i = 0;

    while (!hg_csum_kernels[i].usable())
        i++;
    atomic_store_explicit(&chosen, hg_csum_kernels[i].sum, memory_order_relaxed);
    return hg_csum_kernels[i].sum(bytes, n);
}

/* Below this many bytes, headers, the vector version has nothing to win. */
enum { SHORT_BYTES = 64 };

void hg_csum_add(struct hg_csum *csum, const uint8_t *bytes, size_t n)
{
    uint64_t sum = n < SHORT_BYTES ? sum_plain(bytes, n)
                                   : atomic_load_explicit(&chosen, memory_order_relaxed)(bytes, n);
    struct hg_csum piece = {.sum = sum};
    uint16_t word = hg_csum_fold(&piece);

    /* To big-endian words, and once more when the piece begins in the middle of one: a swap of the
     * sum is the sum of the swapped (RFC 1071, 2 (B)). */
    if ((__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) != csum->odd)
        word = __builtin_bswap16(word);
    csum->sum += word;
    csum->odd ^= n & 1;
}

uint16_t hg_csum(const uint8_t *bytes, size_t n)
{
    struct hg_csum csum = {0};

    hg_csum_add(&csum, bytes, n);
    return (uint16_t)~hg_csum_fold(&csum);
}

void hg_csum_add_pseudo4(struct hg_csum *csum, const uint8_t *src, const uint8_t *dst,
                         uint8_t proto, uint16_t len)
{
    hg_csum_add(csum, src, 4);
    hg_csum_add(csum, dst, 4);
    csum->sum += (uint32_t)proto + len;
}

void hg_csum_add_pseudo6(struct hg_csum *csum, const uint8_t *src, const uint8_t *dst,
                         uint8_t proto, uint32_t len)
{
    hg_csum_add(csum, src, 16);
    hg_csum_add(csum, dst, 16);
    csum->sum += (uint64_t)proto + len;
}
