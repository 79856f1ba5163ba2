/* SPDX-License-Identifier: MIT */
/*
 * Output, strings, shutdown and page pool of the bare-metal runtime: what an image without a C
 * library needs to say what it saw and to stop.
 */
#include "rt.h"

#define COM1 0x3f8u
#define LCR_8N1 3u
#define LSR_EMPTY 0x20u

void rt_output_moved(uint64_t delta);

static rt_putc_fn putc_fn;
static bool com1_ready;
static char *pool_next;
static char *pool_end;

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    void *d = dst;
    size_t words = n / 8;

    __asm__ volatile("rep movsq" : "+D"(d), "+S"(src), "+c"(words) : : "memory");
    n %= 8;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    void *d = dst;
    size_t words = n / 8;
    uint64_t word = (uint8_t)c * UINT64_C(0x0101010101010101);

    __asm__ volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(word) : "memory");
    n %= 8;
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(word) : "memory");
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    char *d = dst;
    const char *s = src;

    if (d <= s || d >= s + n)
        return memcpy(dst, src, n);
    d += n - 1;
    s += n - 1;
    if (n != 0)
        __asm__ volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(n) : : "memory", "cc");
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0')
        n++;
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t x = (uint8_t)a[i], y = (uint8_t)b[i];

        if (x != y)
            return x < y ? -1 : 1;
        if (x == 0)
            break;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

static unsigned digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10u;
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A') + 10u;
    return 99;
}

uint64_t rt_strtou64(const char *s, const char **end, unsigned base)
{
    uint64_t v = 0;

    if (base != 10 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && digit_value(s[2]) < 16) {
        s += 2;
        base = 16;
    } else if (base == 0) {
        base = 10;
    }
    while (digit_value(*s) < base)
        v = v * base + digit_value(*s++);
    if (end != NULL)
        *end = s;
    return v;
}

void rt_putc_com1(char c)
{
    if (!com1_ready) {
        rt_outb(COM1 + 3, LCR_8N1);
        com1_ready = true;
    }
    while ((rt_inb(COM1 + 5) & LSR_EMPTY) == 0)
        ;
    rt_outb(COM1, (uint8_t)c);
}

void rt_putc_e9(char c)
{
    rt_outb(0xe9, (uint8_t)c);
}

void rt_set_putc(rt_putc_fn fn)
{
    putc_fn = fn;
}

/* rt_move() shifts every run-time pointer this file keeps; the pool is not part of the image. */
void rt_output_moved(uint64_t delta)
{
    if (putc_fn != NULL)
        putc_fn = (rt_putc_fn)((uint64_t)putc_fn + delta);
}

/* Where formatted text goes: a buffer, or the current putc when buf is NULL. */
struct sink {
    char *buf;
    size_t size, used;
};

struct spec {
    bool left, zero, upper, negative;
    unsigned width, longs;
};

static void emit(struct sink *s, char c)
{
    if (s->buf == NULL)
        (putc_fn != NULL ? putc_fn : rt_putc_com1)(c);
    else if (s->used + 1 < s->size)
        s->buf[s->used] = c;
    s->used++;
}

static void emit_field(struct sink *s, const struct spec *spec, const char *text, size_t len)
{
    size_t sign = spec->negative ? 1 : 0;
    size_t pad = spec->width > len + sign ? spec->width - len - sign : 0;

    for (size_t i = 0; !spec->left && !spec->zero && i < pad; i++)
        emit(s, ' ');
    if (spec->negative)
        emit(s, '-');
    for (size_t i = 0; !spec->left && spec->zero && i < pad; i++)
        emit(s, '0');
    for (size_t i = 0; i < len; i++)
        emit(s, text[i]);
    for (size_t i = 0; spec->left && i < pad; i++)
        emit(s, ' ');
}

static void emit_number(struct sink *s, const struct spec *spec, uint64_t v, unsigned base)
{
    const char *digits = spec->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24];
    size_t at = sizeof(text);

    do {
        text[--at] = digits[v % base];
        v /= base;
    } while (v != 0);
    emit_field(s, spec, &text[at], sizeof(text) - at);
}

static const char *parse_spec(const char *f, struct spec *spec)
{
    for (; *f == '-' || *f == '0'; f++) {
        if (*f == '-')
            spec->left = true;
        else
            spec->zero = true;
    }
    for (; *f >= '0' && *f <= '9'; f++)
        spec->width = spec->width * 10u + (unsigned)(*f - '0');
    for (; *f == 'l' || *f == 'z'; f++)
        spec->longs++;
    return f;
}

static void format_signed(struct sink *s, struct spec *spec, int64_t v)
{
    spec->negative = v < 0;
    emit_number(s, spec, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
}

static void format_text(struct sink *s, const char *f, va_list ap)
{
    for (; *f != '\0'; f++) {
        struct spec spec = {0};
        const char *text;
        char c;

        if (*f != '%') {
            emit(s, *f);
            continue;
        }
        f = parse_spec(f + 1, &spec);
        switch (*f) {
        case 'd':
        case 'i':
            format_signed(s, &spec, spec.longs ? va_arg(ap, int64_t) : va_arg(ap, int));
            break;
        case 'p':
            emit(s, '0');
            emit(s, 'x');
            emit_number(s, &spec, (uint64_t)va_arg(ap, void *), 16);
            break;
        case 'X':
            spec.upper = true;
            /* fall through */
        case 'x':
        case 'u':
            emit_number(s, &spec, spec.longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned),
                        *f == 'u' ? 10 : 16);
            break;
        case 'c':
            c = (char)va_arg(ap, int);
            emit_field(s, &spec, &c, 1);
            break;
        case 's':
            text = va_arg(ap, const char *);
            text = text != NULL ? text : "(null)";
            emit_field(s, &spec, text, strlen(text));
            break;
        case '\0':
            return;
        default:
            emit(s, *f);
            break;
        }
    }
}

void rt_vprintf(const char *format, va_list ap)
{
    struct sink s = {0};

    format_text(&s, format, ap);
}

void rt_printf(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    rt_vprintf(format, ap);
    va_end(ap);
}

int rt_vsnprintf(char *buf, size_t size, const char *format, va_list ap)
{
    char none;
    struct sink s = {size != 0 ? buf : &none, size, 0};

    format_text(&s, format, ap);
    if (size != 0)
        buf[s.used < size ? s.used : size - 1] = '\0';
    return (int)s.used;
}

int rt_snprintf(char *buf, size_t size, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = rt_vsnprintf(buf, size, format, ap);
    va_end(ap);
    return n;
}

_Noreturn void rt_shutdown(uint32_t code)
{
    /* Let the UART finish: ending the emulator may lose what it has not sent. */
    if (com1_ready) {
        while ((rt_inb(COM1 + 5) & 0x40u) == 0)
            ;
    }
    for (const char *s = "Shutdown"; *s != '\0'; s++)
        rt_outb(0x8900, (uint8_t)*s);
    rt_outl(0xf4, code);
    for (;;)
        __asm__ volatile("cli; hlt" : : : "memory");
}

_Noreturn void rt_panic(const char *format, ...)
{
    va_list ap;

    rt_printf("\npanic: ");
    va_start(ap, format);
    rt_vprintf(format, ap);
    va_end(ap);
    rt_printf("\n");
    rt_shutdown(1);
}

void rt_pic_mask_all(void)
{
    rt_outb(0x21, 0xff);
    rt_outb(0xa1, 0xff);
}

void rt_page_pool_init(void *base, size_t bytes)
{
    pool_next = base;
    pool_end = pool_next + (bytes & ~(size_t)0xfff);
}

void *rt_page_alloc(void)
{
    void *page = pool_next;

    if (pool_next == pool_end)
        rt_panic("page pool is empty");
    pool_next += 4096;
    return memset(page, 0, 4096);
}
