# Sourced by every target's script here; no program. Such a script is called by `cargo xtask bench` as
#
#   TARGET.sh up|remount|down
#
# with MNT (where to mount), BASE (the only directory that it may fill), TOOLS (what was built for it) and PROGRAMS
# (executables of this project). It defines target_up, mount_client and target_down, and ends with `dispatch "$@"`.
# Only processes whose number is in a file below BASE are ever stopped. All traffic is on the loopback interface.
set -u
export LC_ALL=C

die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { echo "${0##*/}: $*" >&2; }

mounted() { grep -qs " $MNT " /proc/self/mounts; }
unmount() { # a busy mount is given five seconds, then it is detached, and that is said
	local i
	for i in 1 2 3 4 5 6 7 8 9 10; do mounted || return 0; umount "$MNT" 2>/dev/null || sleep 0.5; done
	mounted && { say "detaching $MNT, which is still in use"; umount -l "$MNT"; }
	return 0
}
# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
	local left=$(($1 * 5)); shift
	while [ $((left -= 1)) -ge 0 ]; do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
	return 1
}
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# background NAME COMMAND...: a daemon with its output in NAME.log and its number in NAME.pid
background() {
	local name=$1; shift
	(cd /; exec "$@" >>"$BASE/$name.log" 2>&1 </dev/null) &
	echo $! >"$BASE/$name.pid"
}
log_of() { tail -n 5 "$BASE/$1.log" 2>/dev/null; }
# stop FILE [SECONDS]: the process whose number is in the file: TERM, then KILL
stop() {
	local pid left=$((${2:-10} * 10))
	[ -s "$1" ] || return 0
	read -r pid <"$1"
	kill "$pid" 2>/dev/null
	while kill -0 "$pid" 2>/dev/null; do
		[ $((left -= 1)) -ge 0 ] || { kill -9 "$pid" 2>/dev/null; sleep 0.2; break; }
		sleep 0.1
	done
	rm -f "$1"
}
dispatch() {
	: "${MNT:?}" "${BASE:?}" "${TOOLS:?}" "${PROGRAMS:?}"
	case ${1:-} in
	up) mkdir -p "$BASE" "$MNT" && target_up && mount_client || die "did not come up" ;;
	remount) unmount; stop "$BASE/mount.pid"; mount_client || die "does not mount again" ;;
	down) unmount; stop "$BASE/mount.pid"; [ -d "$BASE" ] && target_down; rm -rf "$BASE" ;;
	*) die "up, remount or down?" ;;
	esac
}
