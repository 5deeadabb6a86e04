// The dashboard in Debian's Chromium, signed in by a one-time link. What a page may not do is noted for each of them: an error in its script, a
// complaint of its policy, a request to anywhere but the daemon.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { buildDir, slow } from './util.mjs';

const require = createRequire(import.meta.url);
const axe = require.resolve('axe-core/axe.min.js');
const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((f) => fs.existsSync(f));
export const pictures = path.join(buildDir, 'dashboard');

// Which keys of a US keyboard make a character; a browser's own `type` presses no Shift.
const SHIFTED = '~!@#$%^&*()_+{}|:"<>?', PLAIN = "`1234567890-=[]\\;',./";
function keysFor(c) {
    const at = SHIFTED.indexOf(c);
    if (at >= 0) return `Shift+${PLAIN[at]}`;
    if (c === '\n') return 'Enter';
    return /[A-Z]/.test(c) ? `Shift+Key${c}` : c === ' ' ? 'Space' : c;
}

export class Browser {
    static async start() {
        const b = new Browser();
        assert.ok(program, 'Chromium is there: make deps');
        b.browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
        return b;
    }
    // options: of Playwright's newContext. `prepare` runs before the first page is opened.
    async open(daemon, { prepare, ...options } = {}) {
        const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, timezoneId: 'Asia/Tokyo', locale: 'en-GB', ...options });
        context.setDefaultTimeout(20_000 * slow);
        const page = await context.newPage();
        const p = new Page(daemon, context, page);
        await prepare?.(page);
        const { path: link } = await daemon.api.post('/v1/sign_in_links', undefined, 201);
        await page.goto(daemon.url + link);
        return p;
    }
    async stop() { await this.browser?.close(); }
}

class Page {
    constructor(daemon, context, page) {
        Object.assign(this, { daemon, context, page, faults: [], transferred: new Map() });
        page.on('pageerror', (e) => this.faults.push(`script: ${e.stack}`));
        page.on('console', (m) => { if (/Content.Security.Policy|Refused to/i.test(m.text())) this.faults.push(`policy: ${m.text()}`); });
        page.on('dialog', (d) => { this.faults.push(`dialog: ${d.message()}`); d.dismiss(); });
        context.on('request', (r) => {
            const { protocol, host } = new URL(r.url());
            if (!['blob:', 'data:'].includes(protocol) && host !== daemon.address) this.faults.push(`outside: ${r.url()}`);
        });
    }
    go(hash) { return this.page.goto(`${this.daemon.url}/#${hash}`); }
    quiet() { assert.deepEqual(this.faults, []); }

    // Nothing wider than the page, and no text that its own box cuts off.
    async fits(what) {
        const found = await this.page.evaluate(() => {
            const list = [], doc = document.documentElement;
            if (doc.scrollWidth > doc.clientWidth) list.push(`the page is ${doc.scrollWidth} wide in ${doc.clientWidth}`);
            const scrolls = (e) => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
            for (const e of document.querySelectorAll('body *')) {
                if (!e.checkVisibility?.() || e.closest('svg, canvas, select, dialog:not([open])')) continue;
                const style = getComputedStyle(e), box = e.getBoundingClientRect();
                if (!box.width || !box.height) continue;
                const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
                const said = `${e.tagName.toLowerCase()}.${e.className} "${e.textContent.trim().slice(0, 40)}"`;
                // a name that is shortened with an ellipsis says so, and has the whole as its title
                if (text && style.overflow !== 'visible' && !scrolls(e) && !e.title && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1))
                    list.push(`${said} is cut off`);
                let up = e.parentElement;
                while (up && !scrolls(up)) up = up.parentElement;
                if (text && !up && style.position !== 'fixed' && box.left > -500 && (box.right > doc.clientWidth + 1 || box.left < -1)) list.push(`${said} sticks out of the page`);
                if (e.tagName === 'BUTTON' && e.scrollWidth > e.clientWidth + 1) list.push(`${said}: the button is too small for its text`);
            }
            return list;
        });
        assert.deepEqual(found, [], what);
    }
    async accessible(what) {
        if (!await this.page.evaluate(() => Boolean(window.axe))) await this.page.evaluate(fs.readFileSync(axe, 'utf8'));
        const found = await this.page.evaluate(async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
            .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`));
        assert.deepEqual(found, [], `axe on ${what}`);
    }
    async picture(name) {
        fs.mkdirSync(pictures, { recursive: true });
        await this.page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
    }
    async type(text, delay = 30) {
        for (const c of text) {
            await this.page.keyboard.press(keysFor(c));
            await this.page.waitForTimeout(delay);
        }
    }
    close() { return this.context.close(); }
}
