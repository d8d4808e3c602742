#include "cli/field.h"

#include <stdio.h>
#include <string.h>

const char *hg_field_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

uint64_t hg_field_number(const json_t *object, const char *path)
{
    while (object) {
        size_t length = strcspn(path, ".");

        object = json_object_getn(object, path, length);
        if (!path[length]) {
            break;
        }
        path += length + 1;
    }
    return (uint64_t)json_integer_value(object);
}

uint64_t hg_field_sum(const json_t *object)
{
    const char *key;
    json_t *value;
    uint64_t sum = 0;

    json_object_foreach((json_t *)object, key, value)
    {
        sum += (uint64_t)json_integer_value(value);
    }
    return sum;
}

const char *hg_field_join(const json_t *array, const char *between, char *text, size_t n)
{
    size_t used = 0;
    size_t index;
    json_t *value;

    text[0] = '\0';
    json_array_foreach(array, index, value)
    {
        if (json_is_string(value) && used < n) {
            used += (size_t)snprintf(text + used, n - used, "%s%s", used ? between : "",
                                     json_string_value(value));
        }
    }
    return text;
}
