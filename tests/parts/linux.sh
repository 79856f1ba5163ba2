# SPDX-License-Identifier: MIT
# The Linux driver: built against Debian's kernel without a warning of the compiler's, of objtool's or
# sparse's; loaded, used and unloaded in that kernel on emulated AMD and Intel CPUs.
# shellcheck disable=SC2086
need_packages $PACKAGES_BOOT $PACKAGES_LINUX || exit 1
. "$ROOT/tests/boot/boots.sh"
. "$ROOT/tests/linux/boots.sh"

mkdir -p "$BOOT"
check "linux: host and guest images build" build_images
if check "linux: nvirt.ko builds without a warning (W=1, sparse)" build_driver; then
    check_async "linux: VMX: KVM left alone, state, moves of the APIC's page; log is the bare-metal host's (Bochs)" \
        vmx_agrees driver-vmx 600 "module state wander apic kvm"
    check_async "linux: VMX: two vCPUs of one VM on threads that are taken from CPU to CPU; CPU hotplug (Bochs)" \
        driver_on_bochs driver-vmx-two 420 "two hotplug" 2 MOVES=10
    check_async "linux: VMX: two L1s on threads that are taken from CPU to CPU (Bochs)" \
        driver_on_bochs driver-vmx-migrate 420 "migrate" 2 ONLY=exit,resume,persist
    check_async "linux: VMX: random ioctls; killed 40 times at random moments, no page lost, no warning (Bochs)" \
        driver_on_bochs driver-vmx-kill 420 "fuzz kill" 1 "SECONDS_OF_FUZZ=10 KILLS_BEFORE=10 KILLS=30"
    check_async "linux: two vCPUs of one VM on wandering threads; sleep and reboot under running guests (QEMU)" \
        in_turn driver_subjects driver-two 300 2 "two suspend reboot"
    check_async "linux: the driver is loaded, makes VMs, follows CPU hotplug, leaves KVM alone (QEMU)" \
        driver_subjects driver-module 180 2 "module state hotplug kvm"
    check_async "linux: SVM: test hypervisor's log is the bare-metal host's while its memory moves (QEMU)" \
        shaken_agrees driver-shaken 240
    check_async "linux: memory punched, moved, protected, swapped and written to files under a guest; random ioctls (QEMU)" \
        driver_subjects driver-memory 240 2 "memory wander apic file fuzz"
    check_async "linux: two L1s on threads that are taken from CPU to CPU (QEMU)" \
        in_turn driver_subjects driver-migrate 300 2 "migrate"
    check_async "linux: killed 200 times at random moments, no page lost, no warning (QEMU)" \
        driver_subjects driver-kill 300 2 "kill"
    check_wait
fi
