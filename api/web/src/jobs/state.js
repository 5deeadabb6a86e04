// What a job's JSON says in one line: where it is, how far, how fast, how long still.
import { word } from '../lib/words.js';

export const FINAL = new Set(['succeeded', 'failed', 'cancelled']);
export const isFinal = (job) => FINAL.has(job.state);

// The task that a person would name when asked what the job is doing.
export function currentTask(job) {
    const { tasks } = job;
    return tasks.find((x) => x.state === 'running') ?? tasks.find((x) => x.state === 'failed') ?? tasks.find((x) => x.state === 'cancelled')
        ?? tasks.find((x) => x.state === 'pending') ?? tasks.findLast((x) => x.state === 'succeeded') ?? tasks[0];
}

export function summary(job) {
    const running = job.tasks.filter((x) => x.state === 'running'), task = currentTask(job);
    const sum = (name, list) => list.reduce((all, x) => all + (x.progress[name] ?? 0), 0);
    // bytes of all tasks of the current kind: several disks are one stage
    const stage = task ? job.tasks.filter((x) => x.kind === task.kind && x.progress.total_bytes > 0) : [];
    const total = sum('total_bytes', stage), done = sum('done_bytes', stage);
    const etas = running.map((x) => x.progress.eta_seconds).filter((x) => x !== null);
    return {
        task,
        stage: task ? word('kind', task.kind) : '',
        part: job.state === 'succeeded' ? 1 : total ? done / total : null,
        total, done,
        speed: sum('bytes_per_second', running),
        eta: running.length && etas.length ? Math.max(...etas) : null,
        error: job.tasks.find((x) => x.error)?.error ?? null,
    };
}

// What may be asked of it now.
export function orders(job) {
    if (job.delete_requested) return [];
    const list = [];
    if (job.state === 'paused' || job.paused) list.push('resume');
    else if (!isFinal(job)) list.push('pause');
    if (!isFinal(job) && !job.cancel_requested) list.push('cancel');
    if (job.state === 'failed' || job.state === 'cancelled') list.push('retry');
    return [...list, 'delete'];
}
