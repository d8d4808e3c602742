/*
 * The ACL's lookup with AVX-512: sixteen packets in the lanes of a register, tables read by gather.
 *
 * A gather loads 32 bits where a table has 16, so it reads up to two bytes behind the table's end,
 * and the upper half is masked away.
 */
#include "table/acl_search.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { LANES = 16 };

#define AVX512 __attribute__((target("avx512f")))

bool hg_acl_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}

AVX512 static inline __m512i gather16(const uint16_t *table, __m512i index)
{
    return _mm512_and_epi32(_mm512_i32gather_epi32(index, table, 2), _mm512_set1_epi32(0xffff));
}

/* Byte `byte` of each key, from the word of the key that holds it. */
AVX512 static inline __m512i byte_of(__m512i word, unsigned byte)
{
    return _mm512_and_epi32(_mm512_srl_epi32(word, _mm_cvtsi32_si128((int)(byte % 4 * 8))),
                            _mm512_set1_epi32(0xff));
}

/* Classes of packets `at` to at + 15. Lanes beyond the burst read the first key. */
AVX512 static void find_classes(const struct acl_set *set, const uint8_t *keys,
                                struct acl_classes *classes, unsigned at, unsigned n)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __mmask16 live = n - at >= LANES ? 0xffff : (__mmask16)((1u << (n - at)) - 1);
    __m512i key = _mm512_maskz_mullo_epi32(live, lane, _mm512_set1_epi32(set->key_bytes));
    __m512i word = _mm512_setzero_si512();
    unsigned word_at = UINT32_MAX;

    for (unsigned f = 0; f < set->fields_n; f++) {
        const struct acl_field *field = &set->field[f];
        __m512i class;

        if (field->first_byte / 4 != word_at) {
            word_at = field->first_byte / 4;
            word = _mm512_i32gather_epi32(key, keys + word_at * 4, 1);
        }
        class = gather16(field->first, byte_of(word, field->first_byte));
        if (field->second != NULL)
            class =
                gather16(field->second, _mm512_add_epi32(class, byte_of(word, field->second_byte)));
        _mm512_store_si512(&classes->slot[f][at], class);
    }
    for (unsigned m = 0; m < set->merges_n; m++) {
        const struct acl_merge *merge = &set->merge[m];
        __m512i a = _mm512_load_si512(&classes->slot[merge->a][at]);
        __m512i b = _mm512_load_si512(&classes->slot[merge->b][at]);
        __m512i cell = _mm512_mullo_epi32(a, _mm512_set1_epi32((int)merge->b_n));

        _mm512_store_si512(&classes->slot[set->fields_n + m][at],
                           gather16(merge->table, _mm512_add_epi32(cell, b)));
    }
}

AVX512 static inline unsigned
first_in_line(const struct acl_set *set, const struct acl_rounds *rounds, unsigned i, unsigned line)
{
    __m512i bits = _mm512_load_si512(&set->line[rounds->row[0][i][2 + line]]);
    __mmask8 words;
    uint64_t word;

    for (unsigned l = 1; l < set->left_n; l++)
        bits = _mm512_and_epi64(bits, _mm512_load_si512(&set->line[rounds->row[l][i][2 + line]]));
    words = _mm512_test_epi64_mask(bits, bits);
    /* The first word that is not zero, without a branch: half of the lines looked at hold
     * nothing. */
    word = (uint64_t)_mm_cvtsi128_si64(
        _mm512_castsi512_si128(_mm512_maskz_compress_epi64(words, bits)));
    return (unsigned)__builtin_ctz(words | 1u << ACL_LINE_WORDS) * 64 +
           (unsigned)(words != 0 ? __builtin_ctzll(word | UINT64_C(1) << 63) : 0);
}

AVX512 void hg_acl_search_avx512(const struct acl_set *set, const uint8_t *keys, uint32_t *data,
                                 unsigned n)
{
    struct acl_classes classes;

    if (set->left_n == 0 || n < LANES / 2) {
        hg_acl_search_plain(set, keys, data, n);
        return;
    }
    for (unsigned at = 0; at < n; at += LANES)
        find_classes(set, keys + (size_t)at * set->key_bytes, &classes, at, n);
    if (set->left_n > 1) {
        acl_search_rows(set, &classes, data, n, first_in_line);
        return;
    }
    for (unsigned at = 0; at < n; at += LANES) {
        __mmask16 live = n - at >= LANES ? 0xffff : (__mmask16)((1u << (n - at)) - 1);
        __m512i class = _mm512_load_si512(&classes.slot[set->left[0].slot][at]);

        _mm512_mask_storeu_epi32(data + at, live, _mm512_i32gather_epi32(class, set->data, 4));
    }
}

#endif
