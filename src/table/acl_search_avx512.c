/*
 * The ACL's lookup with AVX-512: packets in the lanes of a register, tables read by gather.
 *
 * Classes: sixteen packets at a time. A gather loads 32 bits where a table has 16, so it reads up to
 * two bytes behind the table's end, and the upper half is masked away.
 *
 * Rows: in rounds, one line of every packet that needs another one. Only the intersection of lines is
 * made packet by packet, because a line is a register wide. What surrounds it - which line comes
 * next, where its first bit is, whether that rule is better than the one before - is done for eight
 * packets at a time. Packets that are through leave their lanes to others by compression.
 */
#include "table/acl_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { LANES = 16, ROWS = 8 };

#define AVX512 __attribute__((target("avx512f,avx512cd,popcnt")))

bool hg_acl_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd");
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

/* The search in rows of a burst, whose packets that still have lines to look at come first: the
 * j-th of them, not packet j. */
struct rounds {
    _Alignas(HG_CACHE_LINE_BYTES) uint64_t row[ACL_FIELDS_MAX][ACL_BURST]; /* index of its row */
    uint64_t lines[ACL_BURST];                                             /* still to look at */
    uint64_t best[ACL_BURST]; /* rank << 32 | position + 1 */
    uint64_t packet[ACL_BURST];
    uint32_t line[ACL_FIELDS_MAX][ACL_BURST]; /* the number of the line at hand in each row */
    uint64_t words[ACL_BURST]; /* which words of the lines' intersection are not zero, */
    uint64_t word[ACL_BURST];  /* and the first of them */
    unsigned open_n;
};

/* The number of zeroes below the lowest bit; -1 where there is none. */
AVX512 static inline __m512i count_below(__m512i bits)
{
    __m512i lowest = _mm512_and_epi64(bits, _mm512_sub_epi64(_mm512_setzero_si512(), bits));

    return _mm512_sub_epi64(_mm512_set1_epi64(63), _mm512_lzcnt_epi64(lowest));
}

/* Writes the lanes in `open` to the front of `to`, which lies not behind where they came from. */
AVX512 static inline void keep(uint64_t *to, __mmask8 open, __m512i lanes)
{
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(open, lanes));
}

AVX512 static inline __mmask8 live_rows(unsigned n)
{
    return n >= ROWS ? 0xff : (__mmask8)((1u << n) - 1);
}

AVX512 static void begin_rounds(struct rounds *rounds, const struct acl_set *set,
                                const struct acl_classes *classes, unsigned n)
{
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i no_rule = _mm512_set1_epi64((int64_t)(UINT64_MAX << 32));

    rounds->open_n = 0;
    for (unsigned at = 0; at < n; at += ROWS) {
        __mmask8 open = live_rows(n - at);
        __m512i lines = _mm512_set1_epi64(-1);
        __m512i row[ACL_FIELDS_MAX];

        for (unsigned l = 0; l < set->left_n; l++) {
            const uint32_t *slot = &classes->slot[set->left[l].slot][at];
            __m512i class = _mm512_cvtepu32_epi64(_mm256_load_si256((const void *)slot));

            row[l] = _mm512_mul_epu32(class, _mm512_set1_epi64(set->row_words));
            lines = _mm512_and_epi64(lines, _mm512_i64gather_epi64(row[l], set->left[l].row, 4));
        }
        open = _mm512_mask_test_epi64_mask(open, lines, lines);
        for (unsigned l = 0; l < set->left_n; l++)
            keep(&rounds->row[l][rounds->open_n], open, row[l]);
        keep(&rounds->lines[rounds->open_n], open, lines);
        keep(&rounds->packet[rounds->open_n], open, _mm512_add_epi64(lane, _mm512_set1_epi64(at)));
        _mm512_storeu_si512(&rounds->best[rounds->open_n], no_rule);
        rounds->open_n += (unsigned)__builtin_popcount(open);
    }
}

/* Finds the next line of every row. Prefetching them here was tried: no faster. */
AVX512 static void choose_lines(const struct acl_set *set, struct rounds *rounds)
{
    for (unsigned at = 0; at < rounds->open_n; at += ROWS) {
        __mmask8 live = live_rows(rounds->open_n - at);
        __m512i line = count_below(_mm512_load_si512(&rounds->lines[at]));

        for (unsigned l = 0; l < set->left_n; l++) {
            __m512i entry = _mm512_add_epi64(_mm512_load_si512(&rounds->row[l][at]), line);

            _mm256_store_si256((void *)&rounds->line[l][at],
                               _mm512_mask_i64gather_epi32(_mm256_setzero_si256(), live, entry,
                                                           set->left[l].row + 2, 4));
        }
    }
}

/* Intersects the lines. */
AVX512 static inline void intersect(const struct acl_set *set, struct rounds *rounds,
                                    unsigned left_n)
{
    for (unsigned j = 0; j < rounds->open_n; j++) {
        __m512i bits = _mm512_load_si512(&set->line[rounds->line[0][j]]);
        __mmask8 words;

        for (unsigned l = 1; l < left_n; l++)
            bits = _mm512_and_epi64(bits, _mm512_load_si512(&set->line[rounds->line[l][j]]));
        words = _mm512_test_epi64_mask(bits, bits);
        rounds->words[j] = words;
        rounds->word[j] = (uint64_t)_mm_cvtsi128_si64(
            _mm512_castsi512_si128(_mm512_maskz_compress_epi64(words, bits)));
    }
}

/* Takes the rules that were found, and leaves the packets that need another line. */
AVX512 static void settle(const struct acl_set *set, struct rounds *rounds, uint32_t *data)
{
    unsigned open_n = 0;

    for (unsigned at = 0; at < rounds->open_n; at += ROWS) {
        __mmask8 live = live_rows(rounds->open_n - at);
        __m512i lines = _mm512_load_si512(&rounds->lines[at]);
        __m512i words = _mm512_load_si512(&rounds->words[at]);
        __m512i best = _mm512_load_si512(&rounds->best[at]);
        __m512i packet = _mm512_load_si512(&rounds->packet[at]);
        __m512i more = _mm512_and_epi64(lines, _mm512_sub_epi64(lines, _mm512_set1_epi64(1)));
        __m512i first = count_below(_mm512_load_si512(&rounds->word[at]));
        __m512i position, rank, next_rank;
        __mmask8 open, done;

        first = _mm512_add_epi64(first, _mm512_slli_epi64(count_below(words), 6));
        first = _mm512_add_epi64(first, _mm512_slli_epi64(count_below(lines), 9));
        position = _mm512_mask_mov_epi64(_mm512_set1_epi64(set->no_rule),
                                         _mm512_mask_test_epi64_mask(live, words, words), first);
        rank = _mm512_cvtepu32_epi64(_mm512_i64gather_epi32(position, set->rank, 4));
        position = _mm512_add_epi64(position, _mm512_set1_epi64(1));
        best = _mm512_min_epu64(best, _mm512_or_epi64(_mm512_slli_epi64(rank, 32), position));

        open = _mm512_mask_test_epi64_mask(live, more, more);
        next_rank = _mm512_cvtepu32_epi64(_mm512_mask_i64gather_epi32(
            _mm256_setzero_si256(), open, count_below(more), set->line_rank, 4));
        open = _mm512_mask_cmplt_epu64_mask(open, next_rank, _mm512_srli_epi64(best, 32));
        done = live & (__mmask8)~open;
        position = _mm512_and_epi64(best, _mm512_set1_epi64(UINT32_MAX));
        _mm512_mask_i64scatter_epi32(
            data, done, packet,
            _mm512_mask_i64gather_epi32(_mm256_setzero_si256(), done, position, set->data, 4), 4);

        for (unsigned l = 0; l < set->left_n; l++)
            keep(&rounds->row[l][open_n], open, _mm512_load_si512(&rounds->row[l][at]));
        keep(&rounds->lines[open_n], open, more);
        keep(&rounds->best[open_n], open, best);
        keep(&rounds->packet[open_n], open, packet);
        open_n += (unsigned)__builtin_popcount(open);
    }
    rounds->open_n = open_n;
}

AVX512 static void search_rows(const struct acl_set *set, const struct acl_classes *classes,
                               uint32_t *data, unsigned n)
{
    struct rounds rounds;

    for (unsigned i = 0; i < n; i++)
        data[i] = set->data[0];
    begin_rounds(&rounds, set, classes, n);
    while (rounds.open_n > 0) {
        choose_lines(set, &rounds);
        if (set->left_n == 2)
            intersect(set, &rounds, 2);
        else if (set->left_n == 3)
            intersect(set, &rounds, 3);
        else
            intersect(set, &rounds, set->left_n);
        settle(set, &rounds, data);
    }
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
        search_rows(set, &classes, data, n);
        return;
    }
    for (unsigned at = 0; at < n; at += LANES) {
        __mmask16 live = n - at >= LANES ? 0xffff : (__mmask16)((1u << (n - at)) - 1);
        __m512i class = _mm512_load_si512(&classes.slot[set->left[0].slot][at]);

        _mm512_mask_storeu_epi32(data + at, live, _mm512_i32gather_epi32(class, set->data, 4));
    }
}

#endif
