#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum { CHUNK_BYTES = 64 * 1024 };

struct ls_arena_chunk {
    struct ls_arena_chunk *next;
    size_t size;
    _Alignas(8) char data[];
};

static void *or_abort(void *address)
{
    if (address == NULL) {
        fputs("lockstep: out of memory\n", stderr);
        abort();
    }
    return address;
}

void *ls_malloc(size_t size)
{
    return or_abort(malloc(size ? size : 1));
}

void *ls_calloc(size_t count, size_t size)
{
    return or_abort(calloc(count ? count : 1, size ? size : 1));
}

void *ls_realloc(void *old, size_t size)
{
    return or_abort(realloc(old, size ? size : 1));
}

char *ls_strdup(const char *text)
{
    return or_abort(strdup(text));
}

char *ls_strndup(const char *text, size_t len)
{
    return or_abort(strndup(text, len));
}

char *ls_asprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int len = vasprintf(&text, format, args);
    va_end(args);
    return or_abort(len < 0 ? NULL : text);
}

static struct ls_arena_chunk *new_chunk(size_t size)
{
    if (size < CHUNK_BYTES)
        size = CHUNK_BYTES;
    struct ls_arena_chunk *chunk = ls_malloc(sizeof(*chunk) + size);
    chunk->next = NULL;
    chunk->size = size;
    return chunk;
}

void *ls_arena_alloc(struct ls_arena *arena, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    struct ls_arena_chunk *chunk = arena->current;
    while (chunk == NULL || chunk->size - arena->used < size) {
        struct ls_arena_chunk *next = chunk ? chunk->next : arena->first;
        if (next == NULL || next->size < size) {
            /* A chunk that is too small for this request keeps its place behind the new one. */
            struct ls_arena_chunk *fresh = new_chunk(size);
            fresh->next = next;
            if (chunk)
                chunk->next = fresh;
            else
                arena->first = fresh;
            next = fresh;
        }
        chunk = arena->current = next;
        arena->used = 0;
    }
    void *address = chunk->data + arena->used;
    arena->used += size;
    return address;
}

void ls_arena_reset(struct ls_arena *arena)
{
    arena->current = arena->first;
    arena->used = 0;
}

void ls_arena_free(struct ls_arena *arena)
{
    for (struct ls_arena_chunk *chunk = arena->first, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *arena = (struct ls_arena){0};
}

size_t ls_arena_footprint(const struct ls_arena *arena)
{
    size_t total = 0;
    for (const struct ls_arena_chunk *chunk = arena->first; chunk; chunk = chunk->next)
        total += sizeof(*chunk) + chunk->size;
    return total;
}
