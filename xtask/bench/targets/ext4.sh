#!/bin/bash
# The disk itself: a plain directory, bind-mounted. One copy, no network: the limit of everything.
. "${0%/*}/target.sh"
target_up() { mkdir -p "$BASE/files"; }
mount_client() { mount --bind "$BASE/files" "$MNT"; }
target_down() { :; }
dispatch "$@"
