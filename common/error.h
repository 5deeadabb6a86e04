/* Errors: one shape for what failed, from the system call to the HTTP reply.
 *
 * A function that can fail returns 0 or a negative ERR_* code and, on failure, has filled the
 * `struct err` that it was given (never NULL). The struct is a fixed buffer: reporting that memory ran out
 * needs no memory. Who returns an error does not log it; the worker or HTTP handler at the top does.
 * Threads: a struct err belongs to one thread at a time. */
#ifndef VMR_COMMON_ERROR_H
#define VMR_COMMON_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/printf.h"

/* code, stable word for clients, HTTP status, worth another attempt by itself, title, what to do if nobody says better.
 * The words are public: add rows, never rename one. */
#define ERR_MAP(X) \
    X(ERR_OOM, "out_of_memory", 500, true, "Out of memory", "Close other programs or give the host more memory; the task is tried again.") \
    X(ERR_INTERNAL, "internal_error", 500, false, "Internal error", "Send the log around this time to the developers.") \
    X(ERR_IO, "io_error", 500, true, "A file or device could not be used", "Check the disk and its file system on the host.") \
    X(ERR_DISK_FULL, "disk_full", 507, false, "Not enough free space", "Free space or move the data folder to a larger volume, then retry the job.") \
    X(ERR_PERMISSION, "permission_denied", 500, false, "The host refused access", "Give the daemon's account access to the named file or device.") \
    X(ERR_EMPTY, "empty", 404, false, "Nothing there", "") \
    X(ERR_JSON, "invalid_json", 400, false, "The body is not valid JSON", "Send one JSON object, UTF-8 encoded.") \
    X(ERR_MISSING, "missing_field", 400, false, "A required member is missing", "Add the member that `field` names.") \
    X(ERR_UNKNOWN_FIELD, "unknown_field", 400, false, "A member is not known", "Remove or correct the member that `field` names; /v1/openapi.json lists all.") \
    X(ERR_TYPE, "invalid_type", 400, false, "A member has the wrong type", "Correct the member that `field` names.") \
    X(ERR_VALUE, "invalid_value", 400, false, "A member has a value that is not allowed", "Correct the member that `field` names.") \
    X(ERR_BAD_REQUEST, "bad_request", 400, false, "The request is malformed", "Correct the request; /v1/openapi.json is the reference.") \
    X(ERR_UNAUTHORIZED, "unauthorized", 401, false, "No valid token", "Send 'Authorization: Bearer' with the content of the token file in the daemon's data folder.") \
    X(ERR_HOST, "host_not_allowed", 403, false, "The Host header names another machine", "Use 127.0.0.1, [::1] or localhost with the daemon's port.") \
    X(ERR_ORIGIN, "origin_not_allowed", 403, false, "Requests from other web pages are refused", "Call the API from the dashboard or without an Origin header.") \
    X(ERR_NOT_FOUND, "not_found", 404, false, "There is no such object", "List the objects to find the right id.") \
    X(ERR_METHOD, "method_not_allowed", 405, false, "The path does not know this method", "The Allow header lists the methods.") \
    X(ERR_WRONG_STATE, "wrong_state", 409, false, "The object's state does not allow this", "Look at the object's state and try again when it fits.") \
    X(ERR_IDEMPOTENCY, "idempotency_key_reused", 409, false, "The Idempotency-Key was used with another body", "Use a new key for a new request.") \
    X(ERR_TOO_LARGE, "body_too_large", 413, false, "The request body is too large", "Send a smaller body.") \
    X(ERR_URI_TOO_LONG, "uri_too_long", 414, false, "The request path or query is too long", "Shorten the path or query.") \
    X(ERR_HEADERS, "headers_too_large", 431, false, "The request headers are too large", "Send fewer or shorter headers.") \
    X(ERR_MEDIA, "unsupported_media_type", 415, false, "The body must be application/json", "Send 'Content-Type: application/json'.") \
    X(ERR_BUSY, "too_many_requests", 429, true, "Too many connections, streams or objects", "Close some and try again.") \
    X(ERR_UNSUPPORTED, "not_supported", 501, false, "This host or hypervisor cannot do that", "GET /v1/host shows what this host can do.") \
    X(ERR_STOPPING, "stopping", 503, true, "The daemon is stopping", "Try again when it runs.") \
    X(ERR_CANCELLED, "cancelled", 409, false, "Cancelled", "Retry the job to go on.") \
    X(ERR_TIMEOUT, "timeout", 504, true, "It took too long", "Look at the other side; the task is tried again.") \
    X(ERR_UNREACHABLE, "unreachable", 502, true, "The other system did not answer", "Check name, network, proxy and firewall between this host and the named system.") \
    X(ERR_TLS, "tls_failed", 502, false, "The server's certificate was not accepted", "Check the address; for a private CA set [tls] ca_file.") \
    X(ERR_THROTTLED, "throttled", 503, true, "The other system asked to slow down", "The task goes on by itself after a pause.") \
    X(ERR_UPSTREAM, "upstream_error", 502, true, "The other system reported an error", "See `upstream`; the task is tried again.") \
    X(ERR_UPSTREAM_FINAL, "upstream_refused", 502, false, "The other system refused the request", "See `upstream` for its code and request id.") \
    X(ERR_SOURCE_NOT_FOUND, "source_not_found", 404, false, "The source does not exist", "Check the URL or path of the source, container and name included.") \
    X(ERR_SOURCE_DENIED, "source_denied", 403, false, "The source refused access", "Check the SAS or credential: it must allow reading, and its network rules must admit this host.") \
    X(ERR_SAS_EXPIRED, "sas_expired", 403, false, "The SAS is no longer valid", "Make a new SAS with read permission that lasts longer than the download, then retry the job with it (`vmrecover retry JOB --url-file FILE`); a SAS that is a credential is put again first. The download goes on where it was.") \
    X(ERR_SOURCE_CHANGED, "source_changed", 409, false, "The source changed during the download", "Stop writing to the source (or take a snapshot), delete this job and submit it again.") \
    X(ERR_SOURCE_TRUNCATED, "source_truncated", 422, false, "The source is shorter than it says it is", "Export or upload the disk again.") \
    X(ERR_RANGE_IGNORED, "ranges_not_supported", 422, false, "The server does not serve byte ranges", "Copy the file to a server with range support, or to Azure Storage.") \
    X(ERR_NOT_VHD, "not_a_vhd", 422, false, "The source is not a disk image that is understood", "Give a fixed or dynamic VHD, or say what it is with \"format\".") \
    X(ERR_VHD_DAMAGED, "vhd_damaged", 422, false, "The disk image is damaged", "Export the disk again; the original may be good.") \
    X(ERR_IMAGE_DAMAGED, "image_damaged", 500, false, "The local image does not match its journal", "Delete the job with disks=delete and submit it again.") \
    X(ERR_CREDENTIAL, "credential_unusable", 422, false, "The named credential cannot be used", "GET /v1/credentials lists the credentials; PUT the right one.") \
    X(ERR_SIGN_IN, "sign_in_needed", 409, false, "A person must sign in", "Sign in with `vmrecover credential sign-in NAME`, then try again.") \
    X(ERR_NOT_EXPORTABLE, "not_exportable", 422, false, "The disk cannot be brought here", "`vmrecover azure vms` says for each VM what stands in the way.") \
    X(ERR_CROSS_REGION, "cross_region", 409, false, "The disk is in another region than this host", "Submit with \"allow_cross_region\": true to go on all the same.") \
    X(ERR_TOO_MANY_DISKS, "too_many_disks", 422, false, "The VM has more disks than a recovered VM takes", "Submit its disks one by one.") \
    X(ERR_DISK_REFUSED, "disk_refused", 422, false, "The disk is not taken", "`vmrecover disks` says for each disk why. A disk that holds anything is never overwritten: empty it by other means first, if what is on it may go.") \
    X(ERR_VOLUME, "volume_failed", 500, true, "The volume cannot be made or used", "Look at the message, and at the host's log of the same time; the task is tried again.") \
    X(ERR_SECRET, "secret_unreadable", 500, false, "A stored secret cannot be opened with this host's key", "Restore the key file, or put the credential again and submit the job again.") \
    X(ERR_CRED_IN_USE, "credential_in_use", 409, false, "A job that is not finished uses the credential", "Finish or delete the jobs first.") \
    X(ERR_HYPERVISOR, "hypervisor_unavailable", 503, false, "The hypervisor cannot be used", "GET /v1/host says what is missing and how to get it.") \
    X(ERR_VM, "vm_failed", 500, false, "The virtual machine failed", "Read the message; the VM's log lies in its folder.") \
    X(ERR_VM_GONE, "vm_gone", 410, false, "The virtual machine was removed behind our back, or its definition is damaged", "Delete the job (its images stay unless disks=delete is asked for), then submit one with the image as a file source.") \
    X(ERR_DB, "database_error", 500, true, "The database could not be used", "Check free space and rights of the data folder.") \
    X(ERR_DB_DAMAGED, "database_damaged", 500, false, "The database file is damaged", "Restore it from a backup or move it away; it is not overwritten.") \
    X(ERR_DB_NEWER, "database_newer", 500, false, "The database was written by a newer version", "Install that version again or use another data folder.") \
    X(ERR_CONFIG, "invalid_configuration", 500, false, "The configuration is not valid", "Correct the named line; vmrecoverd --help lists every key.") \
    X(ERR_LOCKED, "already_running", 409, false, "Another process uses the data folder", "Stop the other daemon, or use another --data-dir.") \
    X(ERR_PORT, "port_in_use", 500, false, "Another program listens on the port", "Stop the other program, or choose another port with --listen.")

enum err_code {
    ERR_SIGNED = -1,         /* never used: makes the type signed for every compiler */
    ERR_OK = 0,
#define ERR_ENUM(code, word, http, retry, title, hint) code,
    ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
    ERR_CODES
};

struct err {
    enum err_code code;      /* ERR_OK: nothing failed */
    long os_code;            /* errno, GetLastError, HRESULT, CURLcode or SQLite code as it came; 0: none */
    char msg[512];           /* what failed, on which object: one sentence for a user, UTF-8 */
    char hint[384];          /* what to do; empty: the table's */
    char field[160];         /* JSON Pointer into a request body; empty: none */
    struct {                 /* what another system answered; service empty: none */
        char service[32];    /* "azure_storage", "qemu", ... */
        int status;          /* HTTP status or 0 */
        char code[96];
        char request_id[96];
    } upstream;
    unsigned retry_after_ms; /* asked for by the other side; 0: not */
};

struct err_info {
    const char *word;
    int http_status;
    bool retryable;
    const char *title;
    const char *hint;
};

/* The row of a code; a code out of range gives ERR_INTERNAL's. Accepts the negative form too. */
const struct err_info *err_info(int code);
/* The code whose word this is; ERR_OK if none. */
enum err_code err_from_word(const char *word);

/* Set code and sentence, clearing all else; returns -code, so that `return err_set(...)` reads well. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with the operating system's error number (errno or GetLastError); its text is appended, and
 * ENOSPC, EACCES, ENOENT, ENOMEM become their own codes whatever `code` says. */
int err_os(struct err *e, enum err_code code, long os_code, const char *fmt, ...) PRINTF_LIKE(4, 5);
int err_oom(struct err *e);
/* Bad input: code, JSON Pointer and sentence. */
int err_field(struct err *e, enum err_code code, const char *pointer, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Replaces the hint; returns -e->code. */
int err_hint(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Puts "text: " before the sentence; returns -e->code. */
int err_prefix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_clear(struct err *e);
/* The hint to show: its own or the table's. */
const char *err_hint_text(const struct err *e);

#endif
