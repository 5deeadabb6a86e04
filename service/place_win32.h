/* Where the program lies: a service of SYSTEM must not be a file that any user can replace. */
#ifndef VMR_SERVICE_PLACE_WIN32_H
#define VMR_SERVICE_PLACE_WIN32_H

#include <stdbool.h>
#include <wchar.h>

/* The program or its folder may be changed by every user of this machine. A folder made in C:\ is such a place, Program Files is not. */
bool place_is_open(const wchar_t *program);
/* The same of one access list in SDDL form, as a file (or folder) has it. */
bool place_sddl_is_open(const wchar_t *sddl);

#endif
