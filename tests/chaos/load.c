/*
 * chaos-load: a service that publishes members at a steady rate through lockstep's publisher, and
 * keeps its own record of what was acknowledged: the model that the stores are held to. The log
 * could not be that, since it would not show a publish that was lost.
 *
 * Every image of a member follows from its number and a sequence number alone (model.py has the
 * same rule), so the model is small: of each member the newest acknowledged sequence number and
 * version, and those after it whose fate is unknown. It is written at the end, one member a line.
 *
 * Threads: main publishes; deliveries come from the publisher's thread; the model is under a lock.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "producers/lockstep/publisher.h"
#include "tests/gen/members_text.h"

enum { STEP_MS = 5, FLUSH_MS = 150 * 1000, NOTE_MAX = 300, UNKNOWN_GROWTH = 4 };

struct member {
    uint64_t acked_seq; /* 0: none yet */
    uint64_t acked_version;
    uint64_t *unknown; /* sequence numbers above acked_seq that may be in the log */
    size_t n_unknown;
};

struct sent { /* a record on its way */
    uint32_t member;
    uint64_t seq;
};

struct load {
    const char *config, *entity, *model_path;
    uint32_t n_members;
    double rate;
    double seconds; /* 0: until a signal */
    struct gen_random random;
    lockstep_publisher *publisher;
    lockstep_record *record;
    struct member *members;
    uint64_t next_seq;
    pthread_mutex_t lock; /* of members and the counts below */
    uint64_t published, not_published, unknown, held;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static void note_unknown(struct member *member, uint64_t seq)
{
    member->unknown = ls_realloc(member->unknown,
                                 (member->n_unknown + UNKNOWN_GROWTH) * sizeof(*member->unknown));
    member->unknown[member->n_unknown++] = seq;
}

/* What is acknowledged stands behind all that the same publisher took before it. */
static void note_acked(struct member *member, uint64_t seq, uint64_t version)
{
    size_t kept = 0;
    if (seq <= member->acked_seq)
        return;
    member->acked_seq = seq;
    member->acked_version = version;
    for (size_t i = 0; i < member->n_unknown; i++)
        if (member->unknown[i] > seq)
            member->unknown[kept++] = member->unknown[i];
    member->n_unknown = kept;
}

static void on_delivery(void *opaque, const struct lockstep_delivery *delivery)
{
    struct load *load = opaque;
    struct sent *sent = delivery->record_opaque;
    struct member *member = &load->members[sent->member];
    pthread_mutex_lock(&load->lock);
    switch (delivery->outcome) {
    case LOCKSTEP_PUBLISHED:
        load->published++;
        note_acked(member, sent->seq, delivery->version);
        break;
    case LOCKSTEP_NOT_PUBLISHED:
        load->not_published++;
        break;
    case LOCKSTEP_UNKNOWN:
        load->unknown++;
        note_unknown(member, sent->seq);
    }
    pthread_mutex_unlock(&load->lock);
    free(sent);
}

static int open_publisher(struct load *load)
{
    struct lockstep_options options = LOCKSTEP_OPTIONS_INIT;
    struct lockstep_error error;
    options.config_file = load->config;
    options.origin = "chaos";
    options.on_delivery = on_delivery;
    options.delivery_opaque = load;
    if (lockstep_publisher_open(&options, &load->publisher, &error) != LOCKSTEP_OK ||
        lockstep_record_new(load->publisher, load->entity, &load->record, &error) != LOCKSTEP_OK) {
        fprintf(stderr, "chaos-load: %s\n", error.text);
        return -1;
    }
    return 0;
}

static void close_publisher(struct load *load, int timeout_ms)
{
    lockstep_record_free(load->record);
    lockstep_publisher_close(load->publisher, timeout_ms);
}

/* model.py: image_of(). */
static enum lockstep_code fill(struct load *load, uint32_t number, uint64_t seq)
{
    static const char *const states[] = {"active", "frozen", "closed"};
    static const char *const tags[] = {"new", "vip", "夏"};
    lockstep_record *record = load->record;
    struct lockstep_error error;
    char key[32], text[NOTE_MAX + 1];
    int len = snprintf(key, sizeof(key), "chaos-%06" PRIu32, number);
    if ((number + seq * 7) % 20 == 0)
        return lockstep_record_delete(record, key, (size_t)len, &error);
    enum lockstep_code code = lockstep_record_put(record, key, (size_t)len, &error);
    if (code != LOCKSTEP_OK)
        return code;
    len = snprintf(text, sizeof(text), "n%" PRIu32 "-%" PRIu64, number, seq);
    lockstep_record_set_string(record, "name", text, (size_t)len, &error);
    const char *state = states[seq % LS_COUNT(states)];
    lockstep_record_set_string(record, "status", state, strlen(state), &error);
    lockstep_record_set_int(record, "points", (int64_t)seq, &error);
    lockstep_record_set_float(record, "balance", (double)seq * 0.25, &error);
    lockstep_record_set_time(record, "updated_at", INT64_C(1600000000000000) + (int64_t)seq * 1000,
                             &error);
    lockstep_record_set_list(record, "tags", tags, NULL, seq % (LS_COUNT(tags) + 1), &error);
    size_t note = (number * 7 + seq * 13) % NOTE_MAX;
    memset(text, 'a' + (int)(seq % 26), note);
    return lockstep_record_set_string(record, "note", text, note, &error);
}

/* Few members far more often than most. */
static uint32_t choose(struct load *load)
{
    double u = (double)(gen_next(&load->random) >> 11) / 9007199254740992.0;
    return (uint32_t)(u * u * u * load->n_members) % load->n_members;
}

/* False when there was no room: the service would come back with this change later. */
static bool publish_one(struct load *load)
{
    struct lockstep_error error;
    struct sent *sent = ls_malloc(sizeof(*sent));
    *sent = (struct sent){.member = choose(load), .seq = load->next_seq};
    if (fill(load, sent->member, sent->seq) != LOCKSTEP_OK)
        abort();
    enum lockstep_code code = lockstep_publish(load->publisher, load->record, sent, 0, &error);
    if (code == LOCKSTEP_OK) {
        load->next_seq++;
        return true;
    }
    free(sent);
    load->held++;
    if (code == LOCKSTEP_FAILED) {
        fprintf(stderr, "chaos-load: %s: opens another publisher\n", error.text);
        close_publisher(load, 0);
        if (open_publisher(load) < 0)
            abort();
    }
    return false;
}

static void say(struct load *load, double seconds)
{
    pthread_mutex_lock(&load->lock);
    printf("{\"seconds\": %.1f, \"published\": %" PRIu64 ", \"not_published\": %" PRIu64
           ", \"unknown\": %" PRIu64 ", \"held\": %" PRIu64 ", \"in_flight\": %zu}\n",
           seconds, load->published, load->not_published, load->unknown, load->held,
           lockstep_publisher_in_flight(load->publisher));
    pthread_mutex_unlock(&load->lock);
    fflush(stdout);
}

/* Publishes at the rate; what an outage held back is not made up for in one burst. */
static void run(struct load *load)
{
    int64_t start_ms = ls_mono_ms(), said_ms = 0;
    double due = 0;
    int64_t last_ms = start_ms;
    while (!stopping) {
        int64_t now_ms = ls_mono_ms();
        if (load->seconds > 0 && (double)(now_ms - start_ms) >= load->seconds * 1000)
            break;
        due += load->rate * (double)(now_ms - last_ms) / 1000;
        last_ms = now_ms;
        if (due > load->rate)
            due = load->rate;
        while (due >= 1 && publish_one(load))
            due -= 1;
        if (now_ms - said_ms >= 1000) {
            say(load, (double)(now_ms - start_ms) / 1000);
            said_ms = now_ms;
        }
        struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
        nanosleep(&step, NULL);
    }
    close_publisher(load, FLUSH_MS);
}

static int write_model(const struct load *load)
{
    FILE *file = fopen(load->model_path, "w");
    if (file == NULL) {
        fprintf(stderr, "chaos-load: %s: %s\n", load->model_path, strerror(errno));
        return -1;
    }
    for (uint32_t i = 0; i < load->n_members; i++) {
        const struct member *member = &load->members[i];
        if (member->acked_seq == 0 && member->n_unknown == 0)
            continue;
        fprintf(file,
                "{\"member\": %" PRIu32 ", \"seq\": %" PRIu64 ", \"version\": %" PRIu64
                ", \"unknown\": [",
                i, member->acked_seq, member->acked_version);
        for (size_t j = 0; j < member->n_unknown; j++)
            fprintf(file, "%s%" PRIu64, j > 0 ? ", " : "", member->unknown[j]);
        fprintf(file, "]}\n");
        free(member->unknown);
    }
    bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad) {
        fprintf(stderr, "chaos-load: %s: %s\n", load->model_path, strerror(errno));
        return -1;
    }
    return 0;
}

static void usage(void)
{
    fprintf(stderr, "chaos-load --config FILE --entity NAME --model FILE [--members N] [--rate N] "
                    "[--seconds N] [--seed N]\n");
    exit(64);
}

static void parse(struct load *load, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"entity", required_argument, NULL, 'e'},
        {"model", required_argument, NULL, 'm'},  {"members", required_argument, NULL, 'n'},
        {"rate", required_argument, NULL, 'r'},   {"seconds", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 's'},   {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            load->config = optarg;
            break;
        case 'e':
            load->entity = optarg;
            break;
        case 'm':
            load->model_path = optarg;
            break;
        case 'n':
            load->n_members = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            load->rate = strtod(optarg, NULL);
            break;
        case 't':
            load->seconds = strtod(optarg, NULL);
            break;
        case 's':
            load->random.state = strtoull(optarg, NULL, 10);
            break;
        default:
            usage();
        }
    }
    if (load->config == NULL || load->entity == NULL || load->model_path == NULL ||
        load->n_members == 0 || load->rate <= 0)
        usage();
}

int main(int argc, char **argv)
{
    struct load load = {
        .n_members = 20000, .rate = 1000, .next_seq = 1, .lock = PTHREAD_MUTEX_INITIALIZER};
    parse(&load, argc, argv);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    load.members = ls_calloc(load.n_members, sizeof(*load.members));
    if (open_publisher(&load) < 0)
        return 78;
    run(&load);
    int rc = write_model(&load);
    fprintf(stderr,
            "chaos-load: %" PRIu64 " published, %" PRIu64 " not published, %" PRIu64 " unknown\n",
            load.published, load.not_published, load.unknown);
    free(load.members);
    return rc < 0 ? 1 : 0;
}
