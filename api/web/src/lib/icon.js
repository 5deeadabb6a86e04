// The few signs on buttons; a button's name is its text or its aria-label, so they are hidden from screen readers.
import { svg } from './dom.js';

const PATHS = {
    pause: 'M6 4v12M14 4v12',
    resume: 'M6 4l10 6-10 6z',
    cancel: 'M5 5l10 10M15 5L5 15',
    retry: 'M16 10a6 6 0 1 1-2-4.5M16 3v4h-4',
    delete: 'M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11',
    console: 'M2 4h16v10H2zM7 17h6M5 8l2 2-2 2M9 12h4',
    add: 'M10 4v12M4 10h12',
    start: 'M6 4l10 6-10 6z',
    stop: 'M10 3v7M6 5a6 6 0 1 0 8 0',
    shutdown: 'M10 3v7M6 5a6 6 0 1 0 8 0',
    reset: 'M16 10a6 6 0 1 1-2-4.5M16 3v4h-4',
    copy: 'M7 7h9v9H7zM4 13V4h9',
    keyboard: 'M2 6h16v9H2zM5 9h1M9 9h1M13 9h1M6 12h8',
    save: 'M10 3v9M6 9l4 4 4-4M4 16h12',
    full: 'M3 8V3h5M12 3h5v5M17 12v5h-5M8 17H3v-5',
    theme: 'M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14',
};

export function icon(name) {
    return svg('svg', { viewBox: '0 0 20 20', class: 'icon', 'aria-hidden': 'true', focusable: 'false' }, svg('path', { d: PATHS[name] }));
}
