/*
 * Escapes in JSON strings, as the stores' answers have them. What half of a surrogate pair means is
 * the reader's to say. Pure, any thread.
 */
#ifndef LS_CONSUMERS_JSON_ESCAPE_H
#define LS_CONSUMERS_JSON_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The character that an escape stands for; `in` is behind its backslash. Both halves of a surrogate
 * pair are one character, half of one is given as it stands. Returns where the escape ends, NULL
 * where it is none. Written as UTF-8 the character is never longer than its escape.
 */
const char *ls_json_escape(const char *in, const char *end, uint32_t *ret);

/* Whether that is half of a surrogate pair. */
static inline bool ls_json_is_half(uint32_t code)
{
    return code >= 0xd800 && code < 0xe000;
}

#endif
