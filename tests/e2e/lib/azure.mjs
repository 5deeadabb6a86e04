// Everything that stands in for Azure, started together: the storage emulator, and the double of sign-in, Azure Resource Manager, instance
// metadata, Azure Arc and disk hosts (tests/doubles/arm). With helpers to have VMs whose disks hold the content of an image file.
//
//   const azure = await Azure.start();
//   const vm = await azure.vm({ name: 'web01', power: 'deallocated', disks: [{ file: 'os.vhd' }, { file: 'data.vhd' }] });
//   const daemon = await Daemon.start(azure.config());
//   … azure.id(vm) … azure.faults.add({ operation: 'Disks_GrantAccess', status: 503, times: 2 }) …
//   await azure.finish();       // nothing open, nothing that the specifications do not have; then stop
import dns from 'node:dns';
import fs from 'node:fs';
import path from 'node:path';
import { AzureDouble } from '../../doubles/arm/double.mjs';
import { Azurite } from './azurite.mjs';
import { pemSecret, secretsFrom } from './secrets.mjs';
import { must, removeTemp, tempDir } from './util.mjs';

const GIB = 1024 ** 3;

dns.setDefaultResultOrder('ipv4first');              // the doubles listen on 127.0.0.1, and Node 18 tries one address of localhost alone

export class Azure {
    // tls: true serves ARM, sign-in and disk hosts by https too (on localhost, certificate in `ca`); storage: false leaves the emulator out;
    // everything else goes to AzureDouble.start
    static async start({ tls = false, storage = true, ...options } = {}) {
        const a = new Azure();
        a.dir = tempDir('azure');
        a.arcDir = path.join(a.dir, 'arc');
        fs.mkdirSync(a.arcDir);
        const pair = tls ? await certificate(a.dir, 'localhost') : null;
        a.ca = pair?.certFile;
        a.azurite = storage ? await Azurite.start() : null;
        a.double = await AzureDouble.start({ storage: a.azurite && { url: a.azurite.url, account: a.azurite.account, key: a.azurite.key },
            arcDir: a.arcDir, tls: pair, ...options });
        for (const part of ['world', 'faults', 'arm', 'login', 'imds', 'arc', 'tokens', 'operations']) a[part] = a.double[part];
        secretsFrom(() => a.double.secrets());
        a.hosts = a.double.disk;                     // of disk data
        // the user's storage account, by its front door: { base, name, key }
        a.account = a.azurite && Object.assign(a.double.account, { name: a.azurite.account, key: a.azurite.key,
            base: `${a.double.account.url}/${a.azurite.account}` });
        a.subscription = a.world.addSubscription({ name: 'Production' });
        a.tenant = a.subscription.tenant;
        a.identity = a.imds.addIdentity({ tenant: a.tenant });
        a.arc.identity = { name: 'arc-host', tenant: a.tenant, clientId: '0a0a0a0a-0000-4000-8000-000000000001',
            objectId: '0a0a0a0a-0000-4000-8000-000000000002' };
        a.serial = 0;
        return a;
    }

    config() { return this.double.config(); }
    id(record) { return this.world.id(record); }

    // A service principal that can sign in by secret: { tenant, clientId, secret }; more ways by certificatePrincipal and federatedPrincipal.
    principal(name = 'app') {
        const secret = `S~${name}-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}~planted`;
        const app = this.login.addApp({ tenant: this.tenant, name, secrets: [secret] });
        return { tenant: this.tenant, clientId: app.clientId, secret, app };
    }
    // By certificate: pem holds certificate and key.
    async certificatePrincipal(name = 'cert-app') {
        const pair = await certificate(this.dir, name);
        const app = this.login.addApp({ tenant: this.tenant, name, certificates: [pair.cert] });
        return { tenant: this.tenant, clientId: app.clientId, pem: `${pair.cert}${pair.key}`, ...pair, app };
    }
    // By a file with a token of another identity provider; write() renews it.
    federatedPrincipal(name = 'workload') {
        const subject = `system:serviceaccount:default:${name}`;
        const app = this.login.addApp({ tenant: this.tenant, name, federated: [{ issuer: 'https://issuer.example/', subject }] });
        const file = path.join(this.dir, `${name}.token`);
        const write = (options) => fs.writeFileSync(file, this.login.federatedToken(subject, options), { mode: 0o600 });
        write();
        return { tenant: this.tenant, clientId: app.clientId, file, write, app };
    }

    // The file (fixed VHD, or VHDX) as what lies behind a disk's SAS. freeze: how it is now, for a snapshot.
    async content(file, container = 'md-disks') {
        const name = `disk-${++this.serial}.vhd`;
        const { client } = await this.azurite.uploadPages(container, name, file);
        return this.contentOf(client);
    }
    contentOf(client) {
        return { url: client.url, client, freeze: async () => this.contentOf(client.withSnapshot((await client.createSnapshot()).snapshot)) };
    }

    // A disk: file, and what world.addDisk takes. sizeBytes is the file's without a footer.
    async disk({ file, name = `disk-${this.serial + 1}`, group = 'rg-prod', ...o }) {
        const content = file ? await this.content(file) : null;
        const size = file ? fs.statSync(file).size : GIB;
        return this.world.addDisk({ subscription: this.subscription.id, group, name, location: 'westeurope', sizeBytes: size - (size % 4096 === 512
            ? 512 : 0), content, ...o });
    }

    // A VM; disks: [{ file, name?, … }], the OS disk first; { file, unmanaged: true } is a page blob in the storage account instead.
    async vm({ name, group = 'rg-prod', location = 'westeurope', os = 'Linux', generation = 2, power = 'deallocated', disks = [{}], ...o }) {
        const made = [];
        for (const [i, { unmanaged, lun, ...d }] of disks.entries()) {
            const own = { name: `${name}-${i === 0 ? 'os' : `data${i}`}`, group, location, ...(i === 0 ? { os, generation } : {}), ...d };
            if (unmanaged) {
                const blob = await this.azurite.uploadPages('vhds', `${own.name}.vhd`, own.file);
                await blob.client.getBlobLeaseClient().acquireLease(-1);     // as a VM holds it
                made.push({ vhd: `${this.account.base}/vhds/${own.name}.vhd`, name: own.name, sizeBytes: fs.statSync(own.file).size - 512,
                    client: blob.client });
            } else
                made.push({ record: await this.disk(own), lun });
        }
        return this.world.addVm({ subscription: this.subscription.id, group, location, name, os, generation, power, disks: made, ...o });
    }

    async stop() {
        await this.double.stop();
        await this.azurite?.stop();
        removeTemp(this.dir);
    }

    // The end of a test that went well: no access open, no violation of the specifications in either direction.
    async finish() {
        try {
            await this.double.assertClean();
            this.double.assertNothingOpen();
        } finally {
            await this.stop();
        }
    }
}

async function certificate(dir, name) {
    const certFile = path.join(dir, `${name}.crt`), keyFile = path.join(dir, `${name}.key`);
    await must('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-sha256', '-days', '30', '-subj', `/CN=${name}`, '-addext',
        'subjectAltName=DNS:localhost,IP:127.0.0.1',
        '-keyout', keyFile, '-out', certFile]);
    pemSecret(fs.readFileSync(keyFile, 'utf8'));
    return { certFile, keyFile, cert: fs.readFileSync(certFile, 'utf8'), key: fs.readFileSync(keyFile, 'utf8') };
}
