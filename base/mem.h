/*
 * Memory: allocation that cannot fail (it aborts with a message), an arena whose memory lives as
 * long as the work it serves, and the cleanup attribute for locals.
 */
#ifndef LS_BASE_MEM_H
#define LS_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* malloc, calloc, realloc, strdup and strndup that abort when memory is out. */
void *ls_malloc(size_t size);
void *ls_calloc(size_t count, size_t size);
void *ls_realloc(void *old, size_t size);
char *ls_strdup(const char *text);
char *ls_strndup(const char *text, size_t len);

/* printf into fresh memory that the caller frees. */
char *ls_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline void ls_free_ptr(void *address)
{
    free(*(void **)address);
}
#define LS_CLEANUP_FREE __attribute__((cleanup(ls_free_ptr)))

#define LS_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * Arena: bump allocation in chunks; reset makes all of it free at once and keeps the chunks, so a
 * batch's arena stops allocating after its first uses. Not thread-safe: one owner at a time.
 */
struct ls_arena_chunk;
struct ls_arena {
    struct ls_arena_chunk *first;
    struct ls_arena_chunk *current;
    size_t used; /* bytes used in current */
};

/* Memory aligned to 8 bytes, not zeroed, valid until reset or free. */
void *ls_arena_alloc(struct ls_arena *arena, size_t size);
void ls_arena_reset(struct ls_arena *arena);
void ls_arena_free(struct ls_arena *arena);
/* Bytes that the arena holds from the system, used or not. */
size_t ls_arena_footprint(const struct ls_arena *arena);

#endif
