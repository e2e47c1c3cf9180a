use super::super::parse;
use super::*;
use crate::settings::{Report, keys};

/// Reads `text` with `read`; returns what is wrong and the effective settings.
fn read(text: &str, keys: Keys, read: impl FnOnce(&mut Section<'_>)) -> (String, String) {
    let mut report = Report::default();
    let node = parse(text, &mut report).unwrap();
    let mut section = Section::top(&node, &mut report, keys);
    read(&mut section);
    let known = Node::from(Value::Map(section.finish())).to_yaml();
    let mut lines = report.problems("f");
    lines.extend(report.warnings("warning"));
    (lines.join("\n"), known)
}

#[test]
fn values_of_every_type_are_read_and_remembered() {
    let text =
        "b: on\ni: 3.0\nn: 1e-1\ns: 0.5\nt: x\nc: Info\nq: 50%\nl: [80, a]\nm: {k: 1}\ne: [{p: 1}, {p: 2}]\n";
    let keys = keys! {
        "b" Bool "" or "": "";
        "i" Whole "0 to 9" or "": "";
        "n" Number "0 to 1" or "": "";
        "s" Seconds "0 to 1" or "": "";
        "t" Text "" or "": "";
        "c" Choice "DEBUG, INFO" or "": "";
        "q" Scalar "" or "": "";
        "l" Strings "" or "": "";
        "m.k" Whole "0 to 1" or "": "";
        "e.p" Whole "0 to 9" or "": "";
        "none" Scalar "" or "": "";
    };
    let (wrong, known) = read(text, keys, |section| {
        assert!(section.boolean("b"));
        assert_eq!(section.integer("i"), Some(3));
        assert_eq!(section.number("n"), Some(0.1));
        assert_eq!(section.seconds("s"), Some(Duration::from_millis(500)));
        assert_eq!(section.text("t"), Some("x".to_owned()));
        assert_eq!(section.choice("c"), Some("INFO"));
        assert_eq!(section.scalar("q"), Some(Scalar::Text("50%".to_owned())));
        assert_eq!(section.strings("l"), Some(vec!["80".to_owned(), "a".to_owned()]));
        assert_eq!(section.child("m", |inside| inside.integer("k")), Some(1));
        assert_eq!(section.each("e", "e", |inside| inside.integer("p")), Some(vec![1, 2]));
        assert_eq!(section.scalar("none"), None);
    });
    assert_eq!(wrong, "");
    assert_eq!(
        known,
        "b: true\ni: 3\n\"n\": 0.1\ns: 0.5\nt: x\nc: INFO\nq: \"50%\"\nl:\n  - \"80\"\n  - a\nm:\n  k: 1\ne:\n  - p: 1\n  - p: 2\nnone: null\n"
    );
}

#[test]
fn absent_and_null_mean_the_default() {
    let keys = keys! {
        "b" Bool "" = "true": "";
        "i" Whole "0 to 9" = "4": "";
        "n" Number "0 to 1" = "0.5, and words": "";
        "s" Seconds "0 to 9" = "2": "";
        "t" Text "" = "eth0": "";
        "c" Choice "text, json" = "text": "";
        "m.k" Whole "0 to 9" = "7": "";
        "e" List "" or "9": "";
    };
    for text in ["{}", "b: ~\ni:\nn: null\ns: ~\nt:\nc: ~\nm:\ne: ~\n"] {
        let (wrong, known) = read(text, keys, |section| {
            assert!(section.boolean("b") && !section.has("b"));
            assert_eq!((section.integer("i"), section.number("n")), (Some(4), Some(0.5)));
            assert_eq!(section.seconds("s"), Some(Duration::from_secs(2)));
            assert_eq!(section.text("t"), Some("eth0".to_owned()));
            assert_eq!(section.choice("c"), Some("text"));
            assert_eq!(section.child("m", |inside| inside.integer("k")), Some(7));
            assert_eq!(section.each("e", "e", |_| Some(())), None);
            section.require("t");
        });
        assert_eq!(wrong, "");
        assert_eq!(known, "b: true\ni: 4\n\"n\": 0.5\ns: 2\nt: eth0\nc: text\nm:\n  k: 7\ne: null\n");
    }
}

#[test]
fn every_wrong_value_is_told_with_place_value_and_what_is_allowed() {
    let text = "b: 1\nb2: \"true\"\ni: -1\ni2: 1.5\ni3: \"7\"\nn: .nan\nn2: 10s\nn3: 1e400\nt: 5\nc: loud\nl: {}\nm: [1]\ne: [{p: x}, 3]\n";
    let keys = keys! {
        "b" Bool "" or "": "";
        "b2" Bool "" or "": "";
        "i" Whole "0 to 9" or "": "";
        "i2" Whole "1 to 2^64-1" or "": "";
        "i3" Whole "0 to 9" or "": "";
        "n" Number "0 to 1" or "": "";
        "n2" Seconds "0.5 to 9" or "": "";
        "n3" Number "0 to 1" or "": "";
        "t" Text "" or "": "";
        "c" Choice "DEBUG, INFO" or "": "";
        "l" Strings "" or "": "";
        "e.p" Whole "0 to 9" or "": "";
    };
    let (wrong, _) = read(text, keys, |section| {
        section.boolean("b");
        section.boolean("b2");
        section.integer("i");
        section.integer("i2");
        section.integer("i3");
        section.number("n");
        section.seconds("n2");
        section.number("n3");
        section.text("t");
        section.choice("c");
        section.strings("l");
        assert_eq!(section.child("m", |_| Some(())), None);
        assert_eq!(section.each("e", "e", |inside| inside.integer("p")), Some(vec![]));
    });
    let expected = r#"f:1:4: b: 1 is not allowed: true or false
f:2:5: b2: "true" is not allowed: true or false; remove the quotes
f:3:4: i: -1 is not allowed: a whole number from 0 to 9
f:4:5: i2: 1.5 is not allowed: a whole number from 1
f:5:5: i3: "7" is not allowed: a whole number from 0 to 9; remove the quotes or leading zeros
f:6:4: n: .nan is not allowed: a number from 0 to 1
f:7:5: n2: "10s" is not allowed: a number of seconds from 0.5 to 9; write a plain number without a unit
f:8:5: n3: "1e400" is not allowed: a number from 0 to 1; remove the quotes or leading zeros
f:9:4: t: 5 is not allowed: a text; put it in quotes
f:10:4: c: "loud" is not allowed: one of DEBUG, INFO
f:11:1: l: a mapping is not allowed: a text or a list of texts
f:12:1: m: a list of 1 is not allowed: a mapping (key: value lines)
f:13:9: e[0].p: "x" is not allowed: a whole number from 0 to 9
f:13:13: e[1]: 3 is not allowed: a mapping (key: value lines)"#;
    assert_eq!(wrong, expected);
}

#[test]
fn unknown_and_missing_keys_and_own_problems_are_told() {
    let keys = keys! {
        "a.test" Bool "" or "": "";
        "a.wrong" Whole "0 to 9" or "": "";
        "a.deep" Map "" or "": "";
        "a.late" Text "" or "": "";
    };
    let (wrong, _) = read(
        "a:\n  tset: 1\n  wrong: 5\n  colour: red\n  late: 5\n  deep.x: 1\n  deep|m: 1\n",
        keys,
        |section| {
            section.child("a", |inside| {
                inside.set_required(true);
                inside.boolean("test");
                inside.integer("wrong");
                inside.problem("wrong", "is odd", "make it even");
                inside.problem("", "has no target", "");
                inside.warning("wrong", "is not much");
                inside.child("deep", |deep| {
                    deep.require("must");
                    Some(())
                })
            });
        },
    );
    let expected = "f:1:1: a: has no target\nf:1:1: a.deep.must: is missing\n\
                    f:2:3: a.tset: is not a known key; did you mean test?\n\
                    f:3:10: a.wrong: 5 is odd; make it even\n\
                    f:4:3: a.colour: is not a known key; known here: test, wrong, deep, late\n\
                    f:5:9: a.late: 5 is not allowed: a text; put it in quotes\n\
                        f:6:3: a.deep.x: is not a known key; did you mean deep?\n\
                        f:7:3: a.deep|m: is not a known key; did you mean deep?\n\
                    warning:3:10: a.wrong: 5 is not much";
    assert_eq!(wrong, expected);
}
