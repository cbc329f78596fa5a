#include "cli/quarantine_filter.h"

#include <string.h>
#include <time.h>

#include "base/mem.h"

bool ls_quarantine_filter_takes(const struct ls_quarantine_filter *filter,
                                const struct ls_quarantine_entry *entry)
{
    if (filter->partition >= 0 && entry->partition != filter->partition)
        return false;
    if (filter->offset >= 0 && entry->offset != filter->offset)
        return false;
    if (filter->since_ms > 0 && entry->since_ms < filter->since_ms)
        return false;
    if (filter->until_ms > 0 && entry->since_ms >= filter->until_ms)
        return false;
    if (filter->class != NULL && (strlen(filter->class) != entry->class.len ||
                                  memcmp(filter->class, entry->class.data, entry->class.len) != 0))
        return false;
    return filter->key == NULL ||
           (entry->key.data != NULL && strlen(filter->key) == entry->key.len &&
            memcmp(filter->key, entry->key.data, entry->key.len) == 0);
}

bool ls_quarantine_filter_is_empty(const struct ls_quarantine_filter *filter)
{
    return filter->class == NULL && filter->key == NULL && filter->since_ms == 0 &&
           filter->until_ms == 0 && filter->partition < 0 && filter->offset < 0;
}

bool ls_quarantine_is_class(const char *name)
{
    for (int reject = LS_REJECT_NONE + 1; reject <= LS_REJECT_STORE; reject++)
        if (strcmp(name, ls_reject_name((enum ls_reject)reject)) == 0)
            return true;
    return false;
}

/* Digits at text; NULL when there are none or too many, else what follows them. */
static const char *parse_digits(const char *text, int64_t max, int64_t *ret)
{
    int64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (*at - '0');
        if (number > max)
            return NULL;
    }
    *ret = number;
    return at == text ? NULL : at;
}

static bool parse_ago(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    int64_t number;
    const char *unit = parse_digits(text, 1000000, &number);
    if (unit == NULL || unit[0] == '\0' || unit[1] != '\0')
        return false;
    for (size_t i = 0; i < LS_COUNT(units); i++) {
        if (units[i].unit != unit[0])
            continue;
        int64_t ms = now_ms - number * units[i].ms;
        *ret_ms = ms > 0 ? ms : 1;
        return true;
    }
    return false;
}

bool ls_quarantine_parse_time(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    static const char *const formats[] = {
        "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
    };
    if (parse_ago(text, now_ms, ret_ms))
        return true;
    for (size_t i = 0; i < LS_COUNT(formats); i++) {
        struct tm tm = {0};
        const char *end = strptime(text, formats[i], &tm);
        if (end != NULL && *end == 'Z')
            end++;
        if (end == NULL || *end != '\0')
            continue;
        int64_t seconds = (int64_t)timegm(&tm);
        if (seconds <= 0)
            return false;
        *ret_ms = seconds * 1000;
        return true;
    }
    return false;
}

bool ls_quarantine_parse_position(const char *text, int32_t *ret_partition, int64_t *ret_offset)
{
    int64_t partition, offset;
    const char *slash = parse_digits(text, LS_SHARDS - 1, &partition);
    if (slash == NULL || *slash != '/')
        return false;
    const char *end = parse_digits(slash + 1, ((int64_t)1 << 48) - 2, &offset);
    if (end == NULL || *end != '\0')
        return false;
    *ret_partition = (int32_t)partition;
    *ret_offset = offset;
    return true;
}
