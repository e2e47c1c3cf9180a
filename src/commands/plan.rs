//! `chaos-agent plan`: what the dice would do, what that means for a fleet, and whether a trail is what they did.

use super::table::MILLION;
use super::words::Parsed;
use crate::config;
use crate::dice;
use crate::error::{Context, EXIT_FAILED, Error, Result};
use crate::plan::{Fleet, Plan, Timeline, Trail, replay};
use crate::text::json::{Object, list};
use crate::text::output;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Prints the plan, or what is wrong with a trail (exit code 1).
///
/// # Errors
/// The command line or the config cannot be used (exit 64); the trail cannot be read (exit 1).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    if parsed.flag("--replicas") && !parsed.flag("--pods") {
        return Err(Error::usage("--replicas means something only with --pods"));
    }
    if let Some(path) = parsed.path("--replay") {
        return check_trail(path, parsed);
    }
    let config = config::load(parsed.path("--config"))?.config;
    let start = parsed
        .time("--start")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let interval = config.agent.interval;
    let ticks = match (parsed.number("--ticks"), parsed.time("--for")) {
        (Some(ticks), _) => ticks,
        (None, time) => {
            let time = time.unwrap_or(Duration::from_secs(3600));
            time.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64
        }
    };
    if !(1..=MILLION).contains(&ticks) {
        return Err(Error::usage(format!("--for means {ticks} ticks; from 1 to {MILLION} are allowed")));
    }
    let seed = parsed.number("--seed").or(config.agent.seed).unwrap_or_else(dice::random_seed);
    let plan = Plan::new(&config, start, ticks);
    let text = match (parsed.number("--pods"), parsed.is_json()) {
        (Some(pods), json) => {
            let fleet = Fleet::new(&plan, seed, pods, parsed.number("--replicas").unwrap_or(3));
            if json { fleet.json(&plan, seed) } else { fleet.text(&plan, seed) }
        }
        (None, true) => Timeline::new(&plan, seed).json(&plan, seed),
        (None, false) => Timeline::new(&plan, seed).text(&plan, seed),
    };
    output::print(&text);
    Ok(0)
}

fn check_trail(path: &Path, parsed: &Parsed<'_>) -> Result<u8> {
    let file = File::open(path).doing("read", path.display())?;
    let trail = replay(BufReader::new(file), parsed.number("--seed")).doing("read", path.display())?;
    let Trail { starts, decisions, injections, outcomes, torn, lost, problems, wrong, .. } = &trail;
    let name = path.display();
    if parsed.is_json() {
        let problems =
            problems.iter().map(|(line, why)| Object::new().whole("line", *line).text("problem", why).end());
        let mut object = Object::new();
        object.whole("starts", *starts).whole("decisions", *decisions).whole("injections", *injections);
        object.whole("outcomes", *outcomes).whole("wrong_lines", *wrong);
        object.whole("torn_lines", *torn).whole("lost_lines", *lost).raw("problems", &list(problems));
        output::print(&(object.end() + "\n"));
    } else {
        let mut text = String::new();
        for (line, why) in problems {
            text += &format!("{name}:{line}: {why}\n");
        }
        if *wrong > problems.len() as u64 {
            text += &format!("and {} more\n", wrong - problems.len() as u64);
        }
        if torn + lost > 0 {
            text += &format!("{name}: {torn} lines are torn and {lost} were dropped; they are not judged\n");
        }
        let verdict = match (*wrong, *decisions) {
            (0, 0) => "there is no decision in it".to_owned(),
            (0, _) => "everything follows from the seed".to_owned(),
            (count, _) => format!("{count} lines do not follow from the seed"),
        };
        text += &format!(
            "{name}: {starts} starts, {decisions} decisions, {injections} injections, {outcomes} outcomes: {verdict}\n"
        );
        output::print(&text);
    }
    // A trail without a decision proves nothing.
    Ok(if *wrong > 0 || *decisions == 0 { EXIT_FAILED } else { 0 })
}
