// Which page is shown: the part of the address behind '#'. A page is a function ({ params, query, signal }) => element; signal is aborted when
// the reader leaves it.
import { t } from './words.js';

const routes = [];
let leave = new AbortController(), outlet, onMove = () => {};

export function route(pattern, page, title) {
    const names = [];
    const source = pattern.replace(/:(\w+)/g, (_, name) => { names.push(name); return '([^/]+)'; });
    routes.push({ test: new RegExp(`^${source}$`), names, page, title });
}

export function show(page, title, context = {}) {
    leave.abort();
    leave = new AbortController();
    document.title = title ? `${title} · vmrecover` : 'vmrecover';
    const node = page({ params: {}, query: new URLSearchParams(), ...context, signal: leave.signal });
    outlet.replaceChildren(node);
    outlet.scrollTop = 0;
    // a screen reader begins with the new page's name
    const heading = node.querySelector('h1');
    if (heading && moved) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); scrollTo(0, 0); }
}

let moved = false;
function go() {
    const [path, query = ''] = (location.hash.slice(1) || '/jobs').split('?');
    const found = routes.find((r) => r.test.test(path));
    onMove(path);
    if (!found) { location.replace('#/jobs'); return; }
    const values = path.match(found.test).slice(1).map(decodeURIComponent);
    show(found.page, t(found.title), { params: Object.fromEntries(found.names.map((n, i) => [n, values[i]])), query: new URLSearchParams(query) });
    moved = true;
}

export function startRouter(node, moveFn) {
    outlet = node;
    onMove = moveFn;
    addEventListener('hashchange', go);
    go();
}
export const open = (path) => { location.hash = path; };
// Changes the query of the page's address without leaving it.
export const setQuery = (path, query) => history.replaceState(null, '', `#${path}${String(query) ? `?${query}` : ''}`);
export function setTitle(title) { document.title = `${title} · vmrecover`; }
