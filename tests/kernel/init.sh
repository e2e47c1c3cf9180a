#!/bin/sh
# The first process of the kernel tier's virtual machine: the file systems that a node has, then the tests, then
# the end. Their output and exit code go to the second serial port, so that no kernel message gets between.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CHAOS_AGENT=/chaos-agent RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns
mount -t cgroup2 cgroup /sys/fs/cgroup
for controller in memory cpu pids cpuset; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
# No test waits for duplicate address detection.
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
hostname kernel-tier
ip link set lo up
stty -F /dev/ttyS1 -opost
set --
while read -r argument; do
    set -- "$@" "$argument"
done </arguments
cd /tmp || exit
/tests "$@" >/dev/ttyS1 2>&1 </dev/null
echo "kernel tier: exit code $?" >/dev/ttyS1
poweroff -f
reboot -f
