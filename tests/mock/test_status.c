/*
 * What status asks of Kafka, where the answer is one that librdkafka's mock cluster can be told to
 * give.
 */
#include "instance_fixture.h"
#include "pipeline/status.h"

enum { API_OFFSET_FETCH = 9 };

TestSuite(status, .init = instance_start, .fini = instance_stop, .timeout = 60);

static struct ls_status *open_status(void)
{
    static const struct ls_sink_config *const sinks[] = {&sink};
    struct ls_err err = {0};
    struct ls_status *status = ls_status_open(&mock.config, sinks, 1, &err);
    cr_assert_not_null(status, "%s", err.text);
    return status;
}

/* A client without a group would not survive the first of them. */
Test(status, a_group_whose_coordinator_moves_is_asked_again)
{
    static const rd_kafka_resp_err_t moving[] = {
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    };
    struct ls_err err = {0};
    struct ls_status_sink found;
    struct ls_status *status = open_status();
    put("a", 1);
    for (size_t i = 0; i < LS_COUNT(moving); i++) {
        rd_kafka_mock_push_request_errors(mock.cluster, API_OFFSET_FETCH, 1, moving[i]);
        cr_assert_eq(ls_status_gather(status, &found, &err), 0, "%s", err.text);
        cr_expect_eq(found.lag, 2, "what lags is the record, and the genesis before it");
    }
    ls_status_close(status);
}

Test(status, a_group_that_may_not_be_asked_is_said_at_once)
{
    struct ls_err err = {0};
    struct ls_status_sink found;
    struct ls_status *status = open_status();
    put("a", 1);
    rd_kafka_mock_push_request_errors(mock.cluster, API_OFFSET_FETCH, 1,
                                      RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    cr_assert_eq(ls_status_gather(status, &found, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect(strstr(err.text, "offsets of group"), "%s", err.text);
    ls_status_close(status);
}
