//! croniter (PyPI) as the judge of cron expressions: what comes when, over ten years of random expressions.

use chaos_agent::dice::schedule::{Cron, Offset};
use chaos_agent::text::civil::Civil;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

const EXPRESSIONS: usize = 600;
/// Starts for each expression, and the matches that are looked at from each.
const STARTS: usize = 8;
const MATCHES: usize = 20;
/// 2024-01-01 00:00, as a minute; ten years from there.
const FIRST: i64 = 28_401_120;
const TEN_YEARS: i64 = 3653 * 1440;

/// croniter's answer to each line `COUNT MINUTE EXPRESSION`: so many matches after the minute (UTC), or `None`
/// where nothing ever comes.
fn croniter(questions: &str) -> Vec<Option<Vec<i64>>> {
    let mut python = Command::new("python3")
        .arg("tests/ecosystem/cron.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let asked = questions.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let minutes = |line: &str| line.split(' ').map(|word| word.parse().unwrap()).collect();
    text.lines().map(|line| (line != "never").then(|| minutes(line))).collect()
}

/// The names of months and weekdays, at the index of their value.
const MONTHS: [&str; 13] =
    ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A value as a number or by its name, in small letters or capitals.
fn word(random: &mut fastrand::Rng, value: u8, names: &[&str]) -> String {
    match names.get(usize::from(value)) {
        Some(name) if random.bool() => {
            if random.bool() {
                name.to_uppercase()
            } else {
                (*name).to_owned()
            }
        }
        _ => value.to_string(),
    }
}

/// One item of a field: anything that the agent takes.
fn item(random: &mut fastrand::Rng, low: u8, high: u8, names: &[&str]) -> String {
    // Sunday is 7 too, and the end of a range where it is 0.
    let week = names.len() == WEEKDAYS.len();
    let (first, last) = (random.u8(low..=high), random.u8(low..=if week { 7 } else { high }));
    let step = random.u8(1..=high - low);
    let (from, to) = (word(random, first, names), word(random, last, names));
    match random.u8(..6) {
        0 => format!("*/{step}"),
        1 => format!("{from}/{step}"),
        2 if first != last && (first, last) != (0, 7) => format!("{from}-{to}"),
        3 if first < last && (first, last) != (0, 7) => format!("{from}-{to}/{step}"),
        4 if week => "0-7".to_owned(),
        4 => to,
        _ => from,
    }
}

fn field(random: &mut fastrand::Rng, low: u8, high: u8, names: &[&str]) -> String {
    match random.u8(..20) {
        0..7 => "*".to_owned(),
        7 => format!("{low}-{high}"),
        8 => "*/1".to_owned(),
        9 => format!("*,{}", item(random, low, high, names)),
        _ => {
            let items: Vec<_> = (0..random.u8(1..=3)).map(|_| item(random, low, high, names)).collect();
            // What a star behind a comma means, crons disagree about.
            let kept = items.iter().enumerate().filter(|(index, item)| *index == 0 || !item.starts_with('*'));
            kept.map(|(_, item)| item.as_str()).collect::<Vec<_>>().join(",")
        }
    }
}

fn expression(random: &mut fastrand::Rng) -> String {
    if random.u8(..100) == 0 {
        let words = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];
        return words[random.usize(..words.len())].to_owned();
    }
    let times = [field(random, 0, 59, &[]), field(random, 0, 23, &[])].join(" ");
    let days = [field(random, 1, 31, &[]), field(random, 1, 12, &MONTHS), field(random, 0, 6, &WEEKDAYS)];
    format!("{times} {}", days.join(" "))
}

/// Expressions where crons are known to differ, besides the random ones.
const CORNERS: [&str; 18] = [
    "0 0 13 * fri",
    "0 0 13 * */2",
    "0 0 */2 * mon",
    "0 0 */1 * mon",
    "0 0 1-31 * mon",
    "0 0 1-31 * */2",
    "0 0 13 * 0-6",
    "0 0 13 * 0-7",
    "0 0 13 * 0-7/2",
    "0 0 */3 * 0-7/2",
    "0 0 */10 * */3",
    "0 0 13 * *,mon",
    "0 0 29 2 *",
    "0 0 30 2 *",
    "* * 31 2,4,6,9,11 *",
    "0 0 30 2 mon",
    "0 0 31 4,6 sun-tue",
    "59 23 31 12 *",
];

#[test]
fn every_match_of_random_expressions_is_one_of_croniter() {
    let mut random = fastrand::Rng::with_seed(20);
    let (mut cases, mut questions) = (Vec::new(), String::new());
    let mut corners = CORNERS.iter();
    while cases.len() < EXPRESSIONS * STARTS {
        let text = corners.next().map_or_else(|| expression(&mut random), |text| (*text).to_owned());
        let cron = match Cron::parse(&text) {
            Ok(cron) => Some(cron),
            Err(why) if why.contains("never comes") => None,
            Err(why) => panic!("{text}: {why}"),
        };
        for _ in 0..STARTS {
            let start = FIRST + random.i64(0..TEN_YEARS);
            writeln!(questions, "{MATCHES} {start} {text}").unwrap();
            cases.push((text.clone(), cron, start));
        }
    }
    let answers = croniter(&questions);
    assert_eq!(answers.len(), cases.len());
    let mut judged = 0;
    for ((text, cron, start), expected) in cases.into_iter().zip(answers) {
        let (cron, expected) = match (cron, expected) {
            (Some(cron), Some(expected)) => (cron, expected),
            (None, None) => continue,
            (cron, expected) => panic!("{text:?}: {cron:?}, croniter: {expected:?}"),
        };
        let mut last = start;
        for minute in &expected {
            let found = cron.next_match(last, Offset::UTC);
            assert_eq!(found, Some(*minute), "{text:?} after {}", Civil::from_minute(last));
            // A day before it at most, and the minute itself: `matches` says the same as the search.
            for between in (last + 1).max(minute - 1440)..=*minute {
                let matches = cron.matches(&Civil::from_minute(between));
                assert_eq!(matches, between == *minute, "{text:?} at {}", Civil::from_minute(between));
                judged += 1;
            }
            last = *minute;
        }
    }
    assert!(judged > EXPRESSIONS * STARTS * MATCHES, "{judged} minutes were judged");
}
