#include "wire/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/number.h"
#include "base/quote.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int hg_mac_read(uint8_t mac[HG_MAC_BYTES], const char *text, struct hg_err *err)
{
    const char *at = text;

    for (unsigned i = 0; i < HG_MAC_BYTES; i++, at += 3) {
        int high = hex(at[0]);
        int low = high < 0 ? -1 : hex(at[1]);

        if (low < 0 || at[2] != (i + 1 < HG_MAC_BYTES ? ':' : '\0'))
            return hg_err_set(err, EINVAL,
                              "found %s; expected an Ethernet address as in 02:00:00:00:00:01",
                              hg_quote(text).text);
        mac[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

int hg_ip4_prefix_read(uint32_t *address, unsigned *bits, const char *text, struct hg_err *err)
{
    size_t length = strcspn(text, "/");
    char host[sizeof("255.255.255.255")];
    uint64_t number = 32;
    struct in_addr in;

    if (length < sizeof(host)) {
        memcpy(host, text, length);
        host[length] = '\0';
    }
    if (length >= sizeof(host) || inet_pton(AF_INET, host, &in) != 1 ||
        (text[length] != '\0' && hg_parse_uint(text + length + 1, 0, 32, &number) < 0))
        return hg_err_set(err, EINVAL,
                          "found %s; expected an IPv4 prefix as in 198.18.0.0/15, or an address",
                          hg_quote(text).text);
    *bits = (unsigned)number;
    *address = number == 0 ? 0 : ntohl(in.s_addr) & ~UINT32_C(0) << (32 - number);
    return 0;
}
