// Azure Resource Manager: subscriptions, virtual machines, disks and snapshots over HTTP. State and its rules are world.mjs, long-running
// operations are operations.mjs. Marks of sources: double.mjs.
//
// Calls, parameters, bodies [S]. 202 with both headers and an empty body for actions, 202 with a body for PUT of disks [R]. Errors: the gateway's
// 404 ResourceNotFound with x-ms-failure-cause, one shape for all [R]; 401 with its challenge and ExpiredAuthenticationToken [I]; wording and codes of
// 403 and the other 401s [M]. Throttling: 429 with its body, Retry-After, x-ms-ratelimit-remaining-resource and its names for disks [R], sizes of
// the budgets for virtual machines [D], their names [M]. Ids without regard to case [R, I]. Lists are paged by opaque, absolute nextLinks [S]. An
// api-version that the specifications here do not have is refused.
import crypto from 'node:crypto';
import { HYDRATING, Refusal, parseId, same } from './world.mjs';
import { throttled } from './faults.mjs';

const versions = { virtualMachines: '2024-03-01', disks: '2023-10-02', snapshots: '2023-10-02', subscriptions: '2022-12-01' };
const types = ['virtualMachines', 'disks', 'snapshots'];
const groups = { virtualMachines: 'VirtualMachines', disks: 'Disks', snapshots: 'Snapshots' };
const verbs = { GET: 'Get', PUT: 'CreateOrUpdate', PATCH: 'Update', DELETE: 'Delete' };
const actions = { begingetaccess: 'GrantAccess', endgetaccess: 'RevokeAccess', deallocate: 'Deallocate', start: 'Start', poweroff: 'PowerOff',
    instanceview: 'InstanceView' };
const allowed = { Disks: ['GrantAccess', 'RevokeAccess'], Snapshots: ['GrantAccess', 'RevokeAccess'],
    VirtualMachines: ['Deallocate', 'Start', 'PowerOff', 'InstanceView'] };

// The rights that Azure asks for, by operation.
const right = (t) => ({ List: `${t}/read`, ListAll: `${t}/read`, ListByResourceGroup: `${t}/read`, Get: `${t}/read`, CreateOrUpdate: `${t}/write`,
    Update: `${t}/write`, Delete: `${t}/delete`,
    GrantAccess: `${t}/beginGetAccess/action`, RevokeAccess: `${t}/endGetAccess/action`, Deallocate: `${t}/deallocate/action`,
    Start: `${t}/start/action`, PowerOff: `${t}/powerOff/action`,
    InstanceView: `${t}/instanceView/read` });

// Where a request goes: { operation, type, subscription, group, name } or an operation that is none.
export function route(method, path) {
    let parts;
    try { parts = path.split('/').slice(1).map(decodeURIComponent); } catch { return { operation: 'Unknown' }; }
    if (parts.at(-1) === '') parts.pop();
    const p = parts.map((s) => s.toLowerCase());
    const get = method === 'GET';
    if (p.length === 1 && p[0] === 'subscriptions' && get) return { operation: 'Subscriptions_List', kind: 'subscriptions' };
    if (p.length === 1 && p[0] === 'tenants' && get) return { operation: 'Tenants_List', kind: 'subscriptions' };
    if (p[0] !== 'subscriptions' || !p[1]) return { operation: 'Unknown' };
    const at = { subscription: parts[1] };
    if (p.length === 2 && get) return { ...at, operation: 'Subscriptions_Get', kind: 'subscriptions' };
    if (p[2] === 'resourcegroups') { at.group = parts[3]; p.splice(2, 2); parts.splice(2, 2); }
    if (p[2] !== 'providers' || p[3] !== 'microsoft.compute') return { operation: 'Unknown' };
    if (p[4] === 'locations' && ['diskoperations', 'operations'].includes(p[6]) && p.length === 8 && get)
        return { ...at, operation: 'Operations_Poll', id: p[7], kind: p[6] === 'operations' ? 'virtualMachines' : 'disks' };
    const type = types.find((t) => t.toLowerCase() === p[4]);
    if (!type) return { operation: 'Unknown' };
    Object.assign(at, { type, kind: type });
    if (p.length === 5 && get)
        return { ...at, operation: `${groups[type]}_${type === 'virtualMachines' ? (at.group ? 'List' : 'ListAll') : at.group ? 'ListByResourceGroup' : 'List'}` };
    if (!at.group) return { operation: 'Unknown' };
    at.name = parts[5];
    if (p.length === 6 && verbs[method]) return { ...at, operation: `${groups[type]}_${verbs[method]}` };
    const action = p.length === 7 && actions[p[6]];
    if (action && allowed[groups[type]].includes(action) && method === (action === 'InstanceView' ? 'GET' : 'POST'))
        return { ...at, operation: `${groups[type]}_${action}` };
    return { operation: 'Unknown' };
}

// Budgets of requests. Names and sizes: recorded for disks [R], documented sizes for virtual machines [D], their names from memory.
const budgets = [
    { match: /_GrantAccess$/, name: 'HighCostDiskHydrate', sizes: [[3, 1000], [30, 8000]] },
    { match: /^Snapshots_CreateOrUpdate$/, name: 'HighCostSnapshotCreateHydrate', sizes: [[3, 1000], [30, 8000]] },
    { match: /^Disks_(CreateOrUpdate|Update|Delete)$/, name: 'CreateUpdateDisks', sizes: [[3, 3000], [30, 24000]] },
    { match: /^VirtualMachines_(CreateOrUpdate|Update|Delete|Deallocate|Start|PowerOff)$/, name: 'UpdateVM', each: true, sizes: [[3, 12]],
        refill: 4 },
    { match: /^VirtualMachines_(Get|InstanceView)$/, name: 'GetVM', each: true, sizes: [[3, 36]], refill: 12 },
    { match: /_(List|ListAll|ListByResourceGroup)$/, name: 'HighCostGet', sizes: [[3, 900]], refill: 300 },
    { match: /^Operations_Poll$/, name: 'GetOperation', each: true, sizes: [[3, 45]], refill: 15 },
];

export class Arm {
    constructor(double, options = {}) {
        this.double = double;
        this.options = {
            pageSize: 100,
            enforceBudgets: false,                   // refuse with 429 when a budget is empty; the headers count down in any case
            budgets: {},                             // sizes of the first window by name, instead of Azure's
            reads: 11999, writes: 1199, deletes: 14999,
            // how long each operation takes, in ms (real ones: 0.1 to 100 s [R])
            ms: { Disks_GrantAccess: 200, Snapshots_GrantAccess: 200, Disks_RevokeAccess: 150, Snapshots_RevokeAccess: 150,
                Snapshots_CreateOrUpdate: 300,
                VirtualMachines_Deallocate: 600, VirtualMachines_Start: 400, VirtualMachines_PowerOff: 300 },
            otherMs: 100,
            lateRefusals: false,                     // access is refused at the end of the operation instead of at once
            shape: { VirtualMachines_CreateOrUpdate: 'async', VirtualMachines_Update: 'async' },
            ...options,
        };
        this.tokens = new Map();                     // skiptoken → page
        this.buckets = new Map();
        this.waits = new Map();                      // operation and path → not before, after a 429
        this.denials = [];
    }

    // identity: its name or null for all; action: RegExp over "Microsoft.Compute/disks/beginGetAccess/action"
    deny(identity, action) { this.denials.push({ identity, action }); }
    allow() { this.denials = []; }
    denied(identity, action) { return this.denials.some((d) => (!d.identity || d.identity === identity.name) && d.action.test(action)); }

    operation(x) {
        x.route = route(x.method, x.path);
        return x.route.operation;
    }

    isAudience = (a) => [/^https:\/\/management\.azure\.com\/?$/, /^https:\/\/management\.core\.windows\.net\/?$/].some((r) => r.test(a)) ||
        [this.double.arm.url, this.double.arm.tlsUrl].some((u) => u && a.replace(/\/$/, '') === u);

    // 401 with its challenge.
    authenticate(x) {
        const { token, why } = this.double.tokens.check(x.headers.authorization, this.isAudience);
        const words = {
            missing: ['AuthenticationFailed', "Authentication failed. The 'Authorization' header is missing."],
            malformed: ['AuthenticationFailedInvalidHeader', "Authentication failed. The 'Authorization' header is provided in an invalid format."],
            unknown: ['InvalidAuthenticationToken', 'The access token is invalid.'],
            revoked: ['InvalidAuthenticationToken', 'The access token has been revoked.'],
            expired: ['ExpiredAuthenticationToken',
                `The access token expiry UTC time is earlier than current UTC time '${new Date().toUTCString()}'.`],
            audience: ['InvalidAuthenticationTokenAudience',
                `The access token has been obtained for wrong audience or resource. It should exactly match with one of the allowed audiences 'https://management.core.windows.net/','https://management.azure.com/'.`],
        };
        if (!why) {
            x.identity = token.identity;
            return;
        }
        const [code, message] = words[why];
        const tenant = [...this.double.world.subscriptions.values()][0]?.tenant ?? 'common';
        throw Object.assign(new Refusal(401, code, message), { headers: { 'WWW-Authenticate':
            `Bearer authorization_uri="${this.double.login.url ?? 'https://login.microsoftonline.com'}/${tenant}", error="${why === 'missing' ? 'authentication_failed' : 'invalid_token'}", error_description="${message}"` } });
    }

    authorize(x) {
        const { operation, type } = x.route;
        if (!type || operation === 'Operations_Poll') return;
        const action = right(`Microsoft.Compute/${type}`)[operation.split('_')[1]];
        if (!this.denied(x.identity, action)) return;
        const scope = decodeURIComponent(x.path).replace(/\/(beginGetAccess|endGetAccess|deallocate|start|powerOff|instanceView)$/i, '');
        throw new Refusal(403, 'AuthorizationFailed',
            `The client '${x.identity.clientId}' with object id '${x.identity.objectId}' does not have authorization to perform action '${action}' over scope '${scope}' or the scope is invalid. If access was recently granted, please refresh your credentials.`);
    }

    // Each answer tells what is left; throws 429 when nothing is and budgets count.
    spend(x) {
        const left = [];
        for (const b of budgets) {
            if (!b.match.test(x.operation) || x.route.kind === 'subscriptions') continue;
            b.sizes.forEach(([minutes, azure], i) => {
                const size = i === 0 ? this.options.budgets[b.name] ?? azure : azure;
                const name = `${b.name}${minutes}Min`;
                const id = `${name} ${x.route.subscription} ${b.each ? x.path.toLowerCase() : ''}`;
                const k = this.buckets.get(id) ?? { left: size, at: Date.now() };
                const perMs = (b.refill ?? size / minutes) / 60_000;
                k.left = Math.min(size, k.left + (Date.now() - k.at) * perMs);
                k.at = Date.now();
                this.buckets.set(id, k);
                if (k.left < 1 && this.options.enforceBudgets) {
                    const wait = Math.max(1, Math.ceil((1 - k.left) / perMs / 1000));
                    throw Object.assign(new Error('throttled'), { throttle: { retryAfter: wait, rule: name, allowed: size, measured: size + 1 } });
                }
                k.left = Math.max(0, k.left - 1);
                left.push(`Microsoft.Compute/${name};${Math.floor(k.left)}`);
            });
        }
        const kind = x.method === 'GET' ? 'reads' : x.method === 'DELETE' ? 'deletes' : 'writes';
        this.options[kind] = Math.max(0, this.options[kind] - 1);
        x.remaining = { ...(left.length ? { 'x-ms-ratelimit-remaining-resource': left.join(',') } : {}),
            [`x-ms-ratelimit-remaining-subscription-${kind}`]: String(this.options[kind]) };
    }

    common(x) {
        const id = crypto.randomUUID();
        return { 'Cache-Control': 'no-cache', Pragma: 'no-cache', 'x-ms-request-id': id,
            'x-ms-correlation-request-id': x.headers['x-ms-correlation-request-id'] ?? crypto.randomUUID(),
            'x-ms-routing-request-id': `WESTEUROPE:${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '')}Z:${id}`,
            'Strict-Transport-Security': 'max-age=31536000; includeSubDomains',
            'X-Content-Type-Options': 'nosniff' };
    }

    async handle(x) {
        const common = this.common(x);
        try {
            this.authenticate(x);
            this.early(x);
            this.spend(x);
            const r = await this.answer(x);
            return { ...r, headers: { ...common, ...x.remaining, ...r.headers } };
        } catch (e) {
            if (e.throttle) {
                const r = throttled(x, e.throttle);
                this.waits.set(this.waitKey(x), Date.now() + e.throttle.retryAfter * 1000);
                return { ...r, headers: { ...common, ...r.headers } };
            }
            if (!(e instanceof Refusal)) throw e;
            return { status: e.status, headers: { ...common, ...(e.gateway ? { 'x-ms-failure-cause': 'gateway' } : {}), ...x.remaining,
                ...e.headers }, body: e.body() };
        }
    }

    waitKey(x) { return `${x.operation} ${x.path.toLowerCase()}`; }
    early(x) {
        const until = this.waits.get(this.waitKey(x));
        if (until && Date.now() < until - 100) this.double.impatient.push({ n: x.n, operation: x.operation, early_ms: until - Date.now() });
    }

    async answer(x) {
        const r = x.route;
        if (r.operation === 'Unknown') {
            this.double.problem('route', x, `${x.method} ${x.path} is no call that the specifications of the double have`);
            throw new Refusal(404, 'InvalidResourceType', 'The resource type could not be found in the namespace for the api version.');
        }
        const version = x.query.get('api-version');
        if (!version)
            throw new Refusal(400, 'MissingApiVersionParameter', 'The api-version query parameter (?api-version=) is required for all requests.');
        if (version !== versions[r.kind])
            throw new Refusal(400, 'InvalidResourceType',
                `The resource type could not be found in the namespace 'Microsoft.Compute' for api version '${version}'. The supported api-versions are '${versions[r.kind]}'.`);
        if (r.operation === 'Operations_Poll') return this.double.operations.poll(x, r.id);
        this.authorize(x);
        const [group, verb] = r.operation.split('_');
        if (/^List/.test(verb)) return this.list(x, group);
        if (group === 'Subscriptions') return { status: 200, body: this.subscription(this.double.world.subscription(r.subscription)) };
        if (verb === 'CreateOrUpdate') return this.put(x);
        const record = this.double.world.find(r.type, r.subscription, r.group, r.name);
        if (verb === 'Delete' && !record) return { status: 204, body: undefined };
        return this[verb.toLowerCase()](x, this.double.world.get(r.type, r.subscription, r.group, r.name));
    }

    // ---- lists ----

    subscription(s) {
        return { id: `/subscriptions/${s.id}`, subscriptionId: s.id, tenantId: s.tenant, displayName: s.name, state: s.state,
            authorizationSource: 'RoleBased',
            subscriptionPolicies: { locationPlacementId: 'Public_2014-09-01', quotaId: 'PayAsYouGo_2014-09-01', spendingLimit: 'Off' } };
    }

    list(x, group) {
        const { world } = this.double;
        const skip = x.query.get('$skiptoken');
        let page;
        if (skip) {
            page = this.tokens.get(skip);
            if (!page || page.url !== x.url) {
                this.double.problem('nextlink', x, 'a nextLink was changed on its way: it must be used byte for byte');
                throw new Refusal(400, 'InvalidSkipToken', 'The skip token is not valid.');
            }
        } else {
            const statusOnly = x.query.get('statusOnly') === 'true';
            const view = /instanceView/i.test(x.query.get('$expand') ?? '');
            const items = group === 'Subscriptions' ? [...world.subscriptions.values()].map((s) => () => this.subscription(s))
                : group === 'Tenants' ? [...new Set([...world.subscriptions.values()].map((s) => s.tenant))].map((t) => () =>
                    ({ id: `/tenants/${t}`, tenantId: t }))
                    : world.list(x.route.type, x.route.subscription, x.route.group).map((r) => () => world.describe(r, { statusOnly, view }));
            page = { items, at: 0 };
        }
        const size = this.options.pageSize;
        const value = page.items.slice(page.at, page.at + size).map((f) => f());
        const more = page.at + size < page.items.length;
        const needs = ['Subscriptions', 'Tenants'].includes(group);      // there the specification asks for the member, empty or not
        return { status: 200, body: { value, ...(more ? { nextLink: this.next(x, page, size) } : needs ? { nextLink: '' } : {}) } };
    }

    next(x, page, size) {
        const token = crypto.randomBytes(330).toString('base64url');
        const params = [...x.query].filter(([k]) => k !== '$skiptoken').map(([k, v]) => `${k.replace('$', '%24')}=${encodeURIComponent(v)}`);
        const url = `${x.path}?${params.join('&')}&%24skiptoken=${token}`;
        this.tokens.set(token, { ...page, at: page.at + size, url });
        return x.origin + url;
    }

    // ---- one object ----

    get(x, record) {
        const view = /instanceView/i.test(x.query.get('$expand') ?? '');
        const body = this.double.world.describe(record, { view });
        return { status: 200, headers: body.etag ? { ETag: body.etag } : {}, body };
    }

    instanceview(x, record) { return { status: 200, body: this.double.world.instanceView(record) }; }

    begin(x, record, o) {
        return this.double.operations.begin(x, { provider: record.type === 'virtualMachines' ? 'vm' : 'disk', record,
            ms: this.options.ms[x.operation] ?? this.options.otherMs,
            shape: this.options.shape[x.operation] ?? 'both', ...o });
    }

    idle(record) {
        if (record.busy)
            throw new Refusal(409, 'AnotherOperationInProgress',
                `Another operation on this or dependent resource is in progress. To retrieve status of the operation use operation id ${record.busy.operation}.`);
    }

    // ---- access ----

    grantaccess(x, record) {
        const { world } = this.double;
        this.idle(record);
        if (!this.options.lateRefusals) world.checkAccess(record, x.body);
        return this.begin(x, record, { finish: () => {
            world.checkAccess(record, x.body);       // the VM may have been started meanwhile
            const g = world.grant(record, x.body);
            const guest = g.guest ? { securityDataAccessSAS: this.double.disk.sas(g, x.origin, true) } : {};
            return { accessSAS: this.double.disk.sas(g, x.origin), ...guest };
        } });
    }

    revokeaccess(x, record) {
        this.idle(record);
        return this.begin(x, record, { finish: () => {
            record.counts.revokeCalls++;
            this.double.world.revoke(record);
        } });
    }

    // ---- power ----

    power(x, vm, { during, after, check }) {
        this.idle(vm);
        check?.();
        const before = vm.power;
        vm.power = during;
        return this.begin(x, vm, { finish: () => { vm.power = after; vm.etag++; }, onFail: () => { vm.power = before; } });
    }

    deallocate(x, vm) { return this.power(x, vm, { during: vm.power === 'deallocated' ? 'deallocated' : 'deallocating', after: 'deallocated' }); }
    poweroff(x, vm) {
        const gone = vm.power === 'deallocated';
        return this.power(x, vm, { during: gone ? vm.power : 'stopping', after: gone ? vm.power : 'stopped' });
    }
    start(x, vm) {
        return this.power(x, vm, { during: 'starting', after: 'running', check: () => {
            const active = vm.disks.find((d) => d.record && this.double.world.activeGrant(d.record));
            if (active)
                throw new Refusal(409, 'OperationNotAllowed',
                    `There is an active shared access signature outstanding for disk ${active.record.name}. Call EndGetAccess on the disk before starting the virtual machine ${vm.name}.`);
        } });
    }

    // ---- making and removing ----

    delete(x, record) {
        const { world } = this.double;
        this.idle(record);
        const what = record.type === 'snapshots' ? 'snapshot' : 'disk';
        if (record.type !== 'virtualMachines' && world.activeGrant(record))
            throw new Refusal(409, 'OperationNotAllowed',
                `There is an active shared access signature outstanding for ${what} ${record.name}. Call EndGetAccess on the ${what} before deleting it. To learn more, see aka.ms/revokeaccessapi.`);
        if (record.type === 'disks' && record.vm)
            throw new Refusal(409, 'OperationNotAllowed', `Disk ${record.name} is attached to VM ${world.id(record.vm)}.`);
        return this.begin(x, record, { finish: () => { this.double.remove(record); } });
    }

    put(x) {
        const { world } = this.double;
        const r = x.route;
        const sub = world.subscription(r.subscription);
        const group = world.groups.get(`${r.subscription}/${r.group}`.toLowerCase());
        if (!group) throw new Refusal(404, 'ResourceGroupNotFound', `Resource group '${r.group}' could not be found.`);
        if (!x.body || typeof x.body !== 'object')
            throw new Refusal(400, 'InvalidRequestContent', 'The request content was invalid and could not be deserialized.');
        const there = world.find(r.type, r.subscription, r.group, r.name);
        if (there) return this.update(x, there);
        if (r.type === 'virtualMachines') throw new Refusal(400, 'OperationNotAllowed', 'The double does not create virtual machines: seed them.');
        if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$/.test(r.name))
            throw new Refusal(400, 'InvalidParameter', `The name '${r.name}' of the resource is invalid.`, { target: r.type === 'disks' ? 'disk.name'
                : 'snapshot.name' });
        const { creationData } = x.body.properties ?? {};
        if (!x.body.location) throw new Refusal(400, 'LocationRequired', 'The location property is required for this definition.');
        if (!creationData) throw new Refusal(400, 'InvalidParameter', "Required parameter 'creationData' is missing (null).",
            { target: 'creationData' });
        if (r.type === 'disks') return this.newDisk(x, sub, group, creationData);
        return this.newSnapshot(x, sub, group, creationData);
    }

    newDisk(x, sub, group, creation) {
        const { world } = this.double;
        const source = creation.createOption === 'Copy' ? world.byId(creation.sourceResourceId) : null;
        if (creation.createOption === 'Copy' && !source) throw new Refusal(404, 'NotFound', `Resource ${creation.sourceResourceId} is not found.`);
        if (!source && creation.createOption !== 'Empty')
            throw new Refusal(400, 'InvalidParameter', `The double makes disks by Empty and Copy, not by ${creation.createOption}.`);
        const disk = world.addDisk({ subscription: sub.id, group: group.name, name: x.route.name, location: x.body.location, tags: x.body.tags,
            sku: x.body.sku?.name ?? 'Standard_LRS',
            sizeBytes: (x.body.properties.diskSizeGB ?? 0) * 1024 ** 3 || source?.sizeBytes || 1024 ** 3,
            os: x.body.properties.osType ?? source?.os ?? null,
            createOption: creation.createOption, sourceId: source ? world.id(source) : undefined, sourceUniqueId: source?.uniqueId,
            provisioning: 'Updating' });
        return this.made(x, disk, source);
    }

    newSnapshot(x, sub, group, creation) {
        const { world } = this.double;
        const { properties: p } = x.body;
        if (creation.createOption !== 'Copy')
            throw new Refusal(400, 'InvalidParameter', `The double makes snapshots by Copy, not by ${creation.createOption}.`,
                { target: 'createOption' });
        const id = parseId(creation.sourceResourceId);
        const source = id && world.byId(creation.sourceResourceId);
        if (!source) throw new Refusal(404, 'NotFound', `Resource ${creation.sourceResourceId} is not found.`);
        if (!same(source.subscription, sub.id))
            throw new Refusal(400, 'InvalidParameter', 'The source of a snapshot must be in the same subscription.', { target: 'sourceResourceId' });
        if (!same(source.location, x.body.location))
            throw new Refusal(409, 'Conflict', `Source ${source.name} is in ${source.location}, the snapshot in ${x.body.location}.`);
        const deep = HYDRATING.has(source.sku);
        if (deep && !p.incremental)
            throw new Refusal(400, 'BadRequest', `Full snapshots of ${source.sku} disks are not supported: use incremental snapshots.`);
        const sku = x.body.sku?.name ?? 'Standard_LRS';
        if (p.incremental && !['Standard_LRS', 'Standard_ZRS'].includes(sku))
            throw new Refusal(400, 'InvalidParameter', `Incremental snapshots are stored as Standard_LRS or Standard_ZRS, not ${sku}.`,
                { target: 'sku' });
        if (p.incremental) {
            const recent = [...world.snapshots.values(), ...world.deleted].filter((s) => s.type === 'snapshots' &&
                s.sourceUniqueId === source.uniqueId && Date.now() - s.created < 300_000).length;
            if (recent >= world.options.snapshotsPer5Minutes)
                throw Object.assign(new Error('throttled'), { throttle: { retryAfter: 60, rule: 'IncrementalSnapshotsPerDisk5Min',
                    allowed: world.options.snapshotsPer5Minutes, measured: recent + 1 } });
        }
        const family = [...world.snapshots.values()].find((s) => s.sourceUniqueId === source.uniqueId)?.familyId ?? crypto.randomUUID();
        const now = Date.now();
        const snapshot = world.keep({ ...world.record('snapshots', { subscription: sub.id, group: group.name, name: x.route.name,
            location: x.body.location, tags: x.body.tags }),
            sku, sizeBytes: source.sizeBytes, os: source.os, generation: source.generation, networkAccessPolicy: p.networkAccessPolicy ?? 'AllowAll',
            publicNetworkAccess: p.publicNetworkAccess ?? 'Enabled', diskAccessId: p.diskAccessId ?? null,
            dataAccessAuthMode: p.dataAccessAuthMode ?? source.dataAccessAuthMode, sectorSize: source.sectorSize, encryption: source.encryption,
            ade: source.ade, securityType: source.securityType,
            guestState: source.guestState, uniqueId: crypto.randomUUID(), createOption: 'Copy', sourceId: world.id(source),
            sourceUniqueId: source.uniqueId, incremental: Boolean(p.incremental),
            familyId: family, provisioning: 'Updating', bornAt: now, hydratedAt: deep ? now + world.options.hydrationMs : 0, grant: null,
            content: null, vm: null, zones: null });
        return this.made(x, snapshot, source);
    }

    // What is copied is the content at the moment when the request came.
    made(x, record, source) {
        const { world } = this.double;
        record.ready = Promise.resolve(source?.content?.freeze?.() ?? source?.content ?? null).then((content) => { record.content = content; },
            (e) => this.double.problem('broken', x, `the content of ${source.name} cannot be frozen: ${e.message}`));
        this.double.made.push({ n: x.n, type: record.type, id: world.id(record), tags: record.tags });
        return this.begin(x, record, { first: world.disk(record), finish: () => {
            record.provisioning = 'Succeeded';
            return world.disk(record);
        }, onFail: () => { record.provisioning = 'Failed'; } });
    }

    update(x, record) {
        const { world } = this.double;
        const { body } = x;
        if (!body || typeof body !== 'object')
            throw new Refusal(400, 'InvalidRequestContent', 'The request content was invalid and could not be deserialized.');
        this.idle(record);
        const match = x.headers['if-match'];
        if (record.type === 'virtualMachines') {
            if (match && match !== `"${record.etag}"`)
                throw new Refusal(412, 'PreconditionFailed', `The condition '${match}' set by If-Match is not satisfied.`);
            const os = body.properties?.storageProfile?.osDisk;
            if (os?.managedDisk?.id) {
                const disk = world.byId(os.managedDisk.id);
                if (!disk) throw new Refusal(404, 'NotFound', `Disk ${os.managedDisk.id} is not found.`);
                if (disk !== record.disks[0].record) {
                    if (world.state(disk) !== 'Unattached')
                        throw new Refusal(409, 'AttachDiskWhileBeingDetached', `Disk ${disk.name} is not Unattached: ${world.state(disk)}.`);
                    if (record.power === 'running')
                        throw new Refusal(409, 'OperationNotAllowed', `The OS disk of VM ${record.name} cannot be changed while it runs.`);
                    return this.begin(x, record, { first: world.describe(record), finish: () => {
                        if (record.disks[0].record) record.disks[0].record.vm = null;
                        record.disks[0] = { record: disk };
                        disk.vm = record;
                        record.etag++;
                        return world.describe(record);
                    } });
                }
            }
        } else {
            const source = body.properties?.creationData?.sourceResourceId;
            if (source && !same(source, record.sourceId ?? ''))
                throw new Refusal(409, 'PropertyChangeNotAllowed', "Changing property 'creationData.sourceResourceId' is not allowed.",
                    { target: 'creationData.sourceResourceId' });
        }
        return this.begin(x, record, { first: world.describe(record), finish: () => {
            if (body.tags) record.tags = body.tags;
            for (const k of ['networkAccessPolicy', 'publicNetworkAccess', 'dataAccessAuthMode'])
                if (body.properties?.[k] && record.type !== 'virtualMachines') record[k] = body.properties[k];
            if (record.etag) record.etag++;
            return world.describe(record);
        } });
    }
}
