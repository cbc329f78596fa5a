/* Made-up texts for gen-members, and the random numbers they come from. Pure; one thread. */
#ifndef LS_TESTS_GEN_MEMBERS_TEXT_H
#define LS_TESTS_GEN_MEMBERS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* SplitMix64: the same numbers everywhere for the same seed. */
struct gen_random {
    uint64_t state;
};

static inline uint64_t gen_next(struct gen_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 .. below - 1 */
static inline uint32_t gen_below(struct gen_random *random, uint32_t below)
{
    return (uint32_t)((gen_next(random) >> 32) * below >> 32);
}

static inline bool gen_chance(struct gen_random *random, uint32_t per_thousand)
{
    return gen_below(random, 1000) < per_thousand;
}

/* Scripts of names. */
enum gen_script {
    GEN_LATIN,
    GEN_DIACRITICS,
    GEN_CYRILLIC,
    GEN_GREEK,
    GEN_HAN,
    GEN_HANGUL,
    GEN_KANA,
    GEN_ARABIC,
    GEN_DEVANAGARI,
    GEN_SCRIPTS
};

/* Each appends to a text that it clears first. A name may carry an emoji. */
void gen_name(struct gen_random *random, enum gen_script script, struct ls_buf *text);
void gen_city(struct gen_random *random, struct ls_buf *text);
/* Words with quotes, backslashes, line breaks and tabs among them; about `words` of them. */
void gen_note(struct gen_random *random, unsigned words, struct ls_buf *text);

/* Appends text as a JSON string; some characters beyond the BMP as \u pairs if pairs is set. */
void gen_json_string(struct ls_buf *out, const char *text, size_t len, bool pairs);

#endif
