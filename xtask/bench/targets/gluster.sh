#!/bin/bash
# GlusterFS: one glusterd, three bricks, one volume with replica 3, its FUSE client; the package's defaults.
. "${0%/*}/target.sh"
VOLUME=bench
NAME=dfs-bench-gluster # it refuses the names localhost and 127.0.0.1 for bricks
gl() { timeout 60 gluster --mode=script "$@"; }
configure() {
	mkdir -p "$BASE"/{glusterd,run,log,brick1,brick2,brick3}
	grep -q " $NAME\$" /etc/hosts || printf '127.0.0.1 %s\n' "$NAME" >>/etc/hosts
	cat >"$BASE/glusterd.vol" <<-X
	volume management
	    type mgmt/glusterd
	    option working-directory $BASE/glusterd
	    option run-directory $BASE/run
	    option transport-type socket
	    option transport.socket.bind-address 127.0.0.1
	    option transport.address-family inet
	    option transport.socket.listen-port 24007
	    option ping-timeout 0
	    option event-threads 1
	    option max-port 60999
	end-volume
	X
}
bricks_up() { [ "$(gl volume status $VOLUME 2>/dev/null | grep -cE 'brick[123] .* Y +[0-9]+')" = 3 ]; }
target_up() {
	configure
	background glusterd glusterd -N -f "$BASE/glusterd.vol" -p "$BASE/run/glusterd.pid" -l "$BASE/log/glusterd.log"
	wait_for 30 gl pool list || die "no glusterd: $(tail -n 3 "$BASE/log/glusterd.log")"
	gl volume create $VOLUME replica 3 "$NAME:$BASE/brick1" "$NAME:$BASE/brick2" "$NAME:$BASE/brick3" force || die "no volume"
	gl volume set $VOLUME transport.address-family inet >/dev/null
	gl volume start $VOLUME || die "the volume does not start"
	wait_for 60 bricks_up || die "not all three bricks serve: $(gl volume status $VOLUME)"
}
mount_client() {
	background mount glusterfs -N --volfile-server=127.0.0.1 --volfile-id=$VOLUME -l "$BASE/log/mount.log" "$MNT"
	wait_for 30 mounted && wait_for 20 stat "$MNT"
}
target_down() {
	local file
	find "$BASE/run" "$BASE/glusterd" -name '*.pid' ! -name glusterd.pid 2>/dev/null | while read -r file; do stop "$file"; done
	stop "$BASE/glusterd.pid"
	grep -v " $NAME\$" /etc/hosts >"$BASE/hosts" && cat "$BASE/hosts" >/etc/hosts
	return 0
}
dispatch "$@"
