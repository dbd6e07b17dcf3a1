#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the library exports is what its symbols file lists: nothing is lost by
# accident, and nothing becomes a promise by accident.
#
# symbols-test.sh LIBRARY SYMBOLS-FILE
set -eu
exported=$(nm --dynamic --defined-only "$1" |
           awk '$3 !~ /^(__odr_asan|_init$|_fini$|_edata$|_end$|__bss_start$)/ {
                    print $3 }' | LC_ALL=C sort)
listed=$(LC_ALL=C sort "$2")
[ -n "$exported" ]
if [ "$exported" != "$listed" ]; then
    echo "exported, and not what $2 lists:"
    printf '%s\n' "$exported" | diff "$2" - || :
    exit 1
fi
