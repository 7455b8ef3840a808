#!/usr/bin/env python3
"""fsbench MOUNTDIR [--json OUT] [--quick] : one fixed set of workloads for any directory.

  fsbench MOUNTDIR [--json OUT] [--quick] [--label NAME] [--note TEXT]
                   [--remount CMD] [--only RE] [--skip RE] [--repeat N]
                   [--local-disk NAME] [--hard SEC] [--daemons RE]
  fsbench --compare A.json B.json ... [--base LABEL] [--limit LABEL]... [--only RE] [--field F]   (Markdown table)
  fsbench --list

Needs: python3 (stdlib only), gcc, fio, git, tar; root for the cold rows (it
writes /proc/sys/vm/drop_caches). Everything is made in MOUNTDIR/fsbench.<pid>
and removed at the end; the tar it unpacks is made once in a scratch directory
($FSBENCH_TMP, else /var/tmp/fsbench) outside MOUNTDIR.

What every row also carries (JSON; the table shows the main ones):
  cpu_s      CPU seconds of the file system's own daemons (processes whose comm
             matches --daemons) plus fsbench and its children
  sys_cpu_s  busy CPU seconds of the WHOLE machine (/proc/stat)
  other_s    sys_cpu_s - cpu_s: kernel threads, interrupts, and other programs. When
             it is large something else ran on the machine: do not trust the row
  iowait_s   idle-with-IO-pending CPU seconds
  settle_s   how long a system-wide sync(2) took right after the phase: work the
             file system had acknowledged but not yet put on the disk
  disk_w_mb  MB written to the block device during phase + settle
  flushes    cache-flush commands the block device finished during the phase
             (a "durable" row whose flushes are far below its operations is
             either batching them or is not durable)
Nothing else should run on the machine meanwhile: the last five are system-wide.
If something must, give it nice 19 and run fsbench AND the daemons at nice -19
(`nice -n -19 fsbench ...`; daemons inherit the niceness of the shell that starts them).
"""
import argparse, json, os, random, re, shlex, shutil, signal, sqlite3, statistics
import subprocess, sys, tarfile, time, io

HERE = os.path.dirname(os.path.realpath(__file__))
TMP = os.environ.get("FSBENCH_TMP", "/var/tmp/fsbench")
VERSION = 2
MB = 1e6

# ---------------------------------------------------------------- system counters


def root_disk(path):
    """The whole-disk name behind `path`'s local file system, for /proc/diskstats."""
    try:
        dev = os.stat(path).st_dev
        link = os.path.realpath("/sys/dev/block/%d:%d" % (os.major(dev), os.minor(dev)))
        if os.path.exists(link + "/partition"):
            link = os.path.dirname(link)
        return os.path.basename(link) if os.path.exists(link) else None
    except OSError:
        return None


DISK = None
DAEMONS = re.compile(r"^(mfs|gluster|ceph-|passthrough_ll|bindfs|sshfs|sftp-server|loop\d)")


def own_ticks():
    """{pid: utime+stime of a matching daemon}, plus our own children under key 0."""
    own = {}
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open("/proc/%s/stat" % pid) as f:
                    s = f.read()
            except OSError:
                continue
            i, k = s.index("("), s.rindex(")")
            if DAEMONS.search(s[i + 1:k]):
                q = s[k + 2:].split()
                own[int(pid)] = int(q[11]) + int(q[12])
    t = os.times()
    own[0] = (t.user + t.system + t.children_user + t.children_system) * os.sysconf("SC_CLK_TCK")
    return own


def own_delta(a, b):
    return sum(v - a.get(p, 0) for p, v in b.items()) / os.sysconf("SC_CLK_TCK")


def counters():
    t = time.monotonic()
    f = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    hz = os.sysconf("SC_CLK_TCK")
    c = {"t": t, "own": own_ticks(), "cpu": (f[0] + f[1] + f[2] + f[5] + f[6]) / hz, "iowait": f[4] / hz,
         "steal": f[7] / hz, "w": 0, "r": 0, "fl": 0}
    for line in open("/proc/diskstats"):
        p = line.split()
        if p[2] == DISK:
            c["r"], c["w"] = int(p[5]) * 512, int(p[9]) * 512
            c["fl"] = int(p[18]) if len(p) > 18 else 0
    return c


def sync():
    t = time.monotonic()
    os.sync()
    return time.monotonic() - t


CAN_DROP = True


def drop_caches():
    global CAN_DROP
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
    except OSError:
        CAN_DROP = False
    time.sleep(0.2)


# ---------------------------------------------------------------- running things


class Failed(Exception):
    pass


def run(cmd, timeout, cwd=None, env=None, ok=(0,), stdout=subprocess.PIPE):
    p = subprocess.Popen(cmd, stdout=stdout, stderr=subprocess.PIPE, cwd=cwd, env=env,
                         start_new_session=True, text=True)
    try:
        out, err = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except OSError:
            pass
        try:
            p.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            pass
        raise Failed("over %d s" % timeout)
    if p.returncode not in ok:
        raise Failed("%s: exit %d: %s" % (os.path.basename(cmd[0]), p.returncode,
                                          ((err or "") + (out or ""))[-300:].strip()))
    return out


def build_mdloop():
    os.makedirs(TMP, exist_ok=True)
    src, out = os.path.join(HERE, "mdloop.c"), os.path.join(TMP, "mdloop")
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
        run(["gcc", "-O2", "-o", out + ".tmp", src, "-lpthread"], 120)
        os.replace(out + ".tmp", out)
    return out


def mdloop(mode, timeout=150, **kw):
    cmd = [MDLOOP, mode]
    for k, v in kw.items():
        cmd += ["--" + k, str(v)]
    out = run(cmd, timeout, ok=(0, 1))
    try:
        j = json.loads(out)
    except ValueError:
        raise Failed("mdloop %s: no result: %r" % (mode, out[-200:]))
    if j.get("errno"):
        raise Failed("mdloop %s: %s" % (mode, j.get("error")))
    if j.get("bad"):
        raise Failed("mdloop %s: WRONG DATA in %d places" % (mode, j["bad"]))
    return j


def fio(file, rw, size, secs, jobs=1, **kw):
    cmd = ["fio", "--name=f", "--filename=" + file, "--rw=" + rw, "--bs=4k", "--ioengine=psync", "--thread",
           "--numjobs=%d" % jobs, "--group_reporting", "--size=%d" % size, "--runtime=%g" % secs, "--time_based",
           "--invalidate=0", "--norandommap", "--fallocate=none", "--randseed=4711", "--output-format=json"]
    cmd += ["--%s=%s" % kv for kv in kw.items()]
    out = run(cmd, secs + 60, cwd=TMP)
    j = json.loads(out[out.index("{"):])["jobs"][0]
    if j.get("error"):
        raise Failed("fio: error %s" % j["error"])
    d = j["read" if "read" in rw else "write"]
    pc = d["clat_ns"].get("percentile", {})
    x = {"p50_us": pc.get("50.000000", 0) / 1e3, "p99_us": pc.get("99.000000", 0) / 1e3, "ios": d["total_ios"]}
    s = j.get("sync", {}).get("lat_ns", {}).get("percentile")
    if s:
        x["sync_p50_us"], x["sync_p99_us"] = s.get("50.000000", 0) / 1e3, s.get("99.000000", 0) / 1e3
    return d["iops"], x


# ---------------------------------------------------------------- the tar


WORDS = ("int static struct return const void char unsigned size buffer offset inode page lock list head node "
         "entry cache block index error flags data name path file length count state client server chunk if else "
         "for while break continue switch case default goto out free alloc read write open close sync").split()


def make_tar(files):
    """A deterministic source-like tree: ~files files, ~12 KB mean (60 MB for 5,000), lognormal sizes."""
    path = os.path.join(TMP, "tree-v1-%d.tar" % files)
    if os.path.exists(path):
        return path
    r = random.Random(20240229)
    lines = ["".join(("\t" * r.randint(0, 3), " ".join(r.choices(WORDS, k=r.randint(2, 9))), ";\n")) for _ in range(4000)]
    ndirs = max(8, files // 16)
    dirs = ["t"]
    for i in range(ndirs):
        parent = r.choice(dirs)
        if parent.count("/") > 5:
            parent = "t"
        dirs.append("%s/%s%d" % (parent, r.choice(WORDS), i))
    with tarfile.open(path + ".tmp", "w", format=tarfile.GNU_FORMAT) as t:
        def add(name, data, mode=0o644):
            ti = tarfile.TarInfo(name)
            ti.mtime, ti.mode, ti.uid, ti.gid = 1700000000, mode, 0, 0
            if data is None:
                ti.type, ti.mode = tarfile.DIRTYPE, 0o755
                t.addfile(ti)
            else:
                ti.size = len(data)
                t.addfile(ti, io.BytesIO(data))
        for d in dirs:
            add(d, None)
        for i in range(files):
            want = min(1 << 20, int(r.lognormvariate(8.55, 1.3)))
            if i % 97 == 0:
                data = r.randbytes(want)              # some that do not compress
            else:
                parts, got = ["/* %d */\n" % i], 8
                while got < want:
                    s = r.choice(lines)
                    parts.append(s)
                    got += len(s)
                data = "".join(parts).encode()[:max(want, 9)]
            add("%s/%s_%d.c" % (r.choice(dirs), r.choice(WORDS), i), data, 0o755 if i % 50 == 0 else 0o644)
    os.replace(path + ".tmp", path)
    return path


# ---------------------------------------------------------------- the bench


ROWS = [  # id, unit, better, title
    ("seq_write", "MB/s", "high", "seq write, 1 MiB blocks, fsync at end"),
    ("seq_read_cold", "MB/s", "high", "seq read, page cache dropped"),
    ("seq_read_warm", "MB/s", "high", "seq read, 2nd time"),
    ("seq_read_cold2", "MB/s", "high", "seq read after client remount + drop"),
    ("randread_1t", "IOPS", "high", "random read 4 KiB, 1 thread, cold start"),
    ("randread_8t", "IOPS", "high", "random read 4 KiB, 8 threads, cold start"),
    ("randwrite_dsync_1t", "IOPS", "high", "random write 4 KiB + fdatasync each, 1 thread"),
    ("randwrite_dsync_8t", "IOPS", "high", "random write 4 KiB + fdatasync each, 8 threads"),
    ("randwrite_nosync", "IOPS", "high", "random write 4 KiB, one fsync at the end"),
    ("append_fsync_p50", "ms", "low", "append 128 B + fsync, p50"),
    ("append_fsync_p99", "ms", "low", "append 128 B + fsync, p99"),
    ("sqlite_tx", "tx/s", "high", "sqlite insert tx (journal DELETE, sync FULL)"),
    ("small_create_1p", "files/s", "high", "create 4 KiB files, 1 proc"),
    ("small_stat_cold", "ops/s", "high", "stat all, cold, 1 proc"),
    ("small_stat_warm", "ops/s", "high", "stat all, 2nd time"),
    ("small_read_cold", "files/s", "high", "read all, cold, 1 proc"),
    ("small_walk_cold", "ops/s", "high", "readdir + lstat walk, cold"),
    ("small_walk_warm", "ops/s", "high", "readdir + lstat walk, 2nd time"),
    ("small_rename", "ops/s", "high", "rename all, 1 proc"),
    ("small_delete_1p", "ops/s", "high", "delete all, 1 proc"),
    ("small_create_8p", "files/s", "high", "create 4 KiB files, 8 procs"),
    ("small_stat_cold_8p", "ops/s", "high", "stat all, cold, 8 procs"),
    ("small_read_cold_8p", "files/s", "high", "read all, cold, 8 procs"),
    ("small_delete_8p", "ops/s", "high", "delete all, 8 procs"),
    ("md_mkdir_1p", "ops/s", "high", "mkdir, 1 proc"),
    ("md_rmdir_1p", "ops/s", "high", "rmdir, 1 proc"),
    ("md_create_1p", "ops/s", "high", "create empty, 1 proc"),
    ("md_unlink_1p", "ops/s", "high", "unlink empty, 1 proc"),
    ("md_mkdir_8p", "ops/s", "high", "mkdir, 8 procs"),
    ("md_rmdir_8p", "ops/s", "high", "rmdir, 8 procs"),
    ("md_create_8p", "ops/s", "high", "create empty, 8 procs"),
    ("md_unlink_8p", "ops/s", "high", "unlink empty, 8 procs"),
    ("md_create_shared_8p", "ops/s", "high", "create empty, 8 procs, ONE directory"),
    ("untar", "s", "low", "untar the source tree"),
    ("git_add_commit", "s", "low", "git init + add -A + commit"),
    ("git_status_cold", "s", "low", "git status, cold"),
    ("git_status_warm", "s", "low", "git status, 2nd time"),
    ("rm_rf", "s", "low", "rm -rf of tree and repository"),
]
META = {r[0]: r for r in ROWS}


def wanted(a, id):
    return all(re.search(only, id) for only in a.only or []) and not (a.skip and re.search(a.skip, id))


class Bench:
    def __init__(self, a):
        self.a, self.q = a, a.quick
        self.results, self.t0 = {}, time.monotonic()
        self.hard = a.hard or (150 if a.quick else 540)
        self.work = None

    def want(self, *ids):
        return any(wanted(self.a, i) for i in ids)

    def put(self, id, value, c0, c1, c2, extra=None):
        r = self.results.setdefault(id, {"samples": [], "extra": []})
        r["samples"].append(value)
        own, busy = own_delta(c0["own"], c1["own"]), c1["cpu"] - c0["cpu"]
        e = {"secs": round(c1["t"] - c0["t"], 4), "cpu_s": round(own, 3), "sys_cpu_s": round(busy, 3),
             "other_s": round(max(0, busy - own), 3),
             "iowait_s": round(c1["iowait"] - c0["iowait"], 3), "steal_s": round(c1["steal"] - c0["steal"], 3),
             "settle_s": round(c2["t"] - c1["t"], 4), "settle_cpu_s": round(own_delta(c1["own"], c2["own"]), 3),
             "disk_w_mb": round((c2["w"] - c0["w"]) / MB, 2), "disk_r_mb": round((c1["r"] - c0["r"]) / MB, 2),
             "flushes": c1["fl"] - c0["fl"]}
        e.update(extra or {})
        r["extra"].append(e)
        print("  %-20s %12s %-8s %6.2f s  cpu %5.2f + other %5.2f  settle %5.2f s  disk w %7.1f MB  flushes %d"
              % (id, fmt(value), META[id][1], e["secs"], e["cpu_s"], e["other_s"], e["settle_s"], e["disk_w_mb"], e["flushes"]),
              file=sys.stderr, flush=True)

    def phase(self, ids, fn, before=None):
        """fn() -> {id: (value, extra)} or (value, extra) for one id. Counters are taken around it."""
        ids = [ids] if isinstance(ids, str) else ids
        if not self.want(*ids):
            return None
        if time.monotonic() - self.t0 > self.hard:
            for i in ids:
                self.results.setdefault(i, {"samples": [], "extra": []})["note"] = "not run: out of time"
            return None
        try:
            if before:
                before()
            c0 = counters()
            v = fn()
            c1 = counters()
            os.sync()
            c2 = counters()
        except (Failed, OSError, sqlite3.Error) as e:
            for i in ids:
                self.results.setdefault(i, {"samples": [], "extra": []})["note"] = "failed: %s" % e
            print("  %-20s FAILED: %s" % (ids[0], e), file=sys.stderr, flush=True)
            return None
        if not isinstance(v, dict):
            v = {ids[0]: v}
        for i, (val, ex) in v.items():
            self.put(i, val, c0, c1, c2, ex)
        return v

    def d(self, *p):
        return os.path.join(self.work, *p)

    # -------- groups

    def big(self):
        size = (256 if self.q else 1024) << 20
        f = self.d("big")
        secs = 2 if self.q else 5
        need_big = [r[0] for r in ROWS if r[0].startswith(("seq_", "rand"))]
        if not self.want(*need_big):
            return
        cap = 30 if self.q else 75

        def seqw():
            j = mdloop("seqw", 200, file=f, size=size, cap=cap)
            return j["mb_s"], {k: j[k] for k in ("bytes", "io_secs", "fsync_secs", "close_secs")}
        if not self.want("seq_write"):
            mdloop("seqw", 300, file=f, size=size, cap=cap)
        elif self.phase("seq_write", seqw) is None:
            return
        size = os.path.getsize(f) >> 20 << 20

        def seqr():
            j = mdloop("seqr", 200, file=f, size=size, cap=cap)
            return j["mb_s"], {"bytes": j["bytes"]}
        self.phase("seq_read_cold", seqr, drop_caches)
        for _ in range(1 if self.q else 3):
            self.phase("seq_read_warm", seqr)
        if self.a.remount:
            def cold2():
                self.remount()
                drop_caches()
            self.phase("seq_read_cold2", seqr, cold2)
        self.phase("randread_1t", lambda: fio(f, "randread", size, secs), drop_caches)
        self.phase("randread_8t", lambda: fio(f, "randread", size, secs, 8), drop_caches)
        self.phase("randwrite_dsync_1t", lambda: fio(f, "randwrite", size, secs, fdatasync=1))
        self.phase("randwrite_dsync_8t", lambda: fio(f, "randwrite", size, secs, 8, fdatasync=1))

        def rw():
            j = mdloop("rwrite", 120, file=f, bs=4096, n=4096 if self.q else 16384, cap=10)
            return j["per_s"], {k: j[k] for k in ("ops", "p50_us", "p99_us", "io_secs", "fsync_secs")}
        self.phase("randwrite_nosync", rw)
        os.unlink(f)
        os.sync()

    def remount(self):
        os.chdir("/")
        run(["sh", "-c", self.a.remount], 90, stdout=subprocess.DEVNULL)
        if not os.path.isdir(self.work):
            raise Failed("after --remount the work directory is gone")

    def durable(self):
        n = 100 if self.q else 300

        def app():
            j = mdloop("append", 90, file=self.d("append.log"), size=128, n=n, cap=15)
            x = {"ops": j["ops"], "max_ms": j["max_us"] / 1e3}
            return {"append_fsync_p50": (j["p50_us"] / 1e3, x), "append_fsync_p99": (j["p99_us"] / 1e3, x)}
        self.phase(["append_fsync_p50", "append_fsync_p99"], app)

        def sq():
            db = self.d("t.db")
            con = sqlite3.connect(db, isolation_level=None, timeout=30)
            con.execute("pragma journal_mode=DELETE")
            con.execute("pragma synchronous=FULL")
            con.execute("create table if not exists t(id integer primary key, a text, b blob)")
            N, t = (60 if self.q else 200), time.monotonic()
            done = 0
            for i in range(N):
                con.execute("begin immediate")
                con.execute("insert into t(a,b) values(?,?)", ("row %d" % i, b"x" * 200))
                con.execute("commit")
                done += 1
                if time.monotonic() - t > 25:
                    break
            t = time.monotonic() - t
            if con.execute("pragma integrity_check").fetchone()[0] != "ok":
                raise Failed("sqlite integrity_check")
            if con.execute("select count(*) from t").fetchone()[0] != done:
                raise Failed("sqlite: wrong row count")
            con.close()
            os.unlink(db)
            return done / t, {"tx": done}
        self.phase("sqlite_tx", sq)

    # Creates first, reads next, deletes last: an ext4 WITHOUT a journal (as on some virtual machines) does not reuse a
    # deleted inode for 60 s (360 s while its inode table block is dirty) and searches past the deleted ones at every
    # create, which makes any create phase after a mass delete many times slower.

    def sm(self, procs):
        return dict(dir=self.d("s%d" % procs), procs=procs, n=1000 if self.q else 5000, dirs=50, size=4096)

    def small_go(self, mode, procs, **more):
        if mode != "fcreate":
            if procs not in self.made:
                raise Failed("the files were not made")
            more.update(limits=",".join(str(v) for v in self.made[procs]), cap=60)
        j = mdloop(mode, 200, **self.sm(procs), **more)
        if mode == "fcreate":
            self.made[procs] = j["per_proc"]
        return j["per_s"], {k: j[k] for k in ("ops", "p50_us", "p99_us", "max_us")}

    def small_create(self):
        self.made = {}
        for procs, tail in ((1, "_1p"), (8, "_8p")):
            if not any(self.want(r[0]) for r in ROWS if r[0].startswith("small_") and r[0].endswith("_8p") == (procs == 8)):
                continue
            os.mkdir(self.sm(procs)["dir"])
            cap = 8 if self.q else 30
            if self.want("small_create" + tail):
                self.phase("small_create" + tail, lambda: self.small_go("fcreate", procs, cap=cap))
            else:
                self.small_go("fcreate", procs, cap=cap)

    def small_use(self):
        if 1 in self.made:
            self.phase("small_stat_cold", lambda: self.small_go("fstat", 1), drop_caches)
            self.phase("small_stat_warm", lambda: self.small_go("fstat", 1))
            self.phase("small_read_cold", lambda: self.small_go("fread", 1), drop_caches)

            def walk():
                j = mdloop("walk", 120, dir=self.sm(1)["dir"])
                if j["ops"] < sum(self.made[1]):
                    raise Failed("walk saw %d of %d entries" % (j["ops"], sum(self.made[1])))
                return j["per_s"], {"ops": j["ops"]}
            self.phase("small_walk_cold", walk, drop_caches)
            for _ in range(3):
                self.phase("small_walk_warm", walk)
        if 8 in self.made:
            self.phase("small_stat_cold_8p", lambda: self.small_go("fstat", 8), drop_caches)
            self.phase("small_read_cold_8p", lambda: self.small_go("fread", 8), drop_caches)

    def small_delete(self):
        if 1 in self.made and self.want("small_rename", "small_delete_1p"):
            if self.want("small_rename"):
                self.phase("small_rename", lambda: self.small_go("frename", 1))
            else:
                self.small_go("frename", 1)
            self.phase("small_delete_1p", lambda: self.small_go("funlink", 1))
        if 8 in self.made and self.want("small_delete_8p"):
            self.small_go("frename", 8)
            self.phase("small_delete_8p", lambda: self.small_go("funlink", 8))

    MD = (("dir", 1, "mkdir_1p", "rmdir_1p"), ("file", 1, "create_1p", "unlink_1p"), ("dir", 8, "mkdir_8p", "rmdir_8p"),
          ("file", 8, "create_8p", "unlink_8p"), ("shared", 8, "create_shared_8p", None))

    def md_create(self):
        self.md = []
        n1, cap = (500 if self.q else 2000), (2 if self.q else 4)
        for kind, procs, mk, rm in self.MD:
            if not self.want("md_" + mk, "md_" + (rm or mk)):
                continue
            for rep in range(3):
                d = self.d("md_%s_%d" % (mk, rep))
                os.mkdir(d)
                kw = dict(dir=d, procs=procs, n=n1 // (1 if procs == 1 else 4), cap=cap)
                out = {}

                def one():
                    j = mdloop("mk_" + kind, 60, **kw)
                    out.update(j)
                    return j["per_s"], {k: j[k] for k in ("ops", "p50_us", "p99_us", "max_us")}
                if self.want("md_" + mk):
                    # The passthrough keeps a descriptor for each inode that the kernel knows: let it forget.
                    self.phase("md_" + mk, one, drop_caches)
                else:
                    one()
                if not out:
                    break
                self.md.append((kind, rm, dict(kw, limits=",".join(str(v) for v in out["per_proc"]), cap=30)))
                if out["secs"] > 0.8:
                    break

    def md_delete(self):
        for kind, rm, kw in self.md:
            if rm:
                def one():
                    j = mdloop("rm_" + kind, 60, **kw)
                    return j["per_s"], {k: j[k] for k in ("ops", "p50_us", "p99_us", "max_us")}
                self.phase("md_" + rm, one)

    def timed(self, *cmds):
        env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_COUNT="1",
                   GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*", GIT_TERMINAL_PROMPT="0", LC_ALL="C",
                   GIT_AUTHOR_DATE="1700000000 +0000", GIT_COMMITTER_DATE="1700000000 +0000")

        def f():
            t = time.monotonic()
            out = ""
            for c in cmds:
                out = run(c, 60 if self.q else 150, cwd=self.d("tree"), env=env)
            if cmds[-1][-1] == "--porcelain" and out.strip():
                raise Failed("git status is not clean: " + out[:100])
            return time.monotonic() - t, {}
        return f

    GIT = ["git", "-c", "user.name=b", "-c", "user.email=b@b", "-c", "gc.auto=0", "-c", "maintenance.auto=false",
           "-c", "init.defaultBranch=main"]

    def tree_create(self):
        g = self.GIT
        if not self.want("untar", "git_add_commit", "git_status_cold", "git_status_warm", "rm_rf"):
            return
        tar = make_tar(1000 if self.q else 5000)
        drop_caches()
        os.mkdir(self.d("tree"))
        with open(tar, "rb") as f:        # the tar itself comes from the page cache
            while f.read(1 << 20):
                pass
        if self.want("untar"):
            self.phase("untar", self.timed(["tar", "xf", tar]))
        else:
            self.timed(["tar", "xf", tar])()
        add = self.timed(g + ["init", "-q"], g + ["add", "-A"], g + ["commit", "-qm", "x"])
        if self.want("git_add_commit"):
            self.committed = self.phase("git_add_commit", add) is not None
        elif self.want("git_status_cold", "git_status_warm"):
            add()
            self.committed = True

    def tree_use(self):
        st = self.GIT + ["status", "--porcelain"]
        if self.committed:
            self.phase("git_status_cold", self.timed(st), drop_caches)
            for _ in range(1 if self.q else 3):
                self.phase("git_status_warm", self.timed(st))

    def tree_delete(self):
        def rm():
            t = time.monotonic()
            run(["rm", "-rf", self.d("tree")], 60 if self.q else 150, cwd="/")
            return time.monotonic() - t, {}
        if os.path.isdir(self.d("tree")):
            self.phase("rm_rf", rm)

    def main(self):
        global MDLOOP
        MDLOOP = build_mdloop()
        if self.want("untar", "git_add_commit"):
            make_tar(1000 if self.q else 5000)
        os.sync()
        for rep in range(self.a.repeat):
            self.work = os.path.join(os.path.abspath(self.a.dir), "fsbench.%d.%d" % (os.getpid(), rep))
            self.t0 = time.monotonic()
            os.mkdir(self.work)
            try:
                self.made, self.md, self.committed = {}, [], False
                for grp in (self.big, self.durable, self.small_create, self.md_create, self.tree_create,
                            self.small_use, self.tree_use, self.small_delete, self.md_delete, self.tree_delete):
                    try:
                        grp()
                    except (Failed, OSError) as e:
                        print("  group %s broke off: %s" % (grp.__name__, e), file=sys.stderr)
            finally:
                t = time.monotonic()
                try:
                    run(["rm", "-rf", self.work], 120, cwd="/")
                except Failed as e:
                    print("  clean-up: %s" % e, file=sys.stderr)
                print("  pass %d: %.0f s" % (rep + 1, time.monotonic() - self.t0), file=sys.stderr)
        return self.summary()

    def summary(self):
        out = []
        for id, unit, better, title in ROWS:
            r = self.results.get(id)
            if not r:
                continue
            row = {"id": id, "title": title, "unit": unit, "better": better, "value": None, "samples": [round(x, 4) for x in r["samples"]]}
            if r["samples"]:
                row["value"] = round(statistics.median(r["samples"]), 4)
                for k in ("secs", "cpu_s", "sys_cpu_s", "other_s", "iowait_s", "steal_s", "settle_s", "settle_cpu_s", "disk_w_mb", "disk_r_mb", "flushes"):
                    row[k] = round(statistics.median(e[k] for e in r["extra"]), 4)
                row["detail"] = [{k: v for k, v in e.items() if k not in row} for e in r["extra"]]
            if r.get("note"):
                row["note"] = r["note"]
            out.append(row)
        return out


def fmt(v):
    if v is None:
        return "-"
    return "%.0f" % v if v >= 100 else "%.1f" % v if v >= 10 else "%.2f" % v if v >= 1 else "%.3f" % v


def table(rows):
    print("%-48s %10s %-8s %7s %7s %7s %8s %9s %8s" % ("workload", "median", "unit", "cpu s", "other", "iowait", "settle s", "disk w MB", "flushes"))
    for r in rows:
        if r["value"] is None:
            print("%-48s %10s %-8s %s" % (r["title"][:48], "-", r["unit"], r.get("note", "")))
            continue
        print("%-48s %10s %-8s %7.2f %7.2f %7.2f %8.2f %9.1f %8d %s" % (
            r["title"][:48], fmt(r["value"]), r["unit"], r["cpu_s"], r["other_s"], r["iowait_s"], r["settle_s"], r["disk_w_mb"], r["flushes"],
            r.get("note", "")))


def compare_field(files, field, only):
    """Markdown of one of the other per-row fields (cpu_s, settle_s, disk_w_mb, flushes, ...), medians per label."""
    runs, order = {}, []
    for f in files:
        j = json.load(open(f))
        if j["label"] not in order:
            order.append(j["label"])
        for r in j["rows"]:
            if r.get(field) is not None:
                runs.setdefault(r["id"], {}).setdefault(j["label"], []).append(r[field])
    print("| workload (%s) | " % field + " | ".join(order) + " |")
    print("|" + "---|" * (len(order) + 1))
    for id, unit, better, title in ROWS:
        if id in runs and (not only or re.search(only, id)):
            print("| %s | %s |" % (title, " | ".join(fmt(statistics.median(runs[id][l])) if runs[id].get(l) else "-" for l in order)))


def compare(files, base, only, limits):
    """Markdown: rows = workloads, columns = labels (runs with one label are pooled and their median taken);
    (xN) is how many times better (>1) or worse (<1) than the base column; ** marks the best column that is neither
    the base nor a --limit."""
    runs, order = {}, []
    for f in files:
        j = json.load(open(f))
        l = j["label"]
        if l not in runs:
            order.append(l)
        for r in j["rows"]:
            runs.setdefault(l, {}).setdefault(r["id"], []).extend([r["value"]] if r["value"] is not None else [])
    base = base or order[0]
    print("| workload | unit | " + " | ".join(order) + " |")
    print("|" + "---|" * (len(order) + 2))
    for id, unit, better, title in ROWS:
        if only and not re.search(only, id):
            continue
        val = {l: statistics.median(runs[l][id]) for l in order if runs[l].get(id)}
        if not val:
            continue
        good = (lambda a, b: a / b if b else 0) if better == "high" else (lambda a, b: b / a if a else 0)
        cands = [l for l in val if l != base and l not in limits]
        best = max(cands, key=lambda l: val[l] if better == "high" else -val[l]) if cands else None
        cells = []
        for l in order:
            if l not in val:
                cells.append("-")
                continue
            s = fmt(val[l])
            if l != base and base in val:
                s += " (x%s)" % ("%.2g" % good(val[l], val[base]))
            cells.append("**%s**" % s if l == best else s)
        print("| %s | %s | %s |" % (title, unit, " | ".join(cells)))


def main():
    global DISK, DAEMONS
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", nargs="?")
    p.add_argument("--json")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--label", default=None)
    p.add_argument("--note", default="")
    p.add_argument("--remount", help="shell command that unmounts and mounts the client again, nothing else")
    p.add_argument("--only", action="append", help="only rows whose id matches this regular expression; several: all of them")
    p.add_argument("--skip")
    p.add_argument("--repeat", type=int, default=1, help="run the whole set N times, medians over all")
    p.add_argument("--hard", type=float, help="seconds after which no new phase is started (540, quick 150)")
    p.add_argument("--local-disk", help="block device for the disk counters (default: the one under %s)" % TMP)
    p.add_argument("--daemons", help="regular expression for the comm of the file system's processes (adds to the built-in peers)")
    p.add_argument("--compare", nargs="+", metavar="JSON")
    p.add_argument("--base", help="label the ratios are taken to (default: that of the first file)")
    p.add_argument("--limit", action="append", metavar="LABEL", help="a column that is a limit, not a peer: never marked as best")
    p.add_argument("--field", help="with --compare: print this field of every row instead (cpu_s, settle_s, disk_w_mb, flushes ...)")
    p.add_argument("--list", action="store_true")
    a = p.parse_args()
    if a.list:
        for r in (r for r in ROWS if wanted(a, r[0])):
            print("%-22s %-8s %-5s %s" % r)
        return 0
    if a.compare:
        if a.field:
            compare_field(a.compare, a.field, a.only and a.only[0])
        else:
            compare(a.compare, a.base, a.only and a.only[0], a.limit or [])
        return 0
    if not a.dir or not os.path.isdir(a.dir):
        p.error("MOUNTDIR must be a directory")
    os.makedirs(TMP, exist_ok=True)
    DISK = a.local_disk or root_disk(TMP)
    if a.daemons:
        DAEMONS = re.compile("%s|%s" % (DAEMONS.pattern, a.daemons))
    mnt = max((l.split() for l in open("/proc/self/mounts") if (os.path.realpath(a.dir) + "/").startswith(l.split()[1].rstrip("/") + "/")),
              key=lambda f: len(f[1]))
    t = time.time()
    load = os.getloadavg()
    b = Bench(a)
    rows = b.main()
    table(rows)
    doc = {"fsbench": VERSION, "label": a.label or os.path.basename(os.path.abspath(a.dir)), "note": a.note, "quick": a.quick,
           "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t)), "total_s": round(time.time() - t, 1), "repeat": a.repeat,
           "nice": os.nice(0), "fstype": mnt[2], "mount_options": mnt[3], "kernel": os.uname().release, "cpus": os.cpu_count(), "load_before": load,
           "cold_rows_are_cold": CAN_DROP, "disk": DISK, "rows": rows}
    print("total %.0f s, %s on %s" % (doc["total_s"], doc["label"], doc["fstype"]))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(doc, f, indent=1)
            f.write("\n")
    return 1 if any(r["value"] is None for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
