#include "pipeline/quarantined_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"
#include "pipeline/topics.h"

enum { FORMAT = 1 };

/* Then come the places, the positions, and the hash of all before it. */
struct head {
    char magic[8];
    uint32_t format;
    int32_t n_places;
    uint64_t n;
    uint64_t more;
    char topic[LS_TOPIC_NAME_MAX + 6];
};

static const char magic[8] = "lsquar\n";

static char *path_of(const struct ls_config *config, const char *topic)
{
    return ls_asprintf("%s/quarantine/%s", config->state_dir, topic);
}

static bool has_all(const struct ls_buf *file, size_t size)
{
    uint64_t hash;
    if (file->len != size + sizeof(hash))
        return false;
    memcpy(&hash, file->data + size, sizeof(hash));
    return XXH3_64bits(file->data, size) == hash;
}

static bool read_file(const char *path, struct ls_buf *file)
{
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return false;
    struct stat status;
    size_t size = fstat(fileno(in), &status) == 0 ? (size_t)status.st_size : 0;
    if (size <= sizeof(struct head) + 2 * (LS_QUARANTINED_MAX + LS_SHARDS) * sizeof(uint64_t) * 4) {
        ls_buf_reserve(file, size + 1);
        file->len = fread(file->data, 1, size, in);
    }
    fclose(in);
    return file->len > sizeof(struct head);
}

static bool decode(const struct ls_buf *file, const char *topic,
                   struct ls_quarantined_place *places, int32_t n_places,
                   struct ls_quarantined *set)
{
    struct head head;
    memcpy(&head, file->data, sizeof(head));
    if (memcmp(head.magic, magic, sizeof(magic)) != 0 || head.format != FORMAT ||
        head.n_places != n_places || head.n > LS_QUARANTINED_MAX ||
        strncmp(head.topic, topic, sizeof(head.topic)) != 0)
        return false;
    size_t places_size = (size_t)n_places * sizeof(*places);
    if (!has_all(file, sizeof(head) + places_size + head.n * sizeof(uint64_t)))
        return false;
    memcpy(places, file->data + sizeof(head), places_size);
    for (uint64_t i = 0; i < head.n; i++) {
        uint64_t position;
        memcpy(&position, file->data + sizeof(head) + places_size + i * sizeof(position),
               sizeof(position));
        ls_quarantined_add(set, (int32_t)(position >> 48),
                           (int64_t)(position & 0xffffffffffffu) - 1);
    }
    set->more = head.more != 0;
    return true;
}

bool ls_quarantined_load(const struct ls_config *config, const char *topic,
                         struct ls_quarantined_place *places, int32_t n_places,
                         struct ls_quarantined *set)
{
    LS_CLEANUP_FREE char *path = path_of(config, topic);
    struct ls_buf file = {0};
    bool ok = read_file(path, &file) && decode(&file, topic, places, n_places, set);
    ls_buf_free(&file);
    return ok;
}

static void encode(const char *topic, const struct ls_quarantined_place *places, int32_t n_places,
                   const struct ls_quarantined *set, struct ls_buf *file)
{
    struct head head = {.format = FORMAT, .n_places = n_places, .n = set->n, .more = set->more};
    memcpy(head.magic, magic, sizeof(magic));
    snprintf(head.topic, sizeof(head.topic), "%s", topic);
    ls_buf_append(file, &head, sizeof(head));
    ls_buf_append(file, places, (size_t)n_places * sizeof(*places));
    for (size_t i = 0; i < set->cap; i++)
        if (set->slots[i] != 0)
            ls_buf_append(file, &set->slots[i], sizeof(set->slots[i]));
    uint64_t hash = XXH3_64bits(file->data, file->len);
    ls_buf_append(file, &hash, sizeof(hash));
}

void ls_quarantined_save(const struct ls_config *config, const char *topic,
                         const struct ls_quarantined_place *places, int32_t n_places,
                         const struct ls_quarantined *set)
{
    LS_CLEANUP_FREE char *folder = ls_asprintf("%s/quarantine", config->state_dir);
    LS_CLEANUP_FREE char *path = path_of(config, topic);
    LS_CLEANUP_FREE char *made = ls_asprintf("%s.%d", path, (int)getpid());
    mkdir(config->state_dir, 0777);
    mkdir(folder, 0777);
    FILE *out = fopen(made, "we");
    if (out == NULL)
        return;
    struct ls_buf file = {0};
    encode(topic, places, n_places, set, &file);
    bool ok = fwrite(file.data, 1, file.len, out) == file.len;
    ok &= fclose(out) == 0;
    if (!ok || rename(made, path) < 0)
        unlink(made);
    ls_buf_free(&file);
}
