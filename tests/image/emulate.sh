#!/bin/sh
# TL;DR: tests/image/emulate.sh ARCH BINARY PROGRAM [ARGUMENT...]
#
# Runs PROGRAM, the program tier, with the product for another machine (CHAOS_AGENT), natively where the kernel can
# (386 on amd64), else under QEMU's user emulation.
#
# The agent starts itself again as guard, through /proc/self/exe, so the kernel must know what to do with such a
# binary: binfmt_misc. It is registered in a user namespace of this run alone (Linux 6.7), never for the machine. On
# an older kernel a wrapper starts the emulator, nothing can start the guard, and the tests that need it are left out.
#
# What user emulation cannot do, and the tests that are left out for it; NOT TESTED lines say so:
#   - make memory resident and tell whether it is (madvise, mincore): the memory fault's amount;
#   - show the program behind a process (/proc/PID/exe is the emulator): how `halt` finds the agent;
#   - list qdiscs (rtnetlink beyond links and addresses): a test that allows no complaint in the log. The network
#     fault itself is the kernel tier's matter.
# An emulated 32-bit machine needs 4 GiB of address space, so the bound on that of `validate` is not set there.
# Exit code: that of PROGRAM; 64 wrong usage.
set -eu

[ $# -ge 3 ] || { echo "usage: emulate.sh ARCH BINARY PROGRAM [ARGUMENT...]" >&2; exit 64; }
arch=$1 binary=$2 program=$3
shift 3
case $arch in
386) emulator=i386 ;;
arm64) emulator=aarch64 ;;
armv7) emulator=arm ;;
riscv64) emulator=riscv64 ;;
*) echo "emulate.sh: unknown architecture $arch" >&2; exit 64 ;;
esac

if [ "$arch" = 386 ] && "$binary" --version >/dev/null 2>&1; then
    echo "$arch: natively"
    CHAOS_AGENT=$binary exec "$program" "$@"
fi

tests=""
leave_out() { # test, why
    echo "NOT TESTED on $arch: $1 ($2)"
    tests="$tests --skip $1"
}
leave_out local::memory_is_resident_while_it_is_held_and_gone_after_the_end "no mincore"
leave_out operate::the_commands_halt_and_resume_need_no_kill_in_the_image "/proc/PID/exe is the emulator"
leave_out operate::what_only_the_start_needed_is_given_back_and_everything_still_works "the emulator maps the code"
leave_out logging::the_file_is_json_and_rotates_by_size "no list of qdiscs"
for halted in hand::a_fault_by_hand_is_seen_everywhere_and_ends_at_a_halt hang::a_resume_names_what_still_halts \
    hang::a_config_that_never_answers_at_the_start_is_waited_for_and_the_commands_find_the_agent; do
    leave_out "$halted" "halt and resume: /proc/PID/exe is the emulator"
done
for frozen in a_disk_that_hangs_holds_up_nothing an_agent_that_is_killed_while_its_disk_hangs_leaves_nothing_behind \
    configs_that_come_and_go_while_a_disk_hangs_leave_few_threads_behind; do
    leave_out "stall::$frozen" "no loop device for a user namespace"
done
for foreign in hand::neither_end_talks_to_a_foreign_user guard::one_that_is_stopped_stays_while_no_other_can_be_started; do
    leave_out "$foreign" "one uid in the user namespace"
done
leave_out hand::a_dry_run_does_not_call_ready_what_it_did_not_look_at "no list of qdiscs"
leave_out hostile::an_agent_works_within_small_limits "the emulator needs descriptors and memory of its own"
case $arch in 386 | armv7) export CHAOS_ADDRESS_SPACE=unlimited ;; esac

qemu=$(command -v "qemu-$emulator-static")
# The magic and the mask are those that the emulator's package would register.
rule=$(sed "s,:/[^:]*:[A-Z]*\$,:$qemu:F," "/usr/lib/binfmt.d/qemu-$emulator.conf")
# shellcheck disable=SC2016 # for the shell inside
registered='mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && printf %s "$0" >/proc/sys/fs/binfmt_misc/register'
# shellcheck disable=SC2016
if unshare -Urm sh -c "$registered"' && exec "$1" --version' "$rule" "$binary" >/dev/null 2>&1; then
    echo "$arch: $qemu, by binfmt_misc of a user namespace"
    # shellcheck disable=SC2016,SC2086 # tests is a list of options
    CHAOS_AGENT=$binary exec unshare -Urm sh -c "$registered"' && exec "$@"' "$rule" "$program" "$@" $tests
fi

echo "$arch: $qemu, by a wrapper"
for guarded in process::a_paused_process_goes_on_at_the_end_at_a_stop_and_after_kill_9 \
    operate::one_fault_by_hand_is_reverted_when_it_is_interrupted page::a_victim_cannot_write_into_the_page; do
    leave_out "$guarded" "nothing can start the guard"
done
wrapper=$(mktemp -d)
trap 'rm -rf "$wrapper"' EXIT
printf '#!/bin/sh\nexec %s %s "$@"\n' "$qemu" "$binary" >"$wrapper/chaos-agent"
chmod 755 "$wrapper/chaos-agent"
# shellcheck disable=SC2086
CHAOS_AGENT=$wrapper/chaos-agent "$program" "$@" $tests
