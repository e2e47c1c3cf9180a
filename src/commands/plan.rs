//! `chaos-agent plan`: what the dice would do, what that means for a fleet, and whether a trail is what they did.

use super::options;
use crate::config::{self, duration};
use crate::dice::schedule::Offset;
use crate::error::{Context, EXIT_FAILED, Error, Result};
use crate::plan::{Fleet, Plan, Timeline, Trail, replay};
use crate::text::civil::Civil;
use crate::text::json::{Object, list};
use crate::text::output;
use std::fs::File;
use std::io::BufReader;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Ticks at most: what their answer needs in memory is bounded by it.
const TICKS: RangeInclusive<u64> = 1..=1_000_000;
const PODS: RangeInclusive<u64> = 1..=1_000_000;

#[derive(Default)]
struct Options {
    config: Option<PathBuf>,
    ticks: Option<u64>,
    time: Option<Duration>,
    seed: Option<u64>,
    start: Option<Duration>,
    pods: Option<u64>,
    replicas: Option<u64>,
    json: bool,
    replay: Option<PathBuf>,
}

/// Prints the plan, or what is wrong with a trail (exit code 1).
///
/// # Errors
/// The command line or the config cannot be used (exit 64); the trail cannot be read (exit 1).
pub fn run(args: &[String]) -> Result<u8> {
    let options = parse(args)?;
    if let Some(path) = &options.replay {
        return check_trail(path, &options);
    }
    let config = config::load(options.config.as_deref())?.config;
    let start =
        options.start.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let interval = config.agent.interval;
    let ticks = match (options.ticks, options.time) {
        (Some(ticks), _) => ticks,
        (None, time) => {
            let time = time.unwrap_or(Duration::from_secs(3600));
            time.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64
        }
    };
    if !TICKS.contains(&ticks) {
        return Err(Error::usage(format!(
            "--for means {ticks} ticks; from 1 to {} are allowed",
            TICKS.end()
        )));
    }
    let seed = options.seed.or(config.agent.seed).unwrap_or_else(|| fastrand::u64(..));
    let plan = Plan::new(&config, start, ticks);
    let text = match (options.pods, options.json) {
        (Some(pods), json) => {
            let fleet = Fleet::new(&plan, seed, pods, options.replicas.unwrap_or(3));
            if json { fleet.json(&plan, seed) } else { fleet.text(&plan, seed) }
        }
        (None, true) => Timeline::new(&plan, seed).json(&plan, seed),
        (None, false) => Timeline::new(&plan, seed).text(&plan, seed),
    };
    output::print(&text);
    Ok(0)
}

fn check_trail(path: &PathBuf, options: &Options) -> Result<u8> {
    let file = File::open(path).doing("read", path.display())?;
    let trail = replay(BufReader::new(file), options.seed).doing("read", path.display())?;
    let Trail { starts, decisions, injections, outcomes, problems, wrong, .. } = &trail;
    let name = path.display();
    if options.json {
        let problems =
            problems.iter().map(|(line, why)| Object::new().whole("line", *line).text("problem", why).end());
        let mut object = Object::new();
        object.whole("starts", *starts).whole("decisions", *decisions).whole("injections", *injections);
        object.whole("outcomes", *outcomes).whole("wrong_lines", *wrong).raw("problems", &list(problems));
        output::print(&(object.end() + "\n"));
    } else {
        let mut text = String::new();
        for (line, why) in problems {
            text += &format!("{name}:{line}: {why}\n");
        }
        if *wrong > problems.len() as u64 {
            text += &format!("and {} more\n", wrong - problems.len() as u64);
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

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let known =
            ["--config", "--ticks", "--for", "--seed", "--start", "--pods", "--replicas", "-o", "--replay"];
        if !known.contains(&name) {
            return Err(Error::usage(format!("plan does not know {word:?}; it knows {}", known.join(", "))));
        }
        let value = value.or_else(|| words.next().cloned());
        let value = value.ok_or_else(|| Error::usage(format!("{name} needs a value")))?;
        let number = |range| number(name, &value, range);
        match name {
            "--config" => options.config = Some(value.into()),
            "--replay" => options.replay = Some(value.into()),
            "--ticks" => options.ticks = Some(number(TICKS)?),
            "--seed" => options.seed = Some(number(0..=u64::MAX)?),
            "--pods" => options.pods = Some(number(PODS)?),
            "--replicas" => options.replicas = Some(number(1..=1000)?),
            "--for" => {
                let allowed = "a time above 0 such as 30s, 90m, 1h or 2d";
                let time = duration(&value).filter(|time| !time.is_zero());
                options.time = Some(time.ok_or_else(|| refuse(name, &value, allowed))?);
            }
            "--start" => {
                let allowed =
                    "a time such as 2026-11-24T09:00, 2026-11-24T09:00:30Z or 2026-11-24T09:00+02:00";
                options.start = Some(moment(&value).ok_or_else(|| refuse(name, &value, allowed))?);
            }
            _ => options.json = options::is_json(&value)?,
        }
    }
    if options.ticks.is_some() && options.time.is_some() {
        return Err(Error::usage("--ticks and --for say the same; leave one out"));
    }
    if options.replicas.is_some() && options.pods.is_none() {
        return Err(Error::usage("--replicas means something only with --pods"));
    }
    Ok(options)
}

fn number(name: &str, value: &str, range: RangeInclusive<u64>) -> Result<u64> {
    let read = value.parse().ok().filter(|number| range.contains(number));
    let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
    read.ok_or_else(|| refuse(name, value, &allowed()))
}

fn refuse(name: &str, value: &str, allowed: &str) -> Error {
    Error::usage(format!("{name}: {value:?} is not allowed: {allowed}"))
}

/// RFC 3339, of which seconds and offset may be left out (UTC); from 1970 on.
fn moment(text: &str) -> Option<Duration> {
    let (clock, offset) = match text.get(16..)?.find(['Z', 'z', '+', '-']) {
        Some(at) => (&text[..16 + at], Offset::parse(&text[16 + at..]).ok()?),
        None => (text, Offset::UTC),
    };
    // The digits up to an index, and the character that follows them.
    let mut from = 0;
    let mut part = |to: usize, ends: &[char]| {
        let digits = clock.get(from..to).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        from = to + 1;
        let good = clock[to..].chars().next().is_none_or(|letter| ends.contains(&letter));
        good.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (year, month, day) = (part(4, &['-'])?, part(7, &['-'])?, part(10, &['T', 't', ' '])?);
    let (hour, minute) = (part(13, &[':'])?, part(16, &[':'])?);
    let seconds: f64 = match clock.get(17..) {
        Some(text) if text.starts_with(|letter: char| letter.is_ascii_digit()) => text.parse().ok()?,
        Some(_) => return None,
        None => 0.0,
    };
    let [month, day, hour, minute] = [month, day, hour, minute].map(|number| number as u8);
    let read = Civil { year: year.into(), month, day, hour, minute, weekday: 0 };
    let local = read.to_minute();
    let real = Civil { weekday: 0, ..Civil::from_minute(local) } == read;
    let whole = u64::try_from((local - offset.minutes()) * 60).ok()?;
    (real && (0.0..60.0).contains(&seconds))
        .then(|| Duration::from_secs(whole) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_real_time() {
        for (text, seconds) in [
            ("1970-01-01T00:00", 0.0),
            ("2026-11-24T09:00:30Z", 1_795_510_830.0),
            ("2026-11-24 11:00:30.5+02:00", 1_795_510_830.5),
            ("2024-02-29T00:00-01:30", 1_709_170_200.0),
        ] {
            assert_eq!(moment(text).map(|time| time.as_secs_f64()), Some(seconds), "{text}");
        }
        for text in [
            "",
            "now",
            "2026-11-24",
            "2026-02-29T00:00",
            "2026-13-01T00:00",
            "2026-11-24T24:00",
            "2026-11-24T09:60",
            "2026-11-24T09:00:60",
            "2026-11-24T09:00:nan",
            "2026-1-24T09:00",
            "1969-12-31T23:59",
            "2026-11-24T09:00X",
            "2026-11-24T09",
            "2026-11-24-01T09:00",
            "2026-11-24T09:00:+1",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn every_wrong_option_is_named_with_what_is_allowed() {
        for (args, said) in [
            ("--tick 3", "plan does not know \"--tick\"; it knows --config, --ticks"),
            ("--ticks", "--ticks needs a value"),
            ("--ticks 0", "--ticks: \"0\" is not allowed: a whole number from 1 to 1000000"),
            ("--pods=1000001", "--pods: \"1000001\" is not allowed: a whole number from 1 to 1000000"),
            ("--for 0s", "--for: \"0s\" is not allowed: a time above 0 such as 30s"),
            ("--start noon", "--start: \"noon\" is not allowed: a time such as"),
            ("-o yaml", "-o is json or text, not \"yaml\""),
            ("--replicas 3", "--replicas means something only with --pods"),
        ] {
            let args: Vec<_> = args.split(' ').map(str::to_owned).collect();
            let error = parse(&args).err().unwrap();
            assert!(error.exit_code() == 64 && error.to_string().starts_with(said), "{error}");
        }
    }
}
