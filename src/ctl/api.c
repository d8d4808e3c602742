#include "ctl/api.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "ctl/report.h"

static const char json_media[] = "application/json";

/* --- replies --------------------------------------------------------------------------------- */

/* Takes the value; NULL stands for no memory. */
static void reply_json(struct hg_reply *reply, unsigned status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_INDENT(1)) : NULL;

    json_decref(value);
    reply->status = text ? status : 503;
    reply->type = json_media;
    reply->body = text;
    reply->body_n = text ? strlen(text) : 0;
}

static void reply_error(struct hg_reply *reply, unsigned status, const char *sentence)
{
    reply_json(reply, status, json_pack("{s:s}", "error", sentence));
}

/* Takes what the text holds. */
static void reply_text(struct hg_reply *reply, const char *type, const struct hg_text *text)
{
    reply->status = text->bytes ? 200 : 503;
    reply->type = type;
    reply->body = text->bytes;
    reply->body_n = text->n;
}

/* The status that says best what an errno of ours means to a client. */
static unsigned status_of(int rc)
{
    switch (-rc) {
    case ENOENT:
        return 404;
    case EEXIST:
    case EADDRINUSE:
        return 409;
    case EINVAL:
        return 400;
    case ENOMEM:
        return 503;
    default:
        return 422; /* understood, and refused by the system */
    }
}

/* --- a port from JSON ------------------------------------------------------------------------ */

struct number_text {
    char text[24];
};

static const char *json_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_REAL:
        return "a fraction";
    default:
        return "null";
    }
}

/* A value as a setting; what is no scalar keeps its kind for the message. */
static struct hg_setting setting_of(const char *key, const json_t *value,
                                    struct number_text *number)
{
    struct hg_setting setting = {.key = key};

    if (json_is_string(value)) {
        setting.text = json_string_value(value);
    } else if (json_is_integer(value)) {
        snprintf(number->text, sizeof(number->text), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
        setting.text = number->text;
    } else if (json_is_boolean(value)) {
        setting.text = json_is_true(value) ? "true" : "false";
    } else {
        setting.kind = json_kind(value);
    }
    return setting;
}

/* The settings of a request's object; they point into it. */
struct settings {
    struct hg_setting of[HG_SPEC_SETTINGS_MAX];
    struct number_text numbers[HG_SPEC_SETTINGS_MAX];
    size_t n;
};

/* All keys but `name`, if that is expected. 0 or a negative errno with *err. */
static int read_settings(struct settings *settings, json_t *object, bool named, struct hg_err *err)
{
    const char *key;
    json_t *value;

    settings->n = 0;
    if (json_object_size(object) > HG_SPEC_SETTINGS_MAX) {
        return hg_err_set(err, EINVAL, "found %zu keys; expected at most %d",
                          json_object_size(object), HG_SPEC_SETTINGS_MAX);
    }
    json_object_foreach(object, key, value)
    {
        if (!named || strcmp(key, "name") != 0) {
            settings->of[settings->n] = setting_of(key, value, &settings->numbers[settings->n]);
            settings->n++;
        }
    }
    return 0;
}

static int read_new(struct hg_spec *spec, json_t *object, struct hg_err *err)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    const struct hg_mark nowhere = {.line = 0};
    struct settings settings;
    struct hg_mark at;
    int rc;

    if (!name) {
        return hg_err_set(err, EINVAL, "name: found no string; expected the port's name");
    }
    if ((rc = read_settings(&settings, object, true, err)) < 0) {
        return rc;
    }
    return hg_spec_read(spec, name, nowhere, settings.of, settings.n, &at, err);
}

static int read_change(struct hg_spec *spec, const struct hg_spec *from, json_t *object,
                       struct hg_err *err)
{
    struct settings settings;
    int rc = read_settings(&settings, object, false, err);

    return rc < 0 ? rc : hg_spec_amend(spec, from, settings.of, settings.n, err);
}

/* `from` is the port that the body changes; NULL: it describes a new one. */
static int read_body(struct hg_spec *spec, const struct hg_spec *from, const char *body, size_t n,
                     struct hg_err *err)
{
    json_error_t why;
    json_t *object = json_loadb(body, n, JSON_REJECT_DUPLICATES, &why);
    int rc;

    if (!object) {
        return hg_err_set(err, EINVAL, "the body is no JSON, line %d, column %d: %s", why.line,
                          why.column, why.text);
    }
    if (!json_is_object(object)) {
        rc = hg_err_set(err, EINVAL, "found no JSON object; expected one with %s",
                        from ? "the options to change" : "name, type, bridge");
    } else {
        rc = from ? read_change(spec, from, object, err) : read_new(spec, object, err);
    }
    json_decref(object);
    return rc;
}

int hg_api_read_port(struct hg_spec *spec, const char *body, size_t n, struct hg_err *err)
{
    return read_body(spec, NULL, body, n, err);
}

/* --- what can be asked ----------------------------------------------------------------------- */

/* `name` is what stands in the place of the path's last '*', else NULL. */
typedef void answer_fn(const struct hg_api *api, const struct hg_request *request, const char *name,
                       struct hg_reply *reply);

static void list_ports(const struct hg_api *api, const struct hg_request *request, const char *name,
                       struct hg_reply *reply)
{
    (void)request;
    (void)name;
    reply_json(reply, 200, hg_report_ports(api->sw));
}

static const struct hg_switch_port *port_or_error(const struct hg_api *api, const char *name,
                                                  struct hg_reply *reply)
{
    const struct hg_switch_port *entry = hg_switch_find_port(api->sw, name);
    char sentence[96];

    if (!entry) {
        snprintf(sentence, sizeof(sentence), "there is no port %s", hg_quote(name).text);
        reply_error(reply, 404, sentence);
    }
    return entry;
}

static void show_port(const struct hg_api *api, const struct hg_request *request, const char *name,
                      struct hg_reply *reply)
{
    const struct hg_switch_port *entry = port_or_error(api, name, reply);

    (void)request;
    if (entry) {
        reply_json(reply, 200, hg_report_port(entry));
    }
}

static void add_port(const struct hg_api *api, const struct hg_request *request, const char *name,
                     struct hg_reply *reply)
{
    struct hg_spec spec;
    struct hg_err err;
    int rc = hg_api_read_port(&spec, request->body, request->body_n, &err);

    (void)name;
    if (rc == 0) {
        rc = hg_switch_add_port(api->sw, &spec, &err);
        if (rc == 0) {
            reply_json(reply, 201, hg_report_port(hg_switch_find_port(api->sw, spec.name)));
        }
        hg_spec_free(&spec);
    }
    if (rc < 0) {
        reply_error(reply, status_of(rc), err.text);
    }
}

static void change_port(const struct hg_api *api, const struct hg_request *request,
                        const char *name, struct hg_reply *reply)
{
    const struct hg_switch_port *entry = port_or_error(api, name, reply);
    struct hg_spec spec;
    struct hg_err err;
    int rc;

    if (!entry) {
        return;
    }
    rc = read_body(&spec, &entry->spec, request->body, request->body_n, &err);
    if (rc == 0) {
        rc = hg_switch_change_port(api->sw, &spec, &err);
        hg_spec_free(&spec);
    }
    if (rc < 0) {
        reply_error(reply, status_of(rc), err.text);
    } else {
        reply_json(reply, 200, hg_report_port(entry));
    }
}

static void remove_port(const struct hg_api *api, const struct hg_request *request,
                        const char *name, struct hg_reply *reply)
{
    struct hg_err err;
    int rc;

    (void)request;
    if (!port_or_error(api, name, reply)) {
        return;
    }
    rc = hg_switch_remove_port(api->sw, name, &err);
    if (rc < 0) {
        reply_error(reply, status_of(rc), err.text);
    } else {
        reply->status = 204;
    }
}

static void list_bridges(const struct hg_api *api, const struct hg_request *request,
                         const char *name, struct hg_reply *reply)
{
    (void)request;
    (void)name;
    reply_json(reply, 200, hg_report_bridges(api->sw));
}

static void list_fdb(const struct hg_api *api, const struct hg_request *request, const char *name,
                     struct hg_reply *reply)
{
    struct hg_text text = {.n = 0};

    (void)request;
    (void)name;
    hg_report_fdb(api->sw, &text);
    reply_text(reply, json_media, &text);
}

static void show_stats(const struct hg_api *api, const struct hg_request *request, const char *name,
                       struct hg_reply *reply)
{
    (void)request;
    (void)name;
    reply_json(reply, 200, hg_report_stats(api->sw, api->config));
}

static void list_drops(const struct hg_api *api, const struct hg_request *request, const char *name,
                       struct hg_reply *reply)
{
    (void)request;
    (void)name;
    reply_json(reply, 200, hg_report_drops(api->sw));
}

static void show_version(const struct hg_api *api, const struct hg_request *request,
                         const char *name, struct hg_reply *reply)
{
    (void)api;
    (void)request;
    (void)name;
    reply_json(reply, 200, json_pack("{s:s}", "version", HG_VERSION));
}

static void show_metrics(const struct hg_api *api, const struct hg_request *request,
                         const char *name, struct hg_reply *reply)
{
    struct hg_text text = {.n = 0};

    (void)request;
    (void)name;
    hg_report_metrics(api->sw, &text);
    reply_text(reply, "text/plain; version=0.0.4; charset=utf-8", &text);
}

/* --- routing --------------------------------------------------------------------------------- */

struct route {
    const char *path; /* a '*' at the end takes the rest */
    answer_fn *get;
    answer_fn *post;
    answer_fn *patch;
    answer_fn *remove;
};

static const struct route routes[] = {
    {.path = "/v1/ports", .get = list_ports, .post = add_port},
    {.path = "/v1/ports/*", .get = show_port, .patch = change_port, .remove = remove_port},
    {.path = "/v1/bridges", .get = list_bridges},
    {.path = "/v1/fdb", .get = list_fdb},
    {.path = "/v1/stats", .get = show_stats},
    {.path = "/v1/drops", .get = list_drops},
    {.path = "/v1/version", .get = show_version},
    {.path = "/metrics", .get = show_metrics},
};

/* Whether the path is the route's; *name then points behind its '/' where the route has a '*'. */
static bool matches(const struct route *route, const char *path, const char **name)
{
    size_t fixed = strcspn(route->path, "*");

    *name = route->path[fixed] ? path + fixed : NULL;
    return route->path[fixed] ? strncmp(route->path, path, fixed) == 0
                              : strcmp(route->path, path) == 0;
}

static answer_fn *method_of(const struct route *route, const char *method)
{
    /* HEAD is GET; libmicrohttpd leaves out the body. */
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        return route->get;
    }
    if (strcmp(method, "POST") == 0) {
        return route->post;
    }
    if (strcmp(method, "PATCH") == 0) {
        return route->patch;
    }
    return strcmp(method, "DELETE") == 0 ? route->remove : NULL;
}

static void refuse_method(const struct route *route, const struct hg_request *request,
                          struct hg_reply *reply)
{
    char sentence[160];

    reply->allow = route->post     ? "GET, HEAD, POST"
                   : route->remove ? "GET, HEAD, PATCH, DELETE"
                                   : "GET, HEAD";
    snprintf(sentence, sizeof(sentence), "%s does not take %s; expected one of %s", route->path,
             hg_quote(request->method).text, reply->allow);
    reply_error(reply, 405, sentence);
}

void hg_api_answer(const struct hg_request *request, struct hg_reply *reply, void *ctx)
{
    char sentence[160];
    const char *name;

    for (size_t i = 0; i < HG_ARRAY_N(routes); i++) {
        answer_fn *answer;

        if (!matches(&routes[i], request->path, &name)) {
            continue;
        }
        if ((answer = method_of(&routes[i], request->method))) {
            answer(ctx, request, name, reply);
        } else {
            refuse_method(&routes[i], request, reply);
        }
        return;
    }
    snprintf(sentence, sizeof(sentence), "there is nothing at %s; see headgate-api(7)",
             hg_quote(request->path).text);
    reply_error(reply, 404, sentence);
}
