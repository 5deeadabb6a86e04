// That installed.test.mjs can find out which commands of README.md nobody runs.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Covered, blocksOf } from './lib/chapter.mjs';

const fence = '```';
const book = (...lines) => ['# Book', fence, 'not ours', fence, '## Install on Linux', `${fence}bat`, 'dir', fence, ...lines, '## After', `${fence}bat`, 'del', fence].join('\n');

test('no chapter: nothing to run', () => {
    assert.deepEqual(blocksOf(book(), 'Install on Windows'), []);
    assert.deepEqual(new Covered([]).missing(), []);
});
test('commands are the lines of its blocks for shells, of no other block and no other chapter', () => {
    const text = book('## Install on Windows', 'words', `${fence}bat`, 'one  --a "b c"', '', '  two', fence, '### More', `${fence}text`, 'no command', fence,
        `${fence}powershell`, 'three', '# remark', fence);
    assert.deepEqual(blocksOf(text, 'Install on Windows'), [['one  --a "b c"', 'two'], ['three', '# remark']]);
});
test('what was not run is missing', () => {
    const covered = new Covered([['one', 'two'], ['three', 'one']]);
    covered.ran('one');
    covered.ran('four');
    covered.ran('two ');
    assert.deepEqual(covered.missing(), ['two', 'three']);
});
test('a block must say what it holds, and end', () => {
    assert.throws(() => blocksOf(book('## Install on Windows', fence, 'x', fence), 'Install on Windows'), /does not say what it holds/);
    assert.throws(() => blocksOf(`## Install on Windows\n${fence}bat\nx\n`, 'Install on Windows'), /has no end/);
});
