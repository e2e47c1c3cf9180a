//! One tick: whether the dice are rolled, what they decide, and what comes of it.

use super::{Agent, halt, injector};
use crate::config::Entry;
use crate::dice::decide::{Moment, Rest, Verdict};
use crate::exporter::metrics::Status;
use std::sync::Arc;

impl Agent {
    pub(super) fn tick(&mut self, tick: u64) {
        self.times.set_clock();
        let moment = self.times.moment(tick);
        let rests = self.decider.rests(&self.config.agent.limits, moment);
        self.rest(rests);
        if rests.is_some() || self.idle || self.gone.is_some() || self.waiting.is_some() || self.halts.any() {
            return;
        }
        for index in 0..self.config.entries.len() {
            let entry = Arc::clone(&self.config.entries[index]);
            if entry.enabled {
                self.roll(&entry, moment);
            }
        }
    }

    pub(super) fn roll(&mut self, entry: &Arc<Entry>, moment: Moment) {
        let busy = self.running.iter().any(|run| run.entry.name() == entry.name());
        let limits = &self.config.agent.limits;
        let active = self.running.len() + self.hands.active();
        let verdict = self.decider.decide(self.seed, &entry.rule, limits, moment, busy, active);
        let (name, tick) = (entry.name(), moment.tick);
        match verdict {
            Verdict::Rest => {}
            Verdict::No(roll) => {
                let chance = entry.rule.probability.unwrap_or(1.0);
                log::debug!("tick {tick}: {name}: no ({:.3} >= {chance})", roll.value);
                self.injector.decision(entry, moment, roll, "no", None);
            }
            Verdict::Skip(roll, limit) => {
                let reason = format!("{} is reached ({active} active)", limit.key());
                log::info!("{name}: skipped: {reason}");
                self.injector.metrics.count(entry.kind.name, Status::Skipped);
                self.injector.decision(entry, moment, roll, "skip", Some(&reason));
            }
            Verdict::Inject(roll) => {
                log::debug!("tick {tick}: {name}: yes ({:.3})", roll.value);
                self.injector.decision(entry, moment, roll, "inject", None);
                let dry_run = self.config.agent.dry_run;
                match injector::start(&self.injector, entry, tick, roll, dry_run) {
                    Ok(run) => self.running.push(run),
                    Err(error) => {
                        log::error!("{name}: failed: {error}");
                        self.injector.metrics.count(entry.kind.name, Status::Failed);
                    }
                }
            }
        }
    }

    /// Notes why the dice rest, and says it when that changes.
    pub(super) fn rest(&mut self, rests: Option<Rest>) {
        if rests == self.resting {
            return;
        }
        self.resting = rests;
        let over = rests == Some(Rest::StopAfter);
        match rests {
            Some(Rest::StopAfter) => {
                log::info!(
                    "agent.stop_after is reached after {} injections: the dice rest",
                    self.decider.started()
                );
            }
            Some(Rest::Schedule) => log::info!("outside of agent.schedule: the dice rest"),
            None => log::info!("the dice are rolled"),
        }
        self.injector.metrics.set(&halt::HALTED, &["stop_after"], f64::from(over));
    }

    /// Notes why the application is taken for gone, and says it when that changes.
    pub(super) fn rest_without(&mut self, reason: Option<String>) {
        if reason == self.gone {
            return;
        }
        match &reason {
            Some(reason) => log::info!("{reason}: the dice rest"),
            None => log::info!("the application is there: the dice are rolled"),
        }
        self.injector.metrics.set(&halt::HALTED, &["gone"], f64::from(reason.is_some()));
        self.gone = reason;
    }

    pub(super) fn resting(&self) -> Option<String> {
        match self.resting {
            Some(Rest::Schedule) => Some("outside of agent.schedule".to_owned()),
            Some(Rest::StopAfter) => Some("agent.stop_after is reached".to_owned()),
            None if self.idle => Some("there is no config to use yet".to_owned()),
            None => self.gone.clone().or_else(|| self.waiting.clone()),
        }
    }
}
