// The main story in a browser: a person signs in, submits a VM that does not boot, watches it arrive, looks at its screen, repairs it by keyboard and
// sees it boot. What the VM shows is read from the VM itself.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { Azurite } from './lib/azurite.mjs';
import { Browser } from './lib/browser.mjs';
import { exec } from './lib/platform.mjs';
import { freePort, must, root, slow, tempDir, waitFor } from './lib/util.mjs';

const LONG = 240_000 * slow, LOGIN = /recoverme login:/, SHELL = /root@recoverme:/;
let daemon, api, azurite, browser, tab, page, job, vm;

before(async () => {
    const broken = path.join(tempDir('dashboard'), 'web01.vhd');
    const build = must(path.join(root, 'tests/vm/build.sh'), [broken, '--fault', 'fstab'], { timeout: 400_000 });
    [daemon, azurite, browser] = await Promise.all([Daemon.start(), Azurite.start(), Browser.start(), build]);
    api = daemon.api;
    await azurite.uploadPages('vhds', 'web01.vhd', broken);
});
after(async () => { await browser?.stop(); await daemon?.stop(); await azurite?.stop(); });

// One story: after a step that failed the rest would only wait for what does not come.
let failed = false;
const step = (name, fn) => test(name, async (t) => {
    if (failed) return t.skip('an earlier step failed');
    try {
        await fn(t);
        tab?.quiet();
    } catch (e) { failed = true; throw e; }
});
const button = (name, within = page) => within.getByRole('button', { name, exact: true });
const confirm = (name) => button(name, page.getByRole('dialog')).click();
const glass = () => page.locator('.glass');
const openTool = (name) => page.getByRole('tab', { name, exact: true }).click();

step('sign in by the link that the client prints', async () => {
    const said = await exec('vmrecover', ['dashboard'], { env: { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile, BROWSER: '/bin/true' } });
    assert.equal(said.code, 0, said.stderr);
    const link = said.stdout.split('\n').find((l) => l.startsWith(daemon.url));
    assert.ok(link, said.stdout);
    tab = await browser.open(daemon, { prepare: async (p) => { await p.goto(link); await p.getByRole('heading', { name: 'Jobs' }).waitFor(); } });
    page = tab.page;
    await page.getByText('No jobs yet.').waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
});

step('submit by the form; the command beside it has no secret', async () => {
    const url = azurite.sasUrl('vhds', 'web01.vhd'), signature = new URL(url).searchParams.get('sig');
    await page.getByRole('link', { name: 'New job' }).first().click();
    await page.getByLabel('URL of the VHD').fill('not a url');
    await button('Submit').click();
    await page.locator('[aria-invalid="true"]').waitFor();
    assert.equal(await page.getByLabel('URL of the VHD').getAttribute('aria-invalid'), 'true', 'the API\'s complaint stands at its field');
    await page.getByLabel('URL of the VHD').fill(url);
    await page.getByLabel('Name', { exact: true }).fill('web01 <b>bold<b>');
    await page.getByText('Advanced').click();
    await page.getByLabel('Memory in MiB').fill('192');
    await page.getByLabel('Processors').fill('1');
    const command = await page.locator('.command').textContent();
    assert.match(command, /curl .*\/v1\/jobs -d '\{/s);
    assert.match(command, /"memory_mib": 192/);
    assert.ok(!command.includes(signature) && !command.includes(encodeURIComponent(signature)) && !/sig=/.test(command), command);
    await button('Submit').click();
    await page.getByRole('heading', { level: 1, name: 'web01 <b>bold<b>' }).waitFor();
    [job] = (await api.get('/v1/jobs')).jobs;
    assert.equal(job.name, 'web01 <b>bold<b>');
});

step('watch it arrive', async () => {
    await page.locator('.title .badge[data-state="succeeded"]').waitFor({ timeout: LONG });
    const states = await page.locator('.graph .task').evaluateAll((list) => list.map((x) => x.dataset.state));
    assert.deepEqual(states, ['succeeded', 'skipped', 'skipped', 'succeeded', 'succeeded', 'succeeded']);
    await page.locator('.event[data-type="job_succeeded"]').waitFor();
    vm = (await api.job(job.id)).vm_id;
});

step('the console shows emergency mode, live', async () => {
    await page.getByRole('link', { name: 'Open the console' }).click();
    await page.locator('.glass[data-mode="live"] canvas').waitFor();
    await api.waitScreen(vm, /You are in emergency mode/);
    await api.waitScreen(vm, /Give root password/);
    // what the browser shows is what the VM shows: text, light on dark
    await waitFor('a picture in the browser', () => page.locator('.glass canvas').evaluate((c) => {
        const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        let light = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i] > 128) light++;
        return light > 1000 && light < data.length / 8;
    }), { timeout: 20_000 });
    await page.setViewportSize({ width: 1280, height: 800 });
    await tab.picture('story-emergency');
});

step('an undo point before the try', async () => {
    await openTool('Undo points');
    await page.getByLabel('Name', { exact: true }).fill('before the repair');
    await button('Make an undo point').click();
    await page.locator('.points').getByText('before the repair').waitFor();
    assert.deepEqual((await api.get(`/v1/vms/${vm}/checkpoints`)).checkpoints.map((c) => c.name), ['before the repair']);
});

step('the repair, typed on the screen', async () => {
    await page.locator('.glass[data-mode="live"] canvas').click();
    await page.waitForTimeout(1000);                     // the prompt stands a moment before the echo is off
    await tab.type('recover\n');
    await api.waitScreen(vm, SHELL);
    await tab.type("mount -o remount,rw / && sed -i '/srv/d' /etc/fstab && sync; clear; cat /etc/fstab; echo \"the_en\"d\n");
    assert.doesNotMatch(await api.waitScreen(vm, /the_end/), /srv/);
    await page.keyboard.press('Control+Alt+KeyG');
    assert.equal(await page.evaluate(() => document.activeElement.closest('.glass')), null, 'the keyboard is the page\'s again');
});

step('typed as text, and by the bar', async () => {
    await openTool('Type');
    await page.getByLabel('Text to type').fill('clear; echo $((6 * 7))-pasted');
    await button('Type it').click();
    await api.waitScreen(vm, /42-pasted/);
    // a German keyboard has Y and Z where this guest, an American one, has Z and Y
    await page.getByLabel('Keyboard layout of the guest').selectOption('de');
    await page.getByLabel('Text to type').fill('echo yz');
    await button('Type it').click();
    await api.waitScreen(vm, /^zy$/m);
    await page.getByLabel('Keyboard layout of the guest').selectOption('us');
    await page.getByLabel('Text to type').fill('cat');
    await button('Type it').click();
    await page.getByLabel('More keys').selectOption({ label: 'Ctrl+C' });
    await api.waitScreen(vm, /\^C/);
});

step('reset: it boots to its login prompt', async () => {
    await button('Reset').click();
    await confirm('Reset');
    await api.waitScreen(vm, LOGIN, { timeout: LONG });
    await page.locator('.glass[data-mode="live"] canvas').waitFor();
    await tab.picture('story-repaired');
});

step('the film has what flashed by; the serial console what was said', async () => {
    await openTool('Film');
    const frames = page.locator('.film img');
    await frames.first().waitFor();
    assert.ok(await frames.count() >= 3, 'pictures of the boot');
    await frames.first().click();
    await page.getByRole('dialog').getByRole('img').waitFor();
    await page.keyboard.press('Escape');
    await openTool('Serial');
    await page.locator('.serial').getByText('Linux version').first().waitFor();
    await page.getByLabel('Line to send').fill('root');
    await button('Send').click();
    await waitFor('it was sent', async () => /Password/.test(await page.locator('.serial').textContent()), { timeout: 30_000 });
    const saved = page.waitForEvent('download');
    await button('Save log').click();
    assert.match((await saved).suggestedFilename(), /^web01 .*-serial\.log$/);
});

step('reset and hold F8: the boot menu stands', async () => {
    await openTool('Boot');
    const asked = [];
    page.on('request', (r) => { if (r.method() === 'POST') asked.push([r.url().split('/').pop(), r.postDataJSON()]); });
    await button('Reset and hold F8').click();
    await page.getByRole('dialog').getByText('ignore F8').waitFor();
    await confirm('Reset and hold F8');
    await waitFor('both were asked for', () => asked.some(([what]) => what === 'keys'));
    assert.deepEqual(asked.map(([what]) => what), ['reset', 'keys']);
    assert.deepEqual(asked[1][1].sequence.map((s) => s.press), [['F8']]);
    await api.waitScreen(vm, /GNU GRUB.*\*Tiny Linux/s);
    await button('Reset and hold F8').and(page.locator(':enabled')).waitFor({ timeout: 60_000 * slow });
    assert.match(await api.screenText(vm), /GNU GRUB/, 'the menu stands: its countdown was stopped');
});

step('without a WebSocket: by pictures, and keys by the API', async () => {
    const polled = await browser.open(daemon, { prepare: (p) => p.addInitScript(() => { window.WebSocket = class { constructor() { throw new Error('there is none'); } }; }) });
    const canvas = polled.page.locator('.glass[data-mode="polled"] canvas');
    await polled.go(`/vms/${vm}`);
    await canvas.waitFor({ timeout: 30_000 * slow });
    await canvas.click();
    const answers = [];
    polled.page.on('response', (r) => r.url().includes('/screen') && answers.push(r.status()));
    await polled.type('cNobody!');
    await api.waitScreen(vm, /grub> *Nobody!/);
    await waitFor('a picture that did not change is not sent', () => answers.includes(304) && answers.includes(200), { timeout: 30_000 });
    polled.quiet();
    await polled.close();
});

step('off and on', async () => {
    await button('Power off').click();
    await confirm('Power off');
    await page.getByText('The VM is off.').waitFor();
    await button('Start').click();
    await page.locator('.glass[data-mode="live"] canvas').waitFor({ timeout: 30_000 * slow });
});

step('back to the undo point: the broken system', async () => {
    await openTool('Undo points');
    await button('Go back: before the repair').click();
    await confirm('Go back');
    await api.waitScreen(vm, /Give root password/);
    await page.locator('.glass[data-mode="live"] canvas').waitFor({ timeout: 30_000 * slow });
});

step('script in names, events and errors of others is text', async () => {
    const evil = '<img src=x onerror="document.title=1;window.hacked=1"><script>window.hacked=1</script>';
    const port = await freePort();
    const server = http.createServer((rq, rs) => { rs.writeHead(404, { 'x-ms-error-code': evil, 'content-type': 'text/html' }); rs.end(rq.method === 'HEAD' ? undefined : evil); }).listen(port, '127.0.0.1');
    try {
        const { id } = await api.submit({ name: '<img src=x onerror="window.hacked=1">', disks: [{ source: { type: 'blob', url: `http://127.0.0.1:${port}/vhds/${encodeURIComponent('<svg onload=window.hacked=1>')}.vhd` } }] });
        await api.waitJob(id, 'failed');
        await tab.go(`/jobs/${id}`);
        await page.locator('.card.failed .problem-detail').waitFor();
        await page.locator('.card.failed summary').click();
        await page.locator('.event[data-type="job_failed"]').waitFor();
        for (const s of await page.locator('.event summary').all()) await s.click();
        assert.match(await page.locator('main').textContent(), /<img src=x onerror/);
        await tab.go('/jobs');
        await page.locator('.jobs').getByText('<img src=x onerror').waitFor();
        assert.equal(await page.evaluate(() => window.hacked), undefined);
        assert.equal(await page.locator('main img, main script').count(), 0);
    } finally { server.close(); }
});

step('delete says what will be gone, and is gone', async () => {
    await tab.go(`/jobs/${job.id}`);
    await button('Delete').click();
    const dialog = page.getByRole('dialog'), { disks } = await api.job(job.id);
    await dialog.getByText(vm, { exact: true }).waitFor();
    await dialog.getByText(disks[0].path).waitFor();
    await dialog.getByLabel('Delete the files too').check();
    await confirm('Delete');
    await api.waitGone(job.id);
    assert.deepEqual(await api.vms(), []);
    await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor();
    await waitFor('the list forgets it', async () => await page.locator(`[data-id="${job.id}"]`).count() === 0);
});
