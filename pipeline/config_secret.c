/*
 * Secrets of the configuration: read from files or the environment, never from the YAML text, and
 * never put into a message.
 *
 * Threads: the one that reads the configuration. A crash leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

enum { SECRET_BYTES_MAX = 64 << 10 };

/* Refuses what can only be a mistake: an empty secret, a NUL or, in a password, a second line. */
static int check_secret(struct ls_config_reader *reader, const char *where, int line,
                        const char *source, const char *secret, size_t len, bool lines)
{
    if (len == 0)
        return ls_config_fail(reader, line, "%s: %s is empty; expected the secret there", where,
                              source);
    if (memchr(secret, '\0', len))
        return ls_config_fail(reader, line, "%s: %s holds a NUL byte; expected text", where,
                              source);
    if (!lines && (memchr(secret, '\n', len) || memchr(secret, '\r', len)))
        return ls_config_fail(reader, line,
                              "%s: %s holds more than one line; expected the secret alone", where,
                              source);
    return 0;
}

/* Bytes read into buf (at most size), or -1 with errno. */
static ssize_t read_file(const char *path, char *buf, size_t size, mode_t *ret_mode)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    size_t len = 0;
    ssize_t got = 0;
    struct stat info;
    if (fstat(fd, &info) < 0) {
        got = -1;
    } else if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
        errno = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
        got = -1;
    } else {
        fcntl(fd, F_SETFL, 0); /* a pipe (a shell's <(...)) may take a moment */
        while (len < size && (got = read(fd, buf + len, size - len)) > 0)
            len += (size_t)got;
        /* Only what lies in a file for others to read is worth a warning. */
        *ret_mode = S_ISREG(info.st_mode) ? info.st_mode : 0;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return got < 0 ? -1 : (ssize_t)len;
}

int ls_config_secret_file(struct ls_config_reader *reader, const char *where,
                          const struct ls_yaml *node, bool lines, char **ret)
{
    const char *text = NULL;
    if (ls_yaml_text("", node, &text, NULL) < 0) {
        char found[80];
        return ls_config_fail(reader, node->line, "%s: expected the path of a file, found %s",
                              where, ls_config_describe(node, found, sizeof(found)));
    }
    LS_CLEANUP_FREE char *path = ls_config_path(reader, text);
    char *secret = ls_malloc(SECRET_BYTES_MAX + 1);
    mode_t mode = 0;
    ssize_t got = read_file(path, secret, SECRET_BYTES_MAX + 1, &mode);
    int rc = 0;
    size_t len = got < 0 ? 0 : (size_t)got;
    if (got < 0)
        rc = ls_config_fail(reader, node->line, "%s: cannot read %s: %s", where, path,
                            errno == EINVAL ? "it is no file" : strerror(errno));
    else if (got > SECRET_BYTES_MAX)
        rc = ls_config_fail(reader, node->line, "%s: %s is larger than %d bytes", where, path,
                            SECRET_BYTES_MAX);
    if (rc == 0) {
        if (len > 0 && secret[len - 1] == '\n')
            len--;
        if (len > 0 && secret[len - 1] == '\r')
            len--;
        rc = check_secret(reader, where, node->line, path, secret, len, lines);
    }
    if (rc == 0) {
        *ret = ls_strndup(secret, len);
        if (mode & S_IROTH)
            ls_config_warn(reader, node->line,
                           "%s: every user of this machine may read %s; `chmod o-r` mends it",
                           where, path);
    }
    explicit_bzero(secret, SECRET_BYTES_MAX + 1);
    free(secret);
    return rc;
}

static bool is_variable(const char *name)
{
    if (*name != '_' && (*name < 'A' || *name > 'Z'))
        return false;
    for (; *name; name++)
        if (*name != '_' && (*name < 'A' || *name > 'Z') && (*name < '0' || *name > '9'))
            return false;
    return true;
}

int ls_config_secret_env(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, bool lines, char **ret)
{
    const char *name = NULL;
    /* What is no such name may be the secret itself, put in the wrong place: it is not shown. */
    if (ls_yaml_text("", node, &name, NULL) < 0 || !is_variable(name))
        return ls_config_fail(reader, node->line,
                              "%s: expected the name of an environment variable, of capitals, "
                              "digits and _",
                              where);
    const char *secret = getenv(name);
    if (secret == NULL)
        return ls_config_fail(reader, node->line,
                              "%s: the environment has no variable %s; set it to the secret", where,
                              name);
    if (check_secret(reader, where, node->line, name, secret, strlen(secret), lines) < 0)
        return -1;
    *ret = ls_strdup(secret);
    return 0;
}
