#!/bin/bash
# CephFS: one monitor, one manager, three OSDs (BlueStore, each on a zero-filled file, so that its direct writes overwrite
# allocated blocks as on a raw disk), one MDS, ceph-fuse; size 3, min_size 2; 1 GiB of memory for each OSD. Without
# cephx, which spares it some CPU time.
#   OSD_GB   size of each OSD's file
. "${0%/*}/target.sh"
OSD_GB=${OSD_GB:-4}
CONF=$BASE/ceph.conf
ceph_() { timeout 60 ceph -c "$CONF" --connect-timeout 20 "$@"; }
configure() {
	mkdir -p "$BASE"/{mon,mgr,mds,run,log,osd0,osd1,osd2}
	FSID=$(cat /proc/sys/kernel/random/uuid)
	cat >"$CONF" <<-X
	[global]
	fsid = $FSID
	mon host = [v2:127.0.0.1:3300/0,v1:127.0.0.1:6789/0]
	public addr = 127.0.0.1
	cluster addr = 127.0.0.1
	ms bind ipv6 = false
	auth cluster required = none
	auth service required = none
	auth client required = none
	run dir = $BASE/run
	admin socket = $BASE/run/\$cluster-\$name.\$pid.asok
	pid file =
	log file = $BASE/log/\$cluster-\$name.log
	mon cluster log file = $BASE/log/cluster.log
	crash dir = $BASE/log
	osd pool default size = 3
	osd pool default min size = 2
	osd pool default pg num = 16
	osd pool default pgp num = 16
	osd pool default pg autoscale mode = off
	osd crush chooseleaf type = 0
	mon data avail warn = 5
	mon data avail crit = 2
	auth allow insecure global id reclaim = false
	[mon]
	mon data = $BASE/mon
	[mgr]
	mgr data = $BASE/mgr
	mgr initial modules =
	[osd]
	osd data = $BASE/osd\$id
	osd objectstore = bluestore
	osd memory target = $((1 << 30))
	osd class update on start = false
	bluestore block size = $((OSD_GB << 30))
	bluestore block create = true
	[mds]
	mds data = $BASE/mds
	mds cache memory limit = $((1 << 30))
	[client]
	admin socket =
	X
}
start_osd() {
	local uuid
	uuid=$(cat /proc/sys/kernel/random/uuid)
	ceph_ osd new "$uuid" >/dev/null || die "osd new fails"
	dd if=/dev/zero of="$BASE/osd$1/block" bs=4M count=$((OSD_GB * 256)) oflag=direct status=none || die "no space for the OSDs"
	ceph-osd -i "$1" --mkfs --osd-uuid "$uuid" -c "$CONF" >>"$BASE/osd$1.log" 2>&1 || die "no OSD: $(log_of osd$1)"
	background osd$1 ceph-osd -f -i "$1" -c "$CONF"
}
osds_up() { ceph_ osd stat | grep -q '3 up'; }
mds_active() { ceph_ mds stat | grep -q 'up:active'; }
clean() { ceph_ pg stat | grep -q 'active+clean' && ! ceph_ pg stat | grep -qE 'peering|unknown|degraded|undersized|creating'; }
target_up() {
	ulimit -n "$(ulimit -Hn)"
	configure
	monmaptool --create --fsid "$FSID" --addv a '[v2:127.0.0.1:3300,v1:127.0.0.1:6789]' "$BASE/monmap" >/dev/null || die "no monmap"
	ceph-mon --mkfs -i a -c "$CONF" --monmap "$BASE/monmap" || die "no monitor"
	background mon ceph-mon -f -i a -c "$CONF"
	wait_for 60 ceph_ mon stat || die "the monitor does not answer: $(log_of mon)"
	background mgr ceph-mgr -f -i x -c "$CONF"
	local i
	for i in 0 1 2; do start_osd $i; done
	wait_for 60 osds_up || die "not all three OSDs are up: $(log_of osd0)"
	ceph_ osd pool create cephfs_data 32 32 >/dev/null && ceph_ osd pool create cephfs_metadata 16 16 >/dev/null || die "no pools"
	ceph_ fs new cephfs cephfs_metadata cephfs_data >/dev/null || die "no file system"
	background mds ceph-mds -f -i a -c "$CONF"
	wait_for 60 mds_active || die "no MDS: $(log_of mds)"
	wait_for 60 clean || say "its placement groups are not clean yet: $(ceph_ -s)"
}
mount_client() {
	background mount ceph-fuse -f -c "$CONF" -n client.admin "$MNT"
	wait_for 40 mounted && wait_for 20 stat "$MNT"
}
target_down() {
	local name
	for name in mds osd0 osd1 osd2 mgr mon; do stop "$BASE/$name.pid" 15; done
}
dispatch "$@"
