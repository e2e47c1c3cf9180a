//! JSON as another reader understands it.

use chaos_agent::text::json::{Object, list};
use proptest::prelude::*;
use serde_json::{Value, json};

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn what_is_written_is_read_as_the_same(
        key in any::<String>(), text in any::<String>(), low in "[\\x00-\\x20\"\\\\/\\x7f-\\u{a0}\u{2028}\u{2029}\u{10ffff}]{0,8}",
        whole in any::<u64>(), number in any::<f64>(), truth in any::<bool>(),
        texts in proptest::collection::vec(any::<String>(), 0..4),
    ) {
        let mut object = Object::new();
        object.text(&format!("k{key}"), &text).text("low", &low).whole("whole", whole).number("number", number);
        object.truth("truth", truth).optional("none", None).texts("texts", texts.iter().map(String::as_str));
        object.raw("raw", &list(["1".to_owned(), "{}".to_owned()]));
        let written = object.end();
        prop_assert!(!written.bytes().any(|byte| byte < b' '), "more than one line: {written:?}");
        let read: Value = serde_json::from_str(&written).map_err(|error| TestCaseError::fail(format!("{error}: {written}")))?;
        let number = if number.is_finite() { json!(number) } else { Value::Null };
        let read_number = read["number"].as_f64().map_or(Value::Null, |read| json!(read));
        prop_assert_eq!(read_number, number);
        prop_assert_eq!(&read[format!("k{key}")], &json!(text));
        prop_assert_eq!(&read["low"], &json!(low));
        prop_assert_eq!(read["whole"].as_u64(), Some(whole));
        prop_assert_eq!(&read["texts"], &json!(texts));
        prop_assert_eq!((&read["truth"], &read["none"], &read["raw"]), (&json!(truth), &Value::Null, &json!([1, {}])));
        prop_assert_eq!(read.as_object().unwrap().len(), 8);
    }
}
