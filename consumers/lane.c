/*
 * Lanes: hand-over of units between the instance's thread and a lane's thread.
 *
 * Two queues, each a list under a mutex with an eventfd that is readable exactly while something is
 * in it, so that either side can wait in poll(2) together with its sockets. A condition variable
 * was rejected: it cannot be waited for together with sockets. A unit is hundreds of records, so
 * the cost of the lock and the system calls is nothing per record.
 * A crash loses only what the log still has.
 */
#include "consumers/lane.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

struct unit_queue {
    pthread_mutex_t lock;
    struct ls_unit *head, **tail;
    bool closing;
    int fd;
};

struct ls_returns {
    struct unit_queue queue;
};

struct ls_lane {
    struct unit_queue queue;
    struct ls_returns *returns;
    const struct ls_sink_ops *ops;
    struct ls_sink *sink;
    unsigned index;
    pthread_t thread;
    atomic_uint_least64_t incarnation;
    /* Under the queue's lock: */
    char doubt[256]; /* why it changed last */
    char warning[LS_LANE_WARNING_MAX];
    bool wrong; /* of the warning */
};

static void signal_fd(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof(one));
    (void)written; /* can only fail when the counter is full, and then it is readable */
}

static void clear_fd(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));
    (void)got; /* non-blocking: nothing to read is fine */
}

static void queue_init(struct unit_queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    queue->head = NULL;
    queue->tail = &queue->head;
    queue->closing = false;
    queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void queue_free(struct unit_queue *queue)
{
    close(queue->fd);
    pthread_mutex_destroy(&queue->lock);
}

static void queue_push(struct unit_queue *queue, struct ls_unit *unit)
{
    unit->next = NULL;
    pthread_mutex_lock(&queue->lock);
    if (queue->head == NULL)
        signal_fd(queue->fd);
    *queue->tail = unit;
    queue->tail = &unit->next;
    pthread_mutex_unlock(&queue->lock);
}

/* The fd stays readable while closing, whatever is in the queue. */
static struct ls_unit *queue_pop(struct unit_queue *queue, bool all, bool *ret_closing)
{
    pthread_mutex_lock(&queue->lock);
    struct ls_unit *unit = queue->head;
    if (unit != NULL) {
        queue->head = all ? NULL : unit->next;
        if (queue->head == NULL) {
            queue->tail = &queue->head;
            if (!queue->closing)
                clear_fd(queue->fd);
        }
    }
    *ret_closing = queue->closing;
    pthread_mutex_unlock(&queue->lock);
    return unit;
}

struct ls_returns *ls_returns_new(void)
{
    struct ls_returns *returns = ls_calloc(1, sizeof(*returns));
    queue_init(&returns->queue);
    return returns;
}

void ls_returns_free(struct ls_returns *returns)
{
    if (returns == NULL)
        return;
    queue_free(&returns->queue);
    free(returns);
}

struct ls_unit *ls_returns_take(struct ls_returns *returns)
{
    bool closing;
    return queue_pop(&returns->queue, true, &closing);
}

int ls_returns_fd(const struct ls_returns *returns)
{
    return returns->queue.fd;
}

static void *lane_main(void *opaque)
{
    struct ls_lane *lane = opaque;
    lane->ops->run_lane(lane->sink, lane->index, lane);
    return NULL;
}

struct ls_lane *ls_lane_start(const struct ls_sink_ops *ops, struct ls_sink *sink, unsigned index,
                              struct ls_returns *returns, struct ls_err *err)
{
    struct ls_lane *lane = ls_calloc(1, sizeof(*lane));
    queue_init(&lane->queue);
    lane->ops = ops;
    lane->sink = sink;
    lane->index = index;
    lane->returns = returns;
    int rc = pthread_create(&lane->thread, NULL, lane_main, lane);
    if (rc != 0) {
        queue_free(&lane->queue);
        free(lane);
        ls_err_set(err, LS_ERR_RETRY, rc, "cannot start a thread: %s", strerror(rc));
        return NULL;
    }
    return lane;
}

void ls_lane_unsure(struct ls_lane *lane, const char *why)
{
    pthread_mutex_lock(&lane->queue.lock);
    snprintf(lane->doubt, sizeof(lane->doubt), "%s", why);
    atomic_fetch_add(&lane->incarnation, 1);
    pthread_mutex_unlock(&lane->queue.lock);
}

bool ls_lane_may_mark(struct ls_lane *lane, const struct ls_unit *unit)
{
    return unit->incarnation == atomic_load(&lane->incarnation);
}

uint64_t ls_lane_incarnation(const struct ls_lane *lane)
{
    return atomic_load(&lane->incarnation);
}

void ls_lane_doubt(struct ls_lane *lane, char *why, size_t size)
{
    pthread_mutex_lock(&lane->queue.lock);
    snprintf(why, size, "%s", lane->doubt);
    pthread_mutex_unlock(&lane->queue.lock);
}

void ls_lane_warn(struct ls_lane *lane, bool wrong, const char *text)
{
    pthread_mutex_lock(&lane->queue.lock);
    snprintf(lane->warning, sizeof(lane->warning), "%s", text);
    lane->wrong = wrong;
    pthread_mutex_unlock(&lane->queue.lock);
}

bool ls_lane_warning(struct ls_lane *lane, char *text, size_t size)
{
    pthread_mutex_lock(&lane->queue.lock);
    snprintf(text, size, "%s", lane->warning);
    bool wrong = lane->wrong;
    pthread_mutex_unlock(&lane->queue.lock);
    return wrong;
}

void ls_lane_submit_as(struct ls_lane *lane, struct ls_unit *unit, uint64_t incarnation)
{
    unit->incarnation = incarnation;
    queue_push(&lane->queue, unit);
}

void ls_lane_submit(struct ls_lane *lane, struct ls_unit *unit)
{
    ls_lane_submit_as(lane, unit, ls_lane_incarnation(lane));
}

struct ls_unit *ls_lane_stop(struct ls_lane *lane)
{
    pthread_mutex_lock(&lane->queue.lock);
    lane->queue.closing = true;
    signal_fd(lane->queue.fd);
    pthread_mutex_unlock(&lane->queue.lock);
    pthread_join(lane->thread, NULL);
    bool closing;
    struct ls_unit *left = queue_pop(&lane->queue, true, &closing);
    queue_free(&lane->queue);
    free(lane);
    return left;
}

struct ls_unit *ls_lane_take(struct ls_lane *lane, int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? INT64_MAX : ls_mono_ms() + timeout_ms;
    for (;;) {
        if (ls_lane_closing(lane))
            return NULL;
        bool closing;
        struct ls_unit *unit = queue_pop(&lane->queue, false, &closing);
        if (unit != NULL) {
            unit->next = NULL;
            return unit;
        }
        int64_t left_ms = timeout_ms < 0 ? -1 : deadline_ms - ls_mono_ms();
        if (closing || (timeout_ms >= 0 && left_ms <= 0))
            return NULL;
        struct pollfd wait = {.fd = lane->queue.fd, .events = POLLIN};
        poll(&wait, 1, (int)left_ms);
    }
}

void ls_lane_complete(struct ls_lane *lane, struct ls_unit *unit)
{
    queue_push(&lane->returns->queue, unit);
}

bool ls_lane_closing(struct ls_lane *lane)
{
    pthread_mutex_lock(&lane->queue.lock);
    bool closing = lane->queue.closing;
    pthread_mutex_unlock(&lane->queue.lock);
    return closing;
}

int ls_lane_fd(struct ls_lane *lane)
{
    return lane->queue.fd;
}
