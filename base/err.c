#include "base/err.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

int ls_err_set(struct ls_err *err, enum ls_err_class class, int code, const char *format, ...)
{
    if (err == NULL)
        return -1;
    /* Formatted aside first: an argument may be err->text itself. */
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ls_text_tidy(text, sizeof(text));
    err->class = class;
    err->code = code;
    err->overload = false;
    err->name[0] = '\0';
    memcpy(err->text, text, sizeof(text));
    return -1;
}

void ls_err_name(struct ls_err *err, const char *text, size_t len)
{
    size_t n = 0;
    if (err == NULL)
        return;
    while (n < len && n < sizeof(err->name) - 1 &&
           (isalnum((unsigned char)text[n]) || text[n] == '_' || text[n] == '-'))
        n++;
    if (n > 0)
        memcpy(err->name, text, n);
    err->name[n] = '\0';
}

int ls_err_prefix(struct ls_err *err, const char *format, ...)
{
    if (err == NULL)
        return -1;
    char prefix[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);
    char text[2 * sizeof(err->text) + 2];
    snprintf(text, sizeof(text), "%s: %s", prefix, err->text);
    text[sizeof(err->text) - 1] = '\0';
    ls_text_tidy(text, sizeof(err->text));
    memcpy(err->text, text, sizeof(err->text));
    return -1;
}

const char *ls_err_class_name(enum ls_err_class class)
{
    switch (class) {
    case LS_ERR_NONE:
        return "none";
    case LS_ERR_RETRY:
        return "retry";
    case LS_ERR_UNKNOWN:
        return "unknown";
    case LS_ERR_POISON:
        return "poison";
    case LS_ERR_FATAL:
        return "fatal";
    }
    return "unknown";
}
