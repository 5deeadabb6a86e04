// Dark or light: as the system has it, until the reader chooses.
import { remembered, remember } from './memory.js';

export const THEMES = ['auto', 'light', 'dark'];
export const theme = () => remembered('theme') ?? 'auto';
export function applyTheme(name = theme()) {
    document.documentElement.dataset.theme = name;
}
export function setTheme(name) {
    remember('theme', name === 'auto' ? null : name);
    applyTheme(name);
    dispatchEvent(new Event('themechange'));             // what is drawn on a canvas is drawn again
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dispatchEvent(new Event('themechange')));

// A colour of the style sheet, for a canvas.
export function colour(name) {
    const probe = document.createElement('span');
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
}
