/* Values written as text. No locale is asked: a comma never becomes a decimal point. */
#include "producers/text_value.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

bool ls_text_int(const char *text, size_t len, int64_t *ret)
{
    size_t at = 0;
    bool negative = len > 0 && text[0] == '-';
    at += negative;
    if (at == len || len - at > 19)
        return false;
    uint64_t magnitude = 0;
    for (; at < len; at++) {
        unsigned digit = (unsigned)(text[at] - '0');
        if (digit > 9)
            return false;
        magnitude = magnitude * 10 + digit;
    }
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static size_t digits(const char *text, size_t len, size_t at)
{
    size_t start = at;
    while (at < len && text[at] >= '0' && text[at] <= '9')
        at++;
    return at - start;
}

/* [-] digits [. digits] [e [+-] digits] and nothing else */
static bool looks_like_number(const char *text, size_t len)
{
    size_t at = len > 0 && text[0] == '-';
    size_t found = digits(text, len, at);
    if (found == 0)
        return false;
    at += found;
    if (at < len && text[at] == '.') {
        found = digits(text, len, at + 1);
        if (found == 0)
            return false;
        at += 1 + found;
    }
    if (at < len && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < len && (text[at] == '+' || text[at] == '-'))
            at++;
        found = digits(text, len, at);
        if (found == 0)
            return false;
        at += found;
    }
    return at == len;
}

static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool ls_text_float(const char *text, size_t len, double *ret)
{
    char copy[400]; /* longer than any double's shortest exact form needs */
    if (len >= sizeof(copy) || !looks_like_number(text, len))
        return false;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    memcpy(copy, text, len);
    copy[len] = '\0';
    double number = c_locale ? strtod_l(copy, NULL, c_locale) : strtod(copy, NULL);
    if (!isfinite(number))
        return false;
    *ret = number == 0 ? 0.0 : number;
    return true;
}

bool ls_text_bool(const char *text, size_t len, bool *ret)
{
    bool yes = len == 4 && memcmp(text, "true", 4) == 0;
    if (!yes && !(len == 5 && memcmp(text, "false", 5) == 0))
        return false;
    *ret = yes;
    return true;
}

/* Reads exactly n digits at *at, moving it. */
static bool number_at(const char *text, size_t len, size_t *at, unsigned n, int *ret)
{
    int number = 0;
    for (unsigned i = 0; i < n; i++, (*at)++) {
        if (*at >= len || text[*at] < '0' || text[*at] > '9')
            return false;
        number = number * 10 + (text[*at] - '0');
    }
    *ret = number;
    return true;
}

static bool char_at(const char *text, size_t len, size_t *at, const char *allowed)
{
    if (*at >= len || text[*at] == '\0' || strchr(allowed, text[*at]) == NULL)
        return false;
    ++*at;
    return true;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Z, or +hh:mm: what to take off, in seconds. */
static bool offset_at(const char *text, size_t len, size_t *at, int64_t *ret_s)
{
    if (char_at(text, len, at, "Zz")) {
        *ret_s = 0;
        return true;
    }
    bool west = *at < len && text[*at] == '-';
    int hours, minutes;
    if (!char_at(text, len, at, "+-") || !number_at(text, len, at, 2, &hours) ||
        !char_at(text, len, at, ":") || !number_at(text, len, at, 2, &minutes) || hours > 23 ||
        minutes > 59)
        return false;
    *ret_s = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

bool ls_text_time(const char *text, size_t len, int64_t *ret_us)
{
    size_t at = 0;
    int year, month, day, hour, minute, second;
    if (!number_at(text, len, &at, 4, &year) || !char_at(text, len, &at, "-") ||
        !number_at(text, len, &at, 2, &month) || !char_at(text, len, &at, "-") ||
        !number_at(text, len, &at, 2, &day) || !char_at(text, len, &at, "Tt ") ||
        !number_at(text, len, &at, 2, &hour) || !char_at(text, len, &at, ":") ||
        !number_at(text, len, &at, 2, &minute) || !char_at(text, len, &at, ":") ||
        !number_at(text, len, &at, 2, &second))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    int64_t fraction_us = 0;
    if (char_at(text, len, &at, ".")) {
        size_t found = digits(text, len, at);
        if (found < 1 || found > 6)
            return false;
        for (size_t i = 0; i < 6; i++)
            fraction_us = fraction_us * 10 + (i < found ? text[at + i] - '0' : 0);
        at += found;
    }
    int64_t offset_s;
    if (!offset_at(text, len, &at, &offset_s) || at != len)
        return false;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *ret_us = (seconds - offset_s) * 1000000 + fraction_us;
    return true;
}
