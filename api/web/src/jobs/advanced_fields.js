// What most jobs leave as it is. Only what differs from the default goes into the request, so that the command stays short.
import { h, setHidden } from '../lib/dom.js';
import { t, word } from '../lib/words.js';
import { check, checkbox, field, input, select } from '../lib/field.js';

const MIB = 1024 ** 2;

export function advancedFields(onChange) {
    const on = { onchange: onChange, oninput: onChange };
    const number = (value, min, max) => h('input', { type: 'number', min, max, step: 1, value: String(value), oninput: onChange });
    const memory = number(4096, 64, 1048576), cpus = number(2, 1, 64), limit = h('input', { type: 'number', min: 0, step: 'any', value: '0', oninput: onChange });
    const generation = select([['auto', t('submit.auto')], ['1', '1 (BIOS)'], ['2', '2 (UEFI)']], { value: 'auto', ...on });
    const format = select([['auto', t('submit.auto')], ...['vhd', 'vhd_dynamic', 'vhdx', 'raw'].map((f) => [f, word('format', f)])], { value: 'auto', ...on });
    const free = select([['', t('submit.auto')], ['true', t('submit.yes')], ['false', t('submit.no')]], { value: '', ...on });
    const until = select(['start_vm', 'create_vm', 'download', 'export', 'preflight'].map((k) => [k, word('kind', k)]), { value: 'start_vm', ...on });
    const network = select(['none', 'nat', 'switch'].map((n) => [n, t(`submit.network_${n}`)]), { value: 'none', onchange: () => { warn(); onChange(); } });
    const switchName = input({ maxlength: 64, oninput: onChange }), switchField = field(t('submit.switch'), switchName, { pointer: '/vm/network' });
    const warning = h('p', { class: 'note warning' }, t('submit.network_warning'));
    const start = checkbox({ checked: true, ...on }), nested = checkbox(on), region = checkbox(on);
    const dvd = input({ placeholder: '/srv/rescue.iso', oninput: onChange });
    const warn = () => { setHidden(switchField, network.value !== 'switch'); setHidden(warning, network.value === 'none'); };
    warn();

    return {
        node: h('details', { class: 'advanced' }, h('summary', {}, t('submit.advanced')), h('div', { class: 'grid' },
            field(t('submit.memory'), memory, { pointer: '/vm/memory_mib' }), field(t('submit.cpus'), cpus, { pointer: '/vm/cpus' }),
            field(t('submit.generation'), generation, { pointer: '/vm/generation' }), field(t('submit.network'), network, { pointer: '/vm/network' }), switchField, warning,
            field(t('submit.dvd'), dvd, { pointer: '/vm/dvd' }),
            field(t('submit.format'), format, { pointer: '/disks/0/format' }), field(t('submit.free_space'), free, { note: t('submit.free_space_note'), pointer: '/disks/0/skip_free_space' }),
            field(t('submit.limit'), limit, { note: t('submit.limit_note'), pointer: '/max_bytes_per_second' }), field(t('submit.until'), until, { pointer: '/until' }),
            check(t('submit.start'), start, { pointer: '/vm/start' }), check(t('submit.nested'), nested, { pointer: '/vm/nested' }),
            check(t('submit.cross_region'), region, { note: t('submit.cross_region_note'), pointer: '/allow_cross_region' }))),
        // adds to { disks: [{ source }] }
        apply(job, ownDvd) {
            const vm = {}, iso = ownDvd || dvd.value.trim();
            if (Number(memory.value) !== 4096) vm.memory_mib = Number(memory.value);
            if (Number(cpus.value) !== 2) vm.cpus = Number(cpus.value);
            if (generation.value !== 'auto') vm.generation = Number(generation.value);
            if (network.value !== 'none') vm.network = network.value === 'switch' ? `switch:${switchName.value.trim()}` : network.value;
            if (nested.checked) vm.nested = true;
            if (!start.checked) vm.start = false;
            if (iso) vm.dvd = iso;
            if (Object.keys(vm).length) job.vm = vm;
            for (const d of job.disks) {
                if (format.value !== 'auto') d.format = format.value;
                if (free.value) d.skip_free_space = free.value === 'true';
            }
            if (region.checked) job.allow_cross_region = true;
            if (Number(limit.value) > 0) job.max_bytes_per_second = Math.round(Number(limit.value) * MIB);
            if (until.value !== 'start_vm') job.until = until.value;
            return job;
        },
    };
}
