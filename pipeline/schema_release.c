/*
 * Releases schemas. A transaction whose id belongs to the entity shuts out another release that is
 * under way, and the released schema is read only after that, so no release is overlooked.
 *
 * Threads: any, each call by itself. A crash leaves the schema released or not.
 */
#include "pipeline/schema_release.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/topics.h"

enum { OPEN_TIMEOUT_MS = 60000 };

struct released {
    const char *key;
    size_t key_len;
    char *json; /* the newest; NULL: none, or taken back */
};

static void take_released(void *opaque, const rd_kafka_message_t *message)
{
    struct released *released = opaque;
    if (message->key_len != released->key_len ||
        memcmp(message->key, released->key, released->key_len) != 0)
        return;
    free(released->json);
    released->json = message->payload ? ls_strndup(message->payload, message->len) : NULL;
}

int ls_schema_released(const struct ls_config *config, const char *entity, int timeout_ms,
                       uint32_t *ret_version, char **ret_json, struct ls_err *err)
{
    LS_CLEANUP_FREE char *key = ls_asprintf("schema/%s", entity);
    struct released released = {.key = key, .key_len = strlen(key)};
    int rc = ls_kafka_read_all(config, LS_TOPIC_CONTROL, timeout_ms, take_released, &released, err);
    uint32_t version = 0;
    if (rc == 0 && released.json) {
        json_t *json = json_loads(released.json, 0, NULL);
        json_int_t number = json_integer_value(json_object_get(json, "version"));
        json_decref(json);
        if (number < 1 || number > UINT32_MAX)
            rc = ls_err_set(err, LS_ERR_FATAL, 0,
                            "%s: the record '%s' is no schema; was it written by `lockstep schema "
                            "apply`?",
                            LS_TOPIC_CONTROL, key);
        version = (uint32_t)number;
    }
    if (rc == 0) {
        *ret_version = version;
        if (ret_json) {
            *ret_json = released.json;
            released.json = NULL;
        }
    }
    free(released.json);
    return rc;
}

int ls_schema_check_released(const struct ls_config *config, const struct ls_schema *schema,
                             uint32_t *ret_released, struct ls_err *err)
{
    uint32_t version = 0;
    LS_CLEANUP_FREE char *json = NULL;
    if (ls_schema_released(config, schema->entity, LS_KAFKA_TIMEOUT_MS, &version, &json, err) < 0)
        return -1;
    if (version > 0) {
        struct ls_schema *released = NULL;
        if (ls_schema_parse(LS_TOPIC_CONTROL, json, strlen(json), &released, err) < 0)
            return ls_err_prefix(err, "the released schema of '%s'", schema->entity);
        int rc = ls_schema_compatible(released, schema, err);
        ls_schema_free(released);
        if (rc < 0) {
            if (err) {
                err->class = LS_ERR_FATAL;
                err->code = LS_SCHEMA_INCOMPATIBLE;
            }
            return -1;
        }
    }
    *ret_released = version;
    return 0;
}

static int fail(struct ls_err *err, rd_kafka_error_t *error, const char *entity)
{
    ls_kafka_err(err, rd_kafka_error_code(error), "releasing the schema of '%s'", entity);
    if (err && rd_kafka_error_is_retriable(error))
        err->class = LS_ERR_RETRY;
    rd_kafka_error_destroy(error);
    return -1;
}

static int produce(rd_kafka_t *client, const struct ls_schema *schema, struct ls_err *err)
{
    LS_CLEANUP_FREE char *key = ls_asprintf("schema/%s", schema->entity);
    LS_CLEANUP_FREE char *json = ls_schema_to_json(schema);
    rd_kafka_error_t *error = rd_kafka_begin_transaction(client);
    if (error)
        return fail(err, error, schema->entity);
    rd_kafka_resp_err_t code =
        rd_kafka_producev(client, RD_KAFKA_V_TOPIC(LS_TOPIC_CONTROL), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(json, strlen(json)),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        error = rd_kafka_commit_transaction(client, LS_KAFKA_TIMEOUT_MS);
        if (error == NULL)
            return 0;
        fail(err, error, schema->entity);
    } else {
        ls_kafka_err(err, code, "releasing the schema of '%s'", schema->entity);
    }
    error = rd_kafka_abort_transaction(client, LS_KAFKA_TIMEOUT_MS);
    if (error)
        rd_kafka_error_destroy(error);
    return -1;
}

int ls_schema_release(const struct ls_config *config, const struct ls_schema *schema, bool *ret_new,
                      struct ls_err *err)
{
    LS_CLEANUP_FREE char *id = ls_asprintf("lockstep.schema.%s", schema->entity);
    const char *extra[] = {"transactional.id",
                           id,
                           "transaction.timeout.ms",
                           "10000",
                           "message.timeout.ms",
                           "10000",
                           NULL};
    rd_kafka_t *client = ls_kafka_client(config, RD_KAFKA_PRODUCER, "schema", NULL, extra, err);
    if (client == NULL)
        return -1;
    rd_kafka_error_t *error = rd_kafka_init_transactions(client, OPEN_TIMEOUT_MS);
    uint32_t released = 0;
    int rc = error ? fail(err, error, schema->entity)
                   : ls_schema_check_released(config, schema, &released, err);
    bool fresh = released < schema->version;
    if (rc == 0 && fresh)
        rc = produce(client, schema, err);
    rd_kafka_destroy(client);
    if (rc == 0)
        *ret_new = fresh;
    return rc;
}
