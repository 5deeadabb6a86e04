// Numbers and times as the reader writes them, in the reader's zone.
import { h } from './dom.js';
import { locale, t } from './words.js';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const digits = [0, 1, 2].map((n) => new Intl.NumberFormat(locale, { minimumFractionDigits: n, maximumFractionDigits: n }));
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const percents = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 });
const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: 'medium' });
const unit = Object.fromEntries(['day', 'hour', 'minute', 'second'].map((u) => [u, new Intl.NumberFormat(locale, { style: 'unit', unit: u, unitDisplay: 'short' })]));

export function bytes(n) {
    if (n === null || n === undefined) return '–';
    let i = 0, v = n;
    while (v >= 1024 && i < UNITS.length - 1) { v /= 1024; i++; }
    return `${digits[i === 0 || v >= 100 ? 0 : 1].format(v)} ${UNITS[i]}`;
}
export const rate = (n) => t('rate', { amount: bytes(n) });
export const count = (n) => whole.format(n);
// Never 100 % before the end.
export const percent = (part) => percents.format(part >= 1 ? 1 : Math.min(0.99, Math.max(0, part)));

export function duration(seconds) {
    const s = Math.max(0, Math.round(seconds));
    const parts = [['day', Math.floor(s / 86400)], ['hour', Math.floor(s / 3600) % 24], ['minute', Math.floor(s / 60) % 60], ['second', s % 60]];
    const first = parts.findIndex(([, n]) => n > 0);
    if (first < 0) return unit.second.format(0);
    return parts.slice(first, first + 2).filter(([, n], i) => i === 0 || n > 0).map(([u, n]) => unit[u].format(n)).join(' ');
}
export const between = (from, to) => duration((new Date(to ?? Date.now()) - new Date(from)) / 1000);

export const dateText = (iso) => dateTime.format(new Date(iso));
export const clockText = (iso) => clock.format(new Date(iso));
export function time(iso, text = dateText) {
    return iso ? h('time', { datetime: iso, title: dateText(iso) }, text(iso)) : '–';
}
export const baseName = (path) => String(path).split(/[\\/]/).pop();
