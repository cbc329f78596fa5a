/* Which of librdkafka's log lines say that a broker refuses password or certificate. */
#include <criterion/criterion.h>

#include <string.h>

#include "pipeline/kafka_refusal.h"

Test(kafka_refusal, a_wrong_password_is_told_without_address_and_timing)
{
    char text[LS_KAFKA_REFUSAL_MAX];
    cr_assert(ls_kafka_refusal_text("[thrd:sasl_ssl://b:9093/1]: sasl_ssl://b:9093/1: SASL "
                                    "authentication error: Authentication failed: Invalid username "
                                    "or password (after 304ms in state AUTH_REQ)",
                                    text, sizeof(text)));
    cr_expect_str_eq(text, "SASL authentication error: Authentication failed: Invalid username or "
                           "password");
}

Test(kafka_refusal, a_certificate_is_a_refusal_and_a_handshake_that_was_cut_is_not)
{
    char text[LS_KAFKA_REFUSAL_MAX];
    cr_expect(ls_kafka_refusal_text("ssl://b:9093/1: SSL handshake failed: error:0A000086:SSL "
                                    "routines::certificate verify failed",
                                    text, sizeof(text)));
    cr_expect_not(ls_kafka_refusal_text("ssl://b:9093/1: SSL handshake failed: Disconnected: "
                                        "connecting to a PLAINTEXT broker listener?",
                                        text, sizeof(text)));
    cr_expect_not(ls_kafka_refusal_text("b:9092/1: Connect to ipv4#127.0.0.1:9092 failed: "
                                        "Connection refused (after 0ms in state CONNECT)",
                                        text, sizeof(text)));
}

Test(kafka_refusal, a_client_that_is_too_old_for_scram_says_so)
{
    static const char line[] =
        "ssl://b:9093/1: SASL authentication error: invalid credentials with "
        "SASL mechanism SCRAM-SHA-512 (after 304ms in state AUTH_REQ)";
    static const char refusal[] =
        "SASL authentication error: invalid credentials with SASL mechanism "
        "SCRAM-SHA-512";
    char text[LS_KAFKA_REFUSAL_MAX];
    cr_assert(ls_kafka_refusal_text_of(line, 0x020601ff, text, sizeof(text)));
    cr_expect_str_eq(text, refusal);
    cr_assert(ls_kafka_refusal_text_of(line, 0x020600ff, text, sizeof(text)));
    cr_expect_eq(strncmp(text, refusal, strlen(refusal)), 0);
    cr_expect_not_null(strstr(text, "needs librdkafka 2.6.1 or later, and this is 2.6.0"), "%s",
                       text);
}

Test(kafka_refusal, an_old_client_is_not_blamed_for_what_is_no_matter_of_scram)
{
    char text[LS_KAFKA_REFUSAL_MAX];
    cr_assert(
        ls_kafka_refusal_text_of("b:9093/1: SASL authentication error: invalid credentials with "
                                 "SASL mechanism PLAIN",
                                 0x020002ff, text, sizeof(text)));
    cr_expect_null(strstr(text, "librdkafka"), "%s", text);
}

Test(kafka_refusal, a_long_text_is_cut_to_the_room_there_is)
{
    char text[12];
    cr_assert(ls_kafka_refusal_text("x: SASL authentication error: no", text, sizeof(text)));
    cr_expect_str_eq(text, "SASL authen");
}

Test(kafka_refusal, the_newest_refusal_is_remembered)
{
    char text[LS_KAFKA_REFUSAL_MAX];
    cr_expect_not(ls_kafka_refusal(text, sizeof(text)));
    ls_kafka_refusal_note("b:9092/1: Connection refused");
    cr_expect_not(ls_kafka_refusal(text, sizeof(text)));
    ls_kafka_refusal_note("b:9092/1: SASL authentication error: first");
    ls_kafka_refusal_note("b:9092/1: SASL authentication error: second (after 1ms)");
    cr_assert(ls_kafka_refusal(text, sizeof(text)));
    cr_expect_str_eq(text, "SASL authentication error: second");
}
