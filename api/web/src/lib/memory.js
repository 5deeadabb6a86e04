// Small choices that this browser keeps: language, colours, keyboard layout. Never a secret.
const PREFIX = 'vmrecover.';
export function remembered(name) {
    try { return localStorage.getItem(PREFIX + name); } catch { return null; }
}
export function remember(name, value) {
    try {
        if (value === null) localStorage.removeItem(PREFIX + name);
        else localStorage.setItem(PREFIX + name, value);
    } catch { /* a browser that keeps nothing */ }
}
