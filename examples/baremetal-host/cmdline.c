/* SPDX-License-Identifier: MIT */
/*
 * Parser of the host's command line (cmdline.h).
 */
#include "cmdline.h"

#include "rt.h"

/* True when the word at `text` begins with `key` ("log="); *value is then what follows it. */
static bool option(const char *text, const char *key, const char **value)
{
    size_t length = strlen(key);

    if (strncmp(text, key, length) != 0)
        return false;
    *value = text + length;
    return true;
}

static bool word_is(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && strncmp(text, word, length) == 0;
}

static size_t word_length(const char *text)
{
    size_t n = 0;

    while (text[n] != '\0' && text[n] != ' ' && text[n] != '\t')
        n++;
    return n;
}

static bool parse_log(const char *value, size_t length, struct host_options *options)
{
    static const char names[][8] = {"error", "info", "trace"};

    for (unsigned i = 0; i < 3; i++) {
        if (word_is(value, length, names[i])) {
            options->log = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static bool parse_number(const char *value, size_t length, uint32_t min, uint32_t max,
                         uint32_t *number)
{
    const char *end;
    uint64_t n = rt_strtou64(value, &end, 10);

    if (length == 0 || end != value + length || n < min || n > max)
        return false;
    *number = (uint32_t)n;
    return true;
}

static bool parse_switch(const char *value, size_t length, bool *on)
{
    if (length != 1 || (value[0] != '0' && value[0] != '1'))
        return false;
    *on = value[0] == '1';
    return true;
}

static bool parse_word(const char *word, size_t length, struct host_options *options)
{
    const char *value;

    if (option(word, "log=", &value))
        return parse_log(value, length - 4, options);
    if (option(word, "stats=", &value))
        return parse_switch(value, length - 6, &options->stats);
    if (option(word, "pool=", &value))
        return parse_number(value, length - 5, POOL_MIB_MIN, POOL_MIB_MAX, &options->pool_mib);
    if (option(word, "snapshot=", &value))
        return parse_number(value, length - 9, 0, SNAPSHOT_MAX, &options->snapshot);
    if (option(word, "shadow=", &value))
        return parse_switch(value, length - 7, &options->shadow);
    if (option(word, "vgif=", &value))
        return parse_switch(value, length - 5, &options->vgif);
    if (option(word, "cet=", &value))
        return parse_switch(value, length - 4, &options->cet);
    if (option(word, "hyperv=", &value))
        return parse_switch(value, length - 7, &options->hyperv);
    return false;
}

static void complain(const char *word, size_t length)
{
    char shown[33];

    if (length > sizeof(shown) - 1)
        length = sizeof(shown) - 1;
    memcpy(shown, word, length);
    shown[length] = '\0';
    log_error("option ignored: %s (known: log=error|info|trace stats=0|1 pool=%u..%u snapshot=0..%u "
              "shadow=0|1 vgif=0|1 cet=0|1 hyperv=0|1)",
              shown, POOL_MIB_MIN, POOL_MIB_MAX, SNAPSHOT_MAX);
}

void cmdline_parse(const char *text, struct host_options *options)
{
    bool first = true;

    *options = (struct host_options){
        .log = LOG_INFO, .pool_mib = POOL_MIB_DEFAULT, .shadow = true, .vgif = true,
        .cet = true};
    while (*text != '\0') {
        size_t length = word_length(text);

        /* Loaders differ on whether the first word is the file's name: try it as an option. */
        if (length != 0 && !parse_word(text, length, options) && !first)
            complain(text, length);
        if (length != 0)
            first = false;
        text += length;
        while (*text == ' ' || *text == '\t')
            text++;
    }
}
