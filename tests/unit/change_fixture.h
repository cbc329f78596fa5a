/* A schema with a field of each type, for the tests of the parsers. */
#ifndef LS_TESTS_UNIT_CHANGE_FIXTURE_H
#define LS_TESTS_UNIT_CHANGE_FIXTURE_H

#include "tests/unit/schema_fixture.h"

enum { CHANGE_S, CHANGE_I, CHANGE_F, CHANGE_B, CHANGE_T, CHANGE_L };

static inline struct ls_schema *change_schema(void)
{
    static const char text[] =
        "entity: thing\n"
        "version: 1\n"
        "redis_prefix: th\n"
        "expected_records: 1000\n"
        "average_bytes: 100\n"
        "fields:\n"
        "  - {number: 1, name: id, type: string, key: true}\n"
        "  - {number: 2, name: s, type: string, length: 20}\n"
        "  - {number: 3, name: i, type: int}\n"
        "  - {number: 4, name: f, type: float}\n"
        "  - {number: 5, name: b, type: bool}\n"
        "  - {number: 6, name: t, type: time}\n"
        "  - {number: 7, name: l, type: strings, length: 20, max_items: 4}\n";
    return schema_of(text);
}

#endif
