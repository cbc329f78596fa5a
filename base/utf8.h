/*
 * Strict UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF). Pure; any
 * thread.
 */
#ifndef LS_BASE_UTF8_H
#define LS_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Characters of the text, or -1 where it is not UTF-8. */
int64_t ls_utf8_length(const char *text, size_t len);

/* Bytes of the character at text, of which `left` bytes are there, and its code; 0: none is. */
size_t ls_utf8_character(const char *text, size_t left, uint32_t *ret);

/* Writes a character, at most four bytes; returns where it ends. code is at most U+10FFFF. */
char *ls_utf8_put(char *out, uint32_t code);

#endif
