#include "cli/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_S = 10 };

struct answer {
    char *bytes;
    size_t n;
};

static size_t receive(const char *data, size_t size, size_t n, void *ctx)
{
    struct answer *answer = ctx;
    char *bytes = realloc(answer->bytes, answer->n + size * n + 1);

    if (!bytes) {
        return 0;
    }
    memcpy(bytes + answer->n, data, size * n);
    answer->bytes = bytes;
    answer->n += size * n;
    return size * n;
}

/* Why there was no answer, and what to do about it. */
static enum hg_cli_status unreachable(const struct hg_cli *cli, CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        /* libcurl does not tell why; the rights are the other usual reason. */
        if (access(cli->socket, R_OK | W_OK) < 0 && errno == EACCES) {
            return hg_cli_fail(HG_CLI_REFUSED,
                               "may not open %s; expected to be the user who started `headgate "
                               "run` there, or root",
                               cli->socket);
        }
        return hg_cli_fail(HG_CLI_REFUSED,
                           "nobody answers at %s; expected `headgate run` by the same user, or -s "
                           "with the socket of another",
                           cli->socket);
    case CURLE_OPERATION_TIMEDOUT:
        return hg_cli_fail(HG_CLI_REFUSED, "no answer from %s within %d seconds", cli->socket,
                           TIMEOUT_S);
    default:
        return hg_cli_fail(HG_CLI_REFUSED,
                           "what answers at %s does not speak HTTP (%s); expected the API's socket "
                           "of `headgate run`",
                           cli->socket, curl_easy_strerror(code));
    }
}

/* Reads the body; a refusal's sentence goes to standard error. */
static enum hg_cli_status interpret(const struct hg_cli *cli, long status,
                                    const struct answer *answer, json_t **value)
{
    json_error_t why;
    const char *sentence;

    *value = answer->n ? json_loadb(answer->bytes, answer->n, 0, &why) : NULL;
    if (answer->n && !*value) {
        return hg_cli_fail(HG_CLI_REFUSED, "what answers at %s is not headgate: %s", cli->socket,
                           why.text);
    }
    if (status >= 200 && status < 300) {
        return HG_CLI_OK;
    }
    sentence = json_string_value(json_object_get(*value, "error"));
    if (sentence) {
        hg_cli_fail(HG_CLI_REFUSED, "%s", sentence);
    } else {
        hg_cli_fail(HG_CLI_REFUSED, "headgate at %s: HTTP status %ld", cli->socket, status);
    }
    json_decref(*value);
    *value = NULL;
    return HG_CLI_REFUSED;
}

static CURLcode perform(CURL *curl, const struct hg_cli *cli, const char *method, const char *path,
                        const char *body, struct answer *answer)
{
    char url[512];

    snprintf(url, sizeof(url), "http://headgate%s", path);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    return curl_easy_perform(curl);
}

enum hg_cli_status hg_cli_request(const struct hg_cli *cli, const char *method, const char *path,
                                  const json_t *body, json_t **value)
{
    struct answer answer = {.bytes = NULL};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    CURL *curl = curl_easy_init();
    enum hg_cli_status result;
    long status = 0;
    CURLcode code;

    *value = NULL;
    if (!curl || (body && !text)) {
        result = hg_cli_fail(HG_CLI_REFUSED, "out of memory");
    } else if ((code = perform(curl, cli, method, path, text, &answer)) != CURLE_OK) {
        result = unreachable(cli, code);
    } else {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        result = interpret(cli, status, &answer, value);
    }
    curl_easy_cleanup(curl);
    free(answer.bytes);
    free(text);
    return result;
}

enum hg_cli_status hg_cli_get(const struct hg_cli *cli, const char *path, json_t **value)
{
    return hg_cli_request(cli, "GET", path, NULL, value);
}

char *hg_cli_port_path(const char *name)
{
    static const char prefix[] = "/v1/ports/";
    char *escaped = strlen(name) <= 100 ? curl_easy_escape(NULL, name, 0) : NULL;
    char *path = escaped ? malloc(sizeof(prefix) + strlen(escaped)) : NULL;

    if (path) {
        sprintf(path, "%s%s", prefix, escaped);
    } else {
        hg_cli_fail(HG_CLI_REFUSED, "there is no port of that name");
    }
    curl_free(escaped);
    return path;
}

void hg_cli_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(1));
    putchar('\n');
}

enum hg_cli_status hg_cli_show(const struct hg_cli *cli, json_t *value,
                               void (*print)(const struct hg_cli *cli, const json_t *value))
{
    if (cli->json) {
        hg_cli_print_json(value);
    } else {
        print(cli, value);
    }
    json_decref(value);
    return HG_CLI_OK;
}
