/*
 * The configuration and the body of an API request: whatever the bytes are, they are read or refused
 * with a sentence, and nothing is kept.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/api.h"
#include "ctl/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct hg_config *config;
    struct hg_spec spec;
    struct hg_err err = {.text = ""};

    if (hg_config_parse(&config, "f", (const char *)data, n, &err) == 0) {
        hg_config_free(config);
    } else if (!err.text[0]) {
        abort();
    }
    err.text[0] = '\0';
    if (hg_api_read_port(&spec, (const char *)data, n, &err) == 0) {
        hg_spec_free(&spec);
    } else if (!err.text[0]) {
        abort();
    }
    return 0;
}
