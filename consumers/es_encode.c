/* Bulk lines of records. Pure; see es_encode.h. */
#include "consumers/es_encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

struct es_name {
    char *text; /* `,"name":` */
    size_t len;
};

struct ls_es_encoder {
    const struct ls_schema *schema;
    struct es_name key; /* `{"id":` */
    struct es_name *fields;
};

struct ls_es_encoder *ls_es_encoder_new(const struct ls_schema *schema)
{
    struct ls_es_encoder *encoder = ls_calloc(1, sizeof(*encoder));
    encoder->schema = schema;
    encoder->key.text = ls_asprintf("{\"%s\":", schema->key.name);
    encoder->key.len = strlen(encoder->key.text);
    encoder->fields = ls_calloc(schema->n_fields + 1, sizeof(*encoder->fields));
    for (size_t i = 0; i < schema->n_fields; i++) {
        encoder->fields[i].text = ls_asprintf(",\"%s\":", schema->fields[i].name);
        encoder->fields[i].len = strlen(encoder->fields[i].text);
    }
    return encoder;
}

void ls_es_encoder_free(struct ls_es_encoder *encoder)
{
    if (encoder == NULL)
        return;
    for (size_t i = 0; i < encoder->schema->n_fields; i++)
        free(encoder->fields[i].text);
    free(encoder->fields);
    free(encoder->key.text);
    free(encoder);
}

static void put_escape(struct ls_buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
        ls_buf_append(buf, "\\\"", 2);
        break;
    case '\\':
        ls_buf_append(buf, "\\\\", 2);
        break;
    case '\n':
        ls_buf_append(buf, "\\n", 2);
        break;
    case '\t':
        ls_buf_append(buf, "\\t", 2);
        break;
    default: {
        char code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        ls_buf_append(buf, code, sizeof(code));
    }
    }
}

void ls_es_put_string(struct ls_buf *buf, const char *text, size_t len)
{
    const char *plain = text, *end = text + len;
    ls_buf_append_char(buf, '"');
    for (const char *at = text; at < end; at++) {
        unsigned char c = (unsigned char)*at;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        ls_buf_append(buf, plain, (size_t)(at - plain));
        put_escape(buf, c);
        plain = at + 1;
    }
    ls_buf_append(buf, plain, (size_t)(end - plain));
    ls_buf_append_char(buf, '"');
}

void ls_es_put_real(struct ls_buf *buf, double real)
{
    char text[40];
    if (real == 0) {
        ls_buf_append_char(buf, '0');
        return;
    }
    /* Amounts of money: cents below 2^53 divided by 100 give the nearest double, as reading does.
     */
    double cents = nearbyint(real * 100);
    if (fabs(cents) < 9007199254740992.0 && cents / 100 == real) {
        uint64_t whole = (uint64_t)fabs(cents);
        if (real < 0)
            ls_buf_append_char(buf, '-');
        ls_buf_append_u64(buf, whole / 100);
        if (whole % 100 != 0) {
            char digits[3] = {'.', (char)('0' + whole / 10 % 10), (char)('0' + whole % 10)};
            ls_buf_append(buf, digits, digits[2] == '0' ? 2 : 3);
        }
        return;
    }
    /* Most others have few digits: try the short form first. */
    int len = snprintf(text, sizeof(text), "%.15g", real);
    if (strtod(text, NULL) != real)
        len = snprintf(text, sizeof(text), "%.17g", real);
    ls_buf_append(buf, text, (size_t)len);
}

static void put_value(struct ls_buf *buf, enum ls_type type, const struct ls_value *value)
{
    switch (type) {
    case LS_TYPE_STRING:
        ls_es_put_string(buf, value->text.data, value->text.len);
        break;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        ls_buf_append_i64(buf, value->number);
        break;
    case LS_TYPE_FLOAT:
        ls_es_put_real(buf, value->real);
        break;
    case LS_TYPE_BOOL:
        ls_buf_append_str(buf, value->number != 0 ? "true" : "false");
        break;
    case LS_TYPE_STRINGS:
        ls_buf_append_char(buf, '[');
        for (uint32_t i = 0; i < value->count; i++) {
            if (i > 0)
                ls_buf_append_char(buf, ',');
            ls_es_put_string(buf, value->list[i].data, value->list[i].len);
        }
        ls_buf_append_char(buf, ']');
        break;
    }
}

#define PUT(buf, literal) ls_buf_append(buf, literal, sizeof(literal) - 1)

static void put_action(struct ls_buf *buf, const struct ls_record *record, bool repair)
{
    PUT(buf, "{\"index\":{\"_id\":");
    ls_es_put_string(buf, record->key, record->key_len);
    PUT(buf, ",\"routing\":\"");
    ls_buf_append_u64(buf, record->shard);
    PUT(buf, "\",\"version\":");
    ls_buf_append_u64(buf, record->version);
    if (repair)
        PUT(buf, ",\"version_type\":\"external_gte\"}}\n");
    else
        PUT(buf, ",\"version_type\":\"external\"}}\n");
}

static void put_hidden(struct ls_buf *buf, const struct ls_record *record)
{
    PUT(buf, ",\"_v_hi\":");
    ls_buf_append_u64(buf, record->version >> 32);
    PUT(buf, ",\"_v_lo\":");
    ls_buf_append_u64(buf, record->version & UINT32_MAX);
    PUT(buf, ",\"_h_hi\":");
    ls_buf_append_u64(buf, record->hash >> 32);
    PUT(buf, ",\"_h_lo\":");
    ls_buf_append_u64(buf, record->hash & UINT32_MAX);
    if (record->deleted)
        PUT(buf, ",\"_deleted\":true,\"_at\":");
    else
        PUT(buf, ",\"_deleted\":false,\"_at\":");
    ls_buf_append_i64(buf, record->at_ms);
    PUT(buf, ",\"_shard\":");
    ls_buf_append_u64(buf, record->shard);
    PUT(buf, "}\n");
}

void ls_es_encode(const struct ls_es_encoder *encoder, const struct ls_record *record, bool repair,
                  struct ls_buf *buf)
{
    const struct ls_schema *schema = encoder->schema;
    put_action(buf, record, repair);
    ls_buf_append(buf, encoder->key.text, encoder->key.len);
    ls_es_put_string(buf, record->key, record->key_len);
    for (size_t i = 0; !record->deleted && i < schema->n_fields; i++) {
        const struct ls_value *value = &record->values[i];
        if (!value->present)
            continue;
        ls_buf_append(buf, encoder->fields[i].text, encoder->fields[i].len);
        put_value(buf, schema->fields[i].type, value);
    }
    put_hidden(buf, record);
}
