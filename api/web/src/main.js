// The dashboard: its frame (navigation, connection, language, colours) around one page at a time.
import { h } from './lib/dom.js';
import { t, language, setLanguage } from './lib/words.js';
import { applyTheme, setTheme, theme, THEMES } from './lib/theme.js';
import { del, whenSignedOut } from './lib/api.js';
import { onConnection, start, stop } from './lib/events.js';
import { noticeArea } from './lib/notice.js';
import { route, startRouter } from './lib/router.js';
import { select } from './lib/field.js';
import { jobsPage } from './jobs/page.js';
import { submitPage } from './jobs/submit_page.js';
import { jobPage } from './job/page.js';
import { consolePage } from './console/page.js';
import { hostPage } from './host/page.js';

applyTheme();
route('/jobs', jobsPage, 'nav.jobs');
route('/new', submitPage, 'submit.title');
route('/jobs/:id', jobPage, 'nav.jobs');
route('/vms/:id', consolePage, 'console.title');
route('/host', hostPage, 'nav.host');

const links = [['/jobs', 'nav.jobs'], ['/new', 'nav.new'], ['/host', 'nav.host']].map(([path, key]) => ({ path, a: h('a', { href: `#${path}` }, t(key)) }));
const light = h('span', { class: 'light', 'aria-hidden': 'true' }), lightText = h('span', { class: 'light-text' });
const header = h('header', { class: 'top' },
    h('a', { class: 'skip', href: '#main', onclick: (e) => { e.preventDefault(); main.focus(); } }, t('nav.skip')),
    h('a', { class: 'brand', href: '#/jobs' }, 'vmrecover'),
    h('nav', { 'aria-label': t('nav.label') }, links.map((l) => l.a)),
    h('div', { class: 'switches' },
        h('span', { class: 'connection', role: 'status' }, light, lightText),
        select([['en', 'English'], ['ja', '日本語']], { value: language, 'aria-label': t('nav.language'), onchange: (e) => setLanguage(e.target.value) }),
        select(THEMES.map((name) => [name, t(`theme.${name}`)]), { value: theme(), 'aria-label': t('nav.theme'), onchange: (e) => setTheme(e.target.value) }),
        h('button', { type: 'button', class: 'quiet small', onclick: signOut }, t('nav.sign_out'))));
const main = h('main', { id: 'main', tabIndex: -1 });
document.body.replaceChildren(header, main, noticeArea());

async function signOut() {
    stop();
    try { await del('/v1/session'); } finally { location.reload(); }
}
onConnection((state) => {
    light.dataset.state = state;
    lightText.textContent = t(`connection.${state}`);
});
function marked(path) {
    for (const { path: own, a } of links) {
        if (path === own || own !== '/new' && path.startsWith(`${own}/`) || own === '/jobs' && path.startsWith('/vms/')) a.setAttribute('aria-current', 'page');
        else a.removeAttribute('aria-current');
    }
}

whenSignedOut(() => { stop(); location.reload(); });       // the daemon answers with the page that says how to sign in
startRouter(main, marked);
start();
