// Tests of tests/e2e that the Windows build under Wine is not put to, by file and name, each with the reason. Whoever adds a row says what
// Windows or Wine lacks. e2e.sh prints them at its end.
const NO_VM = 'needs a virtual machine, and no hypervisor of Windows runs under Wine';
const NO_HYPERVISOR = 'without a hypervisor the answer is 503, not that there is no such VM or that it is off';

export const skips = [
    { file: 'bad-input.test.mjs', why: NO_HYPERVISOR, tests: ['an unknown VM', 'the screen of an unknown VM', 'starting an unknown VM', 'keys for an unknown VM',
        'an unknown checkpoint', 'the screen of a VM that is off', 'keys for a VM that is off', 'resetting a VM that is off', 'an export to a folder that only reads'] },
    { file: 'bad-sources.test.mjs', why: 'Windows has no limit of the size of files', tests: ['disk full: a limit of the size of files'] },
    { file: 'client.test.mjs', why: NO_VM, tests: ['a VM: list, screen, keys, serial, checkpoints, DVD, disks, export'] },
    { file: 'convert.test.mjs', why: 'Wine does not tell which parts of a file hold data', tests: ['8 TiB, little in use: little memory, and the time of what is used'] },
    { file: 'crash.test.mjs', why: NO_VM, tests: ['deaths in the start of a VM and in an export'] },
    { file: 'lifecycle.test.mjs', why: NO_VM, tests: ['delete: starting', 'delete: running', 'retry of create_vm: what stood in its way is gone'] },
    { file: 'recover.test.mjs', why: NO_VM, tests: ['*'] },
    { file: 'secrets.test.mjs', why: 'Wine folds access lists into mode bits; tests/unit/test_os.c looks at the lists',
        tests: ['files with secrets are for their owner alone'] },
];
