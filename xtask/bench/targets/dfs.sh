#!/bin/bash
# This project: a coordinator and three datanodes, each a process of its own, three copies, every option at its default.
. "${0%/*}/target.sh"
PORT=7460
SOURCE=dfs://127.0.0.1:$PORT/default
server() { background "$1" "$PROGRAMS/dfs-server" "${@:2}" --metrics-listen off --init; }
target_up() {
	server coordinator coordinator --data-dir "$BASE/coordinator" --listen 127.0.0.1:$PORT --replication 3
	local i
	for i in 1 2 3; do
		server datanode$i datanode --data-dir "$BASE/datanode$i" --listen 127.0.0.1:$((PORT + i)) --coordinator 127.0.0.1:$PORT
	done
	wait_for 60 "$PROGRAMS/dfs" status "$SOURCE" || die "not healthy: $(log_of coordinator; log_of datanode1)"
}
mount_client() { "$PROGRAMS/dfs" mount "$SOURCE" "$MNT" -o allow_other --log "$BASE/mount.log"; }
target_down() {
	local name
	for name in datanode1 datanode2 datanode3 coordinator; do stop "$BASE/$name.pid" 20; done
}
dispatch "$@"
