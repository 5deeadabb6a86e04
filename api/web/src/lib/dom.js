// Elements. Every text goes in as text, never as markup, and nothing sets a style attribute: the page's policy forbids both.
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'open', 'selected', 'readOnly', 'required', 'indeterminate', 'htmlFor', 'tabIndex']);
const SVG = 'http://www.w3.org/2000/svg';

// h('button', { class: 'primary', onclick: fn, 'aria-label': '…' }, 'text', child, …); null, undefined and false are left out.
export function h(tag, props = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props ?? {})) {
        if (value === undefined || value === null || value === false && !PROPERTIES.has(key)) continue;
        if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
        else if (PROPERTIES.has(key)) node[key] = value;
        else node.setAttribute(key, value === true ? '' : value);
    }
    append(node, children);
    return node;
}

export function append(node, children) {
    for (const child of children.flat(Infinity))
        if (child !== null && child !== undefined && child !== false)
            node.append(child);
    return node;
}

export function replace(node, ...children) {
    node.replaceChildren();
    return append(node, children);
}

// Writes only what changed, so that a list that is told the same again costs nothing.
export function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
}
export function setAttribute(node, name, value) {
    if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}
export function setHidden(node, hidden) {
    if (node.hidden !== hidden) node.hidden = hidden;
}

export function svg(tag, attributes = {}, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return append(node, children);
}

let serial = 0;
export const freshId = (word = 'id') => `${word}-${++serial}`;

// What is called many times in a frame is done once, in the next.
export function perFrame(fn) {
    let asked = 0;
    return () => { asked ||= requestAnimationFrame(() => { asked = 0; fn(); }); };
}

// Saves what the browser holds as a file of the reader's.
export function download(blob, name) {
    const url = URL.createObjectURL(blob);
    const a = h('a', { href: url, download: name });
    document.body.append(a);
    a.click();
    a.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
