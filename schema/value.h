/* The values of a record's fields, as views into the bytes they were read from. */
#ifndef LS_SCHEMA_VALUE_H
#define LS_SCHEMA_VALUE_H

#include <stdbool.h>
#include <stdint.h>

enum ls_type {
    LS_TYPE_STRING, /* UTF-8 */
    LS_TYPE_INT,    /* int64 */
    LS_TYPE_FLOAT,  /* finite IEEE 754 double; -0.0 is stored and hashed as 0.0 */
    LS_TYPE_BOOL,
    LS_TYPE_TIME,    /* int64 microseconds since 1970-01-01 UTC */
    LS_TYPE_STRINGS, /* list of UTF-8 strings, order kept */
};

/* Borrowed bytes: not NUL-terminated, valid as long as what they point into. */
struct ls_span {
    const char *data;
    uint32_t len;
};

/*
 * One field's value; its type is the schema field's. An absent value is not an empty one: absent is
 * NULL in MySQL and no field in Elasticsearch; an empty string is '' and an empty list is [].
 */
struct ls_value {
    bool present;
    uint32_t count; /* STRINGS: items */
    union {
        int64_t number;       /* INT, TIME, BOOL (0 or 1) */
        double real;          /* FLOAT */
        struct ls_span text;  /* STRING */
        struct ls_span *list; /* STRINGS: count items, in the same arena as the value */
    };
};

#endif
