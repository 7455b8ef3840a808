//! Tests of the registry, the checks and the endpoint.

use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[test]
fn figures_are_shown_with_their_labels_each_name_once() {
    let metrics = Metrics::new();
    let one = metrics.labelled("volume", "a");
    let two = metrics.labelled("volume", "b");
    one.counter("dfs_test_things_total", "Things").add(3);
    two.counter("dfs_test_things_total", "Things").inc();
    let times = metrics.times_by("dfs_test_op_seconds", "Time", "op", &["read", "write"]);
    times[1].took(Duration::from_micros(20));
    times[1].took(Duration::from_secs(100));
    metrics.gauge("dfs_test_open", "Open").set(7);
    metrics.read_gauge("dfs_test_read", "Read", || 2.5);
    let text = metrics.text();
    assert_eq!(
        text.matches("# TYPE dfs_test_things counter").count(),
        1,
        "{text}"
    );
    for line in [
        "dfs_test_things_total{volume=\"a\"} 3",
        "dfs_test_things_total{volume=\"b\"} 1",
        "dfs_test_op_seconds_bucket{le=\"0.00001\",op=\"write\"} 0",
        "dfs_test_op_seconds_bucket{le=\"0.000025\",op=\"write\"} 1",
        "dfs_test_op_seconds_bucket{le=\"+Inf\",op=\"write\"} 2",
        "dfs_test_op_seconds_count{op=\"write\"} 2",
        "dfs_test_op_seconds_count{op=\"read\"} 0",
        "dfs_test_open 7",
        "dfs_test_read 2.5",
        "# EOF",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    drop(two);
    assert!(!metrics.text().contains("volume=\"b\""));
    assert_eq!(one.counter("dfs_test_things_total", "Things").get(), 3);
}

#[test]
fn a_histogram_is_cheap() {
    let times = Metrics::new().times("dfs_test_op_seconds", "Time");
    let begun = std::time::Instant::now();
    for n in 0..1_000_000 {
        times.note(n);
    }
    // Some 10 ns each when optimised; the bound only says that nothing waits.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(times.count(), 1_000_000);
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_endpoint_answers() {
    let observer = Observer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, observer.clone()));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(metrics.contains("openmetrics-text") && metrics.contains("dfs_build_info{version="));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    observer.health.ready("log", || Err("out of reach".to_owned()));
    let answer = get(address, "/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("log: out of reach"),
        "{answer}"
    );
    observer.health.ready("log", || Ok(()));
    observer.health.drain();
    assert!(get(address, "/readyz").await.contains("drains"));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let pulse = Pulse::default();
    pulse.beat();
    assert!(pulse.check(Duration::from_secs(60)).is_ok());
    observer.health.live("loop", || Err("stands still".to_owned()));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 503"));
    assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_taken_address_is_an_error_only_when_it_was_asked_for() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    assert!(begin(Listen::Usual(address), Observer::new()).await.is_ok());
    assert!(begin(Listen::At(address), Observer::new()).await.is_err());
    assert!(begin(Listen::Off, Observer::new()).await.is_ok());
    assert_eq!("off".parse(), Ok(Listen::Off));
    assert!("nowhere".parse::<Listen>().is_err());
}
