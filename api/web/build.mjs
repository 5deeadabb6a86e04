// Builds the dashboard: build.mjs OUT. Bundles what the pages of src/ refer to, names each file by the hash of its content, compresses it, and writes
// OUT/web_assets.h, the table by which api/assets.c embeds all of it. The same sources give the same files.
//
// src/*.html are the pages. What they name by a relative href or src is built: scripts (.js: ES modules, which may import() the rest later) and style sheets with
// all that they import, other files as they are. In the page the name becomes /assets/NAME.HASH.EXT.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const types = {
    '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml',
    '.png': 'image/png', '.ico': 'image/x-icon', '.woff2': 'font/woff2', '.webmanifest': 'application/manifest+json', '.json': 'application/json',
};
const here = path.dirname(fileURLToPath(import.meta.url));
const src = path.join(here, 'src');
const out = path.resolve(process.argv[2]);
const next = `${out}-${process.pid}.tmp`;            // two builds at once do not meet
const reference = /(\b(?:href|src)=")(?!\/|#|[a-z]+:)([^"]+)(")/g;

const hash = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);
const pages = fs.readdirSync(src).filter((f) => f.endsWith('.html')).sort();
const files = [];                                    // { file (below OUT), name, type, data }
const add = (file, data) => {
    const type = types[path.extname(file)];
    if (!type)
        throw new Error(`${file}: build.mjs has no media type for such files`);
    files.push({ file, name: path.basename(file), type, data });
};

const named = new Set();
for (const page of pages)
    for (const [, , name] of fs.readFileSync(path.join(src, page), 'utf8').matchAll(reference))
        named.add(path.normalize(name));
const bundled = [...named].filter((f) => /\.(js|css)$/.test(f)).sort();
const result = await build({
    absWorkingDir: src, entryPoints: bundled, outdir: 'assets', bundle: true, splitting: true, format: 'esm', target: 'es2022', minify: true,
    charset: 'utf8', legalComments: 'none', entryNames: '[name].[hash]', chunkNames: '[name].[hash]', assetNames: '[name].[hash]',
    publicPath: '/assets', write: false, metafile: true, logLevel: 'warning',
    loader: { '.svg': 'file', '.png': 'file', '.woff2': 'file' },
});
const built = new Map();                             // name in src -> name of the asset
for (const [file, o] of Object.entries(result.metafile.outputs))
    if (o.entryPoint)
        built.set(o.entryPoint, path.basename(file));
for (const f of result.outputFiles)
    add(path.join('assets', path.basename(f.path)), f.contents);
for (const name of [...named].filter((f) => !bundled.includes(f)).sort()) {
    const data = fs.readFileSync(path.join(src, name)), { name: stem, ext } = path.parse(name);
    built.set(name, `${stem}.${hash(data)}${ext}`);
    add(path.join('assets', built.get(name)), data);
}
for (const page of pages) {
    const text = fs.readFileSync(path.join(src, page), 'utf8').replace(reference, (_, before, name, after) =>
        `${before}/assets/${built.get(path.normalize(name))}${after}`);
    add(page, Buffer.from(text));
}
files.sort((a, b) => (a.file < b.file ? -1 : 1));

fs.mkdirSync(path.join(next, 'assets'), { recursive: true });
const rows = files.map(({ file, name, type, data }, i) => {
    fs.writeFileSync(path.join(next, file), data);
    fs.writeFileSync(path.join(next, `${file}.gz`), zlib.gzipSync(data, { level: 9 }));
    const at = path.relative(process.cwd(), path.join(out, file));
    return `    X(web_${i}, ${JSON.stringify(name)}, ${JSON.stringify(type)}, "${hash(data)}", ${JSON.stringify(at)})`;
});
fs.writeFileSync(path.join(next, 'web_assets.h'), '/* Written by api/web/build.mjs: symbol, name, media type, hash of the content, path; the same with .gz\n' +
    ` * behind it is compressed. */\n#define WEB_ASSETS(X) \\\n${rows.join(' \\\n')}\n`);
fs.rmSync(out, { recursive: true, force: true });
fs.renameSync(next, out);
