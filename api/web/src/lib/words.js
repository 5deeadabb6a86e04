// The reader's language. t('jobs.title') is a sentence of it; '{n}' in it is replaced.
import en from './words_en.js';
import ja from './words_ja.js';
import { remembered, remember } from './memory.js';

const LANGUAGES = { en, ja };
const wanted = remembered('language') ?? (navigator.languages ?? [navigator.language]).map((l) => l.slice(0, 2)).find((l) => l in LANGUAGES) ?? 'en';
export const language = wanted in LANGUAGES ? wanted : 'en';
// numbers and times as the reader's own region has them, when it is of this language
export const locale = (navigator.languages ?? []).find((l) => l.startsWith(language)) ?? language;
document.documentElement.lang = language;

export function t(key, values) {
    const text = LANGUAGES[language][key] ?? en[key] ?? key;
    return values ? text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole)) : text;
}
// For words of the API that may be newer than this page: the word itself where there is no sentence for it.
export function word(group, name) {
    const key = `${group}.${name}`;
    return key in en ? t(key) : String(name).replaceAll('_', ' ');
}

export function setLanguage(name) {
    remember('language', name);
    location.reload();
}
