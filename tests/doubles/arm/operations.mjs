// Long-running operations of Azure Resource Manager: accepted now, done later, told by poll URLs.
//
// Shapes of the first answer, all of them recorded [R] or allowed by the contract [D] (marks of sources: double.mjs):
//   both       202, Azure-AsyncOperation and Location (begin/endGetAccess, deallocate, start, PUT of disks, DELETE)
//   async      200, Azure-AsyncOperation and no Location, the object in the body (PUT and PATCH of a virtual machine)
//   location   202, Location alone
//   sync       200 with the result (the specification allows it; the double waits meanwhile)
// Azure-AsyncOperation: always 200, { status: InProgress | Succeeded | Failed | Canceled, properties.output, error }; a failed operation is
// 200 as well. Location: 202 while it runs, then the result. Poll URLs are signed, more than 3000 bytes long, and taken byte for byte only, though
// parameters may follow (Microsoft's SDK appends skipShutdown=false to those of powerOff). Retry-After stands in the first answer and in each InProgress.
import crypto from 'node:crypto';
import { Refusal } from './world.mjs';

const filler = crypto.randomBytes(2100).toString('base64url');       // the certificate in Azure's

export class Operations {
    // retryAfter: seconds, or null for none; words: what a running operation says, in turn
    constructor(double, { retryAfter = 1, words = ['InProgress'] } = {}) {
        Object.assign(this, { double, retryAfter, words });
        this.all = new Map();
    }

    url(x, o, monitor) {
        const kind = o.provider === 'disk' ? 'DiskOperations' : 'operations';
        const version = o.provider === 'disk' ? '2023-10-02' : '2024-03-01';
        const head = `/subscriptions/${o.subscription}/providers/Microsoft.Compute/locations/${o.location}/${kind}/${o.id}?p=${crypto.randomUUID()}${monitor ? '&monitor=true' : ''}&api-version=${version}`;
        const rest = `&t=${Date.now()}0000&c=MIIHhzCCBm-gAwIBAgITHg${filler}${crypto.randomBytes(8).toString('hex')}&s=${crypto.randomBytes(256).toString('base64url')}`;
        return `${x.origin}${head}${rest}&h=${crypto.createHash('sha256').update(head + rest).digest('base64url')}`;
    }

    // ms: how long it takes; finish(): makes it so and returns the result, or throws a Refusal; records: those that are busy meanwhile;
    // first: body of the first answer; status: of the first answer when it is not 202
    async begin(x, { provider, record, ms, finish, shape = 'both', first, onFail }) {
        const o = { id: crypto.randomUUID(), provider, subscription: record.subscription, location: record.location, began: new Date(),
            status: 'InProgress', result: undefined, polls: 0, of: x, shape };
        const busy = { operation: o.id, name: x.operation };
        record.busy = busy;
        this.all.set(o.id, o);
        const fail = x.hits.fail?.fail;
        o.over = new Promise((done) => {
            o.timer = setTimeout(() => {
                if (record.busy === busy) record.busy = null;
                try {
                    if (fail) throw new Refusal(409, fail.code, fail.message ?? fail.code, fail.extra);
                    o.result = finish();
                    o.status = 'Succeeded';
                } catch (e) {
                    if (!(e instanceof Refusal)) { this.double.problem('broken', x, e.stack); }
                    o.error = e instanceof Refusal ? e : new Refusal(500, 'InternalExecutionError', 'An internal execution error occurred.');
                    o.status = fail?.status ?? 'Failed';
                    onFail?.();
                }
                o.ended = new Date();
                done();
            }, ms);
        });
        if (shape === 'sync') {
            await o.over;
            if (o.error) throw o.error;
            return { status: 200, headers: {}, body: o.result };
        }
        const asynch = this.url(x, o, false), location = this.url(x, o, true);
        o.urls = new Map([[asynch, 'async'], [location, 'location']]);
        const headers = { ...this.wait(o), ...(shape === 'location' ? {} : { 'Azure-AsyncOperation': asynch, 'Azure-AsyncNotification': 'Enabled' }),
            ...(shape === 'async' ? {} : { Location: location }) };
        return { status: shape === 'async' ? 200 : 202, headers, body: first };
    }

    wait(o) {
        if (this.retryAfter === null) return {};
        o.notBefore = Date.now() + this.retryAfter * 1000;
        return { 'Retry-After': String(this.retryAfter) };
    }

    poll(x, id) {
        const o = this.all.get(id);
        if (!o) throw new Refusal(404, 'NotFound', 'The entity was not found in this Azure location.');
        const how = [...(o.urls ?? [])].find(([u]) => u === x.origin + x.url || (x.origin + x.url).startsWith(`${u}&`))?.[1];
        if (!how) {
            this.double.problem('poll', x, 'a poll URL was changed on its way: it must be used byte for byte');
            throw new Refusal(400, 'InvalidParameter', 'The signature of the operation URL is not valid.');
        }
        if (o.notBefore && Date.now() < o.notBefore - 100)
            this.double.impatient.push({ n: x.n, operation: o.of.operation, early_ms: o.notBefore - Date.now() });
        o.polls++;
        const over = o.status !== 'InProgress';
        if (how === 'location') {
            if (!over) return { status: 202, headers: { ...this.wait(o), Location: x.origin + x.url }, body: undefined };
            if (o.error) return { status: o.error.status, headers: {}, body: o.error.body() };
            return { status: o.result === undefined && o.of.method === 'DELETE' ? 204 : 200, headers: {}, body: o.result };
        }
        const body = { startTime: o.began.toISOString(), ...(over ? { endTime: o.ended.toISOString() } : {}), status: over ? o.status
            : this.words[(o.polls - 1) % this.words.length],
            ...(over && o.result !== undefined && o.status === 'Succeeded' ? { properties: { output: o.result } } : {}),
            ...(o.error ? { error: o.error.body().error } : {}), name: o.id };
        return { status: 200, headers: over ? {} : this.wait(o), body };
    }

    async stop() { for (const o of this.all.values()) clearTimeout(o.timer); }
}
