//! An etcd that demands certificates and passwords, reached through the flags of the command line.

use super::trial::Trial;
use super::{Etcd, EtcdArgs, EtcdError, kv};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    etcd: EtcdArgs,
}

fn parse(flags: &[&str]) -> EtcdArgs {
    Line::parse_from(std::iter::once("test").chain(flags.iter().copied())).etcd
}

/// An authority, a certificate of etcd and one of a client, in `dir`.
fn certificates(dir: &Path) {
    let script = "
        set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
            -keyout ca.key -out ca.pem
        for name in server client; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name \
                -keyout $name.key -out $name.csr
            printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > extensions
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile extensions -out $name.pem
        done";
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn write(args: &EtcdArgs) -> Result<(), EtcdError> {
    let settings = args.settings().unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    Etcd::new(&settings)
        .call("write", deadline, |client| async move {
            kv(&client).put("key", "value", None).await
        })
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_are_used_and_missing_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let trial = Trial::start_secure(&[
        "--client-cert-auth",
        "--trusted-ca-file",
        &file("ca.pem"),
        "--cert-file",
        &file("server.pem"),
        "--key-file",
        &file("server.key"),
    ]);
    let endpoint = format!("https://{}", trial.address);
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let secured = [
        "--etcd",
        &endpoint,
        "--etcd-ca",
        &ca,
        "--etcd-cert",
        &cert,
        "--etcd-key",
        &key,
    ];
    write(&parse(&secured)).await.unwrap();
    // Without a certificate of its own nobody is let in.
    let stranger = parse(&secured[..4]).settings().unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    let stranger = Etcd::new(&stranger);
    let asked = stranger.call("write", deadline, |client| async move {
        kv(&client).put("key", "value", None).await
    });
    assert!(matches!(asked.await, Err(EtcdError::Unreachable { .. })));

    let etcd = Etcd::new(&parse(&secured).settings().unwrap().unwrap());
    let mut client = etcd.client(0).await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let (right, wrong) = (PathBuf::from(file("right")), PathBuf::from(file("wrong")));
    std::fs::write(&right, "secret\n").unwrap();
    std::fs::write(&wrong, "guess\n").unwrap();
    let with = |password: &Path| {
        let password = password.display().to_string();
        let user = ["--etcd-user", "root", "--etcd-password-file", &password];
        parse(&[secured.as_slice(), &user].concat())
    };
    write(&with(&right)).await.unwrap();
    let refused = write(&with(&wrong)).await;
    assert!(
        matches!(&refused, Err(EtcdError::Refused { reason, .. }) if !reason.contains("guess")),
        "{refused:?}"
    );
    let shown = format!("{:?}", with(&right).settings().unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn flags_that_contradict_one_another_are_refused() {
    let refused = |flags: &[&str]| parse(flags).settings().err().map(|fatal| fatal.0);
    assert!(parse(&[]).settings().unwrap().is_none());
    let mixed = refused(&["--etcd", "https://a:1,http://b:1"]).unwrap();
    assert!(mixed.contains("http://b:1"), "{mixed}");
    assert!(refused(&["--etcd", "https://a:1"]).unwrap().contains("--etcd-ca"));
    assert!(
        refused(&["--etcd", "http://a:1", "--etcd-ttl", "1s"])
            .unwrap()
            .contains("--etcd-ttl")
    );
    let absent = refused(&["--etcd", "a:1", "--etcd-ca", "/does/not/exist"]).unwrap();
    assert!(absent.contains("/does/not/exist"), "{absent}");
    let several = parse(&["--etcd", "http://a:1,http://b:2/"])
        .settings()
        .unwrap()
        .unwrap();
    assert_eq!(several.endpoints, ["http://a:1", "http://b:2"]);
}
