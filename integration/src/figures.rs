//! What a process shows of itself over HTTP, read as strictly as Prometheus reads it. Called by tests of the figures and
//! by those that compare figures; knows no figure by name.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Status and body of a GET.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let wrong = || std::io::Error::other(format!("no HTTP: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(wrong)?, body.to_owned()))
}

/// The figures of one look.
#[derive(Debug, Default)]
pub struct Figures {
    /// The kind of each name.
    pub kinds: BTreeMap<String, String>,
    /// Each sample with its labels, as it stands.
    pub samples: BTreeMap<String, f64>,
}

impl Figures {
    /// What is at `/metrics`; panics on anything that is not the OpenMetrics format.
    pub fn of(address: SocketAddr) -> Figures {
        let (status, text) = get(address, "/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        parse(&text)
    }

    /// The sum of a figure over all its labels that contain `label`.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let own = self
            .samples
            .iter()
            .filter(|(key, _)| key.split('{').next() == Some(name) && key.contains(label));
        own.map(|(_, value)| value).sum()
    }

    /// Names as the documentation has them.
    pub fn names(&self) -> Vec<String> {
        let full = |(name, kind): (&String, &String)| match kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name.clone(),
        };
        self.kinds.iter().map(full).collect()
    }
}

fn parse(text: &str) -> Figures {
    let mut figures = Figures::default();
    let mut family = String::new();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"# EOF"), "the end is missing");
    for line in &lines[..lines.len() - 1] {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let before = figures.kinds.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "{name} comes twice");
            family = name.to_owned();
        } else if line.starts_with("# HELP ") {
            assert!(line.split(' ').count() > 3, "no help: {line}");
        } else {
            let (series, value) = line
                .rsplit_once(' ')
                .unwrap_or_else(|| panic!("no sample: {line}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            let name = series.split('{').next().unwrap();
            assert!(name.starts_with(&family), "{line} is below {family}");
            let ending = &name[family.len()..];
            let right = match figures.kinds[&family].as_str() {
                "counter" => ending == "_total" && value >= 0.0,
                "gauge" => ending.is_empty(),
                _ => ["_sum", "_count", "_bucket"].contains(&ending),
            };
            assert!(right, "{line} is no sample of {family}");
            assert!(
                figures.samples.insert(series.to_owned(), value).is_none(),
                "{line} comes twice"
            );
        }
    }
    buckets(&figures);
    figures
}

/// The bucket without a bound counts everything.
fn buckets(figures: &Figures) {
    for (series, all) in figures
        .samples
        .iter()
        .filter(|(series, _)| series.contains("le=\"+Inf\""))
    {
        let count = series
            .replacen("_bucket", "_count", 1)
            .replace("le=\"+Inf\",", "")
            .replace("{le=\"+Inf\"}", "");
        assert_eq!(figures.samples.get(&count), Some(all), "{series} against {count}");
    }
}
