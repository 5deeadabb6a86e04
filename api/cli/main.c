/* vmrecover: recovers virtual machines through the daemon vmrecoverd. */
#include <string.h>

#include "api/cli/cli.h"
#include "common/os.h"

static const char submit_options[] =
    "submit takes one or more disks, the first of which is the OS disk:\n"
    "  --url URL                 a blob or file behind http(s); with a SAS better as\n"
    "  --url-file FILE           the same, read from a file ('-': standard input)\n"
    "  --file PATH               an image on the host\n"
    "  --vm ID                   a VM in Azure by its resource id  [--data-disks] [--deallocate] [--credential NAME]\n"
    "                            [--storage-credential NAME] [--via-storage-account CONTAINER_URL --via-credential NAME]\n"
    "  --disk ID, --snapshot ID  a managed disk or a snapshot of one, likewise\n"
    "  --blank SIZE              an empty disk\n"
    "and for the disk before them: --credential NAME, --format auto|vhd|vhd_dynamic|vhdx|raw, --skip-free-space yes|no.\n"
    "  --name NAME  --until TASK  --max-rate SIZE  --allow-cross-region  --wait  --idempotency-key KEY\n"
    "  --volume auto|ID          a volume for the disks, of empty disks of the host (`vmrecover disks`); one --volume for each\n"
    "                            [--layout single|striped] [--label L] [--file-system F] [--mount-point DIR | --drive-letter X]\n"
    "                            [--partition-style gpt|mbr]; with --until volume no other disk need be given\n"
    "  --generation auto|1|2  --memory MIB  --cpus N  --nested  --network none|nat|switch:NAME  --no-start  --dvd ISO\n"
    "  --json-body FILE          the whole request as JSON instead ('-': standard input)\n"
    "TASK is preflight, export, volume, download, create_vm or start_vm (the default). SIZE takes K, M, G or T.\n";

static const char credential_options[] =
    "credential set takes, by --type; a secret is asked for, or read from standard input or --secret-file FILE:\n"
    "  account_key               --account A, and the key\n"
    "  sas                       the SAS\n"
    "  managed_identity          [--client-id ID]\n"
    "  arc\n"
    "  service_principal         --tenant T --client-id ID, and the secret, or\n"
    "                            --certificate-file FILE (PEM or PKCS#12) [--password-file FILE], or --token-file PATH\n"
    "  az_cli                    [--tenant T]\n"
    "  device_code               [--tenant T] [--client-id ID]; then `vmrecover credential sign-in NAME`\n";

static const struct command {
    const char *name, *usage, *summary;
    command_fn *run;
    const char *details;
} commands[] = {
    {"submit", "DISK... [OPTION...]", "start recovering a VM; prints the job's id", cmd_submit, submit_options},
    {"list", "[--state STATE] [--limit N] [--cursor C]", "jobs, newest first", cmd_list, NULL},
    {"show", "JOB", "one job with its disks and tasks", cmd_show, NULL},
    {"watch", "JOB", "follow a job to its end", cmd_watch, NULL},
    {"pause", "JOB", "hold a job", cmd_pause, NULL},
    {"resume", "JOB", "go on with a paused job", cmd_resume, NULL},
    {"cancel", "JOB", "give a job up; retry can take it up again", cmd_cancel, NULL},
    {"retry", "JOB [--url-file FILE [--disk N]]", "run what failed or was cancelled again; FILE holds the blob's URL with a new SAS", cmd_retry, NULL},
    {"delete", "JOB [--disks keep|delete] [--no-wait]", "remove a job, its VM and, if asked, its disks", cmd_delete, NULL},
    {"vm", "list | show VM | start VM | stop VM | shutdown VM | reset VM | dvd VM ISO|--eject\n"
     "                   | checkpoint VM [list | create NAME | restore ID | delete ID]\n"
     "                   | attach VM SLOT FILE --format F | detach VM SLOT", "the virtual machines", cmd_vm, NULL},
    {"screen", "VM [--text] [-o FILE] [--width N]", "what the VM's screen shows, as PNG or as text", cmd_screen, NULL},
    {"keys", "VM (TEXT | --press KEYS [--repeat N] [--interval MS] | --wait MS | --enter | --text-file FILE)...", "type into the VM", cmd_keys, NULL},
    {"serial", "VM [--after N] [--follow] | VM --send TEXT | VM --send-file FILE", "the VM's serial console", cmd_serial, NULL},
    {"export", "VM [--slot N] [--format F] [-o PATH] [--no-wait]", "write the VM's disk with all repairs to a file on the host", cmd_export, NULL},
    {"verify", "JOB [--no-wait]", "whether the downloaded disks are still what came from the source", cmd_verify, NULL},
    {"azure", "subscriptions [--credential NAME]\n"
     "                   | vms [--subscription ID [--resource-group G]] [--filter TEXT] [--credential NAME]", "what there is in Azure to recover", cmd_azure, NULL},
    {"credential", "list | set NAME --type T [OPTION...] | delete NAME | sign-in NAME", "keys, SAS and identities that sources need", cmd_credential, credential_options},
    {"dashboard", "[--no-browser]", "print a link that signs a browser in to the dashboard, and open it where there is a browser", cmd_dashboard, NULL},
    {"host", "", "whether this host can recover VMs, and what is missing", cmd_host, NULL},
    {"enable-hyperv", "[--force] [--no-wait]", "Windows: enable the host's Hyper-V; --force: also where no VM could run", cmd_enable_hyperv, NULL},
    {"disks", "", "the disks of this host, and for each why no volume is made of it", cmd_disks, NULL},
    {"volumes", "", "the volumes of this host, and how much is free on them", cmd_volumes, NULL},
    {"events", "[JOB] [--after N] [--limit N] [--follow]", "what happened", cmd_events, NULL},
};

static void help(FILE *f)
{
    fputs("vmrecover " VMR_VERSION ": recovers virtual machines through the daemon vmrecoverd\n\n"
          "usage: vmrecover [--json] COMMAND ...\n\n", f);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(f, "  %-13s %s\n%16s%s\n", commands[i].name, commands[i].usage, "", commands[i].summary);
    fputs("\nJOB and VM are an id, at least 4 characters of the beginning of one, or a name.\n", f);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].details)
            fprintf(f, "\n%s", commands[i].details);
    fputs("\nF of an image is vhd, vhd_dynamic, vhdx or raw. KEYS are pressed together with '+': F8, Ctrl+Alt+Delete, or any W3C code name\n"
          "(NumpadEnter).\n\n"
          "--json prints the API's own JSON. VMRECOVER_URL names the daemon (http://127.0.0.1:8480), VMRECOVER_TOKEN_FILE the file with\n"
          "its token", f);
    fprintf(f, " (`token` in %s).\n\n"
            "exit status: 0 done, 1 the job failed or the daemon refused, 2 wrong usage or a malformed request, 3 the daemon cannot be reached\n",
            os_data_path());
}

static int exit_code(const struct cli *cli, const struct err *e)
{
    const json_t *problem = cli->client ? client_problem(cli->client) : NULL;
    if (problem)
        return jint(problem, "status") == 400 ? EXIT_USAGE : EXIT_FAILED;
    if (e->code == ERR_UNREACHABLE)
        return EXIT_UNREACHABLE;
    return err_info((int)e->code)->http_status == 400 ? EXIT_USAGE : EXIT_FAILED;
}

static int run(const struct command *c, bool json, int argc, char **argv)
{
    struct err e = {0};
    struct cli cli = {.json = json};
    int r = client_open(&cli.client, &e);
    if (r == 0)
        r = c->run(&cli, argc, argv, &e);
    if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = err_set(&e, ERR_IO, "standard output cannot be written");
    if (r < 0) {
        fflush(stdout);
        if (cli.client && client_problem(cli.client))
            print_problem(client_problem(cli.client));
        else
            print_err(&e);
        r = exit_code(&cli, &e);
        if (r == EXIT_USAGE && !(cli.client && client_problem(cli.client)))
            fprintf(stderr, "usage: vmrecover %s %s\n", c->name, c->usage);
    }
    client_close(cli.client);
    return r;
}

int main(int argc, char **argv)
{
    struct err e;
    if (os_main_args(&argc, &argv, &e) < 0) {
        print_err(&e);
        return EXIT_USAGE;
    }
    term_init();
    bool json = false;
    int i = 1;
    for (; i < argc && strcmp(argv[i], "--json") == 0; i++)
        json = true;
    const char *word = i < argc ? argv[i] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "help") == 0 || strcmp(word, "-h") == 0) {
        help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(word, "--version") == 0) {
        puts("vmrecover " VMR_VERSION);
        return EXIT_DONE;
    }
    const struct command *command = NULL;
    for (size_t k = 0; k < ARRAY_LEN(commands); k++)
        if (strcmp(word, commands[k].name) == 0)
            command = &commands[k];
    if (!command) {
        if (*word) {
            fputs("vmrecover: there is no command '", stderr);
            print_text(stderr, word);
            fputs("'\n\n", stderr);
        }
        help(stderr);
        return EXIT_USAGE;
    }
    /* --json and --help may stand behind the command too */
    char **rest = argv + i + 1;
    int n = 0;
    for (int k = i + 1; k < argc; k++) {
        if (strcmp(argv[k], "--") == 0) {
            while (k < argc)
                rest[n++] = argv[k++];
            break;
        }
        if (strcmp(argv[k], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[k], "--help") == 0) {
            printf("usage: vmrecover %s %s\n\n%s\n", command->name, command->usage, command->summary);
            if (command->details)
                printf("\n%s", command->details);
            return EXIT_DONE;
        } else {
            rest[n++] = argv[k];
        }
    }
    return run(command, json, n, rest);
}
