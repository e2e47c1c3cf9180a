use crate::board::tests::{live, past};
use crate::board::{About, BARS, Board, OUTCOMES, Past, Ready};
use crate::exporter::metrics::Status;
use std::time::{Instant, SystemTime};

const LINKS: [(&str, &str); 2] = [("/metrics", "numbers & more"), ("/-/healthy", "alive")];

/// The page, after a look at what must hold of every page: each tag that opens closes in the right order, no bare
/// `<`, `>` or `&` is left, and nothing comes from elsewhere.
fn shown(board: &Board) -> String {
    let page = board.page(&LINKS, "");
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let markup = [head, body].concat();
    let mut open = Vec::new();
    for part in markup.strip_prefix("<!DOCTYPE html>\n").unwrap().split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("<{part} does not end"));
        assert!(!text.contains('>'), "a bare > in {text:?}");
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;"].iter().any(|name| entity.starts_with(name));
            assert!(known, "a bare & in {text:?}");
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "an open quote in <{tag}>");
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}> in {page}"),
            None if ["meta", "br"].contains(&name) || tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "left open in {page}");
    for foreign in ["http://", "https://", "src=", "url(", "@import", "<script", "<link", "on=\""] {
        assert!(!page.contains(foreign), "{foreign} in {page}");
    }
    assert!(page.len() < 256 << 10, "{} bytes", page.len());
    page
}

fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
}

#[test]
fn the_headline_says_whether_it_is_the_chaos() {
    let board = Board::default();
    let page = shown(&board);
    has(
        &page,
        &["class=\"answer calm\"><h1>No fault is active</h1>", "There was none since the agent started"],
    );
    let one = live("burn", 3);
    board.begin(&one);
    has(&shown(&board), &["<h1>No fault is in force yet</h1>", "<b>being set up for "]);
    *one.active.lock().unwrap() = Some(Instant::now());
    one.facts.victim("9 (x)".to_owned(), None);
    one.facts.command("tc qdisc show".to_owned());
    let page = shown(&board);
    has(
        &page,
        &[
            "<title>1 fault is ACTIVE - chaos-agent on ",
            "class=\"answer now\"><h1>1 fault is ACTIVE</h1>",
            "<h2>burn <small>cpu</small></h2>",
            "<b>60 min 0 s left, until ",
            "<p>burns 1 of 2 allowed CPU cores</p>",
            "<small>victim</small> 9 (x)",
            "<code>tc qdisc show</code>",
            &format!("SIGUSR1 to process {}, ", std::process::id()),
            ">burn: no injection, active now</text>",
        ],
    );
    // It reaches to the right edge, and is seen although it has just begun.
    has(&page, &["<rect class=\"now\" x=\"99.65%\" y=\"19\" width=\"0.35%\""]);
    let two = live("other", 3);
    *two.active.lock().unwrap() = Some(Instant::now());
    board.begin(&two);
    has(&shown(&board), &["<h1>2 faults are ACTIVE</h1>"]);
}

#[test]
fn an_end_is_told_and_so_is_what_was_not_reverted() {
    let board = Board::default();
    let now = SystemTime::now();
    let ended = |reverted, status| {
        let mut past = past("net", 1, status, Some("<it> broke"));
        let mut fresh = live("net", 1);
        std::sync::Arc::get_mut(&mut fresh).unwrap().started = now - past.took;
        (past.live, past.reverted) = (fresh, reverted);
        past
    };
    board.end(ended(true, Status::Success));
    let page = shown(&board);
    has(&page, &["<h1>No fault is active</h1>", "<b>net</b>, ended 0 s ago: success."]);
    has(&page, &["<td class=\"success\">success</td><td>1.5 s</td><td>&lt;it&gt; broke <small>burns 1 of"]);
    board.end(ended(false, Status::Failed));
    let page = shown(&board);
    has(
        &page,
        &["class=\"answer warn\"><h1>A fault was not wholly reverted</h1>", "<b>net</b> left something"],
    );
    has(&page, &["<br><b>NOT REVERTED</b></td></tr>", ">net: 2 injections, 1 failed</text>"]);
    // One that is active says more.
    let one = live("burn", 3);
    *one.active.lock().unwrap() = Some(Instant::now());
    board.begin(&one);
    has(&shown(&board), &["<h1>1 fault is ACTIVE</h1>", "<b>net</b> left something behind"]);
}

#[test]
fn what_keeps_the_dice_from_rolling_is_told() {
    let board = Board::default();
    board.set_tick(41, Some(Instant::now()), Some("outside of agent.schedule".to_owned()));
    has(
        &shown(&board),
        &["<b>The dice rest</b>: outside of agent.schedule", "Tick 41, one every 0 s; the next in 0 s."],
    );
    board.set_halts(vec![("file", "/run/halt is there".to_owned()), ("signal", "SIGUSR1".to_owned())]);
    board.set_reload_error("a is wrong\nb too");
    let page = shown(&board);
    has(
        &page,
        &["<h1>Halted: no fault is active</h1>", "<b>Halted (file)</b>: /run/halt is there", "(signal)</b>"],
    );
    has(&page, &["<b>The config on disk is not in use</b>", "<p>a is wrong</p>\n<p>b too</p>"]);
    assert!(!page.contains("The dice rest"), "the halt says more: {page}");
    let about = About {
        source: "/app/config.yaml".to_owned(),
        hash: 0xab,
        seed: u64::MAX,
        dry_run: true,
        ..About::default()
    };
    board.set_about(about);
    let page = shown(&board);
    assert!(!page.contains("not in use"), "another config was taken: {page}");
    has(
        &page,
        &["<b>Dry run</b>", "Config /app/config.yaml, ", "00000000000000ab", "Seed 18446744073709551615"],
    );
    has(
        &page,
        &[
            "<a href=\"metrics\">/metrics</a> numbers &amp; more",
            "<a href=\"-/healthy\">/-/healthy</a> alive",
        ],
    );
}

#[test]
fn readiness_has_its_reasons() {
    let board = Board::default();
    let ready = |entry: &str, what| Ready { entry: entry.to_owned(), kind: "network", looked: true, what };
    board.set_ready(vec![
        ready("good", Ok("delays eth0".to_owned())),
        ready("bad", Err("CAP_NET_ADMIN is missing".to_owned())),
    ]);
    let page = shown(&board);
    has(
        &page,
        &[
            "<b>good</b> <small>network</small> <span class=\"success\">ready</span> <span>delays eth0</span></li>",
            "<b>bad</b> <small>network</small> <span class=\"failed\">NOT READY</span> <span>CAP_NET_ADMIN is missing</span></li>",
            ">good: no injection</text>",
        ],
    );
}

#[test]
fn the_browser_asks_again_unless_told_to_hold_still() {
    let board = Board::default();
    has(&board.page(&LINKS, ""), &["http-equiv=\"refresh\" content=\"5\"", "href=\"?refresh=off\""]);
    let page = board.page(&LINKS, "refresh=off");
    has(&page, &["href=\"./\""]);
    assert!(!page.contains("http-equiv=\"refresh\""), "{page}");
}

/// The worst that names can hold, everywhere and more often than there is room for.
#[test]
fn whatever_stands_in_it_stays_text_and_below_what_the_server_sends() {
    let board = Board::default();
    let worst = "\"".repeat(5000);
    let evil = "</title><script>alert('&\u{1b}')</script>".to_owned() + &worst;
    board.set_about(About { source: evil.clone(), ..About::default() });
    board.set_halts(
        ["config", "file", "signal", "steady_state", "stop_after"]
            .map(|reason| (reason, evil.clone()))
            .into(),
    );
    board.set_reload_error(&[evil.as_str(); 100].join("\n"));
    let entries: Vec<String> = (0..600).map(|index| format!("{index}{evil}")).collect();
    board.set_ready(
        entries
            .iter()
            .map(|entry| Ready { entry: entry.clone(), kind: "cpu", looked: true, what: Err(evil.clone()) })
            .collect(),
    );
    let mut pasts = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let running = live(entry, 1);
        for _ in 0..20 {
            running.facts.victim(evil.clone(), None);
            running.facts.command(evil.clone());
        }
        board.begin(&running);
        let mut started = live(entry, 2);
        // All bars in the rows that are shown.
        let fresh = std::sync::Arc::get_mut(&mut started).unwrap();
        (fresh.started, fresh.entry) = (SystemTime::now(), entries[index % 40].clone());
        pasts.push(Past { live: started, ..past(entry, 2, Status::Failed, Some(&evil)) });
    }
    for past in pasts {
        past.live.facts.victim(evil.clone(), None);
        board.end(past);
    }
    let page = shown(&board);
    has(&page, &["&lt;/title&gt;&lt;script&gt;alert('&amp;\u{fffd}')&lt;/script&gt;&quot;"]);
    assert_eq!(page.matches("<rect class=\"failed\"").count(), BARS, "the time line is whole");
    assert!(
        page.matches("<div class=\"fault\">").count() > 1 && page.contains(" more, see /status"),
        "{page}"
    );
}

#[test]
fn a_usual_page_is_small() {
    let board = Board::default();
    let reason = "no process matches target_name redis-server";
    for tick in 0..OUTCOMES as u64 {
        board.end(past("an-entry-with-a-name", tick, Status::Success, Some(reason)));
    }
    let page = shown(&board);
    assert_eq!(page.matches("<tr><td>").count(), OUTCOMES);
    assert!(page.len() < 24_000, "{} bytes", page.len());
}
