#!/bin/bash
# MooseFS 3: a master, three chunkservers, mfsmount; three copies of every chunk.
#   SAFE=0   the package's defaults: the chunkservers never sync, the master logs in the background
#   SAFE=1   HDD_FSYNC_BEFORE_CLOSE=1 on the chunkservers, CHANGELOG_SAVE_MODE=2 (a sync for each change) on the master
# Its daemons refuse addresses in 127.0.0.0/8 among themselves: moosefs_loopback.c is preloaded and shows another one.
. "${0%/*}/target.sh"
SAFE=${SAFE:-0}
SHOWN=240.0.0.1
SHIM=$TOOLS/moosefs_loopback.so
shim() { LD_PRELOAD=$SHIM "$@"; }
daemon() { local name=$1; shift; background "$name" env LD_PRELOAD="$SHIM" "$@"; }
configure() {
	mkdir -p "$BASE/etc" "$BASE/master"
	: >"$BASE/etc/topology.cfg"
	printf '* / rw,alldirs,admin,maproot=0:0\n* . rw\n' >"$BASE/etc/exports.cfg"
	cat >"$BASE/etc/master.cfg" <<-X
	WORKING_USER = mfs
	WORKING_GROUP = mfs
	DATA_PATH = $BASE/master
	EXPORTS_FILENAME = $BASE/etc/exports.cfg
	TOPOLOGY_FILENAME = $BASE/etc/topology.cfg
	MATOML_LISTEN_HOST = $SHOWN
	MATOCS_LISTEN_HOST = $SHOWN
	MATOCL_LISTEN_HOST = $SHOWN
	CHANGELOG_SAVE_MODE = $((SAFE * 2))
	X
	cp /var/lib/mfs/metadata.mfs.empty "$BASE/master/metadata.mfs"
	local i
	for i in 1 2 3; do
		mkdir -p "$BASE/server$i/var" "$BASE/server$i/disk"
		echo "~$BASE/server$i/disk" >"$BASE/etc/disk$i.cfg" # ~: the three share one disk, whose free space moves
		cat >"$BASE/etc/server$i.cfg" <<-X
		WORKING_USER = mfs
		WORKING_GROUP = mfs
		DATA_PATH = $BASE/server$i/var
		HDD_CONF_FILENAME = $BASE/etc/disk$i.cfg
		HDD_FSYNC_BEFORE_CLOSE = $SAFE
		BIND_HOST = $SHOWN
		MASTER_HOST = $SHOWN
		CSSERV_LISTEN_HOST = $SHOWN
		CSSERV_LISTEN_PORT = 94${i}2
		X
	done
	chown -R mfs:mfs "$BASE/master" "$BASE"/server?
	chmod 755 "$BASE" "$TOOLS" "$SHIM"
}
servers_up() { [ "$(shim mfscli -H $SHOWN -SCS 2>/dev/null | grep -c $'\t94[123]2\t')" = 3 ]; }
target_up() {
	gcc -O2 -shared -fPIC -o "$SHIM" "${0%/*}/moosefs_loopback.c" -ldl || die "moosefs_loopback.c does not compile"
	configure
	daemon master mfsmaster -f -c "$BASE/etc/master.cfg" start
	wait_for 20 port_open 9421 || die "no master: $(log_of master)"
	local i
	for i in 1 2 3; do daemon server$i mfschunkserver -f -c "$BASE/etc/server$i.cfg" start; done
	for i in 1 2 3; do wait_for 30 port_open 94${i}2 || die "no chunkserver: $(log_of server$i)"; done
	mount_client || die "no mount: $(log_of mount)"
	wait_for 90 servers_up || die "not all three chunkservers have registered"
	shim mfssetgoal -r 3 "$MNT" >/dev/null || die "mfssetgoal fails"
	shim mfssettrashtime -r 0 "$MNT" >/dev/null # what is removed shall be gone
}
mount_client() {
	mounted && return 0
	daemon mount mfsmount "$MNT" -f -H $SHOWN -o allow_other
	wait_for 20 mounted
}
target_down() {
	local i
	for i in 1 2 3; do stop "$BASE/server$i.pid" 20; done
	stop "$BASE/master.pid" 20
}
dispatch "$@"
