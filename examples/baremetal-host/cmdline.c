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

static bool parse_pool(const char *value, size_t length, struct host_options *options)
{
    const char *end;
    uint64_t mib = rt_strtou64(value, &end, 10);

    if (length == 0 || end != value + length || mib < POOL_MIB_MIN || mib > POOL_MIB_MAX)
        return false;
    options->pool_mib = (uint32_t)mib;
    return true;
}

static bool parse_stats(const char *value, size_t length, struct host_options *options)
{
    if (length != 1 || (value[0] != '0' && value[0] != '1'))
        return false;
    options->stats = value[0] == '1';
    return true;
}

static bool parse_word(const char *word, size_t length, struct host_options *options)
{
    const char *value;

    if (option(word, "log=", &value))
        return parse_log(value, length - 4, options);
    if (option(word, "stats=", &value))
        return parse_stats(value, length - 6, options);
    if (option(word, "pool=", &value))
        return parse_pool(value, length - 5, options);
    return false;
}

static void complain(const char *word, size_t length)
{
    char shown[33];

    if (length > sizeof(shown) - 1)
        length = sizeof(shown) - 1;
    memcpy(shown, word, length);
    shown[length] = '\0';
    log_error("option ignored: %s (known: log=error|info|trace stats=0|1 pool=%u..%u)", shown,
              POOL_MIB_MIN, POOL_MIB_MAX);
}

void cmdline_parse(const char *text, struct host_options *options)
{
    bool first = true;

    *options = (struct host_options){.log = LOG_INFO, .pool_mib = POOL_MIB_DEFAULT};
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
