// The commands of a chapter of README.md: what stands in its blocks of ```bat and ```powershell, line by line. A chapter's commands work in
// both shells, so they are typed into cmd, which Wine has.
import assert from 'node:assert/strict';

const SHELLS = ['bat', 'powershell'];

// [[line, …], …]: one list a block. No chapter: no blocks.
export function blocksOf(markdown, chapter) {
    const lines = markdown.split(/\r?\n/);
    const from = lines.indexOf(`## ${chapter}`);
    if (from < 0) return [];
    const found = [];
    let block = null, fence = null;
    for (const line of lines.slice(from + 1)) {
        const mark = line.match(/^```(\w*)\s*$/);
        if (!mark) {
            if (fence === null && /^#{1,2} /.test(line)) break;                  // the next chapter
            if (block && line.trim()) block.push(line.trim());
        } else if (fence === null) {
            fence = mark[1];
            assert.notEqual(fence, '', `a block of the chapter "${chapter}" does not say what it holds (bat or powershell for commands, text for other things)`);
            block = SHELLS.includes(fence) ? [] : null;
        } else {
            if (block) found.push(block);
            block = fence = null;
        }
    }
    assert.equal(fence, null, `a block of the chapter "${chapter}" has no end`);
    return found;
}

// Remembers what was run, and tells what was not.
export class Covered {
    constructor(blocks) {
        this.open = new Set(blocks.flat());
        this.count = this.open.size;
    }
    ran(line) { this.open.delete(line); }
    missing() { return [...this.open]; }
}
