//! The answers as JSON.

use super::{Fleet, Plan, Timeline};
use crate::text::civil::timestamp;
use crate::text::json::{Object, list};
use std::time::{Duration, UNIX_EPOCH};

/// What is planned, the start of either answer.
fn head(plan: &Plan, seed: u64) -> Object {
    let mut object = Object::new();
    object.seed(seed).text("start", &timestamp(UNIX_EPOCH + plan.start));
    object.number("interval_seconds", plan.interval.as_secs_f64()).whole("ticks", plan.ticks);
    object.number("seconds", plan.length().as_secs_f64());
    object
}

fn entry(plan: &Plan, index: usize) -> Object {
    let entry = &plan.entries[index];
    let mut object = Object::new();
    object.text("entry", &entry.rule.name).text("type", entry.kind).text("what", &entry.what);
    object.number("probability", entry.rule.probability.unwrap_or(1.0));
    object.truth("once_a_minute", entry.rule.probability.is_none());
    object.number("duration_seconds", entry.duration.as_secs_f64());
    object
}

fn tail(plan: &Plan, object: &mut Object) -> String {
    object.texts("assumed", plan.assumed().iter().map(String::as_str));
    object.end() + "\n"
}

impl Timeline {
    /// Everything, one object.
    pub fn json(&self, plan: &Plan, seed: u64) -> String {
        let entries = (0..plan.entries.len()).map(|index| {
            let (started, skipped) = self.counts(index);
            let mut object = entry(plan, index);
            object.whole("injections", started as u64).whole("skipped", skipped as u64);
            object.number("active_share", plan.share(self.times[index])).end()
        });
        let hits = self.hits.iter().map(|hit| {
            let planned = &plan.entries[hit.entry];
            let mut object = Object::new();
            object.whole("tick", hit.tick).number("after_seconds", plan.after(hit.tick).as_secs_f64());
            object.text("time", &timestamp(UNIX_EPOCH + plan.start + plan.after(hit.tick)));
            object.text("entry", &planned.rule.name).text("type", planned.kind).number("roll", hit.roll);
            object.number("probability", planned.rule.probability.unwrap_or(1.0));
            object.text("decision", if hit.limit.is_some() { "skip" } else { "inject" });
            object.optional("limit", hit.limit.map(|limit| limit.key())).end()
        });
        let sum: Duration = self.times.iter().sum();
        let mut at_once = Object::new();
        at_once.number("average", plan.share(sum)).whole("most", self.most().into());
        at_once.whole("bound", plan.bound() as u64);
        let mut object = head(plan, seed);
        object.raw("entries", &list(entries)).raw("decisions", &list(hits)).raw("at_once", &at_once.end());
        tail(plan, &mut object)
    }
}

impl Fleet {
    /// Everything, one object.
    pub fn json(&self, plan: &Plan, seed: u64) -> String {
        let entries = (0..plan.entries.len()).map(|index| {
            let mut object = entry(plan, index);
            object.whole("injections", self.injections[index]);
            object.number("active_share", plan.share(self.times[index]) / self.pods as f64).end()
        });
        let mut disturbed = Object::new();
        disturbed.number("average", self.average());
        for (key, share) in [("p50", 0.5), ("p99", 0.99), ("most", 1.0)] {
            disturbed.whole(key, self.percentile(share).into());
        }
        let mut groups = Object::new();
        groups.whole("replicas", self.replicas).whole("groups", self.groups);
        groups.whole("all_disturbed_groups", self.groups_down).number("chance", self.chance_down());
        groups.number("share_of_time", self.share_down());
        let mut object = head(plan, seed);
        object.whole("pods", self.pods).raw("entries", &list(entries));
        object.raw("disturbed_pods", &disturbed.end()).raw("groups", &groups.end());
        object
            .whole("most_in_one_pod", self.most_in_pod as u64)
            .whole("bound_in_one_pod", plan.bound() as u64);
        tail(plan, &mut object)
    }
}
