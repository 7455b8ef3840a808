//! The files under deploy/ are what the programs and systemd understand.
use integration::{patience, programs};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const READY_LIMIT: Duration = Duration::from_secs(30);

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("deploy")
}

fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(deploy().join(dir)).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    found.sort();
    found
}

#[test]
fn every_example_of_settings_is_accepted_and_takes_effect() {
    let examples = files("etc", ".toml");
    assert_eq!(
        examples.len(),
        9,
        "three coordinators, five datanodes, one standalone"
    );
    for file in examples {
        let name = file.file_name().unwrap().to_str().unwrap();
        let role = name.split(['-', '.']).next().unwrap();
        let output = Command::new(programs::dfs_server())
            .args([role, "--config"])
            .arg(&file)
            .arg("--print-config")
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {complaint}");
        let printed = String::from_utf8(output.stdout).unwrap();
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            if let Some((key, value)) = line.split_once(" = ") {
                let first = value.trim_matches(['[', ']']).split(", ").next().unwrap();
                let taken = printed
                    .split('\n')
                    .skip_while(|own| !own.starts_with(&format!("{key} = ")))
                    .take(6)
                    .any(|own| own.contains(first));
                assert!(taken, "{name}: {line} is not in force:\n{printed}");
            }
        }
    }
}

/// What stands between two quotes of the operations document.
fn described() -> String {
    let root = deploy().parent().unwrap().to_owned();
    std::fs::read_to_string(root.join("docs/OPERATIONS.md")).unwrap()
}

#[test]
fn every_setting_and_every_mount_option_is_described() {
    let document = described();
    let help = |program: PathBuf, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut absent = Vec::new();
    for role in ["coordinator", "datanode", "standalone"] {
        let text = help(programs::dfs_server(), &[role, "--help"]);
        let flags = text.lines().filter_map(|line| {
            let line = line.trim_start();
            line.strip_prefix("--")?
                .split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
                .next()
        });
        let missing = flags.filter(|flag| {
            !document.contains(&format!("`{flag}`")) && !document.contains(&format!("`--{flag}"))
        });
        absent.extend(missing.map(|flag| format!("{role} --{flag}")));
    }
    let text = help(programs::dfs(), &["mount", "--help"]);
    let options = text.split("Options after -o:").nth(1).unwrap();
    for line in options
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let name = line.trim().split([' ', '=', ',']).next().unwrap();
        if name.contains('-') && !document.contains(name) {
            absent.push(format!("-o {name}"));
        }
    }
    assert!(
        absent.is_empty(),
        "docs/OPERATIONS.md does not describe {absent:?}"
    );
}

#[test]
fn systemd_understands_the_units() {
    let mut units = files("systemd", ".service");
    units.extend(files("systemd", ".mount"));
    assert_eq!(units.len(), 4);
    for unit in &units {
        let text = std::fs::read_to_string(unit).unwrap();
        assert!(text.contains("[Install]"), "{}", unit.display());
    }
    let analyze = Path::new("/usr/bin/systemd-analyze");
    if !analyze.exists() {
        eprintln!("no systemd here: the units were only read");
        return;
    }
    let output = Command::new(analyze).arg("verify").args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("dfs") && !line.contains("is not executable"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// A server told to notify says when it is ready and when it stops.
#[test]
fn a_server_tells_systemd_when_it_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(READY_LIMIT)).unwrap();
    let ports = integration::cluster::free_ports(2);
    let mut command = Command::new(programs::dfs_server());
    command
        .args(["coordinator", "--init", "--data-dir"])
        .arg(dir.path().join("data"))
        .args(["--listen", &format!("127.0.0.1:{}", ports[0])])
        .args(["--metrics-listen", &format!("127.0.0.1:{}", ports[1])])
        .env("NOTIFY_SOCKET", &socket);
    let log = dir.path().join("log");
    let mut server = integration::process::Process::start("coordinator", &mut command, &log);
    let told = || {
        let mut buffer = [0; 64];
        let len = systemd.recv(&mut buffer).expect("systemd is told");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    server.signal(libc::SIGTERM);
    assert_eq!(told(), "STOPPING=1");
    let status = patience::until("the coordinator ends", READY_LIMIT, || server.ended());
    assert!(status.success(), "{status}");
}
