//! SQLite in both journal modes and PostgreSQL, killed while they work. SQLite with `synchronous=EXTRA`: with less it does not sync
//! the directory after it has removed its rollback journal, so that a commit may be rolled back when the machine dies, as
//! it may on any local file system.
use crate::Scene;
use integration::process::Process;
use integration::{patience, programs, script};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);

const SQLITE: &str = r#"
import sqlite3, sys
con = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
assert con.execute("pragma journal_mode=" + sys.argv[2]).fetchone()[0].upper() == sys.argv[2]
con.execute("pragma synchronous=EXTRA")
con.execute("create table if not exists t(worker int, n int, b blob, primary key(worker, n))")
worker = int(sys.argv[3])
n = con.execute("select coalesce(max(n), 0) from t where worker=?", (worker,)).fetchone()[0]
while True:
    n += 1
    con.execute("begin immediate")
    con.execute("insert into t values(?, ?, randomblob(700))", (worker, n))
    con.execute("commit")
    print(n, flush=True)
"#;

fn sqlite(journal: &str) {
    let mut scene = Scene::new();
    let database = scene.join("t.db");
    let mut seen = [0u64; 2];
    for round in 0..4 {
        let start = |worker: usize| {
            let mut command = Command::new("python3");
            command
                .args(["-c", SQLITE])
                .arg(&database)
                .args([journal, &worker.to_string()]);
            let log = scene.room.path().join(format!("sqlite-{round}-{worker}.log"));
            Process::start("sqlite", &mut command, &log)
        };
        let mut workers = [start(0), start(1)];
        let busy = || workers.iter().any(|worker| worker.log().lines().count() > 10);
        patience::until_true("transactions are committed", LIMIT, busy);
        std::thread::sleep(Duration::from_millis(700));
        workers.iter_mut().for_each(Process::kill);
        for (worker, seen) in workers.iter().zip(&mut seen) {
            let last = worker
                .log()
                .lines()
                .filter_map(|line| line.parse().ok())
                .next_back();
            *seen = last.unwrap_or(*seen);
        }
        if round % 2 == 1 {
            // The client dies too: only what fsync promised is left.
            scene.mount.kill_and_mount();
        }
        let ask = |question: &str| {
            let line = format!("sqlite3 -cmd '.timeout 60000' t.db '{question}'");
            script::run(scene.path(), LIMIT, &line).trim().to_owned()
        };
        assert_eq!(ask("pragma integrity_check"), "ok");
        for (worker, seen) in seen.iter().enumerate() {
            let counted = ask(&format!(
                "select count(*)||\" \"||coalesce(max(n),0) from t where worker={worker}"
            )
            .replace('"', "'\\''"));
            let (count, max) = counted.split_once(' ').unwrap();
            assert_eq!(count, max, "rows are missing in the middle");
            assert!(
                max.parse::<u64>().unwrap() >= *seen,
                "{seen} were committed, {max} are there"
            );
        }
    }
}

#[test]
fn sqlite_with_a_rollback_journal() {
    sqlite("DELETE");
}

#[test]
fn sqlite_with_a_write_ahead_log() {
    sqlite("WAL");
}

#[test]
fn postgresql_survives_sigkill_under_pgbench() {
    let mut scene = Scene::new();
    let bin = programs::debian("pg_ctl").canonicalize().unwrap();
    let bin = bin.parent().unwrap();
    let port = integration::cluster::free_ports(1)[0];
    let run = |scene: &Scene, script: &str| {
        // PostgreSQL refuses to be root.
        let head = format!(
            "export PGDATA={mount}/pg PGHOST={mount} PGPORT={port} PATH={bin}:$PATH PGDATABASE=postgres\n\
             as() {{ setpriv --reuid postgres --regid postgres --clear-groups \"$@\"; }}\n\
             up() {{ as pg_ctl -w -t 100 -s -l $PGDATA/log -o \"-k $PGHOST -c listen_addresses= -p $PGPORT\" start </dev/null >/dev/null 2>&1 || {{ tail -20 $PGDATA/log; exit 1; }}; }}\n",
            mount = scene.path().display(),
            bin = bin.display()
        );
        script::run(scene.path(), LIMIT, &(head + script))
    };
    run(
        &scene,
        "chown postgres .; as initdb -A trust --no-locale -E UTF8 >/dev/null; up; as pgbench -q -i -s 2 2>/dev/null",
    );
    run(
        &scene,
        "as psql -qc 'create table acknowledged(n int primary key)'",
    );
    let mut committed = 0;
    for round in 0..2 {
        let said = run(
            &scene,
            "as pgbench -n -c 4 -T 8 >/dev/null 2>&1 & \
             for n in $(seq 100000); do as psql -qc \"insert into acknowledged select coalesce(max(n),0)+1 from acknowledged\" 2>/dev/null || break; echo $n; done & \
             sleep 5; kill -9 $(head -1 $PGDATA/postmaster.pid); wait || true; sleep 1; pkill -9 -s $$ postgres || true",
        );
        committed += said.lines().count() as u64;
        if round == 1 {
            run(
                &scene,
                "for n in $(seq 50); do fuser -s $PGDATA/postmaster.pid || break; sleep 0.2; done",
            );
            scene.mount.kill_and_mount();
        }
        let said = run(
            &scene,
            "rm -f $PGDATA/postmaster.pid $PGHOST/.s.PGSQL.*; up; as psql -Atqc 'select count(*), max(n) from acknowledged'",
        );
        let (count, max) = said.trim().split_once('|').unwrap();
        assert_eq!(count, max);
        assert!(
            count.parse::<u64>().unwrap() >= committed,
            "{committed} were committed, {count} are there"
        );
        committed = count.parse().unwrap();
        let sums =
            "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)";
        assert_eq!(run(&scene, &format!("as psql -Atqc '{sums}'")).trim(), "t");
    }
    run(
        &scene,
        "as pg_ctl -w -m fast stop >/dev/null; as pg_checksums -D $PGDATA -c >/dev/null 2>&1 || as pg_checksums -D $PGDATA -e >/dev/null",
    );
}
