/* The subcommand check-host: does the Hyper-V of this host do what the driver expects? hyperv/check.h has the check itself. */
#ifndef VMR_SERVICE_CHECK_HOST_H
#define VMR_SERVICE_CHECK_HOST_H

/* What follows the word on the command line. Exit status: 0 all is as expected, 1 it is not, 2 the command line is wrong or there is no Hyper-V to check.
 *   check-host [--output FILE] [--no-nat] [options of run]   makes VMs, removes them again; FILE is check-host.json in the current folder unless named
 *   check-host --compare REFERENCE RECORD                    two records side by side; touches no host */
int check_host(int argc, char **argv);

#endif
