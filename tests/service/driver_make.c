/* SPDX-License-Identifier: MIT */
/* driver_make.c - a client from JSON: {"url", "profile"?, "flags"?, any number
 * of sse_client_options by its name (-1 is SSE_NEVER), "set"?, "headers"?,
 * "end_types"?, "import"?}. */
#include <stddef.h>
#include <string.h>

#include "driver.h"

typedef struct name {
    const char *text;
    size_t      value;
} name;

#define NUMBER(field) \
    { \
#field, offsetof(sse_client_options, field) \
    }

static const name numbers[] = {
    NUMBER(retry_ms),
    NUMBER(retry_floor_ms),
    NUMBER(retry_cap_ms),
    NUMBER(retry_after_cap_ms),
    NUMBER(max_attempts),
    NUMBER(budget_ms),
    NUMBER(healthy_ms),
    NUMBER(healthy_events),
    NUMBER(connect_ms),
    NUMBER(first_byte_ms),
    NUMBER(stall_ms),
    NUMBER(poll_ms),
    NUMBER(poll_period_ms),
    NUMBER(window),
    NUMBER(queue_bytes),
    NUMBER(max_event_bytes),
    NUMBER(max_redirects),
    NUMBER(max_error_bytes),
    {NULL, 0},
};

static const name profiles[] = {
    {"resilient", SSE_PROFILE_RESILIENT},
    {"strict", SSE_PROFILE_STRICT},
    {"finite", SSE_PROFILE_FINITE},
    {NULL, 0},
};

static const name flags[] = {
    {"ack", SSE_CLIENT_ACK},
    {"comments", SSE_CLIENT_COMMENTS},
    {"token", SSE_CLIENT_TOKEN},
    {"decide", SSE_CLIENT_DECIDE},
    {"poll", SSE_CLIENT_POLL},
    {"insecure", SSE_CLIENT_INSECURE},
    {NULL, 0},
};

static const name settings[] = {
    {"method", SSE_SETTING_METHOD},
    {"body", SSE_SETTING_BODY},
    {"recovery_url", SSE_SETTING_RECOVERY_URL},
    {"cursor", SSE_SETTING_CURSOR},
    {"proxy", SSE_SETTING_PROXY},
    {"ca_file", SSE_SETTING_CA_FILE},
    {"cert_file", SSE_SETTING_CERT_FILE},
    {"key_file", SSE_SETTING_KEY_FILE},
    {"unix_socket", SSE_SETTING_UNIX_SOCKET},
    {"user_agent", SSE_SETTING_USER_AGENT},
    {NULL, 0},
};

static const name *find(const name *list, const char *wanted)
{
    while (wanted && list->text && strcmp(list->text, wanted) != 0)
        list++;
    return wanted && list->text ? list : NULL;
}

static int read_numbers(const cJSON *command, sse_client_options *opts)
{
    for (const name *n = numbers; n->text; n++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(command, n->text);
        uint32_t     number;

        if (!value)
            continue;
        if (!cJSON_IsNumber(value))
            return SSE_ERR_INVAL;
        number =
            value->valuedouble < 0 ? SSE_NEVER : (uint32_t)value->valuedouble;
        memcpy((char *)opts + n->value, &number, sizeof(number));
    }
    return SSE_OK;
}

static int read_options(const cJSON *command, sse_client_options *opts)
{
    const cJSON *profile = cJSON_GetObjectItem(command, "profile"), *flag;
    const name  *found;

    *opts = (sse_client_options){.size = sizeof(*opts)};
    if (profile) {
        found = find(profiles, cJSON_GetStringValue(profile));
        if (!found)
            return SSE_ERR_INVAL;
        opts->profile = (uint32_t)found->value;
    }
    cJSON_ArrayForEach(flag, cJSON_GetObjectItem(command, "flags"))
    {
        found = find(flags, cJSON_GetStringValue(flag));
        if (!found)
            return SSE_ERR_INVAL;
        opts->flags |= (uint32_t)found->value;
    }
    return read_numbers(command, opts);
}

static int set_texts(sse_client *c, const cJSON *command)
{
    const cJSON *item;
    int          rc = SSE_OK;

    cJSON_ArrayForEach(item, cJSON_GetObjectItem(command, "set"))
    {
        const name *found = find(settings, item->string);
        const char *value = cJSON_GetStringValue(item);

        if (rc == SSE_OK)
            rc = found && value ? sse_client_set(c, (int)found->value, value,
                                                 strlen(value))
                                : SSE_ERR_INVAL;
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(command, "headers"))
    {
        const char *value = cJSON_GetStringValue(item);

        if (rc == SSE_OK)
            rc = value ? sse_client_set_header(c, item->string,
                                               strlen(item->string), value,
                                               strlen(value))
                       : SSE_ERR_INVAL;
    }
    return rc;
}

static int add_end_types(sse_client *c, const cJSON *command)
{
    const cJSON *type;
    int          rc = SSE_OK;

    cJSON_ArrayForEach(type, cJSON_GetObjectItem(command, "end_types"))
    {
        const char *value = cJSON_GetStringValue(type);

        if (rc == SSE_OK)
            rc = value ? sse_client_add_end_type(c, value, strlen(value))
                       : SSE_ERR_INVAL;
    }
    return rc;
}

static int import(sse_client *c, const cJSON *command)
{
    const char *digits =
        cJSON_GetStringValue(cJSON_GetObjectItem(command, "import"));
    text bytes = {0};
    int  rc = SSE_ERR_INVAL;

    if (!digits)
        return SSE_OK;
    if (driver_read_hex(&bytes, digits) == 0)
        rc = sse_client_import(c, bytes.data, bytes.len);
    text_free(&bytes);
    return rc;
}

int driver_make(sse_loop *loop, const cJSON *command, sse_client **out)
{
    const char *url = cJSON_GetStringValue(cJSON_GetObjectItem(command, "url"));
    sse_client_options opts;
    int                rc;

    *out = NULL;
    if (!url || read_options(command, &opts) < 0)
        return SSE_ERR_INVAL;
    rc = sse_client_new(loop, url, strlen(url), &opts, out);
    if (rc == SSE_OK)
        rc = set_texts(*out, command);
    if (rc == SSE_OK)
        rc = add_end_types(*out, command);
    if (rc == SSE_OK)
        rc = import(*out, command);
    if (rc < 0) {
        sse_client_free(*out);
        *out = NULL;
    }
    return rc;
}
