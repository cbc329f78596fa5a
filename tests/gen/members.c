/*
 * gen-members: changes of made-up members as NDJSON for `lockstep publish`, the same for the same
 * seed on every machine. Puts, updates of few members far more often than of most, deletes, and
 * members that come back; every field of schema/member.yaml, absent and empty ones, several
 * scripts, several shapes of keys, and values at the edge of what stores hold.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/gen/members_text.h"

enum { OUT_BYTES = 1 << 20, KEY_BYTES_MAX = 255 };

static const int64_t second_us = 1000000, day_us = INT64_C(86400) * 1000000;
static const int64_t start_us = INT64_C(1577836800) * 1000000; /* 2020-01-01 */

struct generator {
    uint64_t members, events, seed;
    struct gen_random random; /* what happens; what a member holds comes from its own */
    uint8_t *state;           /* per member: whether it is alive */
    uint64_t created;
    struct ls_buf out;
    struct ls_buf text;
    struct ls_buf key;
};

static void key_of(struct ls_buf *key, uint64_t member)
{
    struct gen_random random = {member * 0x9e3779b97f4a7c15u + 7};
    uint32_t shape = gen_below(&random, 100);
    ls_buf_clear(key);
    if (member % 5003 == 5) { /* beside its neighbour's key, but for a space at the end */
        ls_buf_printf(key, "m-%010" PRIu64 " ", member - 1);
    } else if (member % 5003 == 6) { /* but for its case */
        ls_buf_printf(key, "M-%010" PRIu64, member - 2);
    } else if (member % 5003 == 4 || shape < 60) {
        ls_buf_printf(key, "m-%010" PRIu64, member);
    } else if (shape < 75) {
        ls_buf_printf(key, "%" PRIu64, 80000000000 + member);
    } else if (shape < 88) {
        uint64_t high = gen_next(&random);
        ls_buf_printf(key, "%08x-%04x-4%03x-8%03x-%012" PRIx64, (unsigned)(high >> 32),
                      (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xfff),
                      (unsigned)(high >> 8 & 0xfff), member);
    } else if (shape < 95) {
        ls_buf_printf(key, "app:aB%" PRIx64 "/zZ", member);
    } else if (shape < 99) {
        ls_buf_printf(key, "会员-%" PRIu64 " é", member);
    } else {
        ls_buf_printf(key, "long-%" PRIu64 "-", member);
        while (key->len < KEY_BYTES_MAX)
            ls_buf_append_char(key, (char)('a' + key->len % 26));
    }
}

static void field_name(struct generator *gen, const char *name)
{
    ls_buf_append_char(&gen->out, ',');
    ls_buf_append_char(&gen->out, '"');
    ls_buf_append_str(&gen->out, name);
    ls_buf_append_str(&gen->out, "\":");
}

static void put_text(struct generator *gen, const char *name, const char *text, size_t len)
{
    field_name(gen, name);
    gen_json_string(&gen->out, text, len, (gen->out.len & 1) != 0);
}

static void put_str(struct generator *gen, const char *name, const char *text)
{
    put_text(gen, name, text, strlen(text));
}

static void put_buf(struct generator *gen, const char *name)
{
    put_text(gen, name, gen->text.data, gen->text.len);
}

static void put_int(struct generator *gen, const char *name, int64_t number)
{
    field_name(gen, name);
    ls_buf_append_i64(&gen->out, number);
}

static void put_bool(struct generator *gen, const char *name, bool yes)
{
    field_name(gen, name);
    ls_buf_append_str(&gen->out, yes ? "true" : "false");
}

/* Mostly a number; now and then the same as RFC 3339 text, whole days only. */
static void put_time(struct generator *gen, struct gen_random *random, const char *name,
                     int64_t time_us)
{
    if (time_us < 0 || !gen_chance(random, 30)) {
        put_int(gen, name, time_us);
        return;
    }
    unsigned day = gen_below(random, 28) + 1, fraction = gen_below(random, 1000000);
    char text[48];
    snprintf(text, sizeof(text), "2024-02-%02uT%02u:30:00.%06u+09:00", day, day % 24, fraction);
    put_str(gen, name, text);
}

static void put_who(struct generator *gen, struct gen_random *random)
{
    static const char *const locales[] = {"en-GB", "de-DE", "ru-RU", "el-GR", "zh-Hans-CN",
                                          "ko-KR", "ja-JP", "ar-EG", "hi-IN"};
    enum gen_script script = gen_chance(random, 400) ? GEN_LATIN : gen_below(random, GEN_SCRIPTS);
    if (!gen_chance(random, 10)) {
        gen_name(random, script, &gen->text);
        put_buf(gen, "name");
    }
    if (gen_chance(random, 900)) {
        gen_name(random, GEN_LATIN, &gen->text);
        put_buf(gen, "name_latin");
    }
    if (gen_chance(random, 850)) {
        ls_buf_clear(&gen->text);
        ls_buf_printf(&gen->text, "u%u.%u@example.%s", gen_below(random, 1000000),
                      gen_below(random, 1000), gen_chance(random, 500) ? "com" : "org");
        put_buf(gen, "email");
    }
    if (gen_chance(random, 700)) { /* +999 is nobody's country */
        ls_buf_clear(&gen->text);
        ls_buf_printf(&gen->text, "+999%09u", gen_below(random, 1000000000));
        put_buf(gen, "phone");
    } else if (gen_chance(random, 200)) {
        put_str(gen, "phone", "");
    }
    if (gen_chance(random, 600))
        put_int(gen, "birthday", ((int64_t)gen_below(random, 30000) - 12000) * day_us);
    if (gen_chance(random, 950))
        put_str(gen, "locale", locales[script]);
    if (gen_chance(random, 800)) {
        gen_city(random, &gen->text);
        put_buf(gen, "city");
    }
}

static int64_t points_of(struct gen_random *random)
{
    static const int64_t edges[] = {INT64_MAX, INT64_MIN, INT64_C(9007199254740993),
                                    -1,        INT32_MAX, INT64_C(-2147483649)};
    if (gen_chance(random, 3))
        return edges[gen_below(random, LS_COUNT(edges))];
    return gen_below(random, 20000);
}

/* Cents; a few values at a double's edges. Never -0.0, which stores tell apart from 0.0 or not. */
static void put_balance(struct generator *gen, struct gen_random *random)
{
    static const char *const edges[] = {"1.7976931348623157e308", "5e-324", "0.1", "-1e-7",
                                        "123456789012345.67",     "3"};
    field_name(gen, "balance");
    if (gen_chance(random, 5)) {
        ls_buf_append_str(&gen->out, edges[gen_below(random, LS_COUNT(edges))]);
        return;
    }
    uint32_t cents = gen_below(random, 2000000);
    ls_buf_printf(&gen->out, "%s%u.%02u", cents > 200 && gen_chance(random, 30) ? "-" : "",
                  cents / 100, cents % 100);
}

static void put_standing(struct generator *gen, struct gen_random *random, uint64_t event)
{
    static const char *const states[] = {"active", "active", "active", "frozen", "closed"};
    static const char *const tiers[] = {"basic", "basic", "basic", "silver", "gold", "black"};
    int64_t now_us = start_us + (int64_t)event * 311 * second_us + gen_below(random, 1000000);
    put_str(gen, "status", states[gen_below(random, LS_COUNT(states))]);
    if (gen_chance(random, 970))
        put_str(gen, "tier", tiers[gen_below(random, LS_COUNT(tiers))]);
    if (gen_chance(random, 950))
        put_int(gen, "points", points_of(random));
    if (gen_chance(random, 800))
        put_balance(gen, random);
    if (gen_chance(random, 900))
        put_int(gen, "orders", gen_chance(random, 200) ? 0 : gen_below(random, 400));
    put_time(gen, random, "created_at", start_us - (int64_t)gen_below(random, 3000) * day_us);
    put_int(gen, "updated_at", now_us);
    if (gen_chance(random, 700))
        put_time(gen, random, "last_order_at", now_us - (int64_t)gen_below(random, 90) * day_us);
    else if (gen_chance(random, 5))
        put_int(gen, "last_order_at", INT64_C(253402300799999999)); /* the end of 9999 */
}

/* A list of `count` texts made by printf of a word and a number. */
static void put_list(struct generator *gen, struct gen_random *random, const char *name,
                     const char *const *names, unsigned n_names, unsigned count)
{
    field_name(gen, name);
    ls_buf_append_char(&gen->out, '[');
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            ls_buf_append_char(&gen->out, ',');
        ls_buf_clear(&gen->text);
        ls_buf_append_str(&gen->text, names[gen_below(random, n_names)]);
        if (gen->text.len > 0 && gen->text.data[gen->text.len - 1] == ':')
            ls_buf_append_u64(&gen->text, gen_next(random) >> 8);
        gen_json_string(&gen->out, gen->text.data, gen->text.len, false);
    }
    ls_buf_append_char(&gen->out, ']');
}

static void put_origin_and_marketing(struct generator *gen, struct gen_random *random)
{
    static const char *const systems[] = {
        "wechat:", "app:", "shop:", "card:", "微店:", "say \"hi\":"};
    static const char *const tags[] = {"new",      "vip", "birthday", "夏", "back\\slash", "a,b",
                                       "win-back", "",    "q\"uote",  "🎁",  "line\nbreak"};
    if (gen_chance(random, 800))
        put_list(gen, random, "external_ids", systems, LS_COUNT(systems),
                 gen_chance(random, 2) ? 16 : gen_below(random, 4));
    if (gen_chance(random, 500)) {
        ls_buf_clear(&gen->text);
        ls_buf_printf(&gen->text, "store-%03u", gen_below(random, 800));
        put_buf(gen, "home_store");
    }
    if (gen_chance(random, 700))
        put_bool(gen, "consent_email", gen_chance(random, 600));
    if (gen_chance(random, 600))
        put_bool(gen, "consent_sms", gen_chance(random, 300));
    if (gen_chance(random, 500))
        put_time(gen, random, "consent_at", start_us + gen_below(random, 1000) * day_us);
    if (gen_chance(random, 900))
        put_bool(gen, "marketing", gen_chance(random, 400));
    if (gen_chance(random, 600))
        put_list(gen, random, "tags", tags, LS_COUNT(tags),
                 gen_chance(random, 2) ? 64 : gen_below(random, 6));
    if (gen_chance(random, 250)) {
        gen_note(random, gen_chance(random, 4) ? 200 : gen_below(random, 20), &gen->text);
        put_buf(gen, "note");
    }
}

static void write_event(struct generator *gen, uint64_t member, uint64_t event, bool alive)
{
    struct gen_random random = {gen->seed * 0xd1342543de82ef95u ^ member << 20 ^ event};
    gen_next(&random);
    key_of(&gen->key, member);
    ls_buf_append_str(&gen->out,
                      alive ? gen_chance(&random, 50) ? "{\"_op\":\"put\",\"id\":" : "{\"id\":"
                            : "{\"_op\":\"delete\",\"id\":");
    gen_json_string(&gen->out, gen->key.data, gen->key.len, false);
    if (alive && !gen_chance(&random, 1)) { /* a few members hold nothing at all */
        put_who(gen, &random);
        put_standing(gen, &random, event);
        put_origin_and_marketing(gen, &random);
    }
    ls_buf_append_str(&gen->out, "}\n");
}

/* Index of a member that exists: the early ones far more often (about a third are of the first 1
 * %). */
static uint64_t skewed(struct generator *gen)
{
    double u = (double)(gen_next(&gen->random) >> 11) / 9007199254740992.0;
    uint64_t member = (uint64_t)(u * u * u * u * (double)gen->created);
    return member < gen->created ? member : gen->created - 1;
}

/* The member of an event, and whether it lives after it. */
static uint64_t next_event(struct generator *gen, uint64_t event, bool *ret_alive)
{
    uint64_t left = gen->events - event, missing = gen->members - gen->created;
    bool create = gen->created == 0 || missing >= left || gen_next(&gen->random) % left < missing;
    if (create && missing > 0) {
        *ret_alive = true;
        return gen->created++;
    }
    uint64_t member = skewed(gen);
    bool alive = gen->state[member] & 1;
    /* the dead mostly come back when they are met again; a delete of the dead is a change, too */
    *ret_alive = alive ? !gen_chance(&gen->random, 60) : gen_chance(&gen->random, 900);
    return member;
}

static int flush(struct generator *gen)
{
    size_t at = 0;
    while (at < gen->out.len) {
        ssize_t wrote = write(STDOUT_FILENO, gen->out.data + at, gen->out.len - at);
        if (wrote < 0) {
            perror("gen-members: standard output");
            return -1;
        }
        at += (size_t)wrote;
    }
    ls_buf_clear(&gen->out);
    return 0;
}

static int generate(struct generator *gen)
{
    gen->state = ls_calloc(gen->members, sizeof(*gen->state));
    gen->random.state = gen->seed * 0x2545f4914f6cdd1du + 1;
    for (uint64_t event = 0; event < gen->events; event++) {
        bool alive;
        uint64_t member = next_event(gen, event, &alive);
        gen->state[member] = alive;
        write_event(gen, member, event, alive);
        if (gen->out.len >= OUT_BYTES && flush(gen) < 0)
            return 1;
    }
    int result = flush(gen) < 0;
    free(gen->state);
    ls_buf_free(&gen->out);
    ls_buf_free(&gen->text);
    ls_buf_free(&gen->key);
    return result;
}

static uint64_t number_of(const char *option, const char *text)
{
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-') {
        fprintf(stderr, "gen-members: --%s: expected a number, found '%s'\n", option, text);
        exit(64);
    }
    return number;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"members", required_argument, NULL, 'm'},
        {"events", required_argument, NULL, 'e'},
        {"seed", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct generator gen = {.members = 1000, .seed = 1};
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'm':
            gen.members = number_of("members", optarg);
            break;
        case 'e':
            gen.events = number_of("events", optarg);
            break;
        case 's':
            gen.seed = number_of("seed", optarg);
            break;
        default:
            fputs("Usage: gen-members [--members N] [--events N] [--seed N] > FILE.ndjson\n"
                  "Writes made-up changes of member.yaml, the same for the same numbers.\n"
                  "Defaults: 1000 members, twice as many events, seed 1.\n",
                  option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 64;
        }
    }
    if (gen.events == 0)
        gen.events = gen.members * 2;
    if (gen.members == 0 || gen.events < gen.members) {
        fputs("gen-members: at least one member, and at least as many events as members\n", stderr);
        return 64;
    }
    return generate(&gen);
}
