/*
 * Encoding of a record's value: schema/WIRE.md. Fields in number order, each value in its shortest
 * form, absent fields left out. Checks nothing. Pure; any thread with its own buffer.
 */
#include <msgpack.h>

#include "schema/wire.h"

static int append(void *opaque, const char *data, size_t len)
{
    ls_buf_append(opaque, data, len);
    return 0;
}

static void pack_text(msgpack_packer *packer, struct ls_span text)
{
    msgpack_pack_str(packer, text.len);
    msgpack_pack_str_body(packer, text.data, text.len);
}

static void pack_value(msgpack_packer *packer, enum ls_type type, const struct ls_value *value)
{
    switch (type) {
    case LS_TYPE_STRING:
        pack_text(packer, value->text);
        break;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        msgpack_pack_int64(packer, value->number);
        break;
    case LS_TYPE_FLOAT:
        msgpack_pack_double(packer, value->real == 0 ? 0 : value->real); /* -0.0 is 0.0 */
        break;
    case LS_TYPE_BOOL:
        if (value->number != 0)
            msgpack_pack_true(packer);
        else
            msgpack_pack_false(packer);
        break;
    case LS_TYPE_STRINGS:
        msgpack_pack_array(packer, value->count);
        for (uint32_t i = 0; i < value->count; i++)
            pack_text(packer, value->list[i]);
        break;
    }
}

void ls_wire_encode(const struct ls_schema *schema, const struct ls_envelope *envelope,
                    const struct ls_value *values, struct ls_buf *buf)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buf, append);
    msgpack_pack_array(&packer, 7);
    msgpack_pack_int(&packer, LS_WIRE_FORMAT);
    msgpack_pack_uint32(&packer, envelope->schema_version);
    msgpack_pack_int(&packer, (int)envelope->op);
    msgpack_pack_int64(&packer, envelope->time_us);
    pack_text(&packer, envelope->origin);
    pack_text(&packer, envelope->trace);
    if (values == NULL) {
        msgpack_pack_nil(&packer);
        return;
    }
    size_t present = 0;
    for (size_t i = 0; i < schema->n_fields; i++)
        present += values[i].present;
    msgpack_pack_map(&packer, present);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (!values[i].present)
            continue;
        msgpack_pack_uint32(&packer, schema->fields[i].number);
        pack_value(&packer, schema->fields[i].type, &values[i]);
    }
}
