/*
 * An entity's schema: what a record of it may hold, read from a YAML file. Everything that a store
 * is made of is derived from it: MySQL tables, Elasticsearch mapping and settings, the Redis
 * layout, and the checks on every record. Immutable after reading, so any thread may use it.
 */
#ifndef LS_SCHEMA_SCHEMA_H
#define LS_SCHEMA_SCHEMA_H

#include <stddef.h>

#include "base/err.h"
#include "base/utf8.h"
#include "schema/value.h"

enum {
    LS_SHARDS = 1024,            /* fixed for ever: a key's shard is murmur2(key) % LS_SHARDS */
    LS_FIELDS_MAX = 256,         /* fields of an entity */
    LS_KEY_BYTES_MAX = 255,      /* bytes of a key */
    LS_LENGTH_MAX = 8191,        /* characters of a string: the narrowest store is an ES keyword,
                                    32,766 bytes, of up to 4 bytes a character */
    LS_ITEMS_MAX = 1024,         /* items of a list of strings */
    LS_BODY_BYTES_MAX = 1 << 20, /* bytes of a wire value */
};

struct ls_field {
    uint32_t number; /* 1 to 65535, never reused */
    char *name;      /* [a-z][a-z0-9_]{0,47}: column, field and NDJSON name */
    enum ls_type type;
    uint32_t length;    /* STRING and each item of STRINGS: at most this many characters */
    uint32_t max_items; /* STRINGS: at most this many items */
    bool indexed;       /* searchable in ES, an index in MySQL */
    bool pii;           /* masked wherever a person might see it who did not ask for it */
    int line;           /* of the schema file */
};

struct ls_schema {
    char *path;   /* of the file, for messages */
    char *entity; /* [a-z][a-z0-9_]{0,31} */
    uint32_t version;
    char *redis_prefix;        /* `m` gives keys `m:{id}` */
    uint64_t expected_records; /* sizes the ES index */
    uint32_t average_bytes;    /* of one document in ES, source and index; sizes the ES index */
    struct ls_field key;       /* the key's field: a string, never in the body */
    struct ls_field *fields;   /* all others, sorted by number */
    size_t n_fields;
    uint32_t *reserved; /* numbers of removed fields, never to be used again */
    size_t n_reserved;
    int version_line;  /* of the schema file */
    int reserved_line; /* of `reserved`, or of `fields` where nothing is reserved */
};

/* Reads and checks a schema file. Errors (FATAL) name file and line. The caller frees. */
int ls_schema_read(const char *path, struct ls_schema **ret, struct ls_err *err);
/* The same from memory; path is for messages. */
int ls_schema_parse(const char *path, const char *text, size_t len, struct ls_schema **ret,
                    struct ls_err *err);
/* Safe on NULL. */
void ls_schema_free(struct ls_schema *schema);

/*
 * The rules that concern the schema as a whole: numbers and names used once, none reserved, and
 * what the narrowest store can hold (a MySQL row, its indexes, a record). Part of reading.
 */
int ls_schema_check_limits(const struct ls_schema *schema, struct ls_err *err);

/* Index in schema->fields of a field number or name, or -1. */
int ls_schema_field_by_number(const struct ls_schema *schema, uint32_t number);
int ls_schema_field_by_name(const struct ls_schema *schema, const char *name, size_t len);

/* "string", "int", ... as in the schema file. */
const char *ls_type_name(enum ls_type type);

/*
 * Whether `next` may follow `previous` (the released schema): a field number keeps its type and
 * name, lengths and max_items only grow, removed numbers are reserved, and the version grows when
 * anything changed. -1 names the line of next's file.
 */
int ls_schema_compatible(const struct ls_schema *previous, const struct ls_schema *next,
                         struct ls_err *err);

/*
 * The schema as canonical JSON, as it is published to lockstep.control when it is released (and is
 * read back with ls_schema_parse, since JSON is YAML). The caller frees.
 */
char *ls_schema_to_json(const struct ls_schema *schema);

/*
 * Checks one present value against its field: characters, UTF-8, finite float, items. On -1 the
 * error (class POISON) names field and limit, never the value.
 */
int ls_value_check(const struct ls_field *field, const struct ls_value *value, struct ls_err *err);

#endif
