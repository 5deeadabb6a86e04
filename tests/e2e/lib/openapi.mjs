// The judge between the tests and the daemon: the OpenAPI document, as the daemon serves it, held against every exchange.
// The document itself is checked against the OpenAPI initiative's schema; requests and bodies by openapi-backend with
// JSON Schema 2020-12, the dialect of OpenAPI 3.1.
import { createRequire } from 'node:module';
import assert from 'node:assert/strict';

const require = createRequire(import.meta.url);
const { OpenAPIBackend } = require('openapi-backend');
const Ajv2020 = require('ajv/dist/2020').default;
const addFormats = require('ajv-formats').default;

// openapi-backend looks at application/json alone: other JSON types of an answer are shown to it under that name, and which
// type was really sent is compared here.
function forBackend(document) {
    const copy = structuredClone(document);
    for (const item of Object.values(copy.paths))
        for (const operation of Object.values(item))
            for (const [status, response] of Object.entries(operation.responses ?? {})) {
                const target = response.$ref ? copy.components.responses[response.$ref.split('/').pop()] : response;
                const problem = target.content?.['application/problem+json'];
                if (problem && !target.content['application/json'])
                    target.content['application/json'] = problem;
                assert.ok(/^([1-5]\d\d|default)$/.test(status), `status ${status} in the document`);
            }
    return copy;
}

export async function validateDocument(document) {
    const { Validator } = await import('@seriousme/openapi-schema-validator');
    const result = await new Validator().validate(structuredClone(document));
    assert.ok(result.valid, `the OpenAPI document is not valid: ${JSON.stringify(result.errors, null, 1)}`);
    assert.match(document.openapi, /^3\.1\./);
}

export class Judge {
    static async create(document) {
        await validateDocument(document);
        const judge = new Judge();
        judge.document = document;
        judge.exchanges = 0;
        judge.backend = new OpenAPIBackend({
            definition: forBackend(document),
            quick: true,
            ajvOpts: { strict: false, allErrors: true },
            customizeAjv: (_, options) => addFormats(new Ajv2020(options)),
        });
        await judge.backend.init();
        return judge;
    }

    resolve(object) {
        return object?.$ref ? this.resolve(object.$ref.slice(2).split('/').reduce((o, k) => o[k], this.document)) : object;
    }

    // Throws unless the answer is one that the document promises; a request that was accepted must be one that it allows.
    check(request, response) {
        this.exchanges++;
        const [path, query = ''] = request.path.split('?');
        const what = `${request.method} ${request.path.slice(0, 200)} -> ${response.status}`;
        const type = (response.headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
        let operation;
        if (/^[\x21-\x7e]+$/.test(path))
            operation = this.backend.router.matchOperation({ method: request.method === 'HEAD' ? 'GET' : request.method, path, headers: {}, query });
        if (!operation) {
            assert.ok(response.status >= 400, `${what}: an operation that the document does not know was served`);
            if (request.method !== 'HEAD')
                this.problem(type, response, what);
            return;
        }
        const responses = operation.responses;
        const promised = this.resolve(responses[response.status] ?? responses.default);
        assert.ok(promised, `${what}: status not in the document`);
        if (response.body.length && request.method !== 'HEAD') {
            const types = Object.keys(promised.content ?? {});
            assert.ok(types.includes(type), `${what}: content type ${type || '(none)'} is not in the document (${types})`);
        }
        if (response.status >= 400 && request.method !== 'HEAD')
            this.problem(type, response, what);
        if (type.endsWith('json') && request.method !== 'HEAD') {
            const valid = this.backend.validator.validateResponse(response.json, operation, response.status);
            assert.ok(!valid.errors?.length, `${what}: the answer does not fit the document: ${JSON.stringify(valid.errors)}\n${response.text}`);
        }
        const headers = this.backend.validator.validateResponseHeaders(
            Object.fromEntries(Object.entries(response.headers).map(([k, v]) => [k.toLowerCase(), v])),
            operation, { statusCode: response.status, setMatchType: 'any' });
        for (const [name, header] of Object.entries(promised.headers ?? {}))
            assert.ok(!this.resolve(header).required || name.toLowerCase() in response.headers, `${what}: the header ${name} is missing`);
        assert.ok(!headers.errors?.length, `${what}: headers do not fit the document: ${JSON.stringify(headers.errors)}`);
        if (response.status < 400 && request.method !== 'HEAD') {
            // the validator takes every body for required, also where the document says that it is not
            const left = request.body === undefined && operation.requestBody && !this.resolve(operation.requestBody).required;
            const valid = this.backend.validator.validateRequest(
                { method: request.method, path, query, headers: request.headers, body: left ? '{}' : request.body?.toString('utf8') }, operation);
            assert.ok(!valid.errors?.length, `${what}: was served, but the document does not allow the request: ${JSON.stringify(valid.errors)}`);
        }
    }

    problem(type, response, what) {
        assert.equal(type, 'application/problem+json', `${what}: ${response.text}`);
        const p = response.json;
        assert.equal(p.status, response.status, what);
        for (const member of ['type', 'title', 'detail', 'code', 'hint'])
            assert.equal(typeof p[member], 'string', `${what}: ${member} in ${response.text}`);
        assert.match(p.code, /^[a-z0-9_]+$/);
    }
}
