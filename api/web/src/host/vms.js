// The VMs that vmrecover made.
import { h } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { t, word } from '../lib/words.js';
import { bytes } from '../lib/format.js';

const MIB = 1024 ** 2;

export function vmsView(vms) {
    if (!vms.length) return h('p', { class: 'faint' }, t('host.no_vms'));
    return h('ul', { class: 'rows' }, vms.map((vm) => h('li', {}, h('a', { href: `#/vms/${vm.id}` }, icon('console'), vm.name), ' ',
        h('span', { class: 'badge', 'data-state': vm.state }, word('vm', vm.state)), ' ',
        h('span', { class: 'faint' }, t('host.vm_facts', { generation: vm.generation, cpus: vm.cpus, memory: bytes(vm.memory_mib * MIB), network: vm.network })), ' ',
        h('a', { href: `#/jobs/${vm.job_id}` }, t('console.job')))));
}
