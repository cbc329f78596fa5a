/*
 * libFuzzer target: what Elasticsearch answers. Bulk replies, marks and documents are read from any
 * bytes; no more items than were sent may be written, and a document that decodes must encode and
 * decode to the same hash. One thread.
 */
#include <stdlib.h>

#include "consumers/es_encode.h"
#include "consumers/es_image.h"
#include "consumers/es_incarnation.h"
#include "consumers/es_marks.h"
#include "consumers/es_reply.h"

static const char schema_text[] =
    "entity: sample\nversion: 1\nredis_prefix: s\nexpected_records: 10\naverage_bytes: 100\n"
    "fields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: n, type: string, length: 1000}\n"
    "  - {number: 3, name: p, type: int}\n"
    "  - {number: 4, name: b, type: float}\n"
    "  - {number: 5, name: v, type: bool}\n"
    "  - {number: 6, name: t, type: strings, length: 100, max_items: 30}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ls_schema *schema;
static struct ls_es_encoder *encoder;
static struct ls_arena arena;
static struct ls_buf lines, scratch;

static void need(int condition)
{
    if (!condition)
        abort();
}

static void read_bulk(const char *data, size_t size)
{
    enum { SENT = 3 };
    struct ls_es_item items[SENT + 1] = {0};
    struct ls_err err = {0};
    items[SENT].status = -1;
    if (ls_es_reply_read(data, size, items, SENT, &err) < 0)
        need(err.class == LS_ERR_RETRY && err.text[0] != '\0');
    else
        for (int i = 0; i < SENT; i++)
            need(items[i].status >= 0 && items[i].status <= 599 && items[i].reason.len <= 200);
    need(items[SENT].status == -1);
}

static void read_marks(const char *data, size_t size)
{
    struct ls_es_mark marks[2] = {{.mark = {.partition = 1}}, {.mark = {.partition = 2}}};
    enum ls_es_mark_result results[2];
    struct ls_err err = {0};
    if (ls_es_marks_read(data, size, marks, 2, &err) == 0)
        need(marks[0].mark.partition == 1 && marks[1].mark.partition == 2);
    ls_es_marks_written(data, size, marks, results, 2, &err);
}

static void read_incarnation(const char *data, size_t size)
{
    struct ls_es_incarnation inc;
    struct ls_err err = {0};
    if (ls_es_incarnation_state(&inc, "m-1", data, size, &err) < 0)
        need(err.text[0] != '\0');
    else
        need(inc.n_primaries > 0);
    need(ls_es_incarnation_stats(&inc, "m-1", data, size, &err) < 0 || inc.home[0] != '\0');
    ls_es_incarnation_free(&inc);
}

/* A document, as the second line of what the sink would have sent for it. */
static void check_again(const struct ls_image *image)
{
    struct ls_record record = {.key = image->key.data,
                               .key_len = (uint16_t)image->key.len,
                               .version = image->version,
                               .hash = image->hash,
                               .deleted = image->deleted,
                               .values = image->values};
    if (image->key.len > LS_KEY_BYTES_MAX)
        return;
    ls_buf_clear(&lines);
    ls_es_encode(encoder, &record, false, &lines);
    const char *line = (const char *)memchr(lines.data, '\n', lines.len) + 1;
    struct ls_es_doc doc = {.found = true,
                            .id = image->key,
                            .version = 1,
                            .source = {line, (uint32_t)(lines.data + lines.len - line)}};
    struct ls_image again;
    ls_es_image(schema, &doc, &arena, &scratch, &again);
    need(!again.undecodable && again.hash == image->hash && again.stored_hash == image->hash);
}

static void read_document(const char *data, size_t size)
{
    struct ls_es_doc doc;
    struct ls_json json = ls_json_begin(data, size);
    struct ls_image image;
    if (!ls_es_doc_read(&json, &arena, &doc) || doc.id.data == NULL)
        return;
    ls_es_image(schema, &doc, &arena, &scratch, &image);
    need(image.undecodable == (image.why != NULL));
    if (!image.undecodable)
        check_again(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (schema == NULL) {
        need(ls_schema_parse("fuzz", schema_text, sizeof(schema_text) - 1, &schema, NULL) == 0);
        encoder = ls_es_encoder_new(schema);
    }
    ls_arena_reset(&arena);
    const char *text = size > 0 ? (const char *)data : "";
    read_bulk(text, size);
    read_marks(text, size);
    read_document(text, size);
    read_incarnation(text, size);
    return 0;
}
