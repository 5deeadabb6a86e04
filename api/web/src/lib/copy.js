// A button that puts a text on the clipboard.
import { h } from './dom.js';
import { icon } from './icon.js';
import { t } from './words.js';
import { complain, say } from './notice.js';

export function copyButton(text, label = t('copy')) {
    return h('button', { type: 'button', class: 'quiet', onclick: async () => {
        try {
            await navigator.clipboard.writeText(text());
            say(t('copied'));
        } catch (e) { complain(e); }
    } }, icon('copy'), label);
}
