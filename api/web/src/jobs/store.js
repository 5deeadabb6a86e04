// Jobs as they are now: asked for once, then kept up by the stream. Progress is taken from it as it comes; after any other event of a job the
// job is asked for, once for many events, and a few jobs at a time.
import { at, get } from '../lib/api.js';
import { onEvents } from '../lib/events.js';

const GATHER_MS = 120, AT_ONCE = 4;
const STATES = { job_queued: 'queued', job_running: 'running', job_paused: 'paused', job_succeeded: 'succeeded', job_failed: 'failed', job_cancelled: 'cancelled' };

// onChange(job), onGone(id), onNew(job), onConnected(). `wanted(id)`: whether events of this job matter here.
export function watchJobs({ signal, wanted, onChange, onGone = () => {}, onNew = null, onConnected = () => {} }) {
    const jobs = new Map();
    const asked = new Set();
    let timer = 0, busy = 0;

    function put(job) {
        jobs.set(job.id, job);
        return job;
    }
    function ask(id) {
        asked.add(id);
        timer ||= setTimeout(flush, GATHER_MS);
    }
    async function flush() {
        timer = 0;
        while (busy < AT_ONCE && asked.size) {
            const [id] = asked;
            asked.delete(id);
            busy++;
            one(id).finally(() => { busy--; if (asked.size) timer ||= setTimeout(flush, 0); });
        }
    }
    async function one(id) {
        const known = jobs.has(id);
        try {
            const job = put(await get(at`/v1/jobs/${id}`, { signal }));
            if (known || !onNew) onChange(job);
            else onNew(job);
        } catch (e) {
            if (e.status === 404 && jobs.delete(id)) onGone(id);
            else if (e.name !== 'AbortError' && e.status !== 404) setTimeout(() => !signal.aborted && ask(id), 2000);
        }
    }
    function progress({ job_id: id, tasks }) {
        const job = jobs.get(id);
        if (!job) return;
        for (const p of tasks) {
            const task = job.tasks.find((x) => x.kind === p.kind && x.disk === p.disk);
            if (task) task.progress = p.progress;
        }
        onChange(job, 'progress');
    }
    const stop = onEvents((e) => {
        if (e.type === 'connected') onConnected();
        else if (e.type === 'progress') progress(e);
        else if (e.type === 'job_deleted') {
            const id = e.job_id ?? e.data.job_id ?? e.data.id;
            if (jobs.delete(id)) onGone(id);
        } else if (e.job_id && (jobs.has(e.job_id) || wanted(e.job_id, e.type))) {
            const job = jobs.get(e.job_id);
            if (job && STATES[e.type] && job.state !== STATES[e.type]) {
                job.state = STATES[e.type];
                onChange(job);
            }
            ask(e.job_id);
        }
    });
    signal.addEventListener('abort', () => { stop(); clearTimeout(timer); });
    return { jobs, put, ask };
}
