//! Families of series and their text form (exposition format 0.0.4 of Prometheus).

use std::io::Write;

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

#[derive(Debug)]
struct Series {
    /// `failure_type="cpu",status="failed"`, escaped: what tells it apart and what is printed.
    labels: String,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    /// Observations a bucket (not cumulated; the last is `+Inf`) and the sum of what was observed.
    Histogram(Vec<u64>, f64),
}

/// All series: families by name, series by labels, so that the text has a stable order.
#[derive(Debug, Default)]
pub struct Store(Vec<(&'static Family, Vec<Series>)>);

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
        let at = self.0.binary_search_by(|(other, _)| other.name.cmp(family.name));
        let at = at.unwrap_or_else(|at| {
            self.0.insert(at, (family, Vec::new()));
            at
        });
        let series = &mut self.0[at].1;
        let labels = label_text(family.labels, values);
        let at = series.binary_search_by(|other| other.labels.cmp(&labels)).unwrap_or_else(|at| {
            let value = match family.kind {
                Kind::Histogram(bounds) => Value::Histogram(vec![0; bounds.len() + 1], 0.0),
                Kind::Counter | Kind::Gauge => Value::Number(0.0),
            };
            series.insert(at, Series { labels, value });
            at
        });
        &mut series[at].value
    }

    /// Appends the text of every family.
    pub fn render(&self, out: &mut Vec<u8>) {
        for (family, series) in &self.0 {
            push_head(out, family);
            for Series { labels, value } in series {
                match (value, family.kind) {
                    (Value::Histogram(counts, sum), Kind::Histogram(bounds)) => {
                        push_histogram(out, family.name, labels, bounds, counts, *sum);
                    }
                    (Value::Number(number), _) => push_line(out, family.name, "", labels, "", *number),
                    (Value::Histogram(..), _) => {}
                }
            }
        }
    }
}

/// Appends a family that has one series, without labels.
pub fn push_single(out: &mut Vec<u8>, family: &Family, value: f64) {
    push_head(out, family);
    push_line(out, family.name, "", "", "", value);
}

fn push_head(out: &mut Vec<u8>, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    for part in ["# HELP ", family.name, " ", family.help, "\n# TYPE ", family.name, " ", kind, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn push_histogram(out: &mut Vec<u8>, name: &str, labels: &str, bounds: &[f64], counts: &[u64], sum: f64) {
    let mut total = 0;
    for (at, count) in counts.iter().enumerate() {
        total += count;
        let bound = bounds.get(at).copied().unwrap_or(f64::INFINITY);
        let mut text = Vec::with_capacity(8);
        push_number(&mut text, bound);
        push_line(out, name, "_bucket", labels, &String::from_utf8_lossy(&text), total as f64);
    }
    push_line(out, name, "_sum", labels, "", sum);
    push_line(out, name, "_count", labels, "", total as f64);
}

/// `name_suffix{labels,le="bound"} value`; an empty `bound` is left out.
fn push_line(out: &mut Vec<u8>, name: &str, suffix: &str, labels: &str, bound: &str, value: f64) {
    let comma = if labels.is_empty() { "" } else { "," };
    let (open, close) = if labels.is_empty() && bound.is_empty() { ("", "") } else { ("{", "}") };
    let bound = if bound.is_empty() { ["", "", "", ""] } else { [comma, "le=\"", bound, "\""] };
    for part in [name, suffix, open, labels].into_iter().chain(bound).chain([close, " "]) {
        out.extend_from_slice(part.as_bytes());
    }
    push_number(out, value);
    out.push(b'\n');
}

/// A number as Go's `ParseFloat` reads it, whole ones without a point.
fn push_number(out: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: whole numbers up to here are exact in an f64
    // Writing to a Vec cannot fail.
    let _ = if value.is_nan() {
        out.write_all(b"NaN")
    } else if value.is_infinite() {
        out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" })
    } else if value.abs() <= EXACT && value.fract() == 0.0 {
        write!(out, "{}", value as i64)
    } else {
        write!(out, "{value}")
    };
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

    static COUNT: Family = Family { name: "b_total", help: "B.", kind: Kind::Counter, labels: &["x", "y"] };
    static HIST: Family =
        Family { name: "a_seconds", help: "A.", kind: Kind::Histogram(&[0.5, 1.0]), labels: &["x"] };
    static BARE: Family = Family { name: "c", help: "C.", kind: Kind::Histogram(&[2.0]), labels: &[] };

    fn text(store: &Store) -> String {
        let mut out = Vec::new();
        store.render(&mut out);
        String::from_utf8(out).unwrap()
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
        assert_eq!(text(&store), expected);
    }

    #[test]
    fn buckets_are_cumulated_and_bounds_belong_to_their_bucket() {
        let mut store = Store::default();
        for seen in [0.5, 0.75, 1.0, 99.0] {
            store.observe(&HIST, &["z"], seen);
        }
        let text = text(&store);
        for line in ["le=\"0.5\"} 1\n", "le=\"1\"} 3\n", "le=\"+Inf\"} 4\n", "_count{x=\"z\"} 4\n"] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert!(text.contains("a_seconds_sum{x=\"z\"} 101.25\n"), "{text}");
    }

    #[test]
    fn a_histogram_without_labels_has_only_the_bound() {
        let mut store = Store::default();
        store.observe(&BARE, &[], 1.0);
        assert!(text(&store).contains("c_bucket{le=\"2\"} 1\nc_bucket{le=\"+Inf\"} 1\nc_sum 1\nc_count 1\n"));
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(label_text(&["a"], &["\\ \" \n é"]), "a=\"\\\\ \\\" \\n é\"");
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
