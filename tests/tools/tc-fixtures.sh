#!/bin/sh
# Captures what iproute2's own tc sends to the kernel, for the unit tests of the built-in one:
#   tests/tools/tc-fixtures.sh            rewrites src/linux/tc/fixtures.txt, keeping its words
# Needs root, iproute2, strace, awk, perl. It works in a network namespace of its own, where lo is 1 and ifb0 is 2; the
# kernel may refuse what is asked (no sch_netem), the message is sent and captured all the same.
set -eu
if [ "${1-}" != inside ]; then
    cd "$(dirname "$0")/../.."
    exec unshare --net "$0" inside src/linux/tc/fixtures.txt
fi
fixtures=$2
ip link add ifb0 index 2 type ifb
trace=$(mktemp)
fresh=$(mktemp)
trap 'rm -f "$trace" "$fresh" "$fixtures.words"' EXIT
printf '# iproute2 %s. Words => the message sent (hexadecimal, sequence number zeroed) => as tc shows it\n' \
    "$(tc -V | sed 's/.*iproute2-\([^,]*\).*/\1/')" >"$fresh"
grep -v '^#' "$fixtures" | sed 's/ =>.*//' >"$fixtures.words"
while read -r words; do
    # shellcheck disable=SC2086 # the words are meant to split
    strace -o "$trace" -e trace=sendmsg -e write=all tc $words 2>/dev/null || true
    # The last message that is a change (types 0x24 to 0x2d); the others look up names.
    hex=$(awk '
        /^sendmsg/ { message = "" }
        /^ \| / { line = substr($0, 11, 49); gsub(/ /, "", line); message = message line
                  type = substr(message, 9, 4)
                  if (type >= "2400" && type <= "2d00") change = message }
        END { print substr(change, 1, 16) "00000000" substr(change, 25) }' "$trace")
    shown=
    case $words in *ifb0* | *ingress* | *' del '*) ;; *' add '*)
        # No flags; TCA_NETEM_LOSS without NLA_F_NESTED, which the kernel does not send.
        echo "$hex" | sed 's/^\(............\)..../\10000/; s/\(1[8c]00\)0580/\10500/' |
            perl -ne 'chomp; print pack "H*", $_' >"$trace"
        shown=$(tc -oneline monitor file "$trace" 2>/dev/null) ;;
    esac
    printf '%s => %s => %s\n' "$words" "$hex" "$shown" >>"$fresh"
done <"$fixtures.words"
cat "$fresh" >"$fixtures"
