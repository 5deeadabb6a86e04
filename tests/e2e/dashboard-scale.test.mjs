// The list of jobs with 200 running and 10,000 finished: as smooth as an empty one, and its memory does not grow while progress streams in. The rows
// are put into the database beside the daemon, which tells of them as of its own.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { Browser } from './lib/browser.mjs';
import { must, sleep, slow, soak, start, waitFor } from './lib/util.mjs';

const MIB = 1 << 20, FINISHED = 10_000, RUNNING = 200, LOOK_MS = 3000, ROUNDS = 2, TICK_MS = 400, LONG_MS = 50;
const MEMORY_S = soak ? 3600 : 6, GROWTH_MAX = 3 * MIB;
let daemon, api, browser, feeder;

before(async () => {
    [daemon, browser] = await Promise.all([Daemon.start(), Browser.start()]);
    api = daemon.api;
});
after(async () => {
    clearInterval(feeder?.timer);
    feeder?.child.kill('SIGTERM');
    await browser?.stop();
    await daemon?.stop();
});

// What the page's own thread did while it was scrolled for LOOK_MS, by Chromium's own trace: tasks in processor time, so that what else the machine
// does makes none longer.
async function look(tab) {
    const { page } = tab;
    await tab.go('/host');
    await tab.go('/jobs');
    await page.locator('.list-note').getByText('jobs').or(page.getByText('No jobs yet.')).first().waitFor();
    await page.waitForTimeout(1000);
    await browser.browser.startTracing(page, { categories: ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline', '__metadata'] });
    await page.evaluate(async (ms) => {
        const end = performance.now() + ms;
        for (let down = true; performance.now() < end;) {
            await new Promise(requestAnimationFrame);
            scrollBy(0, down ? 80 : -80);
            if (scrollY === 0) down = true;
            else if (scrollY > 9000) down = false;
        }
    }, LOOK_MS);
    const { traceEvents: events } = JSON.parse(await browser.browser.stopTracing());
    const mains = new Set(events.filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map((e) => `${e.pid} ${e.tid}`));
    const tasks = events.filter((e) => mains.has(`${e.pid} ${e.tid}`) && e.tdur !== undefined && /RunTask$/.test(e.name)).map((e) => e.tdur / 1000);
    return { tasks: tasks.length, long: tasks.filter((ms) => ms > LONG_MS).length, longest: Math.max(0, ...tasks), busy: tasks.reduce((x, y) => x + y, 0), events };
}
const text = ({ tasks, long, longest, busy }) => `${tasks} tasks, ${long} long, longest ${longest.toFixed(1)} ms, ${Math.round(busy)} ms in all`;

const id = (prefix) => `printf('%08x-0000-4000-8000-%012x', ${prefix} + i, i)`;
async function fill() {
    const { id: model } = await api.submit({ name: 'model', disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' });
    await api.waitJob(model);
    const file = path.join(daemon.dir, 'vmrecover.db');
    const copies = (count, prefix, name, state) => `
        INSERT INTO job (id, spec, state, created_at_ms, updated_at_ms)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
            SELECT ${id(prefix)}, json_set(spec, '$.name', '${name}' || printf('%05d', i)), '${state}', created_at_ms, updated_at_ms FROM job, n WHERE job.id = '${model}';
        INSERT INTO disk (job, disk, path, format, virtual_size) SELECT j.seq, 0, NULL, 'vhd', ${MIB} FROM job j WHERE j.spec ->> '$.name' LIKE '${name}%';
        INSERT INTO task (job, kind, disk, lane, state, unmet, attempts, started_at_ms, finished_at_ms, total_bytes)
            SELECT j.seq, t.kind, t.disk, t.lane, iif('${state}' = 'running' AND t.kind = 'download', 'running', t.state), 0, 1, t.started_at_ms, t.finished_at_ms,
                iif(t.kind = 'download', 1000000000, 0)
            FROM job j, task t WHERE j.spec ->> '$.name' LIKE '${name}%' AND t.job = (SELECT seq FROM job WHERE id = '${model}');`;
    await must('sqlite3', ['-cmd', '.timeout 20000', file, `PRAGMA synchronous = OFF; BEGIN IMMEDIATE; ${copies(FINISHED, 0x10000000, 'old', 'succeeded')} ${copies(RUNNING, 0x20000000, 'run', 'running')} COMMIT;`], { timeout: 60_000 });
    // every running job moves all the time
    const child = start('sqlite3', ['-cmd', '.timeout 20000', file], { stdio: ['pipe', 'ignore', 'inherit'] });
    const timer = setInterval(() => child.stdin.write(`UPDATE task SET done_bytes = (done_bytes + 1000000 + job * 1000) % 900000000, transferred_bytes = done_bytes,
        bytes_per_second = 1000000 + abs(random()) % 9000000, eta_seconds = abs(random()) % 1000 WHERE state = 'running';\n`), TICK_MS);
    feeder = { child, timer };
}

test('with 200 running and 10,000 finished jobs the list is as smooth as an empty one', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    await look(tab);                                     // compiles what is compiled once
    const empty = [];
    for (let i = 0; i < ROUNDS; i++) empty.push(await look(tab));
    await fill();
    const full = [];
    for (let i = 0; i < ROUNDS; i++) full.push(await look(tab));
    assert.ok(await page.locator('.jobs tbody tr').count() > 100, 'pages were added by scrolling');
    console.log(`# empty: ${empty.map(text).join(' | ')}; full: ${full.map(text).join(' | ')}`);
    const fewest = (list) => Math.min(...list.map((x) => x.long));
    assert.ok(full.every((x) => x.tasks > 100), 'the trace has the page\'s tasks');
    assert.ok(fewest(full) <= fewest(empty), `long tasks: ${empty.map(text)} and then ${full.map(text)}`);
    tab.quiet();
    await tab.close();
});

test('running jobs move in the list; a filter and a search find what is far down', async () => {
    const tab = await browser.open(daemon), { page } = tab;
    await page.getByLabel('State', { exact: true }).selectOption('running');
    const speed = page.locator('.jobs tbody tr').first().locator('.speed');
    await waitFor('a speed', async () => /MiB/.test(await speed.textContent()));
    const was = await speed.textContent();
    await waitFor('another speed', async () => await speed.textContent() !== was, { timeout: 10_000 });
    await waitFor('all 200, page by page', async () => {
        await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
        return await page.locator('.jobs tbody tr').count() === RUNNING;
    }, { timeout: 20_000 });
    await page.getByText(`${RUNNING} jobs`, { exact: true }).waitFor();
    await page.evaluate(() => scrollTo(0, 0));
    await page.getByLabel('State', { exact: true }).selectOption('');
    await page.getByRole('searchbox').fill('old00007');
    await page.locator('.jobs').getByText('old00007').waitFor({ timeout: 30_000 * slow });
    await page.getByText('1 jobs', { exact: true }).waitFor({ timeout: 30_000 * slow });
    assert.equal(new URL(page.url()).hash, '#/jobs?search=old00007', 'the address leads back to it');
    tab.quiet();
    await tab.close();
});

test(`memory is flat over ${MEMORY_S} s of streaming`, async () => {
    const tab = await browser.open(daemon), { page } = tab;
    const cdp = await tab.context.newCDPSession(page);
    const heap = async () => {
        for (let i = 0; i < 3; i++) await cdp.send('HeapProfiler.collectGarbage');
        return (await cdp.send('Runtime.getHeapUsage')).usedSize;
    };
    await page.getByLabel('State', { exact: true }).selectOption('running');
    await page.locator('.jobs tbody tr').first().waitFor();
    await sleep(2000);
    const [was, nodes] = [await heap(), await page.evaluate(() => document.querySelectorAll('*').length)];
    await sleep(MEMORY_S * 1000);
    const now = await heap();
    console.log(`# heap: ${(was / MIB).toFixed(1)} MiB, ${MEMORY_S} s later ${(now / MIB).toFixed(1)} MiB`);
    assert.ok(now - was < GROWTH_MAX, `${was} -> ${now}`);
    assert.equal(await page.evaluate(() => document.querySelectorAll('*').length), nodes);
    tab.quiet();
    await tab.close();
});
