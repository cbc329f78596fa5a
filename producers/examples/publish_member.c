/*
 * Publishes one member and says where it stands in the log.
 *
 *     cc publish_member.c $(pkg-config --cflags --libs lockstep-publisher)
 *     ./a.out localhost:9092 member.yaml
 */
#include <lockstep/publisher.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void on_delivery(void *opaque, const struct lockstep_delivery *delivery)
{
    (void)opaque;
    if (delivery->outcome == LOCKSTEP_PUBLISHED)
        printf("%.*s is version %" PRIu64 " (partition %d, offset %" PRId64 ")\n",
               (int)delivery->key_len, delivery->key, delivery->version, delivery->partition,
               delivery->offset);
    else
        printf("%.*s: %s: %s\n", (int)delivery->key_len, delivery->key,
               lockstep_outcome_name(delivery->outcome), delivery->reason);
}

static enum lockstep_code publish(lockstep_publisher *publisher, struct lockstep_error *error)
{
    static const char key[] = "m-1001";
    static const char *const tags[] = {"new", "app"};
    lockstep_record *record;
    enum lockstep_code code = lockstep_record_new(publisher, "member", &record, error);
    if (code != LOCKSTEP_OK)
        return code;
    if ((code = lockstep_record_put(record, key, strlen(key), error)) == LOCKSTEP_OK &&
        (code = lockstep_record_set_string(record, "name", "Ana", 3, error)) == LOCKSTEP_OK &&
        (code = lockstep_record_set_int(record, "points", 120, error)) == LOCKSTEP_OK &&
        (code = lockstep_record_set_list(record, "tags", tags, NULL, 2, error)) == LOCKSTEP_OK)
        code = lockstep_publish(publisher, record, NULL, 10000, error); /* waits up to 10 s */
    lockstep_record_free(record);
    return code;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s BROKERS SCHEMA\n", argv[0]);
        return 64;
    }
    struct lockstep_entity entity = {.schema_file = argv[2]};
    struct lockstep_options options = LOCKSTEP_OPTIONS_INIT;
    options.brokers = argv[1];
    options.entities = &entity;
    options.n_entities = 1;
    options.origin = "example";
    options.on_delivery = on_delivery;

    struct lockstep_error error = {0};
    lockstep_publisher *publisher;
    enum lockstep_code code = lockstep_publisher_open(&options, &publisher, &error);
    if (code == LOCKSTEP_OK) {
        code = publish(publisher, &error);
        if (code == LOCKSTEP_OK)
            code = lockstep_publisher_flush(publisher, 10000, NULL, &error);
        lockstep_publisher_close(publisher, 0);
    }
    if (code != LOCKSTEP_OK)
        fprintf(stderr, "%s: %s\n", lockstep_code_name(code), error.text);
    return code == LOCKSTEP_OK ? 0 : 1;
}
