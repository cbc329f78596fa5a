/*
 * HTTP to an Elasticsearch cluster. See es_client.h for threads and errors.
 *
 * Compression of requests is left out: on loopback and inside a centre the link is not what is
 * short, and deflating costs a core more than Elasticsearch's own parsing. Proxies from the
 * environment are ignored: a store's writes must not take a road that nobody configured.
 * A crash loses only answers; every write is guarded, so it is sent again.
 */
#include "pipeline/es_client.h"

#include <curl/curl.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/es_errors.h"

enum {
    UPLOAD_BUFFER_BYTES = 256 << 10,
    DOWNLOAD_BUFFER_BYTES = 128 << 10,
    KEPT_REPLY_BYTES = 4 << 20, /* a larger reply buffer is given back after its use */
};

struct es_node {
    char *base;             /* url without a final slash */
    int64_t rests_until_ms; /* monotonic; 0: well */
};

struct ls_es_client {
    const struct ls_sink_config *config;
    struct es_node *nodes;
    size_t n_nodes;
    size_t turn; /* next node in the round */
    struct curl_slist *json_headers;
    struct curl_slist *ndjson_headers;
    CURLM *multi;              /* NULL until the first call */
    struct ls_es_call *single; /* for blocking requests; NULL until the first */
};

struct ls_es_call {
    struct ls_es_client *client;
    void *owner;
    CURL *easy;
    size_t node;
    struct ls_buf url;
    struct ls_buf reply;
    CURLcode result;
    bool running; /* in the multi handle */
    bool too_large;
    char error[CURL_ERROR_SIZE];
};

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int check_url(const struct ls_sink_config *config, const char *url, struct ls_err *err)
{
    CURLU *parts = curl_url();
    char *scheme = NULL, *user = NULL;
    int rc = 0;
    if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        rc = ls_err_set(err, LS_ERR_FATAL, 0,
                        "sink %s: a url of Elasticsearch is http://host:port or https://host:port",
                        config->name);
    else if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK)
        rc =
            ls_err_set(err, LS_ERR_FATAL, 0,
                       "sink %s: a url holds a user; use `user` and `password_file`", config->name);
    curl_free(scheme);
    curl_free(user);
    curl_url_cleanup(parts);
    return rc;
}

static struct curl_slist *headers(const struct ls_sink_config *config, const char *content_type)
{
    struct curl_slist *list = curl_slist_append(NULL, content_type);
    list = curl_slist_append(list, "Expect:"); /* no round trip before a large body */
    if (config->api_key != NULL) {
        LS_CLEANUP_FREE char *line = ls_asprintf("Authorization: ApiKey %s", config->api_key);
        list = curl_slist_append(list, line);
    }
    return list;
}

int ls_es_client_new(const struct ls_sink_config *config, struct ls_es_client **ret,
                     struct ls_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);

    if (config->n_urls == 0)
        return ls_err_set(err, LS_ERR_FATAL, 0, "sink %s: `urls` is empty", config->name);
    for (size_t i = 0; i < config->n_urls; i++)
        if (check_url(config, config->urls[i], err) != 0)
            return -1;

    struct ls_es_client *client = ls_calloc(1, sizeof(*client));
    client->config = config;
    client->n_nodes = config->n_urls;
    client->nodes = ls_calloc(client->n_nodes, sizeof(*client->nodes));
    for (size_t i = 0; i < client->n_nodes; i++) {
        size_t len = strlen(config->urls[i]);
        while (len > 0 && config->urls[i][len - 1] == '/')
            len--;
        client->nodes[i].base = ls_strndup(config->urls[i], len);
    }
    client->json_headers = headers(config, "Content-Type: application/json");
    client->ndjson_headers = headers(config, "Content-Type: application/x-ndjson");
    *ret = client;
    return 0;
}

void ls_es_client_free(struct ls_es_client *client)
{
    if (client == NULL)
        return;
    ls_es_call_free(client->single);
    if (client->multi != NULL)
        curl_multi_cleanup(client->multi);
    for (size_t i = 0; i < client->n_nodes; i++)
        free(client->nodes[i].base);
    free(client->nodes);
    curl_slist_free_all(client->json_headers);
    curl_slist_free_all(client->ndjson_headers);
    free(client);
}

/* The next node in turn that is not resting; where all rest, the one that has rested longest. */
static size_t choose_node(struct ls_es_client *client)
{
    int64_t now_ms = ls_mono_ms();
    size_t best = client->turn % client->n_nodes;
    for (size_t i = 0; i < client->n_nodes; i++) {
        size_t node = (client->turn + i) % client->n_nodes;
        if (client->nodes[node].rests_until_ms <= now_ms) {
            best = node;
            break;
        }
        if (client->nodes[node].rests_until_ms < client->nodes[best].rests_until_ms)
            best = node;
    }
    client->turn = best + 1;
    return best;
}

static void judge_node(struct ls_es_call *call)
{
    struct es_node *node = &call->client->nodes[call->node];
    bool well = call->result == CURLE_OK || call->too_large;
    node->rests_until_ms = well ? 0 : ls_mono_ms() + LS_ES_NODE_REST_MS;
}

static size_t take_reply(char *data, size_t size, size_t count, void *opaque)
{
    struct ls_es_call *call = opaque;
    size_t len = size * count;
    if (len > LS_ES_REPLY_MAX - call->reply.len) {
        call->too_large = true;
        return 0; /* ends the transfer */
    }
    ls_buf_append(&call->reply, data, len);
    return len;
}

static bool is_loopback(const char *url)
{
    return strstr(url, "://127.") != NULL || strstr(url, "://localhost") != NULL ||
           strstr(url, "://[::1]") != NULL;
}

struct ls_es_call *ls_es_call_new(struct ls_es_client *client, void *owner)
{
    const struct ls_sink_config *config = client->config;
    struct ls_es_call *call = ls_calloc(1, sizeof(*call));
    call->client = client;
    call->owner = owner;
    CURL *easy = call->easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)DOWNLOAD_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)config->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)config->request_timeout_ms);
    if (config->api_key == NULL && config->user != NULL) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERNAME, config->user);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, config->password != NULL ? config->password : "");
    }
    if (config->tls.ca_file != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->tls.ca_file);
    if (config->tls.cert_file != NULL)
        curl_easy_setopt(easy, CURLOPT_SSLCERT, config->tls.cert_file);
    if (config->tls.key_file != NULL)
        curl_easy_setopt(easy, CURLOPT_SSLKEY, config->tls.key_file);
    return call;
}

void ls_es_call_free(struct ls_es_call *call)
{
    if (call == NULL)
        return;
    if (call->running)
        curl_multi_remove_handle(call->client->multi, call->easy);
    curl_easy_cleanup(call->easy);
    ls_buf_free(&call->url);
    ls_buf_free(&call->reply);
    free(call);
}

void *ls_es_call_owner(const struct ls_es_call *call)
{
    return call->owner;
}

static void prepare(struct ls_es_call *call, const char *method, const char *path, const char *body,
                    size_t body_len, struct curl_slist *header_list)
{
    call->node = choose_node(call->client);
    const char *base = call->client->nodes[call->node].base;
    ls_buf_clear(&call->url);
    ls_buf_append_str(&call->url, base);
    ls_buf_append_str(&call->url, path);
    if (call->reply.cap > KEPT_REPLY_BYTES)
        ls_buf_free(&call->reply);
    ls_buf_clear(&call->reply);
    call->too_large = false;
    call->error[0] = '\0';
    curl_easy_setopt(call->easy, CURLOPT_URL, ls_buf_cstr(&call->url));
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, header_list);
    curl_easy_setopt(call->easy, CURLOPT_ACCEPT_ENCODING, is_loopback(base) ? NULL : "gzip");
    curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_len);
    if (body != NULL) {
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, body);
    } else {
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(call->easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(call->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(call->easy, CURLOPT_NOBODY, strcmp(method, "HEAD") == 0 ? 1L : 0L);
}

static int transport_err(const struct ls_es_call *call, struct ls_err *err)
{
    enum ls_err_class class = LS_ERR_RETRY;
    switch (call->result) {
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        class = LS_ERR_FATAL;
        break;
    default:
        break;
    }
    const char *why = call->error[0] != '\0' ? call->error : curl_easy_strerror(call->result);
    return ls_err_set(err, class, (int)call->result, "%s: %s", call->client->nodes[call->node].base,
                      why);
}

enum ls_es_outcome ls_es_call_outcome(struct ls_es_call *call, long *ret_status,
                                      struct ls_span *ret_reply, struct ls_err *err)
{
    if (call->too_large) {
        ls_err_set(err, LS_ERR_RETRY, 0, "%s: the answer is larger than %d MiB",
                   call->client->nodes[call->node].base, LS_ES_REPLY_MAX >> 20);
        return LS_ES_TOO_LARGE;
    }
    long status = 0;
    if (call->result == CURLE_OK)
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->result != CURLE_OK) {
        transport_err(call, err);
        return LS_ES_FAILED;
    }
    *ret_status = status;
    *ret_reply = (struct ls_span){ls_buf_cstr(&call->reply), (uint32_t)call->reply.len};
    return LS_ES_ANSWERED;
}

int ls_es_request(struct ls_es_client *client, const char *method, const char *path,
                  const char *body, size_t body_len, long *ret_status, struct ls_buf *reply,
                  bool *ret_too_large, struct ls_err *err)
{
    if (client->single == NULL)
        client->single = ls_es_call_new(client, NULL);
    struct ls_es_call *call = client->single;
    ls_buf_clear(reply);
    for (size_t attempt = 1;; attempt++) {
        prepare(call, method, path, body, body_len, client->json_headers);
        call->result = curl_easy_perform(call->easy);
        judge_node(call);
        bool unreached =
            call->result == CURLE_COULDNT_CONNECT || call->result == CURLE_COULDNT_RESOLVE_HOST;
        if (!unreached || attempt == client->n_nodes)
            break;
    }
    if (ret_too_large != NULL)
        *ret_too_large = call->too_large;
    struct ls_span got;
    if (ls_es_call_outcome(call, ret_status, &got, err) != LS_ES_ANSWERED)
        return -1;
    ls_buf_append(reply, got.data, got.len);
    return 0;
}

int ls_es_json(struct ls_es_client *client, const char *method, const char *path, const char *body,
               json_t **ret, struct ls_err *err)
{
    struct ls_buf reply = {0};
    long status = 0;
    int rc = ls_es_request(client, method, path, body, body != NULL ? strlen(body) : 0, &status,
                           &reply, NULL, err);
    if (rc == 0 && (status < 200 || status > 299)) {
        rc = ls_es_reply_err(err, status, reply.data, reply.len);
        ls_err_prefix(err, "%s %s", method, path);
    } else if (rc == 0) {
        json_t *root = json_loadb(ls_buf_cstr(&reply), reply.len, JSON_DECODE_ANY, NULL);
        if (root == NULL)
            rc = ls_err_set(err, LS_ERR_RETRY, (int)status, "%s %s: the answer is not JSON", method,
                            path);
        else if (ret != NULL)
            *ret = json_incref(root);
        json_decref(root);
    }
    ls_buf_free(&reply);
    return rc;
}

static void start(struct ls_es_call *call, const char *method, const char *path, const char *body,
                  size_t body_len, struct curl_slist *header_list)
{
    struct ls_es_client *client = call->client;
    if (client->multi == NULL)
        client->multi = curl_multi_init();
    prepare(call, method, path, body, body_len, header_list);
    call->running = true;
    curl_multi_add_handle(client->multi, call->easy);
}

void ls_es_call_start(struct ls_es_call *call, const char *path, const char *body, size_t body_len)
{
    start(call, "POST", path, body, body_len, call->client->ndjson_headers);
}

void ls_es_call_send(struct ls_es_call *call, const char *method, const char *path,
                     const char *body, size_t body_len)
{
    start(call, method, path, body, body_len, call->client->json_headers);
}

void ls_es_poll(struct ls_es_client *client, int fd, int timeout_ms)
{
    if (client->multi == NULL)
        client->multi = curl_multi_init();
    struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int running = 0;
    curl_multi_poll(client->multi, fd >= 0 ? &extra : NULL, fd >= 0, timeout_ms, NULL);
    curl_multi_perform(client->multi, &running);
}

struct ls_es_call *ls_es_finished(struct ls_es_client *client)
{
    CURLMsg *message;
    int left;
    while (client->multi != NULL && (message = curl_multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct ls_es_call *call;
        CURLcode result = message->data.result; /* the message dies with the removal below */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        curl_multi_remove_handle(client->multi, call->easy);
        call->running = false;
        call->result = result;
        judge_node(call);
        return call;
    }
    return NULL;
}
