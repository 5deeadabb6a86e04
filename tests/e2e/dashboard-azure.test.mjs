// The dashboard and Azure: a credential goes in and does not come out, a person signs in by a code, VMs are found with what speaks against them, and one
// is recovered with its data disk; a SAS that ran out is renewed by a retry.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { Azure } from './lib/azure.mjs';
import { Browser } from './lib/browser.mjs';
import { Daemon } from './lib/daemon.mjs';
import { makeVhd } from './lib/image.mjs';
import { slow, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
let azure, daemon, api, browser, tab, page, plain;

before(async () => {
    const dir = tempDir('dashboard-azure'), os = path.join(dir, 'os.vhd'), data = path.join(dir, 'data.vhd');
    makeVhd(os, 16 * MIB, { boot: 'from Azure' });
    makeVhd(data, 8 * MIB, { seed: 2 });
    azure = await Azure.start();
    plain = await azure.vm({ name: 'plain', power: 'deallocated', generation: 1, disks: [{ file: os }, { file: data, lun: 0 }] });
    await azure.vm({ name: 'confidential', securityType: 'ConfidentialVM', securityEncryption: 'DiskWithVMGuestState', disks: [{ securityType: 'ConfidentialVM_DiskEncryptedWithPlatformKey' }] });
    [daemon, browser] = await Promise.all([Daemon.start(azure.config()), Browser.start()]);
    api = daemon.api;
    tab = await browser.open(daemon);
    page = tab.page;
});
after(async () => { await browser?.stop(); await daemon?.stop(); await azure?.stop(); });

const button = (name, within = page) => within.getByRole('button', { name, exact: true });
async function addCredential(name, kind, members = {}) {
    await tab.go('/host');
    await page.getByText('Add a credential').click();
    await page.getByLabel('Kind').selectOption(kind);
    await page.getByLabel('Name', { exact: true }).fill(name);
    for (const [label, value] of Object.entries(members)) await page.getByLabel(label, { exact: true }).fill(value);
    await button('Save').click();
}
const openPicker = async (credential) => {
    await tab.go('/jobs');
    await tab.go('/new');
    await page.getByLabel('VM, disk or snapshot in Azure').check();
    await page.getByLabel('Credential').filter({ visible: true }).selectOption(credential);
    await button('Find VMs').click();
};

test('a credential: what is wrong stands at its field, what is secret is not shown again', async () => {
    const { tenant, clientId, secret } = azure.principal();
    await addCredential('app', 'service_principal', { Tenant: tenant, 'Client id': 'no guid', 'Client secret': secret });
    await page.locator('[aria-invalid="true"]').waitFor();
    assert.equal(await page.getByLabel('Client id').getAttribute('aria-invalid'), 'true');
    await page.getByLabel('Client id').fill(clientId);
    await button('Save').click();
    await page.locator('.rows').getByText('app', { exact: true }).waitFor();
    assert.ok(!(await page.content()).includes(secret));
    assert.equal(await page.getByLabel('Client id').count() ? await page.getByLabel('Client id').inputValue() : '', '', 'the form is empty again');
    tab.quiet();
});

test('find a VM, with what speaks against others; recover it with its data disk', async () => {
    await openPicker('app');
    await page.locator('.vm-list').getByText('plain').waitFor();
    assert.ok(await page.locator('.vm-list li', { hasText: 'confidential' }).locator('input').isDisabled(), 'what cannot be recovered cannot be chosen');
    await page.locator('.vm-list li', { hasText: 'confidential' }).locator('.note.blocked').first().waitFor();
    await page.getByPlaceholder('Filter by name').fill('pla');
    await waitFor('the others are gone', async () => await page.locator('.vm-list li').count() === 1);
    await page.locator('.vm-list li', { hasText: 'plain' }).locator('input').check();
    await page.getByLabel('Its data disks too').check();
    assert.equal(await page.getByLabel('Resource id').inputValue(), azure.id(plain));
    assert.match(await page.locator('.command').textContent(), /"data_disks": true/);
    await page.getByText('By way of a storage account').click();
    await page.getByLabel('URL of the container').fill('https://acct.blob.core.windows.net/recovery');
    assert.match(await page.locator('.command').textContent(), /"via_storage_account": \{\s+"url": "https:\/\/acct/);
    await page.getByLabel('URL of the container').fill('');
    await page.getByText('Advanced').click();
    await page.getByLabel('Memory in MiB').fill('64');
    await page.getByLabel('Processors').fill('1');
    await button('Submit').click();
    await page.locator('.title .badge[data-state="succeeded"]').waitFor({ timeout: 120_000 * slow });
    assert.equal(await page.locator('.graph .task[data-state="succeeded"]').filter({ hasText: 'Disk 1' }).count(), 2, 'export and download of the second disk');
    await page.locator('.event[data-type="given_back"]').first().waitFor();
    await waitFor('a map of each disk', async () => await page.locator('.map canvas').filter({ visible: true }).count() === 2);
    await tab.fits('a job of two disks');
    await tab.picture('job-azure');
    tab.quiet();
});

test('a person signs in by a code that is shown', async () => {
    await addCredential('person', 'device_code', { Tenant: azure.tenant });
    await page.locator('.rows').getByText('person', { exact: true }).waitFor();
    await openPicker('person');
    const code = await waitFor('a code', () => [...azure.login.codes.values()].at(-1));
    await page.getByText(code.userCode, { exact: true }).waitFor();
    assert.equal(await page.locator('a[target="_blank"]').filter({ visible: true }).getAttribute('href'), null, 'no link but to https');
    azure.login.approve(code.userCode);
    await page.locator('.vm-list').getByText('plain').waitFor({ timeout: 60_000 * slow });
    tab.quiet();
});

test('a SAS that ran out: a retry asks for a new one', async () => {
    const file = path.join(tempDir('sas'), 'disk.vhd');
    makeVhd(file, 8 * MIB);
    await azure.azurite.uploadPages('vhds', 'disk.vhd', file);
    const old = azure.azurite.sasUrl('vhds', 'disk.vhd', { expires: -3600 });
    const { id } = await api.submit({ name: 'expired', disks: [{ source: { type: 'blob', url: old } }], until: 'download' });
    await api.waitJob(id, 'failed', { timeout: 60_000 });
    await tab.go(`/jobs/${id}`);
    await page.locator('.card.failed').waitFor();
    await button('Retry').click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('URL of disk 0').fill(azure.azurite.sasUrl('vhds', 'disk.vhd'));
    await button('Retry', dialog).click();
    await page.locator('.title .badge[data-state="succeeded"]').waitFor({ timeout: 60_000 * slow });
    tab.quiet();
});

test('pause, resume, cancel from the list; a limit while it runs', async () => {
    const file = path.join(tempDir('steered'), 'disk.vhd');
    makeVhd(file, 32 * MIB, { used: 0.9 });
    await azure.azurite.uploadPages('vhds', 'steered.vhd', file);
    const { id } = await api.submit({ name: 'steered', disks: [{ source: { type: 'blob', url: azure.azurite.sasUrl('vhds', 'steered.vhd') } }], until: 'download', max_bytes_per_second: MIB });
    await tab.go('/jobs');
    const row = page.locator(`tr[data-id="${id}"]`), state = (name) => row.locator(`.badge[data-state="${name}"]`).waitFor({ timeout: 20_000 * slow });
    await state('running');
    await row.getByRole('button', { name: 'Pause: steered' }).click();
    await state('paused');
    await row.getByRole('button', { name: 'Resume: steered' }).click();
    await state('running');
    await row.getByRole('link', { name: 'steered', exact: true }).click();
    await page.getByLabel('Limit in MiB/s').fill('0.5');
    await button('Set').click();
    await waitFor('the limit is set', async () => (await api.job(id)).request.max_bytes_per_second === MIB / 2);
    await tab.go('/jobs');
    await row.getByRole('button', { name: 'Cancel: steered' }).click();
    await button('Cancel', page.getByRole('dialog')).click();
    await state('cancelled');
    tab.quiet();
});

test('a credential is removed', async () => {
    await tab.go('/host');
    await button('Remove: person').click();
    await button('Remove', page.getByRole('dialog')).click();
    await waitFor('it is gone', async () => !(await api.get('/v1/credentials')).credentials.some((c) => c.name === 'person'));
    await waitFor('from the page too', async () => await page.locator('.rows').getByText('person', { exact: true }).count() === 0);
    tab.quiet();
});
