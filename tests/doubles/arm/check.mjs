// What keeps the double honest: every request that comes to it and every answer that it gives goes through Microsoft's own checker (oav, live
// validation) against Microsoft's specifications (specs/). What does not fit is a problem that fails the suite.
//
// Judged by oav: all calls of Azure Resource Manager, the token and instance calls of IMDS; and the result of each long-running operation, as
// the answer that the specification promises for the call that began it. Beyond it (the specifications do not have them): error bodies of the
// recorded shape, answers to polls as the ARM contract has them. Answers that a fault injected are not judged, their requests are.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const require = createRequire(path.join(here, '../../e2e/package.json'));
const specs = path.join(here, 'specs');
const compute = 'specification/compute/resource-manager/Microsoft.Compute';
const files = {
    arm: [`${compute}/DiskRP/stable/2023-10-02/disk.json`, `${compute}/DiskRP/stable/2023-10-02/snapshot.json`,
        `${compute}/ComputeRP/stable/2024-03-01/virtualMachine.json`,
        'specification/resources/resource-manager/Microsoft.Resources/stable/2022-12-01/subscriptions.json'],
    imds: ['specification/imds/data-plane/Microsoft.InstanceMetadataService/stable/2023-07-01/imds.json'],
};
const IMDS_VERSION = '2023-07-01';                   // the one specification there is; the calls in use are older and equal

async function validator(names, isArmCall) {
    require('reflect-metadata');                     // oav needs it and does not say so
    const { LiveValidator } = require('oav/dist/lib/liveValidation/liveValidator');
    const v = new LiveValidator({ directory: specs, git: { shouldClone: false }, swaggerPaths: names.map((f) => path.join(specs, f)),
        swaggerPathsPattern: [], useRelatedModelInErrors: false, isArmCall }, () => {});
    await v.initialize();
    return v;
}

export class Checker {
    static async open(double) {
        const c = new Checker();
        c.double = double;
        c.checked = { requests: 0, answers: 0, results: 0 };
        c.queue = Promise.resolve();
        c.arm = await validator(files.arm, true);
        c.imds = await validator(files.imds, false);
        return c;
    }

    // Nothing waits for it: the checking goes on behind the answers.
    look(x) { this.queue = this.queue.then(() => this.judge(x)).catch((e) => this.double.problem('checker', x, e.stack)); }
    async settled() { let seen; do { seen = this.queue; await seen; } while (seen !== this.queue); }

    async judge(x) {
        if (x.service === 'imds') return this.judgeImds(x);
        if (x.service !== 'arm' || x.operation === 'Unknown') return undefined;
        if (x.operation === 'Operations_Poll') return this.judgePoll(x);
        return this.judgeArm(x);
    }

    flat(headers) { return Object.fromEntries(Object.entries(headers ?? {}).map(([k, v]) => [k.toLowerCase(), String(v)])); }

    report(x, direction, errors) {
        for (const e of errors)
            this.double.problem(direction, x, `${e.code} ${e.message}${e.pathsInPayload?.length ? ` at ${e.pathsInPayload.join(' ')}` : ''}`);
    }

    async request(v, x, url) {
        this.checked.requests++;
        const r = await v.validateLiveRequest({ method: x.method, url, headers: this.flat(x.headers), body: x.body === '' ? undefined : x.body });
        this.report(x, 'request', r.errors ?? []);
        if (r.runtimeException) this.report(x, 'request', [r.runtimeException]);
        return r;
    }

    async answer(v, x, url, { status, headers, body }) {
        const r = await v.validateLiveRequestResponse({ liveRequest: { method: x.method, url, headers: this.flat(x.headers), body: x.body === ''
            ? undefined : x.body },
            liveResponse: { statusCode: String(status), headers: this.flat(headers), body } });
        this.report(x, 'answer', r.responseValidationResult.errors ?? []);
        if (r.responseValidationResult.runtimeException && !r.requestValidationResult.runtimeException)
            this.report(x, 'answer', [r.responseValidationResult.runtimeException]);
    }

    error(x, body) {
        const e = body?.error;
        if (typeof e?.code !== 'string' || typeof e?.message !== 'string' || !e.code)
            this.double.problem('answer', x, `an error without code and message: ${JSON.stringify(body)?.slice(0, 200)}`);
    }

    async judgeArm(x) {
        const url = `https://management.azure.com${x.url}`;
        await this.request(this.arm, x, url);
        if (x.injected) return;
        this.checked.answers++;
        if (x.status >= 400) this.error(x, x.answer.body);
        else await this.answer(this.arm, x, url, { status: x.status, headers: x.answer.headers, body: x.answer.body });
    }

    // The result of an operation, once, as the final answer of the call that began it.
    async judgePoll(x) {
        if (x.injected) return;
        this.checked.answers++;
        if (x.status >= 400) return this.error(x, x.answer.body);
        const o = this.double.operations.all.get(x.route.id);
        const { body } = x.answer;
        if (x.query.get('monitor') !== 'true') {
            if (typeof body?.status !== 'string' || body.name !== o.id || typeof body.startTime !== 'string')
                this.double.problem('answer', x, `not the shape of an operation: ${JSON.stringify(body)?.slice(0, 200)}`);
            if (body?.status === 'Failed') this.error(x, body);
        }
        if (o.status !== 'Succeeded' || o.judged) return;
        o.judged = true;
        this.checked.results++;
        await this.answer(this.arm, o.of, `https://management.azure.com${o.of.url}`, { status: o.of.method === 'DELETE' ? 204 : 200,
            headers: { 'content-type': 'application/json' }, body: o.result });
    }

    async judgeImds(x) {
        if (x.operation === 'Imds_Unknown') return;
        const query = x.url.slice(x.url.indexOf('?') + 1).replace(/api-version=[0-9-]+/, `api-version=${IMDS_VERSION}`);
        const url = `http://169.254.169.254${x.path.replace(/\/instance\/.*/, '/instance')}?${query}`;
        if (x.status >= 400 && !x.injected) {
            this.checked.answers++;
            if (typeof x.answer.body?.error !== 'string')
                this.double.problem('answer', x, `an error without its word: ${JSON.stringify(x.answer.body)}`);
            return;                                  // what was refused on purpose need not fit
        }
        await this.request(this.imds, x, url);
        if (x.injected || x.query.get('format') === 'text') return;
        this.checked.answers++;
        await this.answer(this.imds, x, url, { status: x.status, headers: x.answer.headers, body: x.answer.body });
    }
}
