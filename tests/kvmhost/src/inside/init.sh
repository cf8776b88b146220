#!/bin/busybox sh
# PID 1 of the emulated host, first half. Everything that does not depend on the job happens before READY: the snapshot
# is taken there, so its cost is paid once per machine and not once per run. The control port's words are in job.rs.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
for file in /lib/order/*.ko; do
    options=
    # nested=0: a bottle is the last level, and without nested SVM the guest's CPUID is that of a common cloud host.
    case $file in *kvm_amd.ko) options=nested=0 ;; esac
    insmod "$file" $options || echo "init: cannot load $file"
done
rm -r /lib/order
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t debugfs debug /sys/kernel/debug
mount -t tmpfs run /run
mkdir -p /run/lock /run/kvmhost /run/tmp /run/state /run/user/0 /new /lower /layer
chmod 1777 /run/lock /run/tmp
chmod 700 /run/user/0
cp /bin/busybox /agent /run/kvmhost/
printf '#!/run/kvmhost/busybox sh\nexec /run/kvmhost/busybox modprobe "$@"\n' >/run/kvmhost/modprobe
chmod 755 /run/kvmhost/modprobe
echo /run/kvmhost/modprobe >/proc/sys/kernel/modprobe
mkfifo /run/kvmhost/in /run/kvmhost/out /run/kvmhost/err
mount -t tmpfs -o size=75% layer /layer
mkdir /layer/upper /layer/work
chmod 666 /dev/kvm
ip link set lo up
hostname kvmhost
ulimit -H -n 1048576

# The host tells of its ports some time after the driver is there. Opening for both ways would make a plain file.
while ! [ -c /dev/vport0p1 ]; do sleep 0.1; done
exec 3<>/dev/vport0p1
fail() {
    echo "FAILED $*" >&3
    sleep 1000000
}
[ -c /dev/kvm ] || fail "the emulated host has no /dev/kvm"
sleep 0.3 # the boot's deferred work ends here, once, rather than in every restored copy
echo READY >&3

read -r verb now shares bytes end screen modules <&3
[ "$verb" = JOB ] || fail "not a job: $verb"
date -s "@$now" >/dev/null
options=trans=virtio,version=9p2000.L,msize=1048576,access=any,cache=loose
mount -t 9p -o $options,ro root /lower || fail "cannot mount the machine's root directory"
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work root /new || fail "cannot mount the overlay"
share=0
while [ $share -lt "$shares" ]; do
    IFS= read -r path <&3
    mount -t 9p -o $options share$share "/new$path" || fail "cannot mount $path read-write"
    share=$((share + 1))
done
dd iflag=fullblock bs="$bytes" count=1 of=/run/kvmhost/job <&3 2>/dev/null || fail "the job did not arrive"
release=$(uname -r)
case $modules in
/lib/modules/$release | /usr/lib/modules/$release) ;;
*) mkdir -p "/new/lib/modules/$release" && mount --bind "/new$modules" "/new/lib/modules/$release" ;;
esac
for dir in proc sys dev run; do
    mkdir -p /new/$dir
    mount --move /$dir /new/$dir
done
# What switch_root does, without deleting the initramfs file by file: a root that pivot_root works on.
cd /new && mount --move . / && exec chroot . /run/kvmhost/busybox sh /run/kvmhost/agent "$end" "$screen"
fail "cannot enter the machine's root directory"
