//! A fleet of agents with the same config, each with a random seed: how many of their pods are disturbed at the
//! same time, and whether all replicas of a group are at once. Memory depends on the ticks, not on the pods.

use super::Plan;
use super::engine::Engine;
use crate::dice::Die;
use std::time::Duration;

/// What a fleet would meet. A pod is disturbed while an injection is in force in it, looked at at every tick, when
/// injections begin.
pub struct Fleet {
    /// How many pods.
    pub pods: u64,
    /// Pods in a group.
    pub replicas: u64,
    /// For each entry: injections in all pods.
    pub injections: Vec<u64>,
    /// For each entry: the time in force, in all pods together.
    pub times: Vec<Duration>,
    /// For each tick: how many pods are disturbed.
    pub disturbed: Vec<u32>,
    /// The most injections that are in force at once in any one pod.
    pub most_in_pod: usize,
    /// How many whole groups there are.
    pub groups: u64,
    /// In how many of them all replicas are disturbed together, at one tick or more.
    pub groups_down: u64,
}

impl Fleet {
    /// Simulates; `seed` gives the pods theirs.
    pub fn new(plan: &Plan, seed: u64, pods: u64, replicas: u64) -> Fleet {
        let mut engine = Engine::new(plan);
        let mut tally = Tally::new(plan, replicas);
        let seeds = Die::new(seed, "pod");
        for pod in 0..pods {
            tally.begin();
            engine.run(seeds.roll(pod).seed, |entry, tick| tally.start(entry, tick));
            tally.end(pod);
        }
        let mut sum = 0;
        let disturbed = tally.edges[..plan.ticks as usize].iter().map(|edge| {
            sum += edge;
            sum.unsigned_abs()
        });
        Fleet {
            pods,
            replicas,
            disturbed: disturbed.collect(),
            injections: tally.injections,
            times: tally.times,
            most_in_pod: tally.most,
            groups: pods / replicas,
            groups_down: tally.groups_down,
        }
    }

    /// How many pods are disturbed on average.
    pub fn average(&self) -> f64 {
        let sum: u64 = self.disturbed.iter().map(|pods| u64::from(*pods)).sum();
        sum as f64 / self.disturbed.len().max(1) as f64
    }

    /// How many pods are disturbed at most, at this share (0 to 1) of the ticks: the nearest-rank percentile.
    pub fn percentile(&self, share: f64) -> u32 {
        let mut sorted = self.disturbed.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The share of the ticks at which all replicas of a group are disturbed, as expected of pods that do not
    /// know of each other: the mean of the power of the share of disturbed pods.
    pub fn share_down(&self) -> f64 {
        let replicas = self.replicas.min(i32::MAX as u64) as i32;
        let power = |pods: &u32| (f64::from(*pods) / self.pods as f64).powi(replicas);
        self.disturbed.iter().map(power).sum::<f64>() / self.disturbed.len().max(1) as f64
    }

    /// The share of groups of which all replicas are disturbed together at least once.
    pub fn chance_down(&self) -> f64 {
        self.groups_down as f64 / self.groups.max(1) as f64
    }
}

/// The sums so far, and the pod at hand.
struct Tally<'a> {
    plan: &'a Plan,
    active_ticks: Vec<u64>,
    injections: Vec<u64>,
    times: Vec<Duration>,
    /// For each tick how many pods more are disturbed than at the tick before.
    edges: Vec<i32>,
    /// Up to which tick the pod is disturbed by what has started so far.
    covered: u64,
    /// For each entry the tick at which its last injection is over.
    ends: Vec<u64>,
    most: usize,
    replicas: u64,
    /// A bit a tick: whether the pod is disturbed, and whether all pods of its group so far are.
    pod: Vec<u64>,
    group: Vec<u64>,
    groups_down: u64,
}

impl<'a> Tally<'a> {
    fn new(plan: &'a Plan, replicas: u64) -> Tally<'a> {
        let (entries, ticks) = (plan.entries.len(), plan.ticks as usize);
        let words = vec![0; ticks.div_ceil(64)];
        Tally {
            plan,
            active_ticks: plan.entries.iter().map(|entry| plan.active_ticks(entry.duration)).collect(),
            injections: vec![0; entries],
            times: vec![Duration::ZERO; entries],
            edges: vec![0; ticks + 1],
            covered: 0,
            ends: vec![0; entries],
            most: 0,
            replicas,
            pod: words.clone(),
            group: words,
            groups_down: 0,
        }
    }

    fn begin(&mut self) {
        self.covered = 0;
        self.ends.fill(0);
        self.pod.fill(0);
    }

    fn start(&mut self, entry: usize, tick: u64) {
        let end = (tick + self.active_ticks[entry]).min(self.plan.ticks);
        self.injections[entry] += 1;
        self.times[entry] += self.plan.active_time(self.plan.entries[entry].duration, tick);
        self.ends[entry] = end;
        self.most = self.most.max(self.ends.iter().filter(|end| **end > tick).count());
        // What starts within what is covered only lengthens it.
        let from = self.covered.max(tick);
        if end > from {
            self.edges[from as usize] += 1;
            self.edges[end as usize] -= 1;
            (from..end).for_each(|tick| self.pod[tick as usize / 64] |= 1 << (tick % 64));
            self.covered = end;
        }
    }

    fn end(&mut self, pod: u64) {
        if pod.is_multiple_of(self.replicas) {
            self.group.copy_from_slice(&self.pod);
        } else {
            self.group.iter_mut().zip(&self.pod).for_each(|(group, pod)| *group &= pod);
        }
        if pod % self.replicas == self.replicas - 1 && self.group.iter().any(|word| *word != 0) {
            self.groups_down += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timeline;
    use super::*;

    /// The same sums, each by its definition, from time lines.
    #[test]
    fn the_sums_are_those_of_so_many_time_lines() {
        let mut random = fastrand::Rng::with_seed(12);
        for _ in 0..100 {
            let plan = super::super::tests::random_plan(&mut random);
            let (seed, pods, replicas) = (random.u64(..), random.u64(1..40), random.u64(1..5));
            let fleet = Fleet::new(&plan, seed, pods, replicas);
            let die = Die::new(seed, "pod");
            let lines: Vec<_> = (0..pods).map(|pod| Timeline::new(&plan, die.roll(pod).seed)).collect();
            for tick in 0..plan.ticks as usize {
                let disturbed = lines.iter().filter(|line| line.active[tick] > 0).count();
                assert_eq!(fleet.disturbed[tick] as usize, disturbed);
            }
            for entry in 0..plan.entries.len() {
                let count: usize = lines.iter().map(|line| line.counts(entry).0).sum();
                assert_eq!(fleet.injections[entry], count as u64);
                assert_eq!(fleet.times[entry], lines.iter().map(|line| line.times[entry]).sum());
            }
            let most = lines.iter().flat_map(|line| &line.active).max();
            assert_eq!(fleet.most_in_pod, *most.unwrap() as usize);
            let groups = lines.chunks_exact(replicas as usize);
            let down = groups.filter(|group| {
                (0..plan.ticks as usize).any(|tick| group.iter().all(|line| line.active[tick] > 0))
            });
            assert_eq!((fleet.groups, fleet.groups_down), (pods / replicas, down.count() as u64));
            let peak = fleet.disturbed.iter().max().copied().unwrap();
            assert!(fleet.percentile(1.0) == peak && fleet.percentile(0.5) <= peak);
        }
    }

    /// One entry that holds exactly one tick and may be hit at any: a pod is disturbed with its probability.
    #[test]
    fn the_mathematics_are_those_of_independent_dice() {
        let rule =
            crate::dice::decide::Rule { name: "cpu".to_owned(), probability: Some(0.2), schedule: None };
        let duration = Duration::from_millis(9_999);
        let plan = Plan {
            entries: vec![super::super::Planned { rule, kind: "cpu", duration, what: String::new() }],
            limits: Default::default(),
            interval: Duration::from_secs(10),
            start: Duration::ZERO,
            ticks: 100,
            dry_run: false,
        };
        let fleet = Fleet::new(&plan, 1, 60_000, 3);
        let share = |pods: f64| pods / 60_000.0;
        assert!((share(fleet.average()) - 0.2).abs() < 0.001, "{}", fleet.average());
        assert!((fleet.share_down() - 0.008).abs() < 0.0003, "{}", fleet.share_down());
        // 1 - (1 - 0.2 ^ 3) ^ 100 = 0.552; the standard error of 20,000 groups is 0.0035.
        assert!((fleet.chance_down() - 0.552).abs() < 0.014, "{}", fleet.chance_down());
        // Binomial: the standard deviation is sqrt(60,000 * 0.2 * 0.8) = 98.
        assert!((11_900..12_100).contains(&fleet.percentile(0.5)), "{}", fleet.percentile(0.5));
        assert!((12_150..12_450).contains(&fleet.percentile(0.99)), "{}", fleet.percentile(0.99));
    }
}
