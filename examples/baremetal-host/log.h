/* SPDX-License-Identifier: MIT */
/*
 * The host's messages, on port 0xE9 only: COM1 and every other device belong to L1.
 */
#ifndef HOST_LOG_H
#define HOST_LOG_H

enum log_level {
    LOG_ERROR,
    LOG_INFO,
    LOG_TRACE
};

/* Sends rt's own output to port 0xE9 too; messages above `level` are dropped. */
void log_init(enum log_level level);

enum log_level log_level(void);

/* One line; the newline is added. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line that is always printed: reports and statistics that were asked for. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the message as an error and stops the machine. */
_Noreturn void log_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
