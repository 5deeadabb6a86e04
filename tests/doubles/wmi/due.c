/* The host's clock, what is to happen by it, and chance. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "tests/doubles/wmi/core.h"

struct event {
    struct event *next;                                /* by time */
    int64_t at_ms;
    due_fn *fn, *drop;
    void *arg;
};

int64_t now_ms(struct dbl *d)
{
    return d->o.real_time ? clock_mono_ms() - d->mono_base_ms : d->clock_ms;
}

void due_add(struct dbl *d, int64_t in_ms, due_fn *fn, due_fn *drop, void *arg)
{
    struct event *e = x_calloc(1, sizeof *e), **at = &d->events;
    *e = (struct event){.at_ms = now_ms(d) + in_ms, .fn = fn, .drop = drop, .arg = arg};
    while (*at && (*at)->at_ms <= e->at_ms)
        at = &(*at)->next;
    e->next = *at;
    *at = e;
}

void due_run(struct dbl *d)
{
    while (d->events && d->events->at_ms <= now_ms(d)) {
        struct event *e = d->events;
        d->events = e->next;
        e->fn(d, e->arg);
        free(e);
    }
}

void due_drop_all(struct dbl *d)
{
    while (d->events) {
        struct event *e = d->events;
        d->events = e->next;
        e->drop(d, e->arg);
        free(e);
    }
}

/* The double's day begins at one fixed moment, so that two runs of one seed are the same. */
#define EPOCH 1767225600                               /* 2026-01-01 00:00 UTC */

char *datetime_text(struct dbl *d, int64_t at_ms)
{
    time_t t = (d->o.real_time ? time(NULL) - (now_ms(d) - at_ms) / 1000 : EPOCH + at_ms / 1000);
    int64_t days = t / 86400, rest = t % 86400, z = days + 719468, era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);
    return x_printf("%04d%02d%02d%02d%02d%02d.%06d+000", (int)year, (int)month, (int)day, (int)(rest / 3600), (int)(rest / 60 % 60),
                    (int)(rest % 60), (int)(at_ms % 1000) * 1000);
}

char *interval_text(int64_t ms)
{
    int64_t s = ms / 1000;
    return x_printf("%08d%02d%02d%02d.%06d:000", (int)(s / 86400), (int)(s / 3600 % 24), (int)(s / 60 % 60), (int)(s % 60), (int)(ms % 1000) * 1000);
}

/* ---- chance: xorshift64*, Vigna 2016 ---- */

uint32_t rnd(struct dbl *d, uint32_t n)
{
    d->rng ^= d->rng >> 12;
    d->rng ^= d->rng << 25;
    d->rng ^= d->rng >> 27;
    return n ? (uint32_t)((d->rng * 2685821657736338717u) >> 33) % n : 0;
}

bool chance(struct dbl *d, unsigned per_mille)
{
    return per_mille && rnd(d, 1000) < per_mille;
}

void guid_new(struct dbl *d, char ret[37])
{
    snprintf(ret, 37, "%04X%04X-%04X-4%03X-%04X-%04X%04X%04X", rnd(d, 65536), rnd(d, 65536), rnd(d, 65536), rnd(d, 4096), 0x8000 + rnd(d, 0x4000),
             rnd(d, 65536), rnd(d, 65536), rnd(d, 65536));
}

bool choose(struct dbl *d, enum dbl_choice c)
{
    /* one way for one host: from the seed alone */
    uint64_t x = (d->o.seed + 1) * 0x9E3779B97F4A7C15u + (uint64_t)c * 0xD1B54A32D192ED03u;
    x ^= x >> 31;
    x *= 0x94D049BB133111EBu;
    return d->o.choices == DBL_EVER || (d->o.choices == DBL_MAYBE && (x >> 40) % 2);
}

const char *word(struct dbl *d, const char *english)
{
    static const struct { const char *en, *de, *zh; } words[] = {
        {"Virtual Machine", "Virtueller Computer", "虚拟机"},
        {"Hosting Computer System", "Hostcomputersystem", "托管计算机系统"},
        {"The operation failed.", "Fehler bei dem Vorgang.", "操作失败。"},
        {"Job is running", "Auftrag wird ausgeführt", "作业正在运行"},
        {"Job is completed", "Auftrag wurde abgeschlossen", "作业已完成"},
        {"Hard Drive", "Festplatte", "硬盘驱动器"},
        {"Keyboard", "Tastatur", "键盘"},
        {"Network Adapter", "Netzwerkkarte", "网络适配器"},
        {"Virtual Switch", "Virtueller Switch", "虚拟交换机"},
        {"Settings for the virtual machine", "Einstellungen für den virtuellen Computer", "虚拟机的设置"},
    };
    const char *language = d->o.language ? d->o.language : "en";
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(words[i].en, english))
            return !strcmp(language, "de") ? words[i].de : !strcmp(language, "zh") ? words[i].zh : english;
    return english;
}
