#!/bin/sh
# boot.sh WORK FILES CGROUP: boots a systemd as PID 1 of namespaces of its own, and keeps it until standard input ends.
#
# WORK      an empty folder, in which the guest's file system is mounted; systemd's process id will stand in WORK.pid
# FILES     a folder whose contents the guest has on top of this machine's
# CGROUP    a folder to be made in a cgroup v2 hierarchy
#
# The guest sees this machine's files, can change none of them, and has the network namespace in which this is called.
# What goes wrong before systemd runs is said here; what systemd says is in the guest's journal. Whoever starts this holds the
# other end of standard input: when that process ends, however it does, the guest is killed and its cgroup removed. Mounts
# exist in the guest's mount namespace alone.
set -eu

guest() {
    work=$1 files=$2
    # /proc is still the one outside, so this is the process id there; it stays the same up to systemd.
    read -r pid _ </proc/self/stat
    mount -t tmpfs -o mode=755 guest "$work"
    root=$work/root
    mkdir "$work/upper" "$work/work" "$root"
    # Copied, since overlayfs takes no folder that lies below another one that it is given.
    cp -a "$files/." "$work/upper"
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$root"
    mount -t proc proc "$root/proc"
    # The host's kernel has one set of settings: the guest may look at them.
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 run "$root/run"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    # PrivateDevices= wants it.
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    # In one step, since somebody waits for it.
    printf %s "$pid" >"$work.new"
    mv "$work.new" "$work.pid"
    cd "$root"
    # Not chroot, in which nobody may make a user namespace.
    pivot_root . mnt
    umount --lazy mnt
    exec /usr/bin/env -i container=guest PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb \
        /lib/systemd/systemd --system --unit=sysinit.target --log-target=journal --show-status=no
}

if [ "$1" = --inside ]; then
    guest "$2" "$3"
fi

work=$1 files=$2 cgroup=$3
mkdir "$cgroup"
# shellcheck disable=SC2016 # the inner shell expands it
setpriv --pdeathsig KILL sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$cgroup" \
    unshare --mount --propagation private --pid --fork --kill-child --uts --ipc --cgroup \
    sh "$0" --inside "$work" "$files" </dev/null &
cat >/dev/null
echo 1 >"$cgroup/cgroup.kill"
wait
# What was killed leaves its cgroup a little later.
until find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; do
    sleep 0.01
done
