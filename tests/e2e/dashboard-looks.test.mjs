// How the dashboard looks and behaves as a page: every page in light, dark, on a telephone, in Japanese and on a large screen has nothing wider than
// itself and no text cut off; axe finds no fault; nothing moves while data streams in; the first view is small; every word is there in both languages.
// The pictures are in build/dashboard.
import test, { before, after, describe } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { Browser } from './lib/browser.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { root, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20, BUDGET = 100_000;
const button = (name, within) => within.getByRole('button', { name, exact: true });
let daemon, api, server, browser, pages, slowId;

before(async () => {
    const disk = path.join(tempDir('looks'), 'disk.vhd');
    makeVhd(disk, 16 * MIB, { boot: 'the smallest guest' });
    [daemon, server, browser] = await Promise.all([Daemon.start(), BlobServer.start('--size', '256M', '--vhd'), Browser.start()]);
    api = daemon.api;
    const guest = await api.submit({ name: 'web01', disks: [{ source: { type: 'file', path: disk } }], vm: { memory_mib: 64, cpus: 1 } });
    const failed = await api.submit({ name: 'a name as long as an administrator may make it, with-a-part-that-has-no-space-at-all', until: 'download',
        disks: [{ source: { type: 'blob', url: `http://127.0.0.1:9/vhds/${'long-'.repeat(30)}.vhd` } }] });
    slowId = (await api.submit({ name: 'db02', disks: [{ source: { type: 'blob', url: server.url } }], until: 'download', max_bytes_per_second: 2 * MIB })).id;
    await api.put('/v1/credentials/prod', { type: 'account_key', account: 'acct', key: Buffer.alloc(64, 7).toString('base64') }, 201);
    const { vm_id: vm } = await api.waitJob(guest.id, 'succeeded', { timeout: 120_000 });
    await api.waitTask(failed.id, 'preflight', (t) => t.attempts > 0 && t.error);
    pages = [
        { name: 'jobs', hash: '/jobs', ready: '.jobs tbody tr:nth-child(3)' },
        { name: 'new-job', hash: '/new', ready: '.command', act: (p) => p.locator('details.advanced summary').click() },
        { name: 'job', hash: `/jobs/${slowId}`, ready: '.event[data-type="task_started"]' },
        { name: 'job-failed', hash: `/jobs/${failed.id}`, ready: '.problem-detail' },
        { name: 'job-done', hash: `/jobs/${guest.id}`, ready: '.made a.primary' },
        { name: 'console', hash: `/vms/${vm}`, ready: '.glass[data-mode="live"] canvas' },
        ...['boot', 'points', 'media', 'serial', 'film'].map((tool, i) => ({ name: `console-${tool}`, hash: `/vms/${vm}`, ready: '.glass[data-mode="live"] canvas', tool: i + 1 })),
        { name: 'host', hash: '/host', ready: '.checks li', act: (p) => p.locator('details.advanced summary').click() },
        { name: 'delete', hash: `/jobs/${guest.id}`, ready: '.made a.primary', act: async (p) => { await p.locator('[data-order="delete"]').click(); await p.locator('dialog[open]').waitFor(); } },
    ];
});
after(async () => { await browser?.stop(); await daemon?.stop(); await server?.stop(); });

const variants = {
    light: {}, dark: { colorScheme: 'dark' }, phone: { viewport: { width: 360, height: 740 }, hasTouch: true }, japanese: { locale: 'ja-JP' },
    'japanese-phone': { locale: 'ja-JP', viewport: { width: 360, height: 740 }, colorScheme: 'dark' }, large: { viewport: { width: 3840, height: 2160 } },
};
const judged = new Set(['light', 'dark', 'phone']);      // by axe: the others have the same elements and colours
const all = new Set(['light', 'dark', 'phone', 'japanese-phone']), some = new Set(['jobs', 'job', 'console', 'host', 'new-job']);
describe('every page fits and is accessible', { concurrency: 2 }, () => {
    for (const [variant, options] of Object.entries(variants)) {
        test(variant, async () => {
            const tab = await browser.open(daemon, options), { page } = tab;
            for (const { name, hash, ready, act, tool } of pages.filter((p) => all.has(variant) || some.has(p.name))) {
                await tab.go('/host');                       // from another page, so that each begins anew
                await tab.go(hash);
                await page.locator(ready).first().waitFor();
                if (tool) await page.getByRole('tab').nth(tool).click();
                await act?.(page);
                await page.waitForTimeout(100);
                await tab.fits(`${name}, ${variant}`);
                if (judged.has(variant)) await tab.accessible(`${name}, ${variant}`);
                await tab.picture(`${name}-${variant}`);
                if (await page.locator('dialog[open]').count()) await page.keyboard.press('Escape');
            }
            assert.equal(await page.evaluate(() => document.documentElement.lang), options.locale ? 'ja' : 'en');
            tab.quiet();
            await tab.close();
        });
    }
});

test('who is not signed in is told how to', async () => {
    for (const [variant, options] of Object.entries({ light: {}, phone: variants['japanese-phone'] })) {
        const tab = await browser.open(daemon, options);
        await tab.page.getByRole('heading', { level: 1 }).waitFor();
        await tab.page.locator('header button').click();
        await tab.page.getByText('vmrecover dashboard').first().waitFor();
        await tab.fits(`signed out, ${variant}`);
        await tab.accessible(`signed out, ${variant}`);
        await tab.picture(`signed-out-${variant}`);
        tab.quiet();
        await tab.close();
    }
});

test('a session that ends while the page is open leads to that page', async () => {
    const tab = await browser.open(daemon);
    await tab.page.getByRole('heading', { name: 'Jobs' }).waitFor();
    await tab.context.clearCookies();
    await tab.page.getByRole('link', { name: 'Host' }).click();
    await tab.page.getByText('vmrecover dashboard').first().waitFor();
    await tab.close();
});

test('nothing moves while data streams in', async () => {
    const prepare = (p) => p.addInitScript(() => {
        window.moved = [];
        new PerformanceObserver((list) => {
            for (const e of list.getEntries()) window.moved.push({ value: e.value, at: e.startTime, what: e.sources.map((s) => s.node?.className ?? s.node?.nodeName) });
        }).observe({ type: 'layout-shift', buffered: true });
    });
    for (const hash of ['/jobs', `/jobs/${slowId}`]) {
        const tab = await browser.open(daemon, { prepare });
        await tab.go(hash);
        await tab.page.locator('progress:not([hidden])').first().waitFor();
        await tab.page.waitForTimeout(600);
        await tab.page.evaluate(() => { window.moved.length = 0; });
        const bar = () => tab.page.evaluate((h) => (h === '/jobs' ? [...document.querySelectorAll('tr')].find((r) => r.textContent.includes('db02')) : document.querySelector('.now')).querySelector('progress').value, hash);
        const was = await bar();
        await waitFor('data streams', async () => await bar() > was, { timeout: 20_000 });
        await tab.page.waitForTimeout(1500);
        assert.deepEqual(await tab.page.evaluate(() => window.moved), [], hash);
        await tab.close();
    }
});

test('the first view is small, kept by hash, and asks nobody else', async () => {
    const tab = await browser.open(daemon, { prepare: async (p) => {
        p.sizes = [];
        p.on('requestfinished', (r) => p.sizes.push((async () => [new URL(r.url()).pathname, (await r.sizes()).responseBodySize, (await r.response()).headers()['cache-control']])()));
    } });
    await tab.page.getByRole('heading', { name: 'Jobs' }).waitFor();
    await tab.page.waitForLoadState('load');
    const files = (await Promise.all(tab.page.sizes)).filter(([name]) => name === '/' || name.startsWith('/assets/'));
    const total = files.reduce((sum, [, size]) => sum + size, 0);
    assert.ok(files.length >= 3 && total > 10_000, JSON.stringify(files));
    assert.ok(total < BUDGET, `${total} bytes: ${JSON.stringify(files)}`);
    assert.ok(!files.some(([name]) => name.includes('screen_live')), 'noVNC is fetched when a console is opened');
    for (const [name, , cache] of files.filter(([n]) => n.startsWith('/assets/'))) assert.match(cache, /immutable/, name);
    console.log(`# first view: ${total} bytes compressed in ${files.length} files`);
    tab.quiet();
    await tab.close();
});

test('by keyboard alone: skip link, tabs, a dialog that gives the focus back', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    await page.getByRole('heading', { name: 'Jobs' }).waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    await tab.go(pages.find((p) => p.name === 'job').hash);
    await page.locator('[data-order="cancel"]').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    assert.ok(await page.evaluate(() => document.activeElement.closest('dialog') !== null));
    await page.keyboard.press('Escape');
    await waitFor('the focus is back', () => page.evaluate(() => document.activeElement.dataset.order === 'cancel'));
    assert.equal((await api.job(slowId)).state, 'running', 'Escape is no answer');
    await tab.go(pages.find((p) => p.name === 'console').hash);
    await page.getByRole('tab').first().focus();
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.getByRole('tab', { selected: true }).textContent(), 'Boot');
    // every control can be reached
    await tab.go('/new');
    await page.locator('.command').waitFor();
    const reached = new Set();
    await page.locator('body').focus();
    for (let i = 0; i < 40; i++) {
        await page.keyboard.press('Tab');
        reached.add(await page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.name || document.activeElement.tagName));
    }
    for (const wanted of ['Submit', 'Advanced', 'Copy', 'Further disk']) assert.ok(reached.has(wanted), `${wanted} among ${[...reached]}`);
    tab.quiet();
    await tab.close();
});

test('language and colours are the reader\'s choice, and kept', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    await page.getByLabel('Colours').selectOption('dark');
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await ground();
    await page.getByLabel('Language').selectOption('ja');
    await page.getByRole('heading', { name: 'ジョブ' }).waitFor();
    assert.equal(await ground(), dark);
    await page.getByLabel('言語').selectOption('en');
    await page.getByRole('heading', { name: 'Jobs' }).waitFor();
    await page.getByLabel('Colours').selectOption('light');
    assert.notEqual(await ground(), dark);
    await tab.close();
});

test('Hyper-V is enabled from the host page; how far that is', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    let role = { state: 'disabled', percent: null, error: null }, asked = 0;
    await page.route('**/v1/host', async (r) => {
        const answer = await r.fetch();
        await r.fulfill({ response: answer, json: { ...await answer.json(), role } });
    });
    await page.route('**/v1/host/enable-hyperv', (r) => {
        asked++;
        role = { state: 'enabling', percent: 40, error: null };
        return r.fulfill({ status: 202, json: role });
    });
    await tab.go('/host');
    await page.getByText('The role Hyper-V is off').waitFor();
    await tab.picture('host-role');
    await page.locator('[data-order="enable-hyperv"]').click();
    await page.getByRole('dialog').getByText('Nothing is restarted').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Enable Hyper-V' }).click();
    const bar = page.locator('.card.warning progress');
    await bar.waitFor();
    assert.deepEqual([asked, await bar.evaluate((b) => b.value)], [1, 40]);
    role = { state: 'restart_needed', percent: null, error: null };
    await page.getByText('from the next restart of this host').waitFor();
    role = { state: 'failed', percent: null, error: { type: 'about:blank', title: 'x', code: 'internal_error', detail: 'The source files could not be found', hint: 'Name a source.' } };
    await page.getByRole('button', { name: 'Look again' }).click();
    await page.getByText('The source files could not be found').waitFor();
    await tab.accessible('the host, where Hyper-V could not be enabled');
    tab.quiet();
    await tab.close();
});

test('a volume for the disks of a job: eligible disks are offered, the request is one that the API takes', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    const disk = (id, more) => ({ id, device: `/dev/${id}`, size: 64 * MIB, sector_size: 512, bus: 'scsi', model: 'Model', serial: `serial-${id}`, role: 'data', partition_style: 'none', partitions: [],
        signatures: [], volume: null, eligible: true, reasons: [], ...more });
    await page.route('**/v1/disks', (r) => r.fulfill({ json: { disks: [disk('free1'), disk('free2'), disk('temp', { eligible: false, role: 'temporary', reasons: ['temporary: it vanishes'] }),
        disk('os', { eligible: false, role: 'os', reasons: ['os_disk: the system is on it'] })] } }));
    await tab.go('/host');
    await page.locator('[data-disk="os"] summary').click();
    await page.getByText('the system is on it').waitFor();
    await tab.go('/new');
    await page.getByLabel('File on this host').check();
    await page.getByLabel('Path of the image').fill('/srv/none.vhd');
    await page.getByText('Advanced').click();
    await page.getByLabel('Where the disks go').selectOption('chosen');
    const offered = page.locator('[data-pointer="/volume/disks"] input');
    assert.deepEqual(await offered.evaluateAll((list) => list.map((x) => x.value)), ['free1', 'free2', 'temp'], 'what is in use is not offered');
    await button('Submit', page).click();
    await page.locator('.complaint').waitFor();          // no disk is chosen
    await offered.nth(0).check();
    await offered.nth(1).check();
    await page.getByLabel('Layout').selectOption('striped');
    await page.getByLabel('Label').fill('recovery');
    await tab.fits('a job with a volume');
    await tab.accessible('a job with a volume');
    const request = JSON.parse((await page.locator('.command').textContent()).match(/-d '(.*)'$/s)[1]);
    assert.deepEqual(request.volume, { disks: ['free1', 'free2'], layout: 'striped', label: 'recovery' });
    const made = await api.submit({ ...request, until: 'preflight' });      // the judge holds it to the document
    await api.deleteJob(made.id);
    tab.quiet();
    await tab.close();
});

test('these tests see what does not fit', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    await page.getByRole('heading', { name: 'Jobs' }).waitFor();
    for (const css of ['width: 3000px', 'width: 20px; height: 10px; overflow: hidden']) {
        await page.evaluate((text) => {
            const p = document.createElement('p');
            p.id = 'unfit';
            p.textContent = 'a text that does not fit';
            p.style.cssText = text;
            document.querySelector('main').append(p);
        }, css);
        await assert.rejects(tab.fits('a page with a fault'), /unfit|does not fit|wide/);
        await page.evaluate(() => document.getElementById('unfit').remove());
    }
    await page.evaluate(() => document.querySelector('main').append(document.createElement('img'), document.createElement('select')));
    await assert.rejects(tab.accessible('a page with a fault'), /image-alt/);
    await page.evaluate(() => { fetch('http://127.0.0.1:9/'); });
    await waitFor('it is noted', () => tab.faults.some((f) => f.startsWith('outside') || f.startsWith('policy')));
    await tab.close();
});

test('both languages have every word', async () => {
    const src = path.join(root, 'api/web/src');
    const [en, ja] = (await Promise.all(['en', 'ja'].map((l) => import(path.join(src, `lib/words_${l}.js`))))).map((m) => m.default);
    assert.deepEqual(Object.keys(ja).sort(), Object.keys(en).sort());
    const holes = (text) => [...text.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort();
    for (const key of Object.keys(en)) assert.deepEqual(holes(ja[key]), holes(en[key]), key);
    const code = fs.readdirSync(src, { recursive: true }).map(String).filter((f) => f.endsWith('.js')).map((f) => fs.readFileSync(path.join(src, f), 'utf8').replace(/^\s*\/\/.*$/gm, '')).join('\n');
    for (const [, key] of code.matchAll(/\bt\('([a-z_.0-9]+)'/g)) assert.ok(key in en, key);
    const document = JSON.parse(fs.readFileSync(path.join(root, 'api/openapi.json'), 'utf8')).components.schemas;
    for (const kind of document.TaskKind.enum) assert.ok(`kind.${kind}` in en, kind);
    for (const state of [...document.Job.properties.state.enum, ...document.Task.properties.state.enum]) assert.ok(`state.${state}` in en, state);
    for (const type of document.Credential.properties.type.enum) assert.ok(`credential.${type}` in en, type);
});
