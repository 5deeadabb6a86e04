// Tests of tests/e2e that the Windows build under Wine is not put to, by file and name, each with the reason. Whoever adds a row says what
// Windows or Wine lacks. e2e.sh prints them at its end.
const NO_GUEST = 'the hypervisor is a double: nothing runs in its virtual machines';

const all = [
    { file: 'azure-double.test.mjs', why: 'tests the double of Azure alone, without a daemon', tests: ['*'] },
    // what they test lies above the platform; azure-secrets is the sample of it
    ...['discovery', 'export', 'refuse', 'trouble'].map((x) => ({ file: `azure-${x}.test.mjs`, why: 'in make soak only', tests: ['*'], soak: true })),
    { file: 'azure-signin.test.mjs', why: 'its `az` is a shell script; test_token and azure-secrets sign in on Windows', tests: ['*'] },
    { file: 'bad-sources.test.mjs', why: 'Windows has no limit of the size of files', tests: ['disk full: a limit of the size of files'] },
    { file: 'bad-sources.test.mjs', why: 'Hyper-V has switches and nested virtual machines', tests: ['what the hypervisor cannot give a VM is said before a byte moves'] },
    { file: 'client.test.mjs', why: NO_GUEST, tests: ['a VM: list, screen, keys, serial, checkpoints, DVD, disks, export'] },
    { file: 'convert.test.mjs', why: 'Wine does not tell which parts of a file hold data', tests: ['8 TiB, little in use: little memory, and the time of what is used'] },
    { file: 'crash.test.mjs', why: 'the double of Hyper-V dies with the daemon that loads it', tests: ['deaths in the start of a VM and in an export'] },
    { file: 'dashboard.test.mjs', why: NO_GUEST, tests: ['*'] },
    ...['azure', 'looks', 'scale'].map((x) => ({ file: `dashboard-${x}.test.mjs`, why: 'the browser and what it is served are the same', tests: ['*'] })),
    { file: 'free-space.test.mjs', why: 'libext2fs is not in the build for Windows: there all of an ext file system counts as used', tests: ['what is free is not fetched'] },
    { file: 'recover.test.mjs', why: NO_GUEST, tests: ['*'] },
    { file: 'secrets.test.mjs', why: 'Wine folds access lists into mode bits; tests/unit/test_os.c looks at the lists',
        tests: ['files with secrets are for their owner alone'] },
    // by Linux' own tools, on loop devices; tests/unit/test_volume_windows.c has the disks of Windows
    ...['', '-crash', '-refuse'].map((x) => ({ file: `volume${x}.test.mjs`, why: 'loop devices, sfdisk, mkfs and mount are of Linux', tests: ['*'] })),
];
export const skips = all.filter((s) => !(s.soak && process.env.SOAK === '1'));
