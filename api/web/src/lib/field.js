// Form fields with their label, a note, and the place where the API's complaint about them goes. `pointer` is the JSON Pointer of the member.
import { h, freshId } from './dom.js';

export function field(label, control, { note, pointer } = {}) {
    control.id ||= freshId('field');
    const noteId = note && freshId('note');
    if (note) control.setAttribute('aria-describedby', noteId);
    if (pointer) control.dataset.pointer = pointer;
    return h('div', { class: 'field' }, h('label', { for: control.id }, label), control, note ? h('p', { class: 'note', id: noteId }, note) : null);
}
export function check(label, control, { note, pointer } = {}) {
    control.id ||= freshId('field');
    const noteId = note && freshId('note');
    if (note) control.setAttribute('aria-describedby', noteId);
    if (pointer) control.dataset.pointer = pointer;
    return h('div', { class: 'field check' }, control, h('label', { for: control.id }, label), note ? h('p', { class: 'note', id: noteId }, note) : null);
}
export const input = (props = {}) => h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', ...props });
export const checkbox = (props = {}) => h('input', { type: 'checkbox', ...props });
export function select(options, props = {}) {
    return h('select', props, options.map(([value, text]) => h('option', { value, selected: value === props.value }, text)));
}

// Shows a problem at the field that it is about; false when no field is.
export function complainAt(form, problem) {
    clearComplaints(form);
    if (!problem?.field) return false;
    const fields = [...form.querySelectorAll('[data-pointer]')].filter((f) => f.offsetParent !== null);
    let found = null;
    for (const f of fields)
        if ((problem.field === f.dataset.pointer || problem.field.startsWith(`${f.dataset.pointer}/`)) && f.dataset.pointer.length > (found?.dataset.pointer.length ?? 0))
            found = f;
    if (!found) return false;
    const id = freshId('complaint');
    found.setAttribute('aria-invalid', 'true');
    found.setAttribute('aria-errormessage', id);
    found.after(h('p', { class: 'complaint', id, lang: 'en' }, problem.hint ? `${problem.detail} ${problem.hint}` : problem.detail));
    found.focus();
    return true;
}
export function clearComplaints(form) {
    for (const c of form.querySelectorAll('.complaint')) c.remove();
    for (const f of form.querySelectorAll('[aria-invalid]')) { f.removeAttribute('aria-invalid'); f.removeAttribute('aria-errormessage'); }
}
