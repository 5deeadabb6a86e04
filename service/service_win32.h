/* Names that the service, its installation and its events share. Packages use the same ones. */
#ifndef VMR_SERVICE_SERVICE_WIN32_H
#define VMR_SERVICE_SERVICE_WIN32_H

#define SERVICE_NAME L"vmrecoverd"                   /* also the source of its events */
#define SERVICE_TITLE L"vmrecover"
#define SERVICE_ABOUT L"Recovers Azure virtual machines that do not boot, through a local hypervisor. Jobs resume when the service starts."

#endif
