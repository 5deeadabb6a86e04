// What a client may get wrong, one row each: the answer has the right status, code and field, and the daemon is unharmed.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { skipped, test } from './lib/platform.mjs';

const MIB = 1 << 20;
const NOBODY = '00000000-0000-4000-8000-000000000000';
const blank = { source: { type: 'blank', size: MIB } };
const blob = (source) => ({ disks: [{ source: { type: 'blob', url: 'http://127.0.0.1:9/v/a.vhd', ...source } }] });

let daemon, api, done, vm, before_;

before(async () => {
    daemon = await Daemon.start({ max_body_kib: 256 });
    api = daemon.api;
    await api.learn();
    done = (await api.submit({ disks: [blank], until: 'preflight' })).id;
    await api.waitJob(done);
    vm = (await api.waitJob((await api.submit({ disks: [blank], until: 'create_vm' })).id)).vm_id;
    before_ = await state();
});
after(() => daemon?.stop());

const state = async () => ({
    jobs: (await api.get('/v1/jobs')).jobs.map((j) => [j.id, j.state]),
    credentials: (await api.get('/v1/credentials')).credentials,
    vms: (await api.vms()).map((v) => [v.id, v.state]),
});

const submit = (json) => ({ method: 'POST', path: '/v1/jobs', json });
const raw = (body, headers = {}) => ({ method: 'POST', path: '/v1/jobs', body: Buffer.from(body), headers: { 'content-type': 'application/json', ...headers } });
const get = (path, headers = {}) => ({ path, headers });
const put = (name, json) => ({ method: 'PUT', path: `/v1/credentials/${name}`, json });
const vmPost = (tail, json) => ({ method: 'POST', path: `/v1/vms/${vm}${tail}`, ...(json === undefined ? {} : { json }) });
const keys = (sequence) => () => vmPost('/keys', { sequence });
const deep = '['.repeat(5000) + ']'.repeat(5000);
const KEY = Buffer.alloc(64, 1).toString('base64');
const GUID = '0aa1bb22-1111-2222-3333-444455556666';

// what, request (or a function that makes it), status, code, field (undefined: there must be none)
const rows = [
    // ---- the body as such ----
    ['no body', { method: 'POST', path: '/v1/jobs', headers: { 'content-type': 'application/json', 'content-length': 0 } }, 400, 'invalid_json'],
    ['no JSON', raw('disks=1'), 400, 'invalid_json'],
    ['half an object', raw('{"disks":['), 400, 'invalid_json'],
    ['two objects', raw('{"disks":[]}{}'), 400, 'invalid_json'],
    ['a member twice', raw('{"disks":[],"disks":[]}'), 400, 'invalid_json'],
    ['bytes that are no UTF-8', raw(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 400, 'invalid_json'],
    ['nested without end', raw(`{"disks":${deep}}`), 400, 'invalid_json'],
    ['a number out of range', raw('{"disks":[],"max_bytes_per_second":1e999}'), 400, 'invalid_json'],
    ['an array', raw('[]'), 400, 'invalid_type'],
    ['null', raw('null'), 400, 'invalid_json'],
    ['a huge body', raw(Buffer.alloc(2 * MIB, 0x20)), 413, 'body_too_large'],
    ['a huge body in chunks', { ...raw(Buffer.alloc(2 * MIB, 0x20), { 'transfer-encoding': 'chunked' }) }, 413, 'body_too_large'],
    ['a form', raw('a=b', { 'content-type': 'application/x-www-form-urlencoded' }), 415, 'unsupported_media_type'],
    ['plain text', raw('{}', { 'content-type': 'text/plain' }), 415, 'unsupported_media_type'],
    ['another character set', raw('{}', { 'content-type': 'application/json; charset=utf-16' }), 415, 'unsupported_media_type'],
    // ---- members of a job ----
    ['nothing in it', submit({}), 400, 'missing_field', '/disks'],
    ['no disks', submit({ disks: [] }), 400, 'invalid_value', '/disks'],
    ['five disks', submit({ disks: [blank, blank, blank, blank, blank] }), 400, 'invalid_value', '/disks'],
    ['disks is no array', submit({ disks: 'all' }), 400, 'invalid_type', '/disks'],
    ['a disk is no object', submit({ disks: [7] }), 400, 'invalid_type', '/disks/0'],
    ['a disk without source', submit({ disks: [{}] }), 400, 'missing_field', '/disks/0/source'],
    ['a source without type', submit({ disks: [{ source: {} }] }), 400, 'missing_field', '/disks/0/source/type'],
    ['an unknown source', submit({ disks: [{ source: { type: 'tape' } }] }), 400, 'invalid_value', '/disks/0/source/type'],
    ['a VM without an id', submit({ disks: [{ source: { type: 'vm' } }] }), 400, 'missing_field', '/disks/0/source/id'],
    ['an id that is cut', submit({ disks: [{ source: { type: 'vm', id: '/subscriptions/x' } }] }), 400, 'invalid_value', '/disks/0/source/id'],
    ['the id of another type', submit({ disks: [{ source: { type: 'managed_disk', id: '/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/a/providers/Microsoft.Compute/virtualMachines/b' } }] }), 400,
        'invalid_value', '/disks/0/source/id'],
    ['a VM and nobody to sign in', submit({ disks: [{ source: { type: 'vm', id: '/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/a/providers/Microsoft.Compute/virtualMachines/b' } }] }), 400,
        'missing_field', '/disks/0/source/credential'],
    ['a container with a SAS', submit({ disks: [{ source: { type: 'snapshot', id: '/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/a/providers/Microsoft.Compute/snapshots/b',
        via_storage_account: { url: 'https://a.blob.core.windows.net/c?sig=x' } } }] }), 400, 'invalid_value', '/disks/0/source/via_storage_account/url'],
    ['an unknown member', submit({ disks: [blank], bogus: 1 }), 400, 'unknown_field', '/bogus'],
    ['an unknown member of a disk', submit({ disks: [{ ...blank, bogus: 1 }] }), 400, 'unknown_field', '/disks/0/bogus'],
    ['an unknown member of a source', submit({ disks: [blank, { source: { type: 'blank', size: MIB, 'a/b~c': 1 } }] }), 400, 'unknown_field', '/disks/1/source/a~1b~0c'],
    ['an unknown member of the VM', submit({ disks: [blank], vm: { ram: 1 } }), 400, 'unknown_field', '/vm/ram'],
    ['__proto__', raw('{"disks":[{"source":{"type":"blank","size":1048576}}],"__proto__":{}}'), 400, 'unknown_field', '/__proto__'],
    ['a name that is a number', submit({ disks: [blank], name: 5 }), 400, 'invalid_type', '/name'],
    ['an empty name', submit({ disks: [blank], name: '' }), 400, 'invalid_value', '/name'],
    ['a name that climbs', submit({ disks: [blank], name: '../../etc/passwd' }), 400, 'invalid_value', '/name'],
    ['the name ..', submit({ disks: [blank], name: '..' }), 400, 'invalid_value', '/name'],
    ['a name with a backslash', submit({ disks: [blank], name: '..\\x' }), 400, 'invalid_value', '/name'],
    ['a name with a newline', submit({ disks: [blank], name: 'a\nlevel=error' }), 400, 'invalid_value', '/name'],
    ['a name of 101 bytes', submit({ disks: [blank], name: 'ä'.repeat(50) + 'x' }), 400, 'invalid_value', '/name'],
    ['a name with a NUL', raw('{"disks":[],"name":"a\\u0000b"}'), 400, 'invalid_json'],
    ['cpus as text', submit({ disks: [blank], vm: { cpus: '2' } }), 400, 'invalid_type', '/vm/cpus'],
    ['half a cpu', submit({ disks: [blank], vm: { cpus: 0.5 } }), 400, 'invalid_type', '/vm/cpus'],
    ['no cpu', submit({ disks: [blank], vm: { cpus: 0 } }), 400, 'invalid_value', '/vm/cpus'],
    ['a thousand cpus', submit({ disks: [blank], vm: { cpus: 1000 } }), 400, 'invalid_value', '/vm/cpus'],
    ['negative memory', submit({ disks: [blank], vm: { memory_mib: -1 } }), 400, 'invalid_value', '/vm/memory_mib'],
    ['vm is an array', submit({ disks: [blank], vm: [] }), 400, 'invalid_type', '/vm'],
    ['start as text', submit({ disks: [blank], vm: { start: 'yes' } }), 400, 'invalid_type', '/vm/start'],
    ['generation 3', submit({ disks: [blank], vm: { generation: 3 } }), 400, 'invalid_value', '/vm/generation'],
    ['an unknown network', submit({ disks: [blank], vm: { network: 'bridge' } }), 400, 'invalid_value', '/vm/network'],
    ['a switch without a name', submit({ disks: [blank], vm: { network: 'switch:' } }), 400, 'invalid_value', '/vm/network'],
    ['a relative DVD', submit({ disks: [blank], vm: { dvd: 'a.iso' } }), 400, 'invalid_value', '/vm/dvd'],
    ['an unknown format', submit({ disks: [{ ...blank, format: 'vmdk' }] }), 400, 'invalid_value', '/disks/0/format'],
    ['until nowhere', submit({ disks: [blank], until: 'tomorrow' }), 400, 'invalid_value', '/until'],
    ['until as a number', submit({ disks: [blank], until: 3 }), 400, 'invalid_type', '/until'],
    ['a volume of no list', submit({ disks: [blank], volume: { disks: 'all' } }), 400, 'invalid_value', '/volume/disks'],
    ['a volume of no disks', submit({ disks: [blank], volume: { disks: [] } }), 400, 'invalid_value', '/volume/disks'],
    ['a volume of a disk twice', submit({ disks: [blank], volume: { disks: ['x', 'x'] } }), 400, 'invalid_value', '/volume/disks/1'],
    ['a volume of a number', submit({ disks: [blank], volume: { disks: [7] } }), 400, 'invalid_type', '/volume/disks/0'],
    ['a volume with force', submit({ disks: [blank], volume: { force: true } }), 400, 'unknown_field', '/volume/force'],
    ['a stripe of one disk', submit({ disks: [blank], volume: { disks: ['x'], layout: 'striped' } }), 400, 'invalid_value', '/volume/layout'],
    ['a single volume of two disks', submit({ disks: [blank], volume: { disks: ['x', 'y'], layout: 'single' } }), 400, 'invalid_value', '/volume/layout'],
    ['a striped MBR', submit({ disks: [blank], volume: { disks: ['x', 'y'], partition_style: 'mbr' } }), 400, 'invalid_value', '/volume/partition_style'],
    ['a label that is a path', submit({ disks: [blank], volume: { label: '../etc' } }), 400, 'invalid_value', '/volume/label'],
    ['until the volume, without one', submit({ disks: [blank], until: 'volume' }), 400, 'invalid_value', '/until'],
    ['no disks, and more than a volume', submit({ disks: [], volume: {} }), 400, 'invalid_value', '/disks'],
    ['a negative rate', submit({ disks: [blank], max_bytes_per_second: -5 }), 400, 'invalid_value', '/max_bytes_per_second'],
    ['a blank disk without size', submit({ disks: [{ source: { type: 'blank' } }] }), 400, 'missing_field', '/disks/0/source/size'],
    ['a blank disk of 0 bytes', submit({ disks: [{ source: { type: 'blank', size: 0 } }] }), 400, 'invalid_value', '/disks/0/source/size'],
    ['a blank disk of an odd size', submit({ disks: [{ source: { type: 'blank', size: MIB + 1 } }] }), 400, 'invalid_value', '/disks/0/source/size'],
    ['a blank disk of 2^63-1 bytes', raw('{"disks":[{"source":{"type":"blank","size":9223372036854775807}}]}'), 400, 'invalid_value', '/disks/0/source/size'],
    ['a relative file', submit({ disks: [{ source: { type: 'file', path: 'etc/x.vhd' } }] }), 400, 'invalid_value', '/disks/0/source/path'],
    ['a file that climbs', submit({ disks: [{ source: { type: 'file', path: '/var/lib/../../etc/shadow' } }] }), 400, 'invalid_value', '/disks/0/source/path'],
    // ---- URLs ----
    ['no URL', submit({ disks: [{ source: { type: 'blob' } }] }), 400, 'missing_field', '/disks/0/source/url'],
    ['an empty URL', submit(blob({ url: '' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a URL without a host', submit(blob({ url: 'https:///a.vhd' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a file URL', submit(blob({ url: 'file:///etc/shadow' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a gopher URL', submit(blob({ url: 'gopher://127.0.0.1/x' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a path as URL', submit(blob({ url: '/etc/shadow' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a URL with a password', submit(blob({ url: 'https://u:p@example.org/a.vhd' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a URL with a space', submit(blob({ url: 'https://example.org/a b.vhd' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a URL with a newline', submit(blob({ url: 'https://example.org/a\r\nHost: x' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a URL of 10,000 bytes', submit(blob({ url: `https://example.org/${'a'.repeat(10000)}` })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a port out of range', submit(blob({ url: 'https://example.org:99999/a.vhd' })), 400, 'invalid_value', '/disks/0/source/url'],
    ['a URL as object', submit(blob({ url: {} })), 400, 'invalid_type', '/disks/0/source/url'],
    ['a credential that is not there', submit(blob({ credential: 'nobody' })), 400, 'invalid_value', '/disks/0/source/credential'],
    ['a credential that climbs', submit(blob({ credential: '../token' })), 400, 'invalid_value', '/disks/0/source/credential'],
    ['a SAS and a credential', submit(blob({ url: 'http://127.0.0.1:9/v/a?sig=x', credential: 'nobody' })), 400, 'invalid_value', '/disks/0/source/credential'],
    // ---- headers and keys ----
    ['an empty Idempotency-Key', { ...submit({ disks: [blank] }), headers: { 'idempotency-key': '' } }, 400, 'invalid_value', 'Idempotency-Key'],
    ['a long Idempotency-Key', { ...submit({ disks: [blank] }), headers: { 'idempotency-key': 'k'.repeat(300) } }, 400, 'invalid_value', 'Idempotency-Key'],
    // ---- who calls ----
    ['no token', { path: '/v1/jobs', token: null }, 401, 'unauthorized'],
    ['a wrong token', { path: '/v1/jobs', token: 'x'.repeat(43) }, 401, 'unauthorized'],
    ['the token cut short', () => ({ path: '/v1/jobs', token: daemon.token.slice(0, -1) }), 401, 'unauthorized'],
    ['the token with more behind', () => ({ path: '/v1/jobs', token: `${daemon.token}x` }), 401, 'unauthorized'],
    ['the token as Basic', () => ({ path: '/v1/jobs', token: null, headers: { authorization: `Basic ${daemon.token}` } }), 401, 'unauthorized'],
    ['the token in the query', () => ({ path: `/v1/jobs?token=${daemon.token}`, token: null }), 401, 'unauthorized'],
    ['metrics without a token', { path: '/metrics', token: null }, 401, 'unauthorized'],
    ['no token, no such path', { path: '/v1/nothing', token: null }, 401, 'unauthorized'],
    ['no token, bad body', { ...raw('x'), token: null }, 401, 'unauthorized'],
    ['DNS rebinding', get('/v1/jobs', { host: 'evil.example' }), 403, 'host_not_allowed'],
    ['a Host that begins well', get('/v1/jobs', { host: '127.0.0.1.evil.example' }), 403, 'host_not_allowed'],
    ['a Host with another port', get('/v1/jobs', { host: '127.0.0.1:1' }), 403, 'host_not_allowed'],
    ['a Host with user info', get('/v1/jobs', { host: 'x@127.0.0.1' }), 403, 'host_not_allowed'],
    ['healthz for another host', { path: '/healthz', token: null, headers: { host: 'evil.example' } }, 403, 'host_not_allowed'],
    ['a cross-origin page', get('/v1/jobs', { origin: 'https://evil.example' }), 403, 'origin_not_allowed'],
    ['the origin null', get('/v1/jobs', { origin: 'null' }), 403, 'origin_not_allowed'],
    ['another port of this machine', get('/v1/jobs', { origin: 'http://127.0.0.1:1' }), 403, 'origin_not_allowed'],
    // ---- paths, queries, methods ----
    ['no such path', get('/v1/nothing'), 404, 'not_found'],
    ['a path that climbs', get('/v1/../token'), 404, 'not_found'],
    ['a path that climbs, escaped', get('/v1/jobs/%2e%2e%2f%2e%2e%2ftoken'), 404, 'not_found'],
    ['a slash too many', get('/v1//jobs'), 404, 'not_found'],
    ['a NUL in the path', get('/v1/jobs%00x'), 400, 'bad_request'],
    ['a path of 5,000 bytes', get(`/v1/jobs/${'a'.repeat(5000)}`), 414, 'uri_too_long'],
    ['an unknown method of a path', { method: 'PATCH', path: '/v1/jobs' }, 405, 'method_not_allowed'],
    ['DELETE of the list', { method: 'DELETE', path: '/v1/jobs' }, 405, 'method_not_allowed'],
    ['an unknown parameter', get('/v1/jobs?sort=name'), 400, 'unknown_field', '?sort'],
    ['a parameter twice', get('/v1/jobs?limit=1&limit=2'), 400, 'invalid_value', '?limit'],
    ['limit 0', get('/v1/jobs?limit=0'), 400, 'invalid_value', '?limit'],
    ['limit -1', get('/v1/jobs?limit=-1'), 400, 'invalid_value', '?limit'],
    ['limit 2^70', get('/v1/jobs?limit=1180591620717411303424'), 400, 'invalid_value', '?limit'],
    ['limit as text', get('/v1/jobs?limit=ten'), 400, 'invalid_value', '?limit'],
    ['an unknown state', get('/v1/jobs?state=dreaming'), 400, 'invalid_value', '?state'],
    ['a made-up cursor', get('/v1/jobs?cursor=1'), 400, 'invalid_value', '?cursor'],
    ['a cursor with SQL', get("/v1/jobs?cursor=1'%20OR%201=1--"), 400, 'invalid_value', '?cursor'],
    ['a cursor of base64 noise', get('/v1/jobs?cursor=AAAAAAAAAAAA'), 400, 'invalid_value', '?cursor'],
    ['events after nothing', get('/v1/events?after=x'), 400, 'invalid_value', '?after'],
    ['a bad Last-Event-ID', get('/v1/events', { accept: 'text/event-stream', 'last-event-id': 'x' }), 400, 'invalid_value', 'Last-Event-ID'],
    ['disks=maybe', () => ({ method: 'DELETE', path: `/v1/jobs/${done}?disks=maybe` }), 400, 'invalid_value', '?disks'],
    // ---- ids ----
    ['an unknown job', get(`/v1/jobs/${NOBODY}`), 404, 'not_found'],
    ['a job id with SQL', get(`/v1/jobs/${encodeURIComponent("' OR 1=1 --")}`), 404, 'not_found'],
    ['events of an unknown job', get(`/v1/jobs/${NOBODY}/events`), 404, 'not_found'],
    ['pausing an unknown job', { method: 'POST', path: `/v1/jobs/${NOBODY}/pause` }, 404, 'not_found'],
    ['deleting an unknown job', { method: 'DELETE', path: `/v1/jobs/${NOBODY}` }, 404, 'not_found'],
    ['an unknown verb', { method: 'POST', path: `/v1/jobs/${NOBODY}/explode` }, 404, 'not_found'],
    ['an unknown VM', get(`/v1/vms/${NOBODY}`), 404, 'not_found'],
    ['the screen of an unknown VM', get(`/v1/vms/${NOBODY}/screen`), 404, 'not_found'],
    ['starting an unknown VM', { method: 'POST', path: `/v1/vms/${NOBODY}/start` }, 404, 'not_found'],
    ['keys for an unknown VM', { method: 'POST', path: `/v1/vms/${NOBODY}/keys`, json: { sequence: [{ text: 'x' }] } }, 404, 'not_found'],
    ['an unknown checkpoint', () => vmPost(`/checkpoints/${NOBODY}/restore`), 404, 'not_found'],
    ['slot 99', () => ({ method: 'PUT', path: `/v1/vms/${vm}/disks/99`, json: { path: '/x' } }), 404, 'not_found'],
    ['an unknown credential', { method: 'DELETE', path: '/v1/credentials/nobody' }, 404, 'not_found'],
    // ---- states ----
    ['pausing what is done', () => ({ method: 'POST', path: `/v1/jobs/${done}/pause` }), 409, 'wrong_state'],
    ['resuming what is not paused', () => ({ method: 'POST', path: `/v1/jobs/${done}/resume` }), 409, 'wrong_state'],
    ['cancelling what is done', () => ({ method: 'POST', path: `/v1/jobs/${done}/cancel` }), 409, 'wrong_state'],
    ['retrying what succeeded', () => ({ method: 'POST', path: `/v1/jobs/${done}/retry` }), 409, 'wrong_state'],
    ['the screen of a VM that is off', () => get(`/v1/vms/${vm}/screen`), 409, 'wrong_state'],
    ['keys for a VM that is off', keys([{ text: 'x' }]), 409, 'wrong_state'],
    ['resetting a VM that is off', () => vmPost('/reset'), 409, 'wrong_state'],
    // ---- keys, DVD, disks ----
    ['keys without a sequence', () => vmPost('/keys', {}), 400, 'missing_field', '/sequence'],
    ['an empty sequence', keys([]), 400, 'invalid_value', '/sequence'],
    ['an unknown key', keys([{ press: ['KeyA'] }, { press: ['Any'] }]), 400, 'invalid_value', '/sequence/1/press/0'],
    ['a key as number', keys([{ press: [65] }]), 400, 'invalid_type', '/sequence/0/press/0'],
    ['text that no keyboard types', keys([{ text: 'é' }]), 400, 'invalid_value', '/sequence/0/text'],
    ['a million times', keys([{ press: ['F8'], repeat: 1000000 }]), 400, 'invalid_value', '/sequence/0/repeat'],
    ['an unknown step', keys([{ hold: ['F8'] }]), 400, 'missing_field', '/sequence/0'],
    ['a wait of a year', keys([{ wait_ms: 31536000000 }]), 400, 'invalid_value', '/sequence/0/wait_ms'],
    ['a relative ISO', () => ({ method: 'PUT', path: `/v1/vms/${vm}/dvd`, json: { path: 'x.iso' } }), 400, 'invalid_value', '/path'],
    ['a disk without a path', () => ({ method: 'PUT', path: `/v1/vms/${vm}/disks/1`, json: {} }), 400, 'missing_field', '/path'],
    ['a checkpoint with a bad name', () => vmPost('/checkpoints', { name: 'a\nb' }), 400, 'invalid_value', '/name'],
    ["the daemon's token as a DVD", () => submit({ disks: [blank], vm: { dvd: daemon.tokenFile } }), 400, 'invalid_value', '/vm/dvd'],
    ["the daemon's database as a disk", () => submit({ disks: [{ source: { type: 'file', path: path.join(daemon.dir, 'vmrecover.db') }, format: 'raw' }] }), 400, 'invalid_value', '/disks/0/source/path'],
    ['an export to a folder that only reads', () => vmPost('/export', { path: '/proc/x.vhd' }), 400, 'invalid_value', '/path'],
    ['an export to an unknown format', () => vmPost('/export', { format: 'floppy' }), 400, 'invalid_value', '/format'],
    ['a picture of width 0', () => get(`/v1/vms/${vm}/screen?width=0`), 400, 'invalid_value', '?width'],
    // ---- credentials ----
    ['a credential name that climbs', put('..%2f..%2ftoken', { type: 'sas', sas: 'sv=1&sig=x' }), 404, 'not_found'],
    ['a hidden name', put('.hidden', { type: 'sas', sas: 'sv=1&sig=x' }), 404, 'not_found'],
    ['no type', put('c', {}), 400, 'missing_field', '/type'],
    ['an unknown type', put('c', { type: 'password' }), 400, 'invalid_value', '/type'],
    ['a client_id that is no GUID', put('c', { type: 'managed_identity', client_id: 'web' }), 400, 'invalid_value', '/client_id'],
    ['a service principal without proof', put('c', { type: 'service_principal', tenant_id: 't', client_id: GUID }), 400, 'missing_field', '/client_secret'],
    ['a service principal with two proofs', put('c', { type: 'service_principal', tenant_id: 't', client_id: GUID, client_secret: 'x', token_file: '/t' }),
        400, 'invalid_value', '/token_file'],
    ['a certificate that is none', put('c', { type: 'service_principal', tenant_id: 't', client_id: GUID, certificate: 'x' }), 400, 'invalid_value', '/certificate'],
    ['a tenant that leads elsewhere', put('c', { type: 'az_cli', tenant_id: '../common' }), 400, 'invalid_value', '/tenant_id'],
    ['a key without account', put('c', { type: 'account_key', key: KEY }), 400, 'missing_field', '/account'],
    ['an account without key', put('c', { type: 'account_key', account: 'acct' }), 400, 'missing_field', '/key'],
    ['a key that is no base64', put('c', { type: 'account_key', account: 'acct', key: 'no base64!' }), 400, 'invalid_value', '/key'],
    ['a key as number', put('c', { type: 'account_key', account: 'acct', key: 5 }), 400, 'invalid_type', '/key'],
    ['an account with a slash', put('c', { type: 'account_key', account: 'a/b', key: KEY }), 400, 'invalid_value', '/account'],
    ['a SAS without signature', put('c', { type: 'sas', sas: 'sv=2024-01-01' }), 400, 'invalid_value', '/sas'],
    ['a SAS with a newline', put('c', { type: 'sas', sas: 'sv=1&sig=x\r\nHost: y' }), 400, 'invalid_value', '/sas'],
    ['the wrong secret for the type', put('c', { type: 'sas', sas: 'sv=1&sig=x', key: KEY }), 400, 'unknown_field', '/key'],
];

test(`${rows.length} bad requests`, async (t) => {
    assert.ok(rows.length >= 60);
    for (const [what, request, status, code, field] of rows)
        await t.test(what, { skip: skipped(what) }, async () => {
            const rq = typeof request === 'function' ? request() : request;
            const rs = await api.request(rq);
            assert.equal(rs.status, status, rs.text);
            assert.equal(rs.json.code, code, rs.text);
            assert.equal(rs.json.field, field, rs.text);
            assert.ok(rs.json.detail.length > 5 && rs.json.hint.length > 5, rs.text);
            if (status === 405) assert.match(rs.headers.allow, /GET/);
            if (status === 401) assert.match(rs.headers['www-authenticate'], /^Bearer/);
            assert.ok(!rs.text.includes(daemon.token), 'the token is not told');
        });
});

test('the same Idempotency-Key: one job, and another body is refused', async () => {
    const headers = { 'idempotency-key': 'the key' };
    const job = { disks: [blank], until: 'preflight', name: 'once' };
    const first = await api.request({ ...submit(job), headers });
    const again = await api.request({ ...submit(job), headers });
    assert.deepEqual([first.status, again.status, again.json.id], [201, 201, first.json.id]);
    assert.equal(first.headers.location, `/v1/jobs/${first.json.id}`);
    const other = await api.request({ ...submit({ ...job, name: 'twice' }), headers });
    assert.deepEqual([other.status, other.json.code], [409, 'idempotency_key_reused']);
    await api.waitJob(first.json.id);
    await api.deleteJob(first.json.id);
});

// What no HTTP library would send.
const talk = (bytes, { wait = 3000 } = {}) => new Promise((resolve, reject) => {
    const socket = net.connect(Number(api.port), api.host, () => socket.write(bytes));
    let text = '';
    const timer = setTimeout(() => { socket.destroy(); resolve(text); }, wait);
    socket.on('data', (d) => { text += d; });
    socket.on('error', () => {});
    socket.on('close', () => { clearTimeout(timer); resolve(text); });
    socket.on('timeout', reject);
});
const malformed = [
    ['no Host', () => `GET /v1/jobs HTTP/1.1\r\nAuthorization: Bearer ${daemon.token}\r\nConnection: close\r\n\r\n`, 400],
    ['two Hosts', () => `GET /v1/jobs HTTP/1.1\r\nHost: ${api.host}:${api.port}\r\nHost: evil.example\r\nAuthorization: Bearer ${daemon.token}\r\nConnection: close\r\n\r\n`, 400],
    ['a length that is no number', () => `POST /v1/jobs HTTP/1.1\r\nHost: ${api.host}\r\nAuthorization: Bearer ${daemon.token}\r\nContent-Type: application/json\r\nContent-Length: many\r\nConnection: close\r\n\r\n{}`, 400],
    ['headers without end', () => `GET /v1/jobs HTTP/1.1\r\nHost: ${api.host}\r\n${'X-A: b\r\n'.repeat(20000)}\r\n`, 431],
    ['noise', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', null],
    ['a length and chunks', () => `POST /v1/jobs HTTP/1.1\r\nHost: ${api.host}\r\nAuthorization: Bearer ${daemon.token}\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /v1/jobs HTTP/1.1\r\n\r\n`, 400],
];
test('malformed HTTP', async (t) => {
    for (const [what, bytes, status] of malformed)
        await t.test(what, async () => {
            const text = await talk(bytes());
            const line = text.match(/^HTTP\/1\.[01] (\d+)/);
            if (status === null) assert.ok(!line || Number(line[1]) >= 400, text);
            else assert.equal(Number(line?.[1]), status, text.slice(0, 500));
        });
});

test('connections that say nothing do not keep others out', async () => {
    const sockets = Array.from({ length: 20 }, () => net.connect(Number(api.port), api.host));
    sockets.forEach((s) => s.on('error', () => {}));
    await new Promise((r) => setTimeout(r, 200));
    sockets.forEach((s) => s.write('GET /v1/jobs HTTP/1.1\r\nHost:'));
    await api.get('/v1/jobs');
    sockets.forEach((s) => s.destroy());
});

test('the daemon is unharmed', async () => {
    assert.equal(daemon.child.exitCode, null);
    assert.deepEqual(await state(), before_);
    assert.deepEqual(await api.get('/healthz'), { status: 'ok' });
    assert.doesNotMatch(daemon.log, /level=error/);
    const job = await api.submit({ disks: [blank], until: 'preflight' });
    await api.waitJob(job.id);
});
