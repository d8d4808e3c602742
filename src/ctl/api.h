/*
 * The API: which path and method does what. The shapes are in headgate-api(7).
 */
#ifndef HG_CTL_API_H
#define HG_CTL_API_H

#include "ctl/config.h"
#include "ctl/http.h"
#include "ctl/switch.h"

struct hg_api {
    struct hg_switch *sw;
    const struct hg_config *config;
};

/* The handler for hg_http_new(); ctx is a struct hg_api. */
void hg_api_answer(const struct hg_request *request, struct hg_reply *reply, void *ctx);

/* A port as the body of a request describes it: an object of strings, numbers and booleans, `name`
 * among them. 0 or a negative errno with *err. hg_spec_free() frees. */
int hg_api_read_port(struct hg_spec *spec, const char *body, size_t n, struct hg_err *err);

#endif
