/* The rejects file. A crash loses at most stdio's buffer: publishing the same lines again is safe.
 */
#include "cli/rejects.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static int failed(const struct ls_rejects *rejects, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_FATAL, errno, "%s: %s: name another file with --rejects",
                      rejects->path, strerror(errno));
}

static int open_file(struct ls_rejects *rejects, struct ls_err *err)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (rejects->append ? O_APPEND : O_TRUNC);
    int fd = open(rejects->path, flags, 0600);
    if (fd < 0)
        return failed(rejects, err);
    struct stat status;
    bool narrow = fstat(fd, &status) == 0 && (!S_ISREG(status.st_mode) || fchmod(fd, 0600) == 0);
    rejects->file = narrow ? fdopen(fd, "w") : NULL;
    if (rejects->file == NULL) {
        failed(rejects, err);
        close(fd);
        return -1;
    }
    return 0;
}

static char *base64(const char *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = (const unsigned char *)bytes;
    char *text = ls_malloc((len + 2) / 3 * 4 + 1);
    size_t used = 0;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        unsigned group = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                         (left > 2 ? in[i + 2] : 0);
        text[used++] = digits[group >> 18];
        text[used++] = digits[group >> 12 & 63];
        text[used++] = left > 1 ? digits[group >> 6 & 63] : '=';
        text[used++] = left > 2 ? digits[group & 63] : '=';
    }
    text[used] = '\0';
    return text;
}

int ls_rejects_add(struct ls_rejects *rejects, uint64_t line, const char *reason, const char *text,
                   size_t len, bool truncated, struct ls_err *err)
{
    if (rejects->file == NULL && open_file(rejects, err) < 0)
        return -1;
    json_t *object = json_object();
    json_object_set_new(object, "line", json_integer((json_int_t)line));
    json_object_set_new(object, "reason", json_string(reason));
    json_t *exact = json_stringn(text, len);
    if (exact != NULL) {
        json_object_set_new(object, "text", exact);
    } else {
        LS_CLEANUP_FREE char *encoded = base64(text, len);
        json_object_set_new(object, "text_base64", json_string(encoded));
    }
    if (truncated)
        json_object_set_new(object, "truncated", json_true());
    int result = json_dumpf(object, rejects->file, JSON_COMPACT);
    json_decref(object);
    if (result < 0 || fputc('\n', rejects->file) == EOF)
        return failed(rejects, err);
    rejects->count++;
    return 0;
}

int ls_rejects_close(struct ls_rejects *rejects, struct ls_err *err)
{
    if (rejects->file == NULL)
        return 0;
    FILE *file = rejects->file;
    rejects->file = NULL;
    return fclose(file) == 0 ? 0 : failed(rejects, err);
}
