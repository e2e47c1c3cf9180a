//! Families of series and their text form (exposition format 0.0.4 of Prometheus).

use std::io::Write;
use std::time::Duration;

/// What kind of family, as in its `# TYPE` line.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Only grows; the name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations at or below each of these rising bounds; `+Inf` is added.
    Histogram(&'static [f64]),
}

/// A metric's name and meaning. Adding one is a `static` of this type and calls with it.
#[derive(Debug)]
pub struct Family {
    /// Name, with the unit: `chaos_injection_duration_seconds`.
    pub name: &'static str,
    /// One sentence for the `# HELP` line.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Names of the labels; every series has a value for each, in this order.
    pub labels: &'static [&'static str],
}

impl Family {
    const fn new(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
    ) -> Family {
        Family { name, help, kind, labels }
    }

    /// A family that only grows; `name` ends in `_total`.
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
        Family::new(name, help, Kind::Counter, labels)
    }

    /// A family that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
        Family::new(name, help, Kind::Gauge, labels)
    }

    /// A family that counts observations at or below each of these rising bounds.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
        labels: &'static [&'static str],
    ) -> Family {
        Family::new(name, help, Kind::Histogram(bounds), labels)
    }
}

#[derive(Debug)]
struct Series {
    /// `failure_type="cpu",status="failed"`, escaped: what tells it apart.
    labels: String,
    /// Its lines up to the value, made once: a scrape only copies them.
    lines: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    /// Observations a bucket (not cumulated; the last is `+Inf`) and the sum of what was observed.
    Histogram(Vec<u64>, f64),
}

#[derive(Debug)]
struct Entry {
    family: &'static Family,
    /// The `# HELP` and `# TYPE` lines.
    head: String,
    series: Vec<Series>,
}

/// All series: families by name, series by labels, so that the text has a stable order.
#[derive(Debug, Default)]
pub struct Store {
    entries: Vec<Entry>,
    /// The text, unless something changed since it was made: most scrapes find the numbers as they were.
    text: Option<Vec<u8>>,
}

impl Store {
    /// Makes the series appear, at zero where it is new.
    pub fn touch(&mut self, family: &'static Family, labels: &[&str]) {
        self.value(family, labels);
    }

    /// Adds to a counter (never a negative number) or gauge.
    pub fn add(&mut self, family: &'static Family, labels: &[&str], by: f64) {
        if let Value::Number(number) = self.value(family, labels) {
            *number += by;
        }
    }

    /// Sets a gauge, or a counter whose total is kept elsewhere.
    pub fn set(&mut self, family: &'static Family, labels: &[&str], to: f64) {
        if let Value::Number(number) = self.value(family, labels) {
            *number = to;
        }
    }

    /// Takes a series away; nothing happens where there is none.
    pub fn forget(&mut self, family: &'static Family, labels: &[&str]) {
        self.text = None;
        let labels = label_text(family.labels, labels);
        for entry in self.entries.iter_mut().filter(|entry| entry.family.name == family.name) {
            entry.series.retain(|series| series.labels != labels);
        }
        self.entries.retain(|entry| !entry.series.is_empty());
    }

    /// Counts one observation in a histogram.
    pub fn observe(&mut self, family: &'static Family, labels: &[&str], seen: f64) {
        let Kind::Histogram(bounds) = family.kind else { return };
        let bucket = bounds.iter().position(|bound| seen <= *bound).unwrap_or(bounds.len());
        if let Value::Histogram(counts, sum) = self.value(family, labels) {
            counts[bucket] += 1;
            *sum += seen;
        }
    }

    fn value(&mut self, family: &'static Family, values: &[&str]) -> &mut Value {
        debug_assert_eq!(family.labels.len(), values.len(), "{} has other labels", family.name);
        self.text = None;
        let at = self.entries.binary_search_by(|entry| entry.family.name.cmp(family.name));
        let at = at.unwrap_or_else(|at| {
            self.entries.insert(at, Entry { family, head: head(family), series: Vec::new() });
            at
        });
        let series = &mut self.entries[at].series;
        let labels = label_text(family.labels, values);
        let at = series.binary_search_by(|other| other.labels.cmp(&labels)).unwrap_or_else(|at| {
            series.insert(at, Series::new(family, labels));
            at
        });
        &mut series[at].value
    }

    /// The text of every family.
    pub fn text(&mut self) -> &[u8] {
        let entries = &self.entries;
        self.text.get_or_insert_with(|| {
            let mut out = Vec::new();
            for Entry { head, series, .. } in entries {
                out.extend_from_slice(head.as_bytes());
                series.iter().for_each(|series| series.render(&mut out));
            }
            out
        })
    }
}

impl Series {
    /// At zero.
    fn new(family: &Family, labels: String) -> Series {
        let line = |suffix, bound: &str| line(family.name, suffix, &labels, bound);
        let (lines, value) = match family.kind {
            Kind::Counter | Kind::Gauge => (vec![line("", "")], Value::Number(0.0)),
            Kind::Histogram(bounds) => {
                let bounds = bounds.iter().chain([&f64::INFINITY]).map(|bound| number_text(*bound));
                let mut lines: Vec<String> = bounds.map(|bound| line("_bucket", &bound)).collect();
                let counts = vec![0; lines.len()];
                lines.extend([line("_sum", ""), line("_count", "")]);
                (lines, Value::Histogram(counts, 0.0))
            }
        };
        Series { labels, lines, value }
    }

    fn render(&self, out: &mut Vec<u8>) {
        let mut lines = self.lines.iter();
        let mut push = |value| {
            if let Some(line) = lines.next() {
                push_value(out, line, value);
            }
        };
        match &self.value {
            Value::Number(number) => push(*number),
            Value::Histogram(counts, sum) => {
                let mut total = 0;
                for count in counts {
                    total += count;
                    push(total as f64);
                }
                push(*sum);
                push(total as f64);
            }
        }
    }
}

/// The text of a family that has one series, without labels, up to its value.
pub fn single(family: &Family) -> String {
    head(family) + &line(family.name, "", "", "")
}

/// Appends text that ends where a value belongs, and whole seconds and millionths of a value.
pub fn push_seconds(out: &mut Vec<u8>, text: &str, time: Duration) {
    out.extend_from_slice(text.as_bytes());
    push_whole(out, time.as_secs());
    // A leading 1 keeps the zeros; the point takes its place.
    let point = out.len();
    push_whole(out, 1_000_000 + u64::from(time.subsec_micros()));
    out[point] = b'.';
    out.push(b'\n');
}

/// Appends text that ends where a value belongs, and the value.
pub fn push_value(out: &mut Vec<u8>, text: &str, value: f64) {
    out.extend_from_slice(text.as_bytes());
    push_number(out, value);
    out.push(b'\n');
}

fn head(family: &Family) -> String {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    ["# HELP ", family.name, " ", family.help, "\n# TYPE ", family.name, " ", kind, "\n"].concat()
}

/// `name_suffix{labels,le="bound"} `; an empty `bound` is left out.
fn line(name: &str, suffix: &str, labels: &str, bound: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    let (open, close) = if labels.is_empty() && bound.is_empty() { ("", "") } else { ("{", "}") };
    let [comma, le, end] = if bound.is_empty() { [""; 3] } else { [comma, "le=\"", "\""] };
    [name, suffix, open, labels, comma, le, bound, end, close, " "].concat()
}

fn number_text(value: f64) -> String {
    let mut text = Vec::new();
    push_number(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

/// A number as Go's `ParseFloat` reads it, whole ones without a point.
fn push_number(out: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: whole numbers up to here are exact in an f64
    // Writing to a Vec cannot fail.
    let _ = if (0.0..=EXACT).contains(&value) && (value as u64) as f64 == value {
        push_whole(out, value as u64);
        Ok(())
    } else if value.is_nan() {
        out.write_all(b"NaN")
    } else if value.is_infinite() {
        out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" })
    } else {
        write!(out, "{value}")
    };
}

/// Most of a scrape is small whole numbers, and the formatter of the standard library would take most of
/// its time.
fn push_whole(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit += (value % 10) as u8;
        value /= 10;
        first = at;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// `name="value",...` with backslash, quote and line feed escaped, as the format asks.
fn label_text(names: &[&str], values: &[&str]) -> String {
    let mut text = String::with_capacity(48);
    for (name, value) in names.iter().zip(values) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    static COUNT: Family = Family::counter("b_total", "B.", &["x", "y"]);
    static HIST: Family = Family::histogram("a_seconds", "A.", &[0.5, 1.0], &["x"]);
    static BARE: Family = Family::histogram("c", "C.", &[2.0], &[]);

    fn text(store: &mut Store) -> String {
        String::from_utf8(store.text().to_vec()).unwrap()
    }

    #[test]
    fn families_and_series_are_printed_in_order_whatever_came_first() {
        let mut store = Store::default();
        store.add(&COUNT, &["2", "b"], 2.0);
        store.touch(&COUNT, &["1", "b"]);
        store.add(&COUNT, &["2", "b"], 1.0);
        store.observe(&HIST, &["z"], 0.25);
        let expected = "# HELP a_seconds A.\n# TYPE a_seconds histogram\n\
            a_seconds_bucket{x=\"z\",le=\"0.5\"} 1\na_seconds_bucket{x=\"z\",le=\"1\"} 1\n\
            a_seconds_bucket{x=\"z\",le=\"+Inf\"} 1\na_seconds_sum{x=\"z\"} 0.25\na_seconds_count{x=\"z\"} 1\n\
            # HELP b_total B.\n# TYPE b_total counter\n\
            b_total{x=\"1\",y=\"b\"} 0\nb_total{x=\"2\",y=\"b\"} 3\n";
        assert_eq!(text(&mut store), expected);
    }

    #[test]
    fn buckets_are_cumulated_and_bounds_belong_to_their_bucket() {
        let mut store = Store::default();
        for seen in [0.5, 0.75, 1.0, 99.0] {
            store.observe(&HIST, &["z"], seen);
        }
        let text = text(&mut store);
        for line in ["le=\"0.5\"} 1\n", "le=\"1\"} 3\n", "le=\"+Inf\"} 4\n", "_count{x=\"z\"} 4\n"] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert!(text.contains("a_seconds_sum{x=\"z\"} 101.25\n"), "{text}");
    }

    #[test]
    fn a_histogram_without_labels_has_only_the_bound() {
        let mut store = Store::default();
        store.observe(&BARE, &[], 1.0);
        assert!(
            text(&mut store).contains("c_bucket{le=\"2\"} 1\nc_bucket{le=\"+Inf\"} 1\nc_sum 1\nc_count 1\n")
        );
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(label_text(&["a"], &["\\ \" \n é"]), "a=\"\\\\ \\\" \\n é\"");
    }

    #[test]
    fn seconds_have_six_places() {
        let mut out = Vec::new();
        push_seconds(&mut out, "a ", Duration::new(12, 3_004_999));
        push_seconds(&mut out, "b ", Duration::ZERO);
        assert_eq!(String::from_utf8(out).unwrap(), "a 12.003004\nb 0.000000\n");
    }

    #[test]
    fn a_change_is_seen_in_the_next_text() {
        let mut store = Store::default();
        store.touch(&BARE, &[]);
        assert!(text(&mut store).contains("c_count 0\n"));
        store.observe(&BARE, &[], 1.0);
        assert!(text(&mut store).contains("c_count 1\n"));
    }

    #[test]
    fn numbers_are_written_as_go_reads_them() {
        let written = |value| {
            let mut out = Vec::new();
            push_number(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        let cases = [
            (0.0, "0"),
            (-1.0, "-1"),
            (1e15, "1000000000000000"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e17, "100000000000000000"),
            (10.0, "10"),
            (0.1, "0.1"),
            (1_758_000_000.25, "1758000000.25"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(written(value), text);
        }
    }
}
