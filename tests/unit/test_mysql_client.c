#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pipeline/mysql_client.h"

/* Announces 64 KiB of greeting, or 16 KiB of a TLS handshake. */
static const char packet_header[] = "\0\0\1", record_header[] = "\x16\3\3\x40";

/* Says that TLS is to follow. */
static const char greeting[] = "\x45\0\0\0"
                               "\x0a"
                               "8\0"
                               "\1\0\0\0"
                               "scramble\0"
                               "\x01\x8a\x21\2\0\x08\0\x15"
                               "\0\0\0\0\0\0\0\0\0\0"
                               "scramblescra\0"
                               "mysql_native_password\0";

struct peer {
    bool tls;
    int listener;
    struct ls_mysql_server server;
    pthread_t thread;
};

static char host[] = "127.0.0.1", name[] = "nobody";

static bool say(int fd, const char *bytes, size_t len, int pause_ms)
{
    for (size_t i = 0; i < len; i++) {
        if (send(fd, bytes + i, 1, MSG_NOSIGNAL) != 1)
            return false;
        poll(NULL, 0, pause_ms);
    }
    return true;
}

/* A server that is never silent, and would take minutes to say what it has announced. */
static void *trickle(void *opaque)
{
    const struct peer *peer = opaque;
    char answer[256];
    int fd = accept(peer->listener, NULL, NULL);
    if (peer->tls) {
        say(fd, greeting, sizeof(greeting) - 1, 1);
        cr_expect_gt(recv(fd, answer, sizeof(answer), 0), 0);
        say(fd, record_header, sizeof(record_header), 1);
    } else {
        say(fd, packet_header, sizeof(packet_header), 1);
    }
    while (say(fd, "a", 1, 20))
        ;
    close(fd);
    return NULL;
}

static void start(struct peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(peer->listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(peer->listener, 1), 0);
    cr_assert_eq(getsockname(peer->listener, (struct sockaddr *)&address, &len), 0);
    peer->server = (struct ls_mysql_server){
        .host = host, .port = ntohs(address.sin_port), .user = name, .database = name};
    cr_assert_eq(pthread_create(&peer->thread, NULL, trickle, peer), 0);
}

static void is_given_up(bool tls)
{
    struct peer peer = {.tls = tls};
    start(&peer);
    struct ls_sink_config config = {
        .connect_timeout_ms = 1000, .request_timeout_ms = 500, .tls.on = tls};
    struct ls_mysql mysql = {0};
    struct ls_err err = {0};
    cr_expect_eq(ls_mysql_connect(&mysql, &config, &peer.server, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    cr_expect_null(mysql.handle);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
}

TestSuite(mysql_client, .timeout = 60);

Test(mysql_client, a_greeting_that_comes_byte_by_byte_is_given_up)
{
    is_given_up(false);
}

Test(mysql_client, a_tls_handshake_that_comes_byte_by_byte_is_given_up)
{
    is_given_up(true);
}

Test(mysql_client, a_connection_that_was_given_up_hurries_no_other)
{
    is_given_up(false);
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    cr_assert_eq(send(pair[1], "a", 1, 0), 1);
    cr_expect_eq(ls_mysql_wait(pair[0], 1, 1000), 1, "what is there was waited for");
    close(pair[0]);
    close(pair[1]);
}
