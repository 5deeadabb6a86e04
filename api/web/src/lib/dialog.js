// A question that is answered before the page goes on.
import { h, freshId } from './dom.js';
import { t } from './words.js';

// body: elements. Resolves to the FormData of the dialog when it is confirmed, else null.
export function ask({ title, body, confirm, danger = false }) {
    return new Promise((resolve) => {
        const id = freshId('title');
        const form = h('form', { method: 'dialog' },
            h('h2', { id }, title), body,
            h('div', { class: 'buttons end' },
                h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, t('dialog.back')),
                h('button', { type: 'submit', value: 'yes', class: danger ? 'danger' : 'primary' }, confirm)));
        const dialog = h('dialog', { 'aria-labelledby': id }, form);
        dialog.addEventListener('close', () => {
            resolve(dialog.returnValue === 'yes' ? new FormData(form) : null);
            dialog.remove();
        });
        document.body.append(dialog);
        dialog.showModal();
    });
}
