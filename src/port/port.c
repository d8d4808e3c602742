#include "port/port.h"

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool hg_port_name_valid(const char *name)
{
    unsigned n = 0;

    if (!is_alphanumeric(name[0]))
        return false;
    for (; name[n] != '\0'; n++) {
        if (n == HG_PORT_NAME_MAX)
            return false;
        if (!is_alphanumeric(name[n]) && name[n] != '.' && name[n] != '_' && name[n] != '-')
            return false;
    }
    return true;
}
