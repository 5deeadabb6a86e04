// What tests under Wine cannot do for themselves: run a shell, start and stop the doubles. An HTTP server on loopback; its address is the
// first line on stdout. The words of a request are C strings, one behind the other; a word that is a Windows path becomes the path here.
import { spawn, spawnSync } from 'node:child_process';
import http from 'node:http';
import path from 'node:path';

const prefix = process.env.WINEPREFIX;
const children = new Map();

const here = (word) => /^[A-Za-z]:[\\/]/.test(word) ? path.join(prefix, 'dosdevices', `${word[0].toLowerCase()}:`, word.slice(2).replaceAll('\\', '/')) : word;

const actions = {
  // folder, command line: the exit status
  shell([folder, line]) {
    const r = spawnSync('sh', ['-c', line], { cwd: here(folder), stdio: 'ignore' });
    return String(r.status ?? 128);
  },
  path: ([word]) => here(word),
  // options of the blob server: its process id and port
  start(words) {
    const child = spawn('node', ['tests/doubles/blob_server.mjs', ...words.map(here)], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.set(child.pid, child);
    return new Promise((resolve, reject) => {
      child.once('exit', () => reject(new Error('the blob server ended')));
      child.stdout.once('data', (line) => resolve(`${child.pid} ${String(line).trim()}`));
    });
  },
  stop([pid]) {
    const child = children.get(Number(pid));
    if (!child) throw new Error(`there is no child ${pid}`);
    children.delete(Number(pid));
    return new Promise((resolve) => {
      child.removeAllListeners('exit');
      child.once('exit', () => resolve('stopped'));
      child.kill('SIGTERM');
    });
  },
};

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (c) => chunks.push(c));
  request.on('end', async () => {
    const words = Buffer.concat(chunks).toString('utf8').split('\0').slice(0, -1);
    try {
      const answer = await actions[request.url.slice(1)](words);
      response.end(answer);
    } catch (e) {
      response.statusCode = 500;
      response.end(String(e));
    }
  });
});

server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'])
  process.on(signal, () => {
    for (const child of children.values()) child.kill('SIGTERM');
    process.exit(0);
  });
