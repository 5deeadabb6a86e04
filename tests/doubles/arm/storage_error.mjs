// Errors of Azure Storage: the code in a header and in a body with a byte order mark, as recorded. HEAD has the header alone.
import crypto from 'node:crypto';

const messages = {
    AuthenticationFailed: 'Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.',
    AuthorizationFailure: 'This request is not authorized to perform this operation.',
    AuthorizationPermissionMismatch: 'This request is not authorized to perform this operation using this permission.',
    InvalidAuthenticationInfo: 'Authentication information is not given in the correct format. Check the value of Authorization header.',
    ResourceNotFound: 'The specified resource does not exist.',
    UnsupportedHttpVerb: 'The resource doesn\'t support specified Http Verb.',
    InvalidQueryParameterValue: 'Value for one of the query parameters specified in the request URI is invalid.',
    UnsupportedQueryParameter: 'One of the query parameters specified in the request URI is not supported.',
    ConditionHeadersNotSupported: 'Condition headers are not supported.',
    CannotVerifyCopySource: 'Could not verify the copy source within the specified time.',
    PendingCopyOperation: 'There is currently a pending copy operation.',
    NoPendingCopyOperation: 'There is currently no pending copy operation.',
    ServerBusy: 'The server is busy.',
    InternalError: 'Server encountered an internal error. Please retry the request after some time.',
    OperationTimedOut: 'Operation could not be completed within the permitted time.',
};

export function storageError(x, status, code, { detail = '', headers = {} } = {}) {
    const id = x.res.getHeader('x-ms-request-id') ?? crypto.randomUUID();
    const more = detail ? `<AuthenticationErrorDetail>${detail}</AuthenticationErrorDetail>` : '';
    const body = `\uFEFF<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${messages[code] ?? code}\nRequestId:${id}\nTime:${new Date().toISOString()}</Message>${more}</Error>`;
    return { status, headers: { 'x-ms-request-id': id, 'x-ms-error-code': code, 'Content-Type': 'application/xml', ...headers }, body };
}
