//! The board as JSON.

use super::{Board, Live, Past, Ready};
use crate::steady::State;
use crate::text::civil::timestamp;
use crate::text::json::{Object, list};
use std::sync::Arc;
use std::time::Instant;

/// Victims and commands that are listed of an injection under way, and of one that ended: an answer has an end
/// (256 KiB), and the audit trail has them all.
pub const SHOWN_ACTIVE: usize = 100;
pub const SHOWN_PAST: usize = 5;

impl Board {
    /// The whole board as one JSON object.
    pub fn json(&self) -> String {
        self.kept(0, || self.json_now())
    }

    fn json_now(&self) -> String {
        let state = self.lock();
        let about = &state.about;
        let mut config = Object::new();
        config.text("source", &about.source).text("hash", &format!("{:016x}", about.hash));
        config.optional("loaded", about.loaded.map(timestamp).as_deref());
        config.optional("last_reload_error", state.reload_error.as_deref());
        let halts = state
            .halts
            .iter()
            .map(|(reason, detail)| Object::new().text("reason", reason).text("detail", detail).end());
        let next =
            state.next.map_or(f64::NAN, |next| next.saturating_duration_since(Instant::now()).as_secs_f64());
        let mut object = Object::new();
        object.whole("pid", std::process::id().into());
        object.text("version", about.version).seed(about.seed);
        object.text("started", &timestamp(self.started)).raw("config", &config.end());
        object.truth("dry_run", about.dry_run).number("interval_seconds", about.interval.as_secs_f64());
        object.whole("tick", state.tick).number("next_tick_in_seconds", next);
        object.truth("halted", !state.halts.is_empty()).raw("halts", &list(halts));
        object.optional("resting", state.resting.as_deref());
        object.raw("steady_state", &list(state.steady.iter().map(probe)));
        object.raw("active", &list(state.live.iter().map(active)));
        object.raw("readiness", &list(state.ready.iter().map(ready)));
        object.raw("outcomes", &list(state.past.iter().rev().map(outcome)));
        object.end()
    }
}

fn active(live: &Arc<Live>) -> String {
    let mut object = Object::new();
    who(&mut object, live, &live.facts.get(SHOWN_ACTIVE).map(|list| list.lines));
    let remaining = live.remaining();
    object.truth("in_force", remaining.is_some());
    object.number("remaining_seconds", remaining.map_or(f64::NAN, |left| left.as_secs_f64()));
    object.end()
}

fn probe((name, state): &(String, State)) -> String {
    let mut object = Object::new();
    object.text("probe", name).text("health", state.health.name());
    object.text("last_failure", &state.reason);
    object.end()
}

fn ready(ready: &Ready) -> String {
    let mut object = Object::new();
    object.text("entry", &ready.entry).text("type", ready.kind);
    match ready.looked {
        true => object.truth("ready", ready.what.is_ok()),
        false => object.raw("ready", "null"),
    };
    match &ready.what {
        Ok(what) => object.text("what", what),
        Err(why) => object.text("why", why),
    };
    object.end()
}

fn outcome(past: &Past) -> String {
    let mut object = Object::new();
    members(&mut object, past, &past.live.facts.get(SHOWN_PAST).map(|list| list.lines));
    object.end()
}

/// `lists` are victims and commands.
fn who(object: &mut Object, live: &Live, lists: &[Vec<String>; 2]) {
    object.text("entry", &live.entry).text("type", live.kind).whole("tick", live.tick);
    object.optional("by", live.by_hand.then_some("inject"));
    object.text("started", &timestamp(live.started)).text("what", &live.plan);
    for (name, list) in ["victims", "tc"].into_iter().zip(lists) {
        object.texts(name, list.iter().map(String::as_str));
    }
}

/// Adds all that there is to say about an injection that ended, for the audit trail, and forgets what only that tells.
pub fn outcome_members(object: &mut Object, past: &Past) {
    members(object, past, &past.live.facts.take_trail());
}

fn members(object: &mut Object, past: &Past, lists: &[Vec<String>; 2]) {
    who(object, &past.live, lists);
    object.text("status", past.status.name()).optional("reason", past.reason.as_deref());
    object.truth("verified", past.verified).truth("reverted", past.reverted);
    object.number("held_seconds", past.held.map_or(f64::NAN, |held| held.as_secs_f64()));
    object.number("duration_seconds", past.took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use crate::board::tests::{live, past};
    use crate::board::{About, Board, Ready};
    use crate::exporter::metrics::Status;
    use std::time::Duration;

    #[test]
    fn many_victims_and_commands_do_not_make_an_answer_too_long() {
        let board = Board::default();
        for tick in 0..60 {
            let ended = past("many", tick, Status::Success, None);
            (0..2000).for_each(|number| ended.live.facts.command(format!("tc filter add number {number}")));
            board.end(ended);
        }
        let running = live("now", 61);
        (0..5000).for_each(|number| running.facts.victim(format!("process {number} (with-a-name)"), None));
        board.begin(&running);
        let text = board.json();
        assert!(
            text.len() < 64 << 10 && text.contains("process 99 ") && !text.contains("process 100 "),
            "{}",
            text.len()
        );
    }

    #[test]
    fn the_board_reads_back_as_what_was_put_on_it() {
        let board = Board::default();
        board.set_about(About {
            idle: false,
            version: "1.2.3",
            seed: u64::MAX,
            source: "/app/config.yaml".to_owned(),
            hash: 0xab,
            dry_run: false,
            interval: Duration::from_secs(10),
            loaded: None,
        });
        board.set_tick(7, None, None);
        board.set_halts(vec![("file", "/run/halt is there".to_owned())]);
        board.set_ready(vec![Ready {
            entry: "n".to_owned(),
            kind: "network",
            looked: true,
            what: Err("no \"eth0\"".into()),
        }]);
        let running = live("now", 7);
        running.facts.victim("4711 (redis)".to_owned(), None);
        board.begin(&running);
        board.end(past("first", 1, Status::Success, None));
        board.end(past("second", 2, Status::Failed, Some("it broke")));
        let text = board.json();
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        let get = |path: &str| {
            path.split('/').fold(&tree, |at, key| match key.parse::<usize>() {
                Ok(index) => &at[index],
                Err(_) => &at[key],
            })
        };
        assert_eq!(get("seed").as_u64(), Some(u64::MAX));
        assert_eq!(get("seed_text").as_str(), Some("18446744073709551615"));
        assert_eq!(get("config/hash").as_str(), Some("00000000000000ab"));
        assert_eq!((get("tick").as_u64(), get("halted").as_bool()), (Some(7), Some(true)));
        assert_eq!(get("halts/0/detail").as_str(), Some("/run/halt is there"));
        assert_eq!(get("readiness/0/why").as_str(), Some("no \"eth0\""));
        assert_eq!(get("active/0/victims/0").as_str(), Some("4711 (redis)"));
        assert_eq!(get("active/0/in_force").as_bool(), Some(false));
        assert_eq!(get("outcomes/0/entry").as_str(), Some("second"), "newest first: {text}");
        assert_eq!(get("outcomes/0/reason").as_str(), Some("it broke"));
        assert_eq!(get("outcomes/1/started").as_str(), Some("2027-01-15T08:00:00.000Z"));
        assert!(get("next_tick_in_seconds").is_null() && get("resting").is_null());
    }
}
