#!/bin/bash
# libfuse's example passthrough_ll over a local directory: what FUSE allows with one copy and no network. The program
# (with a hash table in place of its list of inodes) was built by `cargo xtask bench`. It keeps a descriptor per inode.
. "${0%/*}/target.sh"
target_up() { mkdir -p "$BASE/files"; }
mount_client() {
	ulimit -n "$(ulimit -Hn)"
	background mount "$TOOLS/passthrough" -f -o "cache=auto,source=$BASE/files,allow_other" "$MNT"
	wait_for 10 mounted
}
target_down() { :; }
dispatch "$@"
