// The request as a command for a shell, to copy into a script. Secrets are not in it: a SAS is named, not shown.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function withoutSecrets(value) {
    if (Array.isArray(value)) return value.map(withoutSecrets);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, k === 'url' && typeof v === 'string' ? v.replace(/\?.+$/s, '?<SAS>').replace(/\/\/[^/@]*@/, '//') : withoutSecrets(v)]));
}
export function curlCommand(origin, json) {
    return `curl -H "Authorization: Bearer $(cat "$TOKEN_FILE")" \\\n  -H 'Content-Type: application/json' \\\n  ${origin}/v1/jobs -d ${quoted(JSON.stringify(withoutSecrets(json), null, 2))}`;
}
