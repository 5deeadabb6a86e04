// The console where no live screen is to be had, as with Hyper-V: by pictures that are asked for again and again, with keys by the API. Also the
// dashboard's way through the Windows build (under Wine, where the double of Hyper-V draws bars that move).
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { Browser } from './lib/browser.mjs';
import { makeVhd } from './lib/image.mjs';
import { guests, local, native, test } from './lib/platform.mjs';
import { slow, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
let daemon, api, browser, tab, page, vm;

before(async () => {
    const disk = path.join(tempDir('polled'), 'disk.vhd');
    makeVhd(disk, 16 * MIB, { boot: 'the smallest guest' });
    [daemon, browser] = await Promise.all([Daemon.start(), Browser.start()]);
    api = daemon.api;
    tab = await browser.open(daemon, { prepare: (p) => p.addInitScript(() => { window.WebSocket = class { constructor() { throw new Error('there is none'); } }; }) });
    page = tab.page;
    await page.getByRole('link', { name: 'New job' }).first().click();
    await page.getByLabel('File on this host').check();
    await page.getByLabel('Path of the image').fill(native(disk));
    await page.getByLabel('Name', { exact: true }).fill('web01');
    await page.getByText('Advanced').click();
    await page.getByLabel('Memory in MiB').fill('64');
    await page.getByLabel('Processors').fill('1');
    await page.getByRole('button', { name: 'Submit' }).click();
    const job = await waitFor('the job is there', async () => (await api.get('/v1/jobs')).jobs[0]);
    await api.waitJob(job.id);
    await page.locator('.title .badge[data-state="succeeded"]').waitFor({ timeout: 20_000 * slow });
    vm = (await api.vms())[0].id;
});
after(async () => { await browser?.stop(); await daemon?.stop(); });

const answers = (part) => {
    const list = [];
    page.on('response', (r) => { if (r.url().includes(part)) list.push(r); });
    return list;
};
const light = () => page.locator('.glass canvas').evaluate((c) => {
    const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
    let n = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i] + data[i + 1] + data[i + 2] > 200) n++;
    return n;
});

test('the screen as pictures: shown, and sent again only when it changed', async () => {
    const screens = answers('/screen');
    await page.getByRole('link', { name: 'Open the console' }).click();
    await page.locator('.glass[data-mode="polled"] canvas').waitFor({ timeout: 30_000 * slow });
    await waitFor('something is drawn', async () => await light() > 100, { timeout: 30_000 });
    if (guests) await waitFor('a picture that did not change is not sent', () => screens.some((r) => r.status() === 304), { timeout: 20_000 });
    else await waitFor('pictures that changed', () => screens.filter((r) => r.status() === 200).length > 3, { timeout: 20_000 });
    tab.quiet();
});

test('keys of the reader and of the bar reach the VM, in order', async () => {
    const sent = answers('/keys');
    await page.locator('.glass canvas').click();
    await tab.type('aB', 20);
    await page.getByRole('button', { name: 'Ctrl+Alt+Del', exact: true }).click();
    const wanted = [['KeyA'], ['ShiftLeft', 'KeyB'], ['ControlLeft', 'AltLeft', 'Delete']];
    const pressed = () => sent.flatMap((r) => r.request().postDataJSON().sequence.map((s) => s.press));
    await waitFor(() => `keys: ${JSON.stringify(pressed())}`, () => pressed().length === wanted.length, { timeout: 20_000 });
    assert.deepEqual(pressed(), wanted);
    for (const r of sent) assert.equal(r.status(), 200, await r.text());
    tab.quiet();
});

test('full screen: the keyboard goes there', async () => {
    await page.getByRole('button', { name: 'Full screen' }).click();
    await waitFor('the frame is the screen', () => page.evaluate(() => document.fullscreenElement?.className === 'frame'));
    await waitFor('the VM has the keyboard', () => page.evaluate(() => document.activeElement.closest('.glass') !== null));
    await page.evaluate(() => document.exitFullscreen());
    await waitFor('it is over', () => page.evaluate(() => document.fullscreenElement === null));
    tab.quiet();
});

const button = (name) => page.getByRole('button', { name, exact: true });
const confirm = (name) => page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
const state = async () => (await api.get(`/v1/vms/${vm}`)).state;

test('the text of the screen, where the hypervisor can read it', { skip: !guests && 'Hyper-V gives pictures alone' }, async () => {
    await api.waitScreen(vm, /the smallest guest/);      // it boots again after Ctrl+Alt+Del
    await button('As text').click();
    await page.locator('.screen-text', { hasText: 'the smallest guest' }).waitFor();
    await button('As text').click();
    await page.locator('.screen-text').waitFor({ state: 'hidden' });
});

test('two interrupted boots: three resets, apart as asked', async () => {
    const resets = [];
    const note = (r) => { if (r.method() === 'POST' && r.url().endsWith('/reset')) resets.push(Date.now()); };
    page.on('request', note);
    await page.getByRole('tab', { name: 'Boot' }).click();
    await page.getByLabel('Seconds until each interruption').fill('3');
    await button('Interrupt two boots').click();
    await page.getByRole('dialog').getByText('recovery environment').waitFor();
    await confirm('Interrupt two boots');
    await page.getByText('Boot 1 of 2 is interrupted').waitFor();
    await page.getByText('Two boots were interrupted').waitFor({ timeout: 30_000 * slow });
    page.off('request', note);
    assert.equal(resets.length, 3);
    for (let i = 1; i < 3; i++) assert.ok(resets[i] - resets[i - 1] >= 2900, String(resets));
    assert.equal(await state(), 'running');
    // and stopped in the middle
    await button('Interrupt two boots').click();
    await confirm('Interrupt two boots');
    await button('Stop').click();
    await button('Interrupt two boots').and(page.locator(':enabled')).waitFor();
    tab.quiet();
});

test('an ISO goes in and out; what is wrong with a path stands at its field', async () => {
    const iso = path.join(tempDir('iso'), 'tools.iso');
    fs.writeFileSync(iso, Buffer.alloc(2 * MIB, 'tools   '));
    await page.getByRole('tab', { name: 'Media' }).click();
    await page.getByLabel('Path of an ISO').fill('not absolute');
    await button('Insert').click();
    await page.locator('.complaint').waitFor();
    await page.getByLabel('Path of an ISO').fill(native(iso));
    await button('Insert').click();
    await page.getByText('In the drive:').waitFor();
    assert.equal((await api.get(`/v1/vms/${vm}`)).dvd, native(iso));
    await button('Eject').click();
    await page.getByText('The drive is empty.').waitFor();
    tab.quiet();
});

test('off, on, an undo point and back', async () => {
    await page.getByRole('tab', { name: 'Undo points' }).click();
    await page.getByLabel('Name', { exact: true }).fill('before');
    await button('Make an undo point').click();
    await button('Go back: before').click({ timeout: 60_000 * slow });
    await confirm('Go back');
    await page.getByText('Back at before.').waitFor({ timeout: 60_000 * slow });
    if (await state() === 'off') await button('Start').click();
    await button('Power off').click();
    await confirm('Power off');
    await page.getByText('The VM is off.').waitFor({ timeout: 60_000 * slow });
    assert.equal(await state(), 'off');
    await page.getByRole('tab', { name: 'Media' }).click();
    const further = path.join(tempDir('further'), 'further.vhd');
    makeVhd(further, 4 * MIB);
    await page.getByLabel('Path of an image').fill(native(further));
    await button('Attach').click();
    await page.getByText('Slot 1').waitFor();
    await button('Detach').click();
    await page.getByText('Slot 1').waitFor({ state: 'detached' });
    await button('Export').click();
    await page.getByRole('link', { name: 'Its progress and file' }).click();
    await page.locator('.stage', { hasText: 'Export of the repair' }).locator('.task[data-state="succeeded"]').waitFor({ timeout: 60_000 * slow });
    const { tasks } = await api.job((await api.vms())[0].job_id), file = tasks.find((t) => t.kind === 'export_vm').params.path;
    await page.locator('.made').getByText(file).waitFor();
    assert.ok(fs.statSync(local(file)).size >= 16 * MIB);
    await page.getByRole('link', { name: 'Open the console' }).click();
    await button('Start').click();
    await page.locator('.glass[data-mode="polled"] canvas').waitFor({ timeout: 60_000 * slow });
    tab.quiet();
});

test('the host: its report, and the path of its log', async () => {
    await tab.go('/host');
    await page.locator('.checks li').first().waitFor();
    const { checks, log } = await api.get('/v1/host');
    assert.equal(await page.locator('.checks li').count(), checks.length);
    await page.getByText(log, { exact: true }).waitFor();
    await page.locator(`a[href="#/vms/${vm}"]`).waitFor();
    tab.quiet();
});

test('without the daemon: the page says so, and goes on when it is back', async () => {
    await daemon.kill9();
    await page.getByText('Connecting…', { exact: true }).waitFor();
    await button('Look again').click();
    await page.getByText('The daemon does not answer.').first().waitFor();
    tab.quiet();
    daemon.config.listen = daemon.address;
    await daemon.restart();
    api = daemon.api;
    // its sessions ended with it
    await page.getByText('vmrecover dashboard').first().waitFor({ timeout: 30_000 * slow });
});
