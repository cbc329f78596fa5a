#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pipeline/mysql_client.h"

/* A server whose greeting is announced as 64 KiB and comes byte by byte, for minutes. */
static void *trickle(void *opaque)
{
    static const char header[4] = {0, 0, 1, 0};
    int fd = accept(*(int *)opaque, NULL, NULL);
    send(fd, header, sizeof(header), MSG_NOSIGNAL);
    while (send(fd, "a", 1, MSG_NOSIGNAL) == 1)
        poll(NULL, 0, 20);
    close(fd);
    return NULL;
}

TestSuite(mysql_client, .timeout = 60);

Test(mysql_client, a_greeting_that_comes_byte_by_byte_is_given_up)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, trickle, &listener), 0);

    char host[] = "127.0.0.1", name[] = "nobody";
    struct ls_mysql_server server = {
        .host = host, .port = ntohs(address.sin_port), .user = name, .database = name};
    struct ls_sink_config config = {.connect_timeout_ms = 1000, .request_timeout_ms = 500};
    struct ls_mysql mysql = {0};
    struct ls_err err = {0};
    cr_expect_eq(ls_mysql_connect(&mysql, &config, &server, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    cr_expect_null(mysql.handle);
    pthread_join(thread, NULL);
    close(listener);
}
