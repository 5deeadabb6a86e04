// What exists in the double's Azure: subscriptions, resource groups, virtual machines, disks, snapshots, and the access that was granted to
// disks. Rules of the state, and how each object looks in an answer; no HTTP here.
//
//   VM power   running ──deallocate──► deallocated ──start──► running      stopped: powered off inside, still allocated
//   disk       Unattached · Attached (its VM is allocated) · Reserved (deallocated) ──beginGetAccess──► ActiveSAS ──endGetAccess──► as before
//
// Marks of sources: double.mjs. Disk states [S, D]; Conflict for a running VM's disk [I]; start refused while a SAS is active [D]; 60 days at most
// [I]; limits of incremental snapshots, background copies of PremiumV2 and Ultra disks, families [D]; ids whose resource group is in capitals [R, I].
// From memory [M]: a deallocated VM's model has no disk sizes; statusOnly=true leaves the model out; a snapshot with an active SAS cannot be
// deleted; access asked for again is the same access; PUT of an existing snapshot with another source is PropertyChangeNotAllowed; a disk with
// sectors of 4096 bytes is VHDX and its access must say so.
import crypto from 'node:crypto';

const GIB = 1024 ** 3;
export const ACCESS_MAX_S = 5184000;
export const HYDRATING = new Set(['PremiumV2_LRS', 'UltraSSD_LRS']);

// An answer that is no success, thrown from anywhere below.
export class Refusal extends Error {
    constructor(status, code, message, extra = {}) {
        super(message);
        Object.assign(this, { status, code, extra });
    }
    body() { return { error: { code: this.code, message: this.message, ...this.extra } }; }
}

export const same = (a, b) => a.toLowerCase() === b.toLowerCase();
const key = (...parts) => parts.join('/').toLowerCase();

export function parseId(text) {
    const m = /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/Microsoft\.Compute\/(virtualMachines|disks|snapshots)\/([^/]+)$/i.exec(text ?? '');
    if (!m) return null;
    const type = ['virtualMachines', 'disks', 'snapshots'].find((t) => same(t, m[3]));
    return { subscription: m[1], group: m[2], type, name: m[4] };
}

const kinds = { virtualMachines: 'vms', disks: 'disks', snapshots: 'snapshots' };

export class World {
    constructor(options = {}) {
        this.options = {
            shoutIds: true,                          // managedBy and disk ids of a VM have their resource group in capitals
            snapshotsPer5Minutes: Infinity,          // 7 in Azure
            activeSasPerFamily: 5,
            grantSeconds: Infinity,                  // access ends after so long whatever was asked for
            hydrationMs: 1500,                       // background copy of a PremiumV2 or Ultra snapshot
            ...options,
        };
        this.subscriptions = new Map();
        this.groups = new Map();
        this.vms = new Map();
        this.disks = new Map();
        this.snapshots = new Map();
        this.deleted = [];                           // records that are gone, for counting
        this.grants = new Map();                     // by si
    }

    // ---- seeding ----

    addSubscription({ id = crypto.randomUUID(), tenant = crypto.randomUUID(), name = 'Test subscription', state = 'Enabled' } = {}) {
        const s = { id: id.toLowerCase(), tenant, name, state };
        this.subscriptions.set(s.id, s);
        return s;
    }
    addGroup(subscription, name, location = 'westeurope') {
        const g = { subscription, name, location };
        this.groups.set(key(subscription, name), g);
        return g;
    }

    record(type, { subscription, group, name, location, tags }) {
        const g = this.groups.get(key(subscription, group)) ?? this.addGroup(subscription, group, location);
        return { type, subscription, group: g.name, name, location: location ?? g.location, tags: tags ?? {}, created: new Date(), busy: null,
            sent: 0, counts: { granted: 0, revoked: 0, ended: 0, expired: 0, grantCalls: 0, revokeCalls: 0 } };
    }
    keep(r) {
        this[kinds[r.type]].set(key(r.subscription, r.group, r.name), r);
        return r;
    }

    // content: what the data behind the SAS is: { url, freeze() }, a page blob of the emulator; sizeBytes without the footer; bornAt and hydratedAt
    // (ms since 1970): a background copy is going on between them
    addDisk(o) {
        return this.keep({ ...this.record('disks', o), sku: 'Premium_LRS', sizeBytes: GIB, os: null, generation: null,
            networkAccessPolicy: 'AllowAll',
            publicNetworkAccess: 'Enabled', dataAccessAuthMode: null, sectorSize: null, encryption: 'EncryptionAtRestWithPlatformKey', ade: false,
            securityType: null, zones: null, vm: null, content: null, guestState: null, uniqueId: crypto.randomUUID(),
            createOption: o.os ? 'FromImage' : 'Empty',
            provisioning: 'Succeeded', hydratedAt: 0, bornAt: 0, grant: null, ...o, ...this.plain(o) });
    }
    // The members that record() has settled.
    plain(o) { return { tags: o.tags ?? {}, location: o.location ?? this.groups.get(key(o.subscription, o.group)).location,
        group: this.groups.get(key(o.subscription, o.group)).name }; }

    // disks: [{ record } | { vhd: URL, name, os, sizeBytes }], the OS disk first
    addVm(o) {
        const vm = this.keep({ ...this.record('virtualMachines', o), size: 'Standard_D2s_v5', power: 'running', generation: 2, os: 'Linux',
            vmId: crypto.randomUUID(),
            provisioning: 'Succeeded', securityType: null, encryptionAtHost: false, bootDiagnostics: null, ephemeral: false, ade: false, etag: 1,
            agent: true, zones: null,
            securityEncryption: null, disks: [], ...o, ...this.plain(o) });
        for (const d of vm.disks) if (d.record) d.record.vm = vm;
        return vm;
    }

    // ---- finding ----

    subscription(id) {
        const s = this.subscriptions.get(id.toLowerCase());
        if (!s) throw new Refusal(404, 'SubscriptionNotFound', `The subscription '${id}' could not be found.`);
        return s;
    }
    find(type, subscription, group, name) { return this[kinds[type]].get(key(subscription, group, name)); }
    // As the gateway and the provider word it [R].
    get(type, subscription, group, name) {
        this.subscription(subscription);
        if (!this.groups.has(key(subscription, group)))
            throw new Refusal(404, 'ResourceGroupNotFound', `Resource group '${group}' could not be found.`);
        const r = this.find(type, subscription, group, name);
        if (!r)
            throw Object.assign(new Refusal(404, 'ResourceNotFound',
                `The Resource 'Microsoft.Compute/${type}/${name}' under resource group '${group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix`), { gateway: true });
        return r;
    }
    byId(text) {
        const p = parseId(text);
        return p && this.find(p.type, p.subscription, p.group, p.name);
    }
    list(type, subscription, group) {
        this.subscription(subscription);
        if (group && !this.groups.has(key(subscription, group)))
            throw new Refusal(404, 'ResourceGroupNotFound', `Resource group '${group}' could not be found.`);
        return [...this[kinds[type]].values()].filter((r) => same(r.subscription, subscription) && (!group || same(r.group, group)));
    }

    // ---- access ----

    // The access that counts now; what has expired is over.
    activeGrant(r) {
        const g = r.grant;
        if (g && (g.ended || Date.now() >= g.expiresAt)) {
            if (!g.ended) {
                g.ended = 'expired';
                r.counts.expired++;
            }
            r.grant = null;
        }
        return r.grant;
    }

    isAllocated(vm) { return vm.power !== 'deallocated'; }

    state(r) {
        if (this.activeGrant(r)) return 'ActiveSAS';
        if (r.type === 'snapshots' || !r.vm) return 'Unattached';
        return this.isAllocated(r.vm) ? 'Attached' : 'Reserved';
    }

    percent(r) {
        if (!r.hydratedAt) return r.incremental ? 100 : null;
        const whole = r.hydratedAt - r.bornAt;
        return whole <= 0 ? 100 : Math.min(100, Math.floor(((Date.now() - r.bornAt) / whole) * 1000) / 10);
    }

    checkAccess(r, body) {
        const what = r.type === 'disks' ? 'disk' : 'snapshot';
        if (!body || typeof body !== 'object')
            throw new Refusal(400, 'InvalidRequestContent', 'The request content was invalid and could not be deserialized.');
        if (!['Read', 'Write', 'None'].includes(body.access))
            throw new Refusal(400, 'InvalidParameter', `The value of parameter access is invalid: '${body.access}'.`, { target: 'access' });
        const s = body.durationInSeconds;
        if (!Number.isInteger(s) || s < 1 || s > ACCESS_MAX_S)
            throw new Refusal(400, 'InvalidParameter',
                `The value '${s}' of parameter 'durationInSeconds' is out of range. The value must be between 1 and ${ACCESS_MAX_S}.`,
                { target: 'durationInSeconds' });
        if (r.type === 'disks' && r.vm && this.isAllocated(r.vm))
            throw new Refusal(409, 'Conflict', `Access not permitted because ${what} ${r.name} is currently attached to running VM ${r.vm.name}.`);
        if (body.access !== 'Read')
            throw new Refusal(409, 'OperationNotAllowed',
                `Access ${body.access} is not allowed for ${what} ${r.name} in its current state '${this.state(r)}'.`);
        if ((body.fileFormat === 'VHDX') !== (r.sectorSize === 4096))
            throw new Refusal(400, 'InvalidParameter',
                `The value '${body.fileFormat ?? 'VHD'}' of parameter 'fileFormat' does not fit ${what} ${r.name}.`, { target: 'fileFormat' });
        if ((this.percent(r) ?? 100) < 100)
            throw new Refusal(409, 'Conflict',
                `Access not permitted because the background copy of ${what} ${r.name} is not complete: CompletionPercent is ${this.percent(r)}.`);
        if (body.getSecureVMGuestStateSAS && !r.securityType)
            throw new Refusal(400, 'BadRequest', `VM guest state SAS cannot be had for ${what} ${r.name}: it has no security type.`);
        if (r.incremental && !this.activeGrant(r)) {
            const active = [...this.snapshots.values()].filter((o) => o.incremental && o.sourceUniqueId === r.sourceUniqueId &&
                this.activeGrant(o)).length;
            if (active >= this.options.activeSasPerFamily)
                throw new Refusal(409, 'OperationNotAllowed',
                    `The number of incremental snapshots of one family with an active shared access signature is limited to ${this.options.activeSasPerFamily}.`);
        }
    }

    // Asked for again while it is granted: the same access, for longer.
    grant(r, body) {
        const seconds = Math.min(body.durationInSeconds, this.options.grantSeconds);
        let g = this.activeGrant(r);
        r.counts.grantCalls++;
        if (!g) {
            g = { si: crypto.randomUUID(), sig: crypto.randomBytes(32).toString('base64'), record: r, startedAt: Date.now(), ended: null, sent: 0,
                requests: 0,
                host: `md-${r.sku?.startsWith('Standard_') && r.type === 'disks' ? 'hdd-' : ''}${crypto.randomBytes(6).toString('hex')}`,
                path: `${crypto.randomBytes(6).toString('hex')}/abcd`, guest: Boolean(body.getSecureVMGuestStateSAS) };
            r.grant = g;
            r.counts.granted++;
            this.grants.set(g.si, g);
        }
        g.guest ||= Boolean(body.getSecureVMGuestStateSAS);
        g.expiresAt = Math.max(g.expiresAt ?? 0, Date.now() + seconds * 1000);
        return g;
    }

    // By endGetAccess; end() is the same by nobody's request: a test, a fault.
    revoke(r) { return this.finish(r, 'revoked'); }
    end(r) { return this.finish(r, 'ended'); }
    finish(r, why) {
        const g = this.activeGrant(r);
        if (!g) return false;
        g.ended = why;
        r.grant = null;
        r.counts[why]++;
        return true;
    }
    openGrants() { return [...this.grants.values()].map((g) => g.record).filter((r, i, all) => all.indexOf(r) === i && this.activeGrant(r)); }

    // ---- answers ----

    id(r, shout = false) {
        const group = shout && this.options.shoutIds ? r.group.toUpperCase() : r.group;
        return `/subscriptions/${r.subscription}/resourceGroups/${group}/providers/Microsoft.Compute/${r.type}/${r.name}`;
    }

    head(r) {
        return { name: r.name, id: this.id(r), type: `Microsoft.Compute/${r.type}`, location: r.location,
            ...(Object.keys(r.tags).length ? { tags: r.tags } : {}) };
    }

    tier(sku) { return sku.replace(/_.*$/, ''); }

    disk(r) {
        const percent = this.percent(r);
        const snapshot = r.type === 'snapshots';
        return {
            ...this.head(r), ...(r.zones ? { zones: r.zones } : {}), ...(r.vm ? { managedBy: this.id(r.vm, true) } : {}),
            sku: { name: r.sku, tier: this.tier(r.sku) },
            properties: {
                ...(r.os ? { osType: r.os } : {}), ...(r.generation ? { hyperVGeneration: `V${r.generation}` } : {}),
                creationData: { createOption: r.createOption, ...(r.sourceId ? { sourceResourceId: r.sourceId, sourceUniqueId: r.sourceUniqueId }
                    : {}),
                    ...(r.sectorSize && !snapshot ? { logicalSectorSize: r.sectorSize } : {}),
                    ...(r.createOption === 'FromImage'
                        ? { imageReference: { id: `/Subscriptions/${r.subscription}/Providers/Microsoft.Compute/Locations/${r.location}/Publishers/Debian/ArtifactTypes/VMImage/Offers/debian-12/Skus/12-gen2/Versions/latest` } } : {}) },
                diskSizeGB: Math.ceil(r.sizeBytes / GIB), diskSizeBytes: r.sizeBytes,
                ...(snapshot ? { incremental: r.incremental, ...(r.incremental ? { incrementalSnapshotFamilyId: r.familyId } : {}) }
                    : { diskIOPSReadWrite: 120, diskMBpsReadWrite: 25 }),
                encryption: { type: r.encryption }, ...(r.ade ? { encryptionSettingsCollection: { enabled: true, encryptionSettingsVersion: '1.1',
                    encryptionSettings: [
                    { diskEncryptionKey: { sourceVault: { id: `/subscriptions/${r.subscription}/resourceGroups/${r.group}/providers/Microsoft.KeyVault/vaults/kv` }, secretUrl: 'https://kv.vault.azure.net/secrets/x/1' } }] } } : {}),
                ...(r.securityType ? { securityProfile: { securityType: r.securityType } } : {}),
                ...(r.dataAccessAuthMode ? { dataAccessAuthMode: r.dataAccessAuthMode } : {}),
                ...(r.diskAccessId ? { diskAccessId: r.diskAccessId } : {}),
                networkAccessPolicy: r.networkAccessPolicy, publicNetworkAccess: r.publicNetworkAccess, timeCreated: r.created.toISOString(),
                provisioningState: r.provisioning, diskState: this.state(r), uniqueId: r.uniqueId,
                ...(percent === null ? {} : { completionPercent: percent }),
            },
        };
    }

    statuses(vm) {
        const names = { running: 'VM running', stopped: 'VM stopped', starting: 'VM starting', stopping: 'VM stopping',
            deallocating: 'VM deallocating', deallocated: 'VM deallocated' };
        return [{ code: `ProvisioningState/${vm.provisioning.toLowerCase()}`, level: 'Info',
            displayStatus: `Provisioning ${vm.provisioning.toLowerCase()}`, time: vm.created.toISOString() },
            ...(vm.power ? [{ code: `PowerState/${vm.power}`, level: 'Info', displayStatus: names[vm.power] }] : [])];
    }

    instanceView(vm) {
        const runs = vm.power === 'running' && vm.agent;
        return {
            ...(runs ? { computerName: vm.name, osName: vm.os === 'Windows' ? 'Windows Server 2022 Datacenter' : 'debian',
                osVersion: vm.os === 'Windows' ? '10.0.20348' : '12',
                vmAgent: { vmAgentVersion: '2.11.1.4', statuses: [{ code: 'ProvisioningState/succeeded', level: 'Info', displayStatus: 'Ready',
                    message: 'Guest Agent is running', time: vm.created.toISOString() }] } } : {}),
            disks: vm.disks.map((d) => ({ name: d.record?.name ?? d.name, statuses: [{ code: 'ProvisioningState/succeeded', level: 'Info',
                displayStatus: 'Provisioning succeeded', time: vm.created.toISOString() }] })),
            ...(vm.bootDiagnostics ? { bootDiagnostics: vm.bootDiagnostics.storageUri
                ? { consoleScreenshotBlobUri: `${vm.bootDiagnostics.storageUri}bootdiagnostics-x/screenshot.bmp`,
                serialConsoleLogBlobUri: `${vm.bootDiagnostics.storageUri}bootdiagnostics-x/serialconsole.log` } : {} } : {}),
            hyperVGeneration: `V${vm.generation}`, statuses: this.statuses(vm),
        };
    }

    vmDisk(vm, d, i) {
        const sized = this.isAllocated(vm);
        const r = d.record;
        const size = r?.sizeBytes ?? d.sizeBytes;
        return {
            ...(i === 0 ? { osType: r?.os ?? vm.os } : { lun: d.lun ?? i - 1 }), name: r?.name ?? d.name, createOption: i === 0 && r ? 'FromImage'
            : 'Attach', caching: 'ReadWrite',
            ...(d.vhd ? { vhd: { uri: d.vhd } } : { managedDisk: { id: this.id(r, true), ...(sized ? { storageAccountType: r.sku } : {}),
                ...(vm.securityEncryption ? { securityProfile: { securityEncryptionType: vm.securityEncryption } } : {}) } }),
            ...(vm.ephemeral && i === 0 ? { diffDiskSettings: { option: 'Local', placement: 'CacheDisk' } } : {}),
            ...(vm.ade && i === 0 ? { encryptionSettings: { enabled: true } } : {}),
            ...(sized ? { diskSizeGB: Math.ceil(size / GIB) } : {}), deleteOption: 'Detach', ...(i === 0 ? {} : { toBeDetached: false }),
        };
    }

    vm(r, { view = false, statusOnly = false } = {}) {
        if (statusOnly)
            return { ...this.head(r), properties: { vmId: r.vmId, hardwareProfile: { vmSize: r.size }, provisioningState: r.provisioning,
                timeCreated: r.created.toISOString(), instanceView: this.instanceView(r) } };
        const [os, ...data] = r.disks.map((d, i) => this.vmDisk(r, d, i));
        return {
            ...this.head(r), etag: `"${r.etag}"`, ...(r.zones ? { zones: r.zones } : {}),
            properties: {
                hardwareProfile: { vmSize: r.size }, provisioningState: r.provisioning, vmId: r.vmId,
                storageProfile: { imageReference: { publisher: 'Debian', offer: 'debian-12', sku: '12-gen2', version: 'latest',
                    exactVersion: '0.20240717.1811' }, osDisk: os, dataDisks: data },
                osProfile: { computerName: r.name, adminUsername: 'azureuser', secrets: [], allowExtensionOperations: true,
                    requireGuestProvisionSignal: true },
                networkProfile: { networkInterfaces: [{ id: `/subscriptions/${r.subscription}/resourceGroups/${r.group}/providers/Microsoft.Network/networkInterfaces/${r.name}-nic` }] },
                ...(r.bootDiagnostics ? { diagnosticsProfile: { bootDiagnostics: { enabled: true, ...(r.bootDiagnostics.storageUri
                    ? { storageUri: r.bootDiagnostics.storageUri } : {}) } } } : {}),
                ...(r.securityType || r.encryptionAtHost
                    ? { securityProfile: { ...(r.securityType ? { securityType: r.securityType, uefiSettings: { secureBootEnabled: true,
                    vTpmEnabled: true } } : {}),
                    ...(r.encryptionAtHost ? { encryptionAtHost: true } : {}) } } : {}),
                timeCreated: r.created.toISOString(), ...(view ? { instanceView: this.instanceView(r) } : {}),
            },
        };
    }

    describe(r, options) { return r.type === 'virtualMachines' ? this.vm(r, options) : this.disk(r); }
}
