// A choice of a credential by name; `none` is what leaving it open means.
import { word } from '../lib/words.js';
import { select } from '../lib/field.js';

export function credentialSelect(credentials, none, props) {
    return select([['', none], ...credentials.map((c) => [c.name, `${c.name} (${word('credential', c.type)})`])], props);
}
