#!/bin/sh
# Makes a disk with Debian 12 as installers leave it: a GPT, an EFI system partition, a root file system,
# systemd, a kernel with the initrd that initramfs-tools makes for it, and a boot loader's configuration.
#
#   build-image.sh OUT.qcow2 BASE.tar ARCHIVES ext4|xfs|btrfs grub|systemd-boot PACKAGE...
#
# BASE is mmdebstrap's, ARCHIVES a folder that keeps downloaded packages. Needs root. The host needs no
# driver of FAT; all mounts disappear with their namespace.
set -eu
out=$1 base=$2 archives=$3 type=$4 loader=$5
shift 5
work=$(mktemp -d "${TMPDIR:-/tmp}/tsvm-debian-XXXXXX")
loop=
cleanup() {
  [ -z "$loop" ] || losetup --detach "$loop"
  rm -rf "$work"
}
trap cleanup EXIT

mib=1048576
esp_mib=200
root_mib=2800
truncate --size=${root_mib}M "$work/root.img"
case $type in
ext4) mkfs.ext4 -q -L root "$work/root.img" ;;
xfs) mkfs.xfs -q -L root "$work/root.img" ;;
btrfs) mkfs.btrfs -q -L root "$work/root.img" ;;
esac
uuid=$(blkid -s UUID -o value "$work/root.img")
mkfs.vfat -C -n ESP -i 1A2B3C4D "$work/esp.img" $((esp_mib * 1024)) >/dev/null
loop=$(losetup --find --show "$work/root.img")

cat >"$work/settings.sh" <<SETTINGS
set -eu
echo root:debian | chpasswd
echo debian >/etc/hostname
printf '127.0.0.1 localhost debian\n' >/etc/hosts
printf 'UUID=%s / %s defaults 0 1\nUUID=1A2B-3C4D /boot/efi vfat umask=0077 0 2\n' $uuid $type >/etc/fstab
# As in Debian's cloud images. Otherwise cloud-init tries to generate another locale, and fails.
echo LANG=C.UTF-8 >/etc/default/locale
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >/etc/systemd/network/20-wired.network
systemctl --quiet enable systemd-networkd
# On a busy host a guest is slow. That is not what the tests are about.
mkdir -p /etc/systemd/system.conf.d /etc/systemd/system/systemd-networkd-wait-online.service.d
printf '[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n' \
  >/etc/systemd/system.conf.d/slow-host.conf
printf '[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --timeout=900\n' \
  >/etc/systemd/system/systemd-networkd-wait-online.service.d/slow-host.conf
: >/etc/machine-id
SETTINGS

cat >"$work/install.sh" <<'INSTALL'
set -eu
mount --make-rprivate /
# grub-mkconfig writes no entries for a root in a loop device, so the device has another name.
number=$(stat -c %Lr "$loop")
mount -t tmpfs none /dev
mknod /dev/rootdisk b 7 "$number"
mknod "$loop" b 7 "$number"
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
ln -s /proc/self/fd /dev/fd
# With it, grub-mkconfig names the root by its UUID.
mkdir -p /dev/disk/by-uuid
ln -s ../../rootdisk "/dev/disk/by-uuid/$uuid"
root=$work/root
mkdir "$root"
mount /dev/rootdisk "$root"
tar -C "$root" --numeric-owner -xf "$base"
mkdir -p "$root/boot/efi" "$root/boot/grub"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount --bind /dev "$root/dev"
mount -t tmpfs none "$root/tmp"
mount --bind "$archives" "$root/var/cache/apt/archives"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# Services of the image do not start while it is made.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
if [ $# -gt 0 ]; then
  chroot "$root" apt-get update -q
  chroot "$root" apt-get install -q --yes --no-install-recommends "$@"
fi
rm "$root/usr/sbin/policy-rc.d"
cp "$work/settings.sh" "$root/tmp/"
chroot "$root" sh /tmp/settings.sh
if [ "$loader" = grub ]; then
  printf 'GRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX="console=ttyS0"\n' >"$root/etc/default/grub"
  chroot "$root" grub-mkconfig -o /boot/grub/grub.cfg
else
  # As kernel-install and bootctl do: an entry of the Boot Loader Specification for each kernel.
  mkdir -p "$root/boot/efi/loader/entries" "$root/boot/efi/debian"
  printf 'timeout 3\n' >"$root/boot/efi/loader/loader.conf"
  for kernel in "$root"/boot/vmlinuz-*; do
    version=${kernel##*/vmlinuz-}
    cp "$kernel" "$root/boot/efi/debian/linux-$version"
    cp "$root/boot/initrd.img-$version" "$root/boot/efi/debian/initrd-$version"
    printf 'title Debian\nversion %s\nlinux /debian/linux-%s\ninitrd /debian/initrd-%s\noptions root=UUID=%s ro console=ttyS0\n' \
      "$version" "$version" "$version" "$uuid" >"$root/boot/efi/loader/entries/debian-$version.conf"
  done
  rm "$root"/boot/vmlinuz-* "$root"/boot/initrd.img-*
fi
# The other partition's content, which the guest mounts over this folder.
printf 'ESP\n' >"$root/boot/efi/marker"
MTOOLS_SKIP_CHECK=1 mcopy -i "$work/esp.img" -s -Q "$root"/boot/efi/* ::/
rm -r "$root"/boot/efi/*
# Packages that apt no longer offers leave the cache.
chroot "$root" apt-get autoclean -q
rm -rf "$root"/var/lib/apt/lists/*
umount --recursive "$root"
INSTALL

export work base archives type loader loop uuid
unshare --mount sh "$work/install.sh" "$@"
losetup --detach "$loop"
loop=

disk=$work/disk.img
truncate --size=$((esp_mib + root_mib + 2))M "$disk"
sgdisk --new=1:0:+${esp_mib}M --typecode=1:ef00 --new=2:0:+${root_mib}M --typecode=2:8304 "$disk" >/dev/null
dd if="$work/esp.img" of="$disk" bs=$mib seek=1 conv=notrunc,sparse status=none
dd if="$work/root.img" of="$disk" bs=$mib seek=$((esp_mib + 1)) conv=notrunc,sparse status=none
qemu-img convert -f raw -O qcow2 "$disk" "$out.draft"
mv "$out.draft" "$out"
