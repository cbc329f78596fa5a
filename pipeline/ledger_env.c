/*
 * The ledger's LMDB environment.
 *
 * MDB_NOSYNC, because the log can always give everything again; LMDB never overwrites live pages,
 * so what a killed process leaves in the page cache is whole. Only a machine that goes down can
 * tear it (pages reach the disk in any order), and that is what the boot id in `unsynced` finds. A
 * sync per transaction was rejected: it makes the first build several times slower and guards
 * nothing more. MDB_WRITEMAP was rejected: a stray write of this process could then damage the
 * file.
 */
#include "pipeline/ledger_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    LOCK_WAIT_MS = 10 * 1000,
    LOCK_POLL_MS = 50,
    READERS_MAX = 256,
    BOOT_ID_BYTES = 36,
};
static const size_t MAP_BYTES = (size_t)1 << 30;

static int io_err(struct ls_err *err, const char *what, const char *path)
{
    return ls_err_set(err, errno == ENOSPC ? LS_ERR_RETRY : LS_ERR_FATAL, errno,
                      "ledger: cannot %s %s: %s", what, path, strerror(errno));
}

int ls_ledger_env_err(const struct ls_ledger_env *env, int code, const char *what,
                      struct ls_err *err)
{
    switch (code) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PANIC:
    case MDB_VERSION_MISMATCH:
        return ls_err_set(
            err, LS_ERR_FATAL, code,
            "ledger %s: cannot %s: %s; remove the folder, it is built again from the log", env->dir,
            what, mdb_strerror(code));
    case ENOSPC:
        return ls_err_set(err, LS_ERR_RETRY, code,
                          "ledger %s: cannot %s: no space left on the device", env->dir, what);
    default:
        return ls_err_set(err, LS_ERR_FATAL, code, "ledger %s: cannot %s: %s", env->dir, what,
                          mdb_strerror(code));
    }
}

static int make_folders(const char *dir, struct ls_err *err)
{
    LS_CLEANUP_FREE char *path = ls_strdup(dir);
    for (char *slash = path + 1;; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        char was = *slash;
        *slash = '\0';
        if (mkdir(path, 0777) < 0 && errno != EEXIST)
            return io_err(err, "make the folder", path);
        if (was == '\0')
            return 0;
        *slash = was;
    }
}

/* The id of this run of the machine, or "" where there is none: then nothing can be trusted. */
static void boot_id(char ret[BOOT_ID_BYTES + 1])
{
    ret[0] = '\0';
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t got = read(fd, ret, BOOT_ID_BYTES);
    close(fd);
    ret[got == BOOT_ID_BYTES ? BOOT_ID_BYTES : 0] = '\0';
}

/* Whether the machine went down while commits were in memory only. */
static bool torn(struct ls_ledger_env *env)
{
    LS_CLEANUP_FREE char *path = ls_asprintf("%s/unsynced", env->dir);
    char then[BOOT_ID_BYTES + 1] = "", now[BOOT_ID_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, then, BOOT_ID_BYTES);
    close(fd);
    boot_id(now);
    return got != BOOT_ID_BYTES || now[0] == '\0' || memcmp(then, now, BOOT_ID_BYTES) != 0;
}

static void sync_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int ls_ledger_env_mark_unsynced(struct ls_ledger_env *env, struct ls_err *err)
{
    if (env->unsynced)
        return 0;
    char id[BOOT_ID_BYTES + 1];
    boot_id(id);
    LS_CLEANUP_FREE char *path = ls_asprintf("%s/unsynced", env->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return io_err(err, "write", path);
    bool written = write(fd, id, strlen(id)) == (ssize_t)strlen(id) && fsync(fd) == 0;
    int failure = errno;
    close(fd);
    errno = failure;
    if (!written)
        return io_err(err, "write", path);
    sync_folder(env->dir);
    env->unsynced = true;
    return 0;
}

int ls_ledger_env_sync(struct ls_ledger_env *env, struct ls_err *err)
{
    if (!env->unsynced)
        return 0;
    int code = mdb_env_sync(env->env, 1);
    if (code != MDB_SUCCESS)
        return ls_ledger_env_err(env, code, "sync", err);
    LS_CLEANUP_FREE char *path = ls_asprintf("%s/unsynced", env->dir);
    if (unlink(path) < 0 && errno != ENOENT)
        return io_err(err, "remove", path);
    env->unsynced = false;
    return 0;
}

int ls_ledger_env_lock(struct ls_ledger_env *env, struct ls_err *err)
{
    int64_t deadline_ms = ls_mono_ms() + env->lock_wait_ms;
    while (flock(env->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return io_err(err, "lock", env->dir);
        if (ls_mono_ms() > deadline_ms) {
            char pid[16] = "";
            ssize_t got = pread(env->lock_fd, pid, sizeof(pid) - 1, 0);
            pid[got > 0 ? got : 0] = '\0';
            return ls_err_set(err, LS_ERR_RETRY, EWOULDBLOCK,
                              "ledger %s: process %s is bringing it up to date: wait for it, then "
                              "try again",
                              env->dir, *pid ? pid : "(unknown)");
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000 * 1000}, NULL);
    }
    /* Whoever held it last may have left commits unsynced, or synced those that we knew of. */
    LS_CLEANUP_FREE char *unsynced = ls_asprintf("%s/unsynced", env->dir);
    env->unsynced = access(unsynced, F_OK) == 0;
    char pid[16];
    int len = snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    if (ftruncate(env->lock_fd, 0) == 0) {
        ssize_t written = pwrite(env->lock_fd, pid, (size_t)len, 0);
        (void)written; /* only for the message above */
    }
    return 0;
}

void ls_ledger_env_unlock(struct ls_ledger_env *env)
{
    flock(env->lock_fd, LOCK_UN);
}

static int open_databases(struct ls_ledger_env *env)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(env->env, NULL, 0, &txn);
    if (code != MDB_SUCCESS)
        return code;
    code = mdb_dbi_open(txn, "log", MDB_CREATE, &env->log);
    if (code == MDB_SUCCESS)
        code = mdb_dbi_open(txn, "state", MDB_CREATE, &env->state);
    if (code != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

static int open_files(struct ls_ledger_env *env, size_t map_bytes)
{
    int code = mdb_env_create(&env->env);
    if (code != MDB_SUCCESS)
        return code;
    mdb_env_set_maxdbs(env->env, 2);
    mdb_env_set_maxreaders(env->env, READERS_MAX);
    mdb_env_set_mapsize(env->env, map_bytes);
    code = mdb_env_open(env->env, env->dir, MDB_NOSYNC | MDB_NOTLS, 0666);
    if (code == MDB_SUCCESS) {
        int dead;
        mdb_reader_check(env->env, &dead); /* slots of killed readers keep old pages alive */
        code = open_databases(env);
    }
    if (code != MDB_SUCCESS) {
        mdb_env_close(env->env);
        env->env = NULL;
    }
    return code;
}

static int throw_away(struct ls_ledger_env *env, const char *why, struct ls_err *err)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "unsynced"};
    for (size_t i = 0; i < LS_COUNT(names); i++) {
        LS_CLEANUP_FREE char *path = ls_asprintf("%s/%s", env->dir, names[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return io_err(err, "remove", path);
    }
    env->unsynced = false;
    snprintf(env->rebuilt, sizeof(env->rebuilt), "%s", why);
    return 0;
}

static bool is_damage(int code)
{
    return code == MDB_CORRUPTED || code == MDB_INVALID || code == MDB_PAGE_NOTFOUND ||
           code == MDB_VERSION_MISMATCH;
}

/* Under the lock over processes: nobody else may open what is being thrown away. */
static int open_or_make(struct ls_ledger_env *env, size_t map_bytes, struct ls_err *err)
{
    if (torn(env) && throw_away(env, "the machine went down while it was written", err) < 0)
        return -1;
    int code = open_files(env, map_bytes);
    if (is_damage(code)) {
        if (throw_away(env, "its file was damaged", err) < 0)
            return -1;
        code = open_files(env, map_bytes);
    }
    return code == MDB_SUCCESS ? 0 : ls_ledger_env_err(env, code, "open it", err);
}

int ls_ledger_env_open(struct ls_ledger_env *env, const char *dir, size_t map_bytes,
                       struct ls_err *err)
{
    *env = (struct ls_ledger_env){
        .dir = ls_strdup(dir),
        .lock_fd = -1,
        .lock_wait_ms = LOCK_WAIT_MS,
    };
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* Else readers that follow each other closely keep the map from growing. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&env->gate, &attr);
    pthread_rwlockattr_destroy(&attr);
    LS_CLEANUP_FREE char *lock_path = ls_asprintf("%s/update.lock", dir);
    if (make_folders(dir, err) < 0)
        goto failed;
    env->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (env->lock_fd < 0) {
        io_err(err, "open", lock_path);
        goto failed;
    }
    if (ls_ledger_env_lock(env, err) < 0)
        goto failed;
    int rc = open_or_make(env, map_bytes ? map_bytes : MAP_BYTES, err);
    ls_ledger_env_unlock(env);
    if (rc == 0)
        return 0;
failed:
    ls_ledger_env_close(env);
    return -1;
}

void ls_ledger_env_close(struct ls_ledger_env *env)
{
    if (env->env != NULL)
        mdb_env_close(env->env);
    if (env->lock_fd >= 0)
        close(env->lock_fd);
    pthread_rwlock_destroy(&env->gate);
    free(env->dir);
    *env = (struct ls_ledger_env){.lock_fd = -1};
}

/* Takes the size that another process gave the map (0), or a larger one. */
static int resize(struct ls_ledger_env *env, bool twice, struct ls_err *err)
{
    pthread_rwlock_wrlock(&env->gate);
    MDB_envinfo info;
    mdb_env_info(env->env, &info);
    int code = mdb_env_set_mapsize(env->env, twice ? info.me_mapsize * 2 : 0);
    pthread_rwlock_unlock(&env->gate);
    return code == MDB_SUCCESS ? 0 : ls_ledger_env_err(env, code, "enlarge its map", err);
}

int ls_ledger_env_grow(struct ls_ledger_env *env, struct ls_err *err)
{
    return resize(env, true, err);
}

static int begin(struct ls_ledger_env *env, unsigned flags, MDB_txn **ret, struct ls_err *err)
{
    for (;;) {
        pthread_rwlock_rdlock(&env->gate);
        int code = mdb_txn_begin(env->env, NULL, flags, ret);
        if (code == MDB_SUCCESS)
            return 0;
        pthread_rwlock_unlock(&env->gate);
        if (code != MDB_MAP_RESIZED)
            return ls_ledger_env_err(env, code, "begin a transaction", err);
        if (resize(env, false, err) < 0)
            return -1;
    }
}

int ls_ledger_env_read(struct ls_ledger_env *env, MDB_txn **ret, struct ls_err *err)
{
    return begin(env, MDB_RDONLY, ret, err);
}

int ls_ledger_env_write(struct ls_ledger_env *env, MDB_txn **ret, struct ls_err *err)
{
    return begin(env, 0, ret, err);
}

void ls_ledger_env_abort(struct ls_ledger_env *env, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(&env->gate);
}

int ls_ledger_env_commit(struct ls_ledger_env *env, MDB_txn *txn)
{
    int code = mdb_txn_commit(txn);
    pthread_rwlock_unlock(&env->gate);
    return code;
}
