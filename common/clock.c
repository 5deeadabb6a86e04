#include "common/clock.h"

#include <stdio.h>
#include <string.h>

/* Civil date from days since 1970-01-01 and back: the proleptic Gregorian calendar counted from 1 March of year 0,
 * where a leap day is the last day of its year. */
static void civil(int64_t days, int *y, unsigned *m, unsigned *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int)((int64_t)yoe + era * 400 + (*m <= 2));
}

static int64_t days_from_civil(int y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

struct parts {
    int y;
    unsigned mon, d, h, min, s, ms;
    unsigned weekday;        /* 0: Sunday */
};

static struct parts split(int64_t ms)
{
    int64_t days = ms / 86400000, rest = ms % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    struct parts p = {.weekday = (unsigned)(((days + 4) % 7 + 7) % 7)};
    civil(days, &p.y, &p.mon, &p.d);
    p.h = (unsigned)(rest / 3600000);
    p.min = (unsigned)(rest / 60000 % 60);
    p.s = (unsigned)(rest / 1000 % 60);
    p.ms = (unsigned)(rest % 1000);
    return p;
}

void clock_format(int64_t ms, char buf[CLOCK_TEXT])
{
    struct parts p = split(ms);
    snprintf(buf, CLOCK_TEXT, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", p.y, p.mon, p.d, p.h, p.min, p.s, p.ms);
}

void clock_format_http(int64_t ms, char buf[CLOCK_TEXT])
{
    static const char day[] = "SunMonTueWedThuFriSat", month[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct parts p = split(ms);
    snprintf(buf, CLOCK_TEXT, "%.3s, %02u %.3s %04d %02u:%02u:%02u GMT", day + (size_t)3 * p.weekday, p.d,
             month + (size_t)3 * (p.mon - 1), p.y, p.h, p.min, p.s);
}

bool clock_parse(const char *s, int64_t *ret_ms)
{
    int y, used = 0;
    unsigned mon, d, h, min, sec, ms = 0;
    if (strlen(s) > 40 || sscanf(s, "%4d-%2u-%2u%*1[Tt ]%2u:%2u:%2u%n", &y, &mon, &d, &h, &min, &sec, &used) != 6 || used != 19)
        return false;
    if (y < 1970 || mon < 1 || mon > 12 || d < 1 || d > 31 || h > 23 || min > 59 || sec > 60)
        return false;
    s += used;
    if (*s == '.') {
        unsigned scale = 100;
        for (s++; *s >= '0' && *s <= '9'; s++, scale /= 10)
            ms += (unsigned)(*s - '0') * scale;
    }
    int64_t offset_min = 0;
    if (*s == 'Z' || *s == 'z')
        s++;
    else if (*s == '+' || *s == '-') {
        unsigned oh, om;
        if (sscanf(s + 1, "%2u:%2u%n", &oh, &om, &used) != 2 || used != 5 || oh > 23 || om > 59)
            return false;
        offset_min = (*s == '-' ? -1 : 1) * (int64_t)(oh * 60 + om);
        s += 6;
    } else
        return false;
    if (*s)
        return false;
    *ret_ms = ((days_from_civil(y, mon, d) * 24 + h) * 60 + min - offset_min) * 60000 + (int64_t)sec * 1000 + ms;
    return true;
}
