//! The registry of a process: whoever counts asks it for a cell by name. Owner of the list of all cells. A scope
//! adds labels (a volume, a datanode of `standalone`); its figures go when its last handle goes, so that what is not
//! here any more is not shown. Names are written in full where they are registered, and in docs/OPERATIONS.md.

use super::cells::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Weak};

type Labels = Vec<(&'static str, String)>;

enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    /// Asked at each look; whether it is a counter.
    Read(bool, Box<dyn Fn() -> f64 + Send + Sync>),
}

struct Series {
    name: &'static str,
    help: &'static str,
    label: Option<(&'static str, &'static str)>,
    cell: Cell,
}

#[derive(Default)]
struct Scope {
    labels: Labels,
    series: Mutex<Vec<Series>>,
}

#[derive(Default)]
struct All(Mutex<Vec<Weak<Scope>>>);

/// Where cells are registered; clones are the same scope.
#[derive(Clone)]
pub struct Metrics {
    all: Arc<All>,
    scope: Arc<Scope>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let scope = Arc::new(Scope::default());
        let all = Arc::new(All(Mutex::new(vec![Arc::downgrade(&scope)])));
        Metrics { all, scope }
    }

    /// A scope below this one: what is registered in it carries one more label, and is shown as long as a handle
    /// of it lives.
    pub fn labelled(&self, label: &'static str, value: &str) -> Metrics {
        let mut labels = self.scope.labels.clone();
        labels.push((label, value.to_owned()));
        let scope = Arc::new(Scope {
            labels,
            series: Mutex::default(),
        });
        let mut scopes = self.all.0.lock();
        scopes.retain(|scope| scope.strong_count() > 0);
        scopes.push(Arc::downgrade(&scope));
        Metrics {
            all: self.all.clone(),
            scope,
        }
    }

    /// A counter; its name ends in `_total`. The same name again is the same counter.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.one_counter(name, help, None)
    }

    /// A counter for each value of a label, in the order of `values`.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &[&'static str],
    ) -> Vec<Counter> {
        let one = |value: &&'static str| self.one_counter(name, help, Some((label, *value)));
        values.iter().map(one).collect()
    }

    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        let fresh = || Cell::Gauge(Gauge::default());
        let pick = |cell: &Cell| match cell {
            Cell::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        };
        self.find_or_add(name, help, None, pick, fresh)
    }

    /// A histogram of times; its name ends in `_seconds`.
    pub fn times(&self, name: &'static str, help: &'static str) -> Histogram {
        self.one_histogram(name, help, None, Histogram::times)
    }

    /// A histogram of times for each value of a label, in the order of `values`.
    pub fn times_by(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &[&'static str],
    ) -> Vec<Histogram> {
        let one =
            |value: &&'static str| self.one_histogram(name, help, Some((label, *value)), Histogram::times);
        values.iter().map(one).collect()
    }

    /// A histogram of counts or bytes.
    pub fn sizes(&self, name: &'static str, help: &'static str) -> Histogram {
        self.one_histogram(name, help, None, Histogram::sizes)
    }

    /// A gauge that is asked for at each look. It must answer at once and must hold no handle of this registry.
    pub fn read_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.replace(name, help, None, Cell::Read(false, Box::new(read)));
    }

    /// The same for one value of a label.
    pub fn read_gauge_of(
        &self,
        name: &'static str,
        help: &'static str,
        label: (&'static str, &'static str),
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.replace(name, help, Some(label), Cell::Read(false, Box::new(read)));
    }

    /// A counter that somebody else counts; its name ends in `_total`.
    pub fn read_counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.replace(name, help, None, Cell::Read(true, Box::new(read)));
    }

    /// The same for one value of a label.
    pub fn read_counter_of(
        &self,
        name: &'static str,
        help: &'static str,
        label: (&'static str, &'static str),
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.replace(name, help, Some(label), Cell::Read(true, Box::new(read)));
    }

    /// Everything in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shown(self.all.clone())));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }

    fn one_counter(
        &self,
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, &'static str)>,
    ) -> Counter {
        let fresh = || Cell::Counter(Counter::default());
        let pick = |cell: &Cell| match cell {
            Cell::Counter(counter) => Some(counter.clone()),
            _ => None,
        };
        self.find_or_add(name, help, label, pick, fresh)
    }

    fn one_histogram(
        &self,
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, &'static str)>,
        kind: fn() -> Histogram,
    ) -> Histogram {
        let pick = |cell: &Cell| match cell {
            Cell::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        };
        self.find_or_add(name, help, label, pick, || Cell::Histogram(kind()))
    }

    fn find_or_add<T>(
        &self,
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, &'static str)>,
        pick: impl Fn(&Cell) -> Option<T>,
        fresh: impl FnOnce() -> Cell,
    ) -> T {
        let mut series = self.scope.series.lock();
        let known = series
            .iter()
            .position(|own| own.name == name && own.label == label);
        let at = known.unwrap_or_else(|| {
            let cell = fresh();
            series.push(Series {
                name,
                help,
                label,
                cell,
            });
            series.len() - 1
        });
        pick(&series[at].cell).unwrap_or_else(|| panic!("{name} is registered as another kind of figure"))
    }

    fn replace(
        &self,
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, &'static str)>,
        cell: Cell,
    ) {
        let mut series = self.scope.series.lock();
        series.retain(|own| own.name != name || own.label != label);
        series.push(Series {
            name,
            help,
            label,
            cell,
        });
    }
}

/// All scopes as prometheus-client asks for them: each name once, with all its labels.
struct Shown(Arc<All>);

impl Debug for Shown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let scopes: Vec<Arc<Scope>> = self.0.0.lock().iter().filter_map(Weak::upgrade).collect();
        let locked: Vec<_> = scopes
            .iter()
            .map(|scope| (&scope.labels, scope.series.lock()))
            .collect();
        let mut by_name: BTreeMap<&str, Vec<(Labels, &Series)>> = BTreeMap::new();
        for (labels, series) in &locked {
            for one in series.iter() {
                let mut labels = (*labels).clone();
                labels.extend(one.label.map(|(label, value)| (label, value.to_owned())));
                by_name.entry(one.name).or_default().push((labels, one));
            }
        }
        for (name, all) in by_name {
            let Some((_, first)) = all.first() else { continue };
            // The encoder puts the ending of counters and a full stop behind the help.
            let name = match first.cell.kind() {
                MetricType::Counter => name.trim_end_matches("_total"),
                _ => name,
            };
            let mut metric = encoder.encode_descriptor(name, first.help, None, first.cell.kind())?;
            for (labels, one) in &all {
                if labels.is_empty() {
                    one.cell.encode(&mut metric)?;
                } else {
                    one.cell.encode(&mut metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Cell {
    fn kind(&self) -> MetricType {
        match self {
            Cell::Counter(_) | Cell::Read(true, _) => MetricType::Counter,
            Cell::Gauge(_) | Cell::Read(false, _) => MetricType::Gauge,
            Cell::Histogram(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Cell::Counter(counter) => metric.encode_counter::<NoLabelSet, _, f64>(&counter.get(), None),
            Cell::Read(true, read) => metric.encode_counter::<NoLabelSet, _, f64>(&read(), None),
            Cell::Gauge(gauge) => metric.encode_gauge(&gauge.get()),
            Cell::Read(false, read) => metric.encode_gauge(&read()),
            Cell::Histogram(histogram) => {
                let (sum, count, buckets) = histogram.shown();
                metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            }
        }
    }
}
