/** What a KVM that cannot be used is said to lack. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kvmUnavailable } from '../../../vmm/kvm/host.ts';

function message(syscall: string, code: string): string {
  const cause = Object.assign(new Error(`${syscall} failed`), { syscall, code, errno: 1 });
  return kvmUnavailable('/dev/kvm', cause).message;
}

test('only a failed KVM_GET_API_VERSION means that it is not the KVM device', () => {
  for (const code of ['ENOTTY', 'EINVAL', 'EBADF']) {
    assert.match(message('KVM_GET_API_VERSION', code), /not the KVM device.*--kvm/);
  }
  for (const syscall of ['open', 'KVM_CREATE_VM', 'KVM_CREATE_VCPU', 'KVM_SET_SREGS', 'KVM_RUN']) {
    for (const code of ['EINVAL', 'ENOTTY', 'ENOENT', 'EBUSY']) {
      assert.doesNotMatch(message(syscall, code), /not the KVM device/);
    }
  }
});

test('a call that fails for an unknown reason is named, with its errno', () => {
  assert.match(message('KVM_SET_SREGS', 'EINVAL'), /\(EINVAL\): KVM_SET_SREGS failed.*dmesg/);
});

test('a device that cannot be opened has advice for the reason', () => {
  assert.match(message('open', 'ENOENT'), /modprobe/);
  assert.match(message('open', 'ENODEV'), /modprobe/);
  assert.match(message('open', 'EACCES'), /group/);
  assert.match(message('open', 'EPERM'), /--device/);
  assert.match(message('open', 'EMFILE'), /EMFILE/);
});
