/*
 * Text from outside (records, stores, configurations, arguments) where people look at it. A
 * terminal acts on control characters, and shows text in another order, or nothing at all, for
 * those of direction and of no width: so a key could look like another one, and an error could
 * overwrite the screen. These functions write such characters as escapes, so that they are seen and
 * can be looked up; all others, of whatever language, stay as they are. Pure; any thread.
 *
 * Rejected: leaving out or replacing them by one sign, which makes two keys look the same; escaping
 * all but ASCII, which makes most of the world's names unreadable.
 */
#ifndef LS_BASE_TEXT_H
#define LS_BASE_TEXT_H

#include <stddef.h>

#include "base/buf.h"

/*
 * Appends the text with what is not safe as `\x1b` (one byte) or `\u202e`, and bytes that are not
 * UTF-8 as '?'. A backslash stays one, so doing it twice changes nothing. Not safe are controls
 * (C0, DEL, C1) and characters of direction, no width, line ends, tags and annotations (U+200B to
 * U+200F, U+2028 to U+202E, U+2060 to U+206F, U+FEFF, ...).
 */
void ls_text_show(struct ls_buf *buf, const char *text, size_t len);

/* The same in place, for bounded texts: ends with a NUL and a whole character or escape. */
void ls_text_tidy(char *text, size_t size);

/*
 * Appends a JSON document, in which what is not safe can stand within strings only (but for the
 * line feeds of an indented one), with that as \uXXXX: the same values for every parser, and
 * nothing for a terminal to act on.
 */
void ls_text_show_json(struct ls_buf *buf, const char *json, size_t len);

#endif
