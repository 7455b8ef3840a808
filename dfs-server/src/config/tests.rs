//! Tests of the settings' layers, units and data directories.

use super::data_dir::DataDir;
use super::layers;
use super::units::{parse_duration, parse_size};
use clap::{Args, Command, FromArgMatches};
use std::time::Duration;

#[derive(Debug, Args)]
struct Sample {
    #[command(flatten)]
    shared: super::Shared,
    #[arg(long, default_value = "1.2.3.4:5")]
    listen: String,
    #[arg(long, default_value_t = 3)]
    copies: u32,
    #[arg(long)]
    place: std::path::PathBuf,
    #[arg(long)]
    member: Vec<String>,
    #[arg(long)]
    init: bool,
}

fn command() -> Command {
    Command::new("dfs-server").subcommand(Sample::augment_args(Command::new("sample")))
}

/// `file` may leave out what is required; it then is `/here`.
fn parse(file: &str, typed: &[&str]) -> Result<Sample, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    let required = if file.contains("place") {
        ""
    } else {
        "place = \"/here\"\n"
    };
    std::fs::write(&path, format!("{required}{file}")).unwrap();
    let mut all = vec![
        "dfs-server".into(),
        "sample".into(),
        "--config".into(),
        path.into_os_string(),
    ];
    all.extend(typed.iter().map(Into::into));
    let matches = layers::matches(&command(), all).map_err(|e| e.to_string())?;
    Ok(Sample::from_arg_matches(matches.subcommand().unwrap().1).unwrap())
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file = "listen = \"0.0.0.0:1\"\ncopies = 5\nmember = [\"a\", \"b\"]\nlog-level = \"debug\"";
    let sample = parse(file, &["--copies", "2"]).unwrap();
    assert_eq!((sample.listen.as_str(), sample.copies), ("0.0.0.0:1", 2));
    assert_eq!(
        (sample.member.len(), sample.shared.log_level.as_str(), sample.init),
        (2, "debug", false)
    );
    assert_eq!(parse("", &[]).unwrap().listen, "1.2.3.4:5");
}

#[test]
fn what_the_file_may_not_say_is_refused_by_name() {
    assert!(
        parse("lissten = \"x\"", &[])
            .unwrap_err()
            .contains("`lissten` is no setting")
    );
    assert!(parse("init = true", &[]).unwrap_err().contains("`init`"));
    assert!(parse("copies = \"many\"", &[]).unwrap_err().contains("--copies"));
    assert!(parse("copies = ", &[]).unwrap_err().contains("not TOML"));
}

#[test]
fn printed_settings_are_accepted_again() {
    let typed = [
        "dfs-server",
        "sample",
        "--place",
        "/there",
        "--copies",
        "7",
        "--member",
        "a",
        "--member",
        "b",
    ];
    let matches = layers::matches(&command(), typed.iter().map(Into::into).collect()).unwrap();
    let printed = layers::print(&command(), &matches);
    let again = parse(&printed, &[]).unwrap();
    assert_eq!(
        (again.copies, again.member),
        (7, vec!["a".to_string(), "b".to_string()])
    );
    assert_eq!(again.place, std::path::PathBuf::from("/there"));
    assert!(!printed.contains("init"), "{printed}");
}

#[test]
fn units() {
    assert_eq!(parse_size("4096"), Ok(4096));
    assert_eq!(parse_size("64KiB"), Ok(65_536));
    assert_eq!(parse_size("1.5 G"), Ok(3 << 29));
    assert!(parse_size("ten").is_err() && parse_size("5 parsecs").is_err() && parse_size("").is_err());
    assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
    assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    assert!(parse_duration("10").is_err() && parse_duration("s").is_err());
}

fn refusal(result: Result<DataDir, super::Fatal>) -> String {
    result.err().expect("must be refused").to_string()
}

#[test]
fn a_data_directory_is_made_only_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node");
    assert!(refusal(DataDir::open(&path, "datanode", false)).contains("--init"));
    std::fs::create_dir(&path).unwrap();
    assert!(refusal(DataDir::open(&path, "datanode", false)).contains("--init"));
    let first = DataDir::open(&path, "datanode", true).unwrap();
    assert!(refusal(DataDir::open(&path, "datanode", false)).contains("in use"));
    let node = first.identity().node;
    drop(first);
    assert_eq!(
        DataDir::open(&path, "datanode", false).unwrap().identity().node,
        node
    );
    assert!(refusal(DataDir::open(&path, "coordinator", true)).contains("directory of a datanode"));
}

#[test]
fn a_data_directory_keeps_its_cluster_and_volume() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
    let mut open = DataDir::open(dir.path(), "coordinator", true).unwrap();
    open.join(own).unwrap();
    open.keep_volume("default").unwrap();
    drop(open);
    let mut again = DataDir::open(dir.path(), "coordinator", false).unwrap();
    again.join(own).unwrap();
    assert!(
        again
            .join(other)
            .unwrap_err()
            .to_string()
            .contains("belongs to cluster")
    );
    assert!(
        again
            .keep_volume("other")
            .unwrap_err()
            .to_string()
            .contains("holds volume")
    );
    assert_eq!(again.identity().cluster, Some(own));
}

#[test]
fn a_strange_directory_is_never_taken() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letters.txt"), "dear").unwrap();
    assert!(refusal(DataDir::open(dir.path(), "datanode", true)).contains("not empty"));
    std::fs::write(dir.path().join("identity.toml"), "role = 5").unwrap();
    assert!(refusal(DataDir::open(dir.path(), "datanode", true)).contains("damaged"));
}
